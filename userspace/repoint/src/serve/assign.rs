//! A slot for a container: one that is at hand, or else one that is built for it.

use super::{
    activate::activate,
    reclaim::Room,
    select::{Claim, Wanted, claim},
};
use crate::{
    conf::NetConf,
    failpoint,
    model::SlotId,
    model::{Decline, Outcome},
    netns::{Netns, guard, stack},
    node::{
        LifecycleError, Node,
        conflict::{cause, ensure_unchanged},
        halves::ensure_carries,
        now,
    },
    pool::{
        build::record_fingerprint,
        build_spec::{Blueprint, Site},
        shortage::{Lack, lack},
        stock::total,
    },
    retire::{
        connections::forget_connections, destroy, park::withdraw, tenants::ensure_tenant_room,
    },
    slot::require_masquerade,
    store::{Slot, SlotState},
    threads,
};

/// What a container was given.
#[derive(Debug)]
pub(crate) struct Provided {
    pub(crate) slot: Slot,
    pub(crate) netns: Netns,
    pub(crate) outcome: Outcome,
}

/// Gives a container a slot that is at hand; none where there is none.
pub(crate) fn ready(
    node: &Node,
    wanted: &Wanted<'_>,
    open: &dyn Fn(SlotId) -> Result<Netns, LifecycleError>,
) -> Result<Option<Result<Provided, Decline>>, LifecycleError> {
    let claimed = node.store.grow(|transaction| {
        let is_watched = now() < transaction.watched_until()?;
        Ok::<_, LifecycleError>((claim(transaction, wanted)?, is_watched))
    })?;
    let (slot, outcome, is_watched) = match claimed {
        (Claim::Slot(slot, outcome), is_watched) => (*slot, outcome, is_watched),
        (Claim::None, _) => return Ok(None),
    };
    failpoint::hit("provide:claimed");
    let activated = open(slot.id).and_then(|netns| {
        if !is_watched {
            // No agent vouches for it: what other programs did to the interface since is not known.
            ensure_carries(node, &slot)?;
        }
        copy_sysctls(&netns, wanted)?;
        let activated = node.with_maps(|maps| activate(node, maps, &slot, &netns))?;
        activated.map(|()| netns).ok_or(LifecycleError::NoDatapath)
    });
    let Ok(netns) = activated else {
        // Its DEL may have come meanwhile; or it carries no packet, and is replaced.
        delete(node, &slot)?;
        return Ok(Some(Err(Decline::Broken)));
    };
    Ok(Some(Ok(Provided { slot, netns, outcome })))
}

/// Gives a container a slot that is at hand, or one that is built; where there is no room for one
/// more, slots make room that came back, or wait.
pub(crate) fn provide(
    node: &Node,
    conf: &NetConf,
    wanted: &Wanted<'_>,
    open: &dyn Fn(SlotId) -> Result<Netns, LifecycleError>,
) -> Result<Result<Provided, Decline>, LifecycleError> {
    let room = Room::new(node, conf);
    loop {
        let built = match ready(node, wanted, open) {
            Ok(None) => build(node, conf, wanted),
            Ok(Some(ready)) => return Ok(ready),
            Err(error) => Err(error),
        };
        let lack = match &built {
            Ok(Err(Decline::Full)) => Some(Lack::Any),
            Ok(_) => None,
            Err(error) => lack(error),
        };
        match lack {
            Some(lack) if room.make(&lack, Some(wanted))? => {}
            _ => return built,
        }
    }
}

/// Deletes a slot that does not work. What cannot be removed stays on record; the container is
/// served all the same, unless its DEL came meanwhile.
fn delete(node: &Node, slot: &Slot) -> Result<(), LifecycleError> {
    match withdraw(node, slot) {
        Ok(Some(withdrawn)) => {
            drop(destroy(node, &[withdrawn]));
            Ok(())
        }
        Ok(None) => Err(LifecycleError::Overtaken { slot: slot.id }),
        Err(_) => Ok(()),
    }
}

/// Builds a slot for one container; none where the pool is full.
fn build(
    node: &Node,
    conf: &NetConf,
    wanted: &Wanted<'_>,
) -> Result<Result<Provided, Decline>, LifecycleError> {
    let blueprint = Blueprint::new(node, conf, wanted.pool)?;
    let hidden = node.hidden()?;
    let netns = Netns::create()?;
    let Some(slot) = record(node, &blueprint, wanted, &netns)? else {
        return Ok(Err(Decline::Full));
    };
    failpoint::hit("provide:recorded");
    let own = Site { slot, netns };
    let work = || {
        if blueprint.masquerades() {
            require_masquerade(&node.directories.run)?;
        }
        forget_connections(node, [&own.slot])?;
        let datapath = node.load_datapath()?;
        let built = blueprint.build(node, &hidden, &datapath, &own, own.slot.identity)?;
        let digest = fingerprint(node, &blueprint, &own)?;
        copy_sysctls(&own.netns, wanted)?;
        if let Some(path) = wanted.path {
            stack(&own.netns, path)?;
        }
        failpoint::hit("provide:stacked");
        node.store.write(|transaction| {
            ensure_unchanged(transaction, &own.slot)?;
            Ok::<_, LifecycleError>(transaction.advance(
                own.slot.id,
                SlotState::Active,
                now(),
                |slot| {
                    slot.host_ifindex = built.host_ifindex;
                    slot.nsid = built.nsid;
                    slot.fingerprint = digest;
                },
            )?)
        })
    };
    // A thread of its own, since it goes in and out of namespaces.
    let built = threads::run(work).map_err(Into::into).flatten();
    match built {
        Ok(slot) => {
            failpoint::hit("provide:active");
            Ok(Ok(Provided { slot, netns: own.netns, outcome: Outcome::Built }))
        }
        Err(error) => {
            let cause = cause(node, &own.slot, error);
            // The caller wants to know why building failed; what is left stays on record.
            drop(destroy(node, &[own.slot]));
            Err(cause)
        }
    }
}

/// Records the intent, unless the pool has as many slots as it may have.
fn record(
    node: &Node,
    blueprint: &Blueprint<'_>,
    wanted: &Wanted<'_>,
    netns: &Netns,
) -> Result<Option<Slot>, LifecycleError> {
    node.store.grow(|transaction| {
        if total(transaction, wanted.pool.key)? >= wanted.pool.policy.max {
            return Ok(None);
        }
        let mut slot = blueprint.record(transaction, netns)?;
        transaction.attach(wanted.attachment, slot.id)?;
        let Wanted { pool, user, .. } = wanted;
        ensure_tenant_room(transaction, &pool.id.network, user, &pool.policy)?;
        wanted.give(&mut slot, Outcome::Built);
        transaction.put_slot(&slot)?;
        wanted.note(transaction, &slot, Outcome::Built)?;
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
    let known = node.store.read(|transaction| transaction.pool(&blueprint.pool.id))?;
    let known = known.filter(|pool| pool.key == blueprint.pool.key).map(|pool| pool.fingerprint);
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
    copied.map_err(LifecycleError::Sysctls)?;
    failpoint::hit("provide:sysctls");
    Ok(())
}
