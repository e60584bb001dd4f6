//! Assigns a slot to a container: one that waits, or else a new one.

use super::{
    activate::activate,
    reclaim::Reclaim,
    select::{SlotRequest, claim},
};
use crate::{
    conf::NetConf,
    failpoint,
    model::{Decline, FingerprintDigest, Outcome},
    netns::{Netns, bind_over, guard},
    node::{
        Node, NodeError,
        conflict::{ensure_unchanged, prefer_conflict},
        halves::ensure_carries,
        now,
        traffic::settle_traffic,
    },
    pool::{
        build::record_fingerprint,
        build_spec::{BuildSpec, NewSlot},
        shortage::{Shortage, shortage_of},
        stock::total,
    },
    retire::{
        connections::forget_connections, delete_slots, park::withdraw, tenants::ensure_tenant_room,
    },
    slot::require_masquerade,
    store::{Slot, SlotState},
    threads,
};

/// The slot that a container got.
#[derive(Debug)]
pub(crate) struct AssignedSlot {
    pub(crate) slot: Slot,
    pub(crate) netns: Netns,
    pub(crate) outcome: Outcome,
}

/// Assigns a slot that waits to a container; none where none fits.
pub(crate) fn assign_waiting(
    node: &Node,
    wanted: &SlotRequest<'_>,
) -> Result<Option<Result<AssignedSlot, Decline>>, NodeError> {
    let claimed = node.claim(|transaction| {
        let is_watched = now() < transaction.watched_until()?;
        Ok::<_, NodeError>((claim(transaction, wanted)?, is_watched))
    })?;
    let (Some((slot, outcome)), is_watched) = claimed else { return Ok(None) };
    failpoint::hit("assign:claimed");
    let activated = wanted.opener.open(node, slot.id).and_then(|netns| {
        if !is_watched {
            // No agent vouches for the slot, so other programs may have changed its interface.
            ensure_carries(node, &slot)?;
        }
        copy_sysctls(&netns, wanted)?;
        let activated = node.with_maps(|maps| activate(node, maps, &slot, &netns))?;
        activated.map(|()| netns).ok_or(NodeError::NoDatapath)
    });
    let Ok(netns) = activated else {
        // A DEL may have come meanwhile. Otherwise the slot carries no packets, and is replaced.
        delete(node, &slot)?;
        return Ok(Some(Err(Decline::Broken)));
    };
    Ok(Some(Ok(AssignedSlot { slot, netns, outcome })))
}

/// Assigns a slot that waits or a new one to a container. If the pool has no room for one more,
/// slots that came back or wait make room.
pub(crate) fn assign(
    node: &Node,
    conf: &NetConf,
    wanted: &SlotRequest<'_>,
) -> Result<Result<AssignedSlot, Decline>, NodeError> {
    let reclaim = Reclaim::new(node, conf);
    loop {
        let built = match assign_waiting(node, wanted) {
            Ok(None) => build(node, conf, wanted),
            Ok(Some(ready)) => return Ok(ready),
            Err(error) => Err(error),
        };
        let shortage = match &built {
            Ok(Err(Decline::Full)) => Some(Shortage::Any),
            Ok(_) => None,
            Err(error) => shortage_of(error),
        };
        match shortage {
            Some(shortage) if reclaim.make(&shortage, Some(wanted))? => {}
            _ => return built,
        }
    }
}

/// Deletes a slot that does not work. What cannot be removed stays on record; the container is
/// served all the same, unless its DEL came meanwhile.
fn delete(node: &Node, slot: &Slot) -> Result<(), NodeError> {
    match withdraw(node, slot) {
        Ok(Some(withdrawn)) => {
            drop(delete_slots(node, &[withdrawn]));
            Ok(())
        }
        Ok(None) => Err(NodeError::Conflict { slot: slot.id }),
        Err(_) => Ok(()),
    }
}

