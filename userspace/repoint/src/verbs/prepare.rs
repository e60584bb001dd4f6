//! PREPARE: building slots that wait. `docs/cni-extensions.md` specifies it.

use crate::{
    cni::CniArgs,
    conf::{NetConf, User},
    model::{ContainerId, IfName, SlotId},
    node::{
        Node, NodeError, PoolError,
        effective::{EffectivePool, effective_pool, pool_id},
        holders::name_holders,
    },
    pool::{
        Order, build::check_room, prepare, template_use::check_pool_use, terms::EffectiveTerms,
    },
    store::{Slot, StoreError},
};

/// A request that is not about one attachment: PREPARE or REPLICATE.
#[derive(Debug, Clone)]
pub struct OperationRequest {
    /// The network's configuration.
    pub conf: NetConf,
    /// The interface in the containers to come.
    pub ifname: IfName,
    /// The container to replicate; none: the network's configuration is replicated.
    pub container: Option<ContainerId>,
    /// `CNI_ARGS`.
    pub args: CniArgs,
}

/// PREPARE: builds slots and keeps them inactive. `repoint.dev/count` gives their number, one by
/// default. If the request names a function, they wait for it.
pub fn prepare_request(request: &OperationRequest) -> Result<Vec<Slot>, NodeError> {
    let OperationRequest { conf, ifname, args, .. } = request;
    let (user, count) = (conf.user(args)?, conf.count(args)?);
    prepare_for(&Node::open(&conf.directories)?, conf, ifname, &user, count.unwrap_or(1))
}

/// Builds `count` slots for a user's function, or for any container without one. Slots for a
/// function from a template that is not confirmed need a user that may use it.
pub fn prepare_for(
    node: &Node,
    conf: &NetConf,
    ifname: &IfName,
    user: &User,
    count: u32,
) -> Result<Vec<Slot>, NodeError> {
    let pool = pool(node, conf, ifname, user)?;
    let terms = EffectiveTerms::new(conf, &pool.policy, user)?;
    if let Some(function) = &user.function {
        check_pool_use(&pool, user)?;
        if !terms.domain.is_shared() {
            let (network, function) = (conf.name.clone(), function.clone());
            return Err(PoolError::NoDomain { network, function }.into());
        }
    }
    check_room(node, &pool, count)?;
    let waiting = user.function.is_some().then_some(user);
    let order = Order { conf, pool: &pool.id, count, user: waiting };
    let built = prepare(node, &order).map_err(|error| name_holders(node, conf, error))?;
    slots(node, &built)
}

/// The records of slots that were made just now.
fn slots(node: &Node, ids: &[SlotId]) -> Result<Vec<Slot>, NodeError> {
    Ok(node.store.read(|transaction| {
        let slots = ids.iter().filter_map(|id| transaction.slot(*id).transpose());
        slots.collect::<Result<_, StoreError>>()
    })?)
}

/// The pool that a slot for this user would be of.
pub(super) fn pool(
    node: &Node,
    conf: &NetConf,
    ifname: &IfName,
    user: &User,
) -> Result<EffectivePool, NodeError> {
    let pool = effective_pool(node, conf, &pool_id(conf, ifname, user))?;
    Ok(pool.ok_or_else(|| PoolError::NoPool { network: conf.name.to_string() })?)
}
