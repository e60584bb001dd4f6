//! Whether an ADD can be served from the pool, and serving it so.

use super::{
    assign::{Provided, provide},
    container::ContainerNetns,
    guards::guard,
    select::Wanted,
};
use crate::{
    conf::User,
    model::NetnsPath,
    model::{Decline, Outcome},
    node::{
        LifecycleError, Node, Request,
        effective::{PoolInForce, pool_id, pool_in_force},
    },
    pool::{
        template_use::check_pool_use,
        terms::{Terms, check_without_pool},
    },
    store::Mode,
};

/// How an ADD goes on.
#[derive(Debug)]
pub(crate) enum Reuse {
    /// The container has a slot.
    Slot(Box<Provided>),
    /// There is a pool, but not for this one.
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
) -> Result<Reuse, LifecycleError> {
    let conf = &request.conf;
    let id = pool_id(conf, &request.attachment.ifname, user);
    let Some(pool) = pool_in_force(node, conf, &id)? else {
        check_without_pool(&conf.name, user)?;
        return Ok(Reuse::NoPool);
    };
    check_pool_use(&pool, user)?;
    let terms = Terms::new(conf, &pool.policy, user)?;
    if terms.mode == Mode::None {
        return declined(node, &pool, Decline::Asked);
    }
    let guarded = match guard(request, path, netns)? {
        Ok(guarded) => guarded,
        Err(reason) => return declined(node, &pool, reason),
    };
    let wanted = Wanted {
        attachment: &request.attachment,
        pool: &pool,
        terms,
        user,
        path: Some(&guarded.path),
        sysctls: guarded.sysctls.as_deref(),
    };
    let open = |slot| match &guarded.hidden {
        Some(hidden) => Ok(hidden.netns(slot)?),
        None => Err(LifecycleError::NoHidden),
    };
    match provide(node, conf, &wanted, &open)? {
        Ok(provided) => Ok(Reuse::Slot(Box::new(provided))),
        Err(reason) => declined(node, &pool, reason),
    }
}

fn declined(node: &Node, pool: &PoolInForce, reason: Decline) -> Result<Reuse, LifecycleError> {
    let label = Outcome::Declined(reason).label();
    node.store.write(|transaction| transaction.count_up(&pool.id, label))?;
    Ok(Reuse::Declined(reason))
}
