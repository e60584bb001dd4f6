//! A slot for a container: one that is at hand, or else one that is built for it.

use std::thread;

use super::{
    Decline, LifecycleError, Node, Outcome,
    activate::{Claim, Wanted, activate, claim, pool_of},
    destroy::destroy,
    node::now,
    park::withdraw,
    prepare::{Blueprint, Site, record_fingerprint},
    room::{Lack, Room, lack},
};
use crate::{
    cni::CniArgs,
    conf::NetConf,
    failpoint,
    netns::{Netns, guard, stack},
    slot::require_masquerade,
    store::{Pool, PoolId, PoolOverride, PoolPolicy, Shelf, Slot, SlotState},
    types::{AttachmentId, IfName, PoolKey, SlotId},
};

/// What a container was given.
#[derive(Debug)]
pub(super) struct Provided {
    pub(super) slot: Slot,
    pub(super) netns: Netns,
    pub(super) outcome: Outcome,
}

/// Gives a container a slot that is at hand; none where there is none.
fn ready(
    node: &Node,
    wanted: &Wanted<'_>,
    open: &dyn Fn(SlotId) -> Result<Netns, LifecycleError>,
) -> Result<Option<Result<Provided, Decline>>, LifecycleError> {
    let (slot, outcome) = match node.store.write(|transaction| claim(transaction, wanted))? {
        Claim::Slot(slot, outcome) => (*slot, outcome),
        Claim::None => return Ok(None),
    };
    failpoint::hit("provide:claimed");
    let activated = open(slot.id).and_then(|netns| {
        copy_sysctls(&netns, wanted)?;
        let activated = node.with_maps(|maps| activate(node, maps, &slot, &netns))?;
        activated.map(|()| netns).ok_or(LifecycleError::NoDatapath)
    });
    let Ok(netns) = activated else {
        give_up(node, slot);
        return Ok(Some(Err(Decline::Broken)));
    };
    Ok(Some(Ok(Provided { slot, netns, outcome })))
}

/// Gives a container a slot that is at hand, or one that is built; where there is no room for one
/// more, slots make room that came back, or wait.
pub(super) fn provide(
    node: &Node,
    conf: &NetConf,
    size: PoolPolicy,
    wanted: &Wanted<'_>,
    open: &dyn Fn(SlotId) -> Result<Netns, LifecycleError>,
) -> Result<Result<Provided, Decline>, LifecycleError> {
    let room = Room::new(node, &conf.name);
    loop {
        if let Some(ready) = ready(node, wanted, open)? {
            return Ok(ready);
        }
        let built = build(node, conf, size, wanted);
        let lack = match &built {
            Ok(Err(Decline::Full)) => Some(Lack::Any),
            Ok(_) => None,
            Err(error) => lack(error),
        };
        match lack {
            Some(lack) if room.make(lack)? => {}
            _ => return built,
        }
    }
}

/// Takes a slot down that does not work. What cannot be removed stays on record; the container is
/// served all the same.
fn give_up(node: &Node, mut slot: Slot) {
    if withdraw(node, &slot).is_ok() {
        slot.netns_path = None;
        drop(destroy(node, &[slot]));
    }
}

/// Builds a slot for one container; none where the pool is full.
fn build(
    node: &Node,
    conf: &NetConf,
    size: PoolPolicy,
    wanted: &Wanted<'_>,
) -> Result<Result<Provided, Decline>, LifecycleError> {
    let blueprint = Blueprint::new(conf, &wanted.attachment.ifname)?;
    let hidden = node.hidden()?;
    let netns = Netns::create()?;
    let Some(slot) = record(node, &blueprint, size, wanted, &netns)? else {
        return Ok(Err(Decline::Full));
    };
    failpoint::hit("provide:recorded");
    let own = Site { slot, netns };
    let work = || {
        if conf.ip_masq {
            require_masquerade(&node.directories.run)?;
        }
        let datapath = node.load_datapath()?;
        let built = blueprint.build(node, &hidden, &datapath, &own, own.slot.identity)?;
        let digest = fingerprint(node, &blueprint, &own)?;
        copy_sysctls(&own.netns, wanted)?;
        if let Some(path) = wanted.path {
            stack(&own.netns, path)?;
        }
        failpoint::hit("provide:stacked");
        node.store.write(|transaction| {
            Ok::<_, LifecycleError>(transaction.advance(
                own.slot.id,
                SlotState::Active,
                now(),
                |slot| {
                    slot.host_ifindex = built.host_ifindex;
                    slot.fingerprint = digest;
                },
            )?)
        })
    };
    // A thread of its own, since it goes in and out of namespaces.
    let built =
        thread::scope(|scope| scope.spawn(work).join().unwrap_or(Err(LifecycleError::Thread)));
    match built {
        Ok(slot) => Ok(Ok(Provided { slot, netns: own.netns, outcome: Outcome::Built })),
        Err(error) => {
            // The caller wants to know why building failed; what is left stays on record.
            drop(destroy(node, &[own.slot]));
            Err(error)
        }
    }
}