/// Builds a slot for one container; none where the pool is full.
fn build(
    node: &Node,
    conf: &NetConf,
    wanted: &SlotRequest<'_>,
) -> Result<Result<AssignedSlot, Decline>, NodeError> {
    let spec = BuildSpec::new(node, conf, wanted.pool)?;
    let netns_store = node.netns_store()?;
    let netns = Netns::create()?;
    let Some(slot) = record(node, &spec, wanted, &netns)? else {
        return Ok(Err(Decline::Full));
    };
    failpoint::hit("assign:recorded");
    let own = NewSlot { slot, netns };
    let work = || {
        if spec.masquerades() {
            require_masquerade(&node.directories.run)?;
        }
        forget_connections(node, [&own.slot])?;
        let datapath = node.load_datapath()?;
        let pair = spec.build(node, &netns_store, &datapath, &own, own.slot.identity)?;
        let digest = fingerprint(node, &spec, &own)?;
        copy_sysctls(&own.netns, wanted)?;
        if let Some(path) = wanted.path {
            bind_over(&own.netns, path)?;
        }
        failpoint::hit("assign:bound");
        node.store.write(|transaction| {
            ensure_unchanged(transaction, &own.slot)?;
            let slot = transaction.advance(own.slot.id, SlotState::Active, now(), |slot| {
                slot.built = Some(spec.built(&pair, digest));
            })?;
            settle_traffic(node, transaction, &own.slot, &slot)?;
            Ok::<_, NodeError>(slot)
        })
    };
    // The build has a thread of its own, because it enters and leaves namespaces.
    let built = threads::run(work).map_err(Into::into).flatten();
    match built {
        Ok(slot) => {
            failpoint::hit("assign:active");
            Ok(Ok(AssignedSlot { slot, netns: own.netns, outcome: Outcome::Built }))
        }
        Err(error) => {
            let cause = prefer_conflict(node, &own.slot, error);
            // Report the error of the build, not the error of the cleanup. What is left stays on record.
            drop(delete_slots(node, &[own.slot]));
            Err(cause)
        }
    }
}

/// Records the intent, unless the pool has as many slots as it may have.
fn record(
    node: &Node,
    spec: &BuildSpec<'_>,
    wanted: &SlotRequest<'_>,
    netns: &Netns,
) -> Result<Option<Slot>, NodeError> {
    node.claim(|transaction| {
        if total(transaction, wanted.pool.key)? >= wanted.pool.policy.max {
            return Ok(None);
        }
        let mut slot = spec.record(transaction, netns)?;
        transaction.attach(wanted.attachment, slot.id)?;
        let SlotRequest { pool, user, .. } = wanted;
        ensure_tenant_room(transaction, &pool.id.network, user, &pool.policy)?;
        let identity = wanted.identity(transaction, &slot)?;
        wanted.give(&mut slot, Outcome::Built, identity);
        transaction.put_slot(&slot)?;
        wanted.note(transaction, &slot, Outcome::Built)?;
        Ok(Some(slot))
    })
}

/// The fingerprint of the pool's new namespaces, from the record or from this slot. It is taken
/// before any process enters the namespace.
fn fingerprint(
    node: &Node,
    spec: &BuildSpec<'_>,
    new_slot: &NewSlot,
) -> Result<FingerprintDigest, NodeError> {
    let known = node.store.read(|transaction| transaction.pool(&spec.pool.id))?;
    let known = known.filter(|pool| pool.key == spec.pool.key).and_then(|pool| pool.fingerprint);
    known.map_or_else(|| record_fingerprint(node, spec, new_slot), Ok)
}

/// Copies the sysctls that the runtime set in the container's namespace to the slot's. The scrub resets them.
fn copy_sysctls(netns: &Netns, wanted: &SlotRequest<'_>) -> Result<(), NodeError> {
    let Some(values) = wanted.sysctls else {
        return Ok(());
    };
    let copied = netns.run(|| {
        let present = guard::sysctls()?;
        if present == values { Ok(()) } else { guard::set_sysctls(&present, values) }
    })?;
    copied.map_err(NodeError::Sysctls)?;
    failpoint::hit("assign:sysctls");
    Ok(())
}
