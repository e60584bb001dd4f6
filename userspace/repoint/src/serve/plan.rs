//! Serves an ADD from the pool, where the pool can.

use super::{
    assign::{AssignedSlot, assign},
    guards::{ContainerNetns, guard},
    select::{NetnsOpener, SlotRequest},
};
use crate::{
    conf::User,
    model::{Decline, Mode, NetnsPath, Outcome},
    node::{
        Node, NodeError, Request,
        effective::{EffectivePool, effective_pool, pool_id},
    },
    pool::{
        template_use::check_pool_use,
        terms::{EffectiveTerms, check_without_pool},
    },
};

/// How an ADD goes on.
#[derive(Debug)]
pub(crate) enum Reuse {
    /// The container has a slot.
    Slot(Box<AssignedSlot>),
    /// There is a pool, and it declines the container.
    Declined(Decline),
    /// The network has no pool.
    NoPool,
}

/// Serves an ADD from the pool, if it can be.
pub(crate) fn reuse(
    node: &Node,
    request: &Request,
    user: &User,
    path: &NetnsPath,
    netns: &ContainerNetns,
) -> Result<Reuse, NodeError> {
    let conf = &request.conf;
    let id = pool_id(conf, &request.attachment.ifname, user);
    let Some(pool) = effective_pool(node, conf, &id)? else {
        check_without_pool(&conf.name, user)?;
        return Ok(Reuse::NoPool);
    };
    check_pool_use(&pool, user)?;
    let terms = EffectiveTerms::new(conf, &pool.policy, user)?;
    if terms.mode == Mode::None {
        return declined(node, &pool, Decline::Asked);
    }
    let guarded = match guard(request, path, netns)? {
        Ok(guarded) => guarded,
        Err(reason) => return declined(node, &pool, reason),
    };
    let wanted = SlotRequest {
        attachment: &request.attachment,
        pool: &pool,
        terms,
        user,
        path: Some(&guarded.path),
        sysctls: guarded.sysctls.as_deref(),
        opener: NetnsOpener::Store(guarded.netns_store.as_ref()),
    };
    match assign(node, conf, &wanted)? {
        Ok(assigned) => Ok(Reuse::Slot(Box::new(assigned))),
        Err(reason) => declined(node, &pool, reason),
    }
}

fn declined(node: &Node, pool: &EffectivePool, reason: Decline) -> Result<Reuse, NodeError> {
    let label = Outcome::Declined(reason).label();
    node.store.write(|transaction| transaction.count_up(&pool.id, label))?;
    Ok(Reuse::Declined(reason))
}