/// Records the intent, unless the pool has as many slots as it may have.
fn record(
    node: &Node,
    blueprint: &Blueprint<'_>,
    size: PoolPolicy,
    wanted: &Wanted<'_>,
    netns: &Netns,
) -> Result<Option<Slot>, LifecycleError> {
    node.store.write(|transaction| {
        let mut slots = 0;
        for state in SlotState::COUNTED {
            slots += transaction.count(Shelf::Pool(state, blueprint.key))?;
        }
        if slots >= size.max {
            return Ok(None);
        }
        let mut slot = blueprint.record(transaction, netns)?;
        transaction.attach(wanted.attachment, slot.id)?;
        slot.container = Some(wanted.attachment.container.clone());
        slot.netns_path = wanted.path.map(ToOwned::to_owned);
        slot.function.clone_from(&wanted.user.function);
        slot.tenant.clone_from(&wanted.user.tenant);
        transaction.put_slot(&slot)?;
        transaction.count_up(&blueprint.pool(), Outcome::Built.label())?;
        Ok(Some(slot))
    })
}

/// What the namespaces of the pool's slots are like when they are new: as on record, or as this one
/// is, before anybody is in it.
fn fingerprint(
    node: &Node,
    blueprint: &Blueprint<'_>,
    site: &Site,
) -> Result<[u8; 32], LifecycleError> {
    let id = blueprint.pool();
    let known = node.store.read(|transaction| transaction.pool(&id))?;
    let known = known.filter(|pool| pool.key == blueprint.key).map(|pool| pool.fingerprint);
    if let Some(digest) = known.filter(|digest| *digest != [0; 32]) {
        return Ok(digest);
    }
    record_fingerprint(node, blueprint, site)
}

/// Sets in a slot's namespace what the runtime set in the container's. The scrub takes it back.
fn copy_sysctls(netns: &Netns, wanted: &Wanted<'_>) -> Result<(), LifecycleError> {
    let Some(values) = wanted.sysctls else {
        return Ok(());
    };
    let copied = netns.run(|| {
        let present = guard::sysctls()?;
        if present == values { Ok(()) } else { guard::set_sysctls(&present, values) }
    })?;
    copied.map_err(LifecycleError::Sysctls)
}

/// A pool as it counts for an ADD.
#[derive(Debug, Clone, Copy)]
pub(super) struct PoolInForce {
    /// What its slots are built from.
    pub(super) key: PoolKey,
    /// How many there may be, and for whom.
    pub(super) size: PoolPolicy,
}

/// The pool of an attachment, if it has one: configured, or set up by an operator. What was
/// configured anew is recorded, for the agent.
pub(super) fn pool_in_force(
    node: &Node,
    conf: &NetConf,
    attachment: &AttachmentId,
) -> Result<Option<PoolInForce>, LifecycleError> {
    let id = pool_of(attachment);
    let recorded = node.store.read(|transaction| transaction.pool(&id))?;
    if conf.pool.is_none() && recorded.as_ref().is_some_and(was_configured) {
        // The configuration had a pool, and has none any more. The agent gives its slots up.
        node.store.write(|transaction| transaction.forget_pool(&id))?;
        return Ok(None);
    }
    let Some(configured) = conf.pool.or(recorded.as_ref().map(|pool| pool.configured)) else {
        return Ok(None);
    };
    let key = conf.pool_key(&attachment.ifname);
    let is_same = |pool: &Pool| pool.key == key && pool.configured == configured;
    let pool = match recorded {
        Some(pool) if is_same(&pool) => pool,
        // Its ranges are this attachment's alone.
        Some(pool) if conf.asks_for_its_own(&CniArgs::default()) => pool,
        _ => record_pool(node, conf, &attachment.ifname, configured)?,
    };
    Ok(Some(PoolInForce { key, size: pool.policy() }))
}

/// Whether a pool is there because of the configuration, and not because an operator wants it.
fn was_configured(pool: &Pool) -> bool {
    pool.set == PoolOverride::default()
        && NetConf::parse(&pool.conf).is_ok_and(|conf| conf.pool.is_some())
}

/// Records what a pool's slots are built from from now on, and how many there should be.
pub fn record_pool(
    node: &Node,
    conf: &NetConf,
    ifname: &IfName,
    configured: PoolPolicy,
) -> Result<Pool, LifecycleError> {
    let id = PoolId { network: conf.name.clone(), ifname: ifname.clone(), template: None };
    let key = conf.pool_key(ifname);
    node.store.write(|transaction| {
        let known = transaction.pool(&id)?;
        let set = known.as_ref().map(|pool| pool.set).unwrap_or_default();
        let fingerprint = known.filter(|pool| pool.key == key).map(|pool| pool.fingerprint);
        let fingerprint = fingerprint.unwrap_or_default();
        let pool =
            Pool { key, conf: conf.common(), template: Vec::new(), fingerprint, configured, set };
        transaction.put_pool(&id, &pool)?;
        Ok(pool)
    })
}
