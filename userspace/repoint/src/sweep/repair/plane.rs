//! Pins, programs, host's halves, the masquerade rule, forwarding and files.

use std::fs::File;

use nix::fcntl::{Flock, FlockArg};

use super::{BATCH, Finding, Outcomes, Remedy, RepairOutcome, done, failed, remove, unchanged};
use crate::{
    agent_socket,
    datapath::{self, Datapath, Programs},
    failpoint,
    model::Hook,
    netlink::RouteSocket,
    node::{HalfFate, Node, NodeError, half_differs, repair_halves},
    private,
    slot::{attach_by_tcx, attach_filters, release_masquerade, require_masquerade},
    store::{Slot, StoreError},
};

pub(super) fn pins(node: &Node, remedy: &Remedy) -> Result<Option<String>, NodeError> {
    let (bpf, run) = (&node.directories.bpf, &node.directories.run);
    if *remedy == Remedy::Reload {
        datapath::reload(bpf, run)?;
        // Before the programs are attached, and without them.
        node.provide_stored_policies()?;
        return Ok(Some("loaded a new data plane".to_owned()));
    }
    datapath::clear_abandoned(bpf, run)?;
    Ok(Some("removed the folder".to_owned()))
}

pub(super) fn policies(node: &Node, remedy: &Remedy) -> Result<Option<String>, NodeError> {
    node.restore_policies()?;
    Ok(Some(remedy.words().to_owned()))
}

/// Replaces the programs on slots' interfaces by the pinned ones. No packet passes without a
/// program meanwhile.
pub(super) fn attach(node: &Node, due: Vec<Finding>) -> Outcomes {
    let programs = Datapath::open_existing(&node.directories.bpf);
    let (programs, mut socket) = match (programs, RouteSocket::open()) {
        (Ok(Some(datapath)), Ok(socket)) => (datapath.programs, socket),
        (Ok(None), _) => {
            return due.into_iter().map(|finding| (finding, RepairOutcome::Gone)).collect();
        }
        (Err(error), _) => return failed(&due, error),
        (_, Err(error)) => return failed(&due, error),
    };
    let mut outcomes = Vec::with_capacity(due.len());
    for batch in due.chunks(BATCH) {
        match attach_some(node, &programs, &mut socket, batch) {
            Ok(some) => outcomes.extend(some),
            Err(error) => outcomes.extend(failed(batch, error)),
        }
    }
    outcomes
}

fn attach_some(
    node: &Node,
    programs: &Programs,
    socket: &mut RouteSocket,
    batch: &[Finding],
) -> Result<Outcomes, NodeError> {
    let slots: Vec<Option<Slot>> = node.store.read(|transaction| {
        let slot = |finding: &Finding| match &finding.remedy {
            Remedy::Attach(seen) => unchanged(transaction, seen),
            _ => Ok(None),
        };
        batch.iter().map(slot).collect::<Result<_, StoreError>>()
    })?;
    let mut requests = Vec::with_capacity(3 * slots.len());
    for slot in slots.iter().flatten() {
        let ifindex = slot.require_built()?.host_ifindex.get();
        match slot.hook {
            Hook::Tcx => attach_by_tcx(ifindex, programs)?,
            Hook::Clsact => requests.extend(attach_filters(ifindex, programs)),
        }
    }
    let refusals = socket.execute_each(requests)?;
    failpoint::hit("sweep:attached");
    // The place is there already, or the interface was removed meanwhile.
    let harmless =
        |refusal: &crate::netlink::NetlinkError| refusal.is_present() || refusal.is_absent();
    if let Some(refusal) = refusals.into_iter().find(|refusal| !harmless(refusal)) {
        return Err(refusal.into());
    }
    let outcome = |slot: Option<Slot>, finding: &Finding| match slot {
        Some(_) => done(&finding.remedy),
        None => RepairOutcome::Gone,
    };
    Ok(slots.into_iter().zip(batch).map(|(slot, one)| (one.clone(), outcome(slot, one))).collect())
}

/// Restores the halves of slots that are as they were seen.
pub(super) fn restore_halves(node: &Node, due: &[Finding]) -> Outcomes {
    let mut outcomes = Vec::with_capacity(due.len());
    for batch in due.chunks(BATCH) {
        match restore_some(node, batch) {
            Ok(some) => outcomes.extend(some),
            Err(error) => outcomes.extend(failed(batch, error)),
        }
    }
    outcomes
}

fn restore_some(node: &Node, batch: &[Finding]) -> Result<Outcomes, NodeError> {
    let (mut due, mut slots, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
    for finding in batch {
        let Remedy::RestoreHalf(seen) = &finding.remedy else { continue };
        match node.store.read(|transaction| unchanged(transaction, seen))? {
            Some(slot) => {
                due.push(finding.clone());
                slots.push(slot);
            }
            None => outcomes.push((finding.clone(), RepairOutcome::Gone)),
        }
    }
    let repaired = repair_halves(node, &slots)?;
    for ((finding, slot), outcome) in due.into_iter().zip(&slots).zip(repaired) {
        let outcome = match outcome {
            HalfFate::Restored(_) => done(&finding.remedy),
            HalfFate::Differs(_, Some(error)) => RepairOutcome::Failed(error),
            HalfFate::Differs(parts, None) => RepairOutcome::Failed(half_differs(slot, &parts)),
            HalfFate::Whole
            | HalfFate::Gone
            | HalfFate::Strange
            | HalfFate::Changed
            | HalfFate::Contested => RepairOutcome::Gone,
        };
        outcomes.push((finding, outcome));
    }
    Ok(outcomes)
}

/// Restores what slots need of the node. The masquerade rule is checked again, under a lock.
pub(super) fn node(node: &Node, remedy: &Remedy) -> Result<Option<String>, NodeError> {
    let run = &node.directories.run;
    if let Remedy::SwitchOn(family) = remedy {
        return Ok(family.switch_on()?.then(|| remedy.words().to_owned()));
    }
    if *remedy == Remedy::AddRule {
        require_masquerade(run)?;
        return Ok(Some("added the rule".to_owned()));
    }
    release_masquerade(run, &node.store)?;
    Ok(Some("removed the rule".to_owned()))
}

pub(super) fn file(node: &Node, remedy: &Remedy) -> Result<Option<String>, NodeError> {
    if let Remedy::RemoveFile(path) = remedy {
        let has = |slot: &Slot| slot.netns_path.as_ref() == Some(path);
        let used = node.store.read(|transaction| transaction.any_slot(has))?;
        return if used { Ok(None) } else { remove(path) };
    }
    // An agent takes its lock before it makes its socket.
    let path = node.directories.run.join("agent.lock");
    let lock = private::file(File::options().create(true).append(true), &path)?;
    let Ok(_lock) = Flock::lock(lock, FlockArg::LockExclusiveNonblock) else {
        return Ok(None);
    };
    remove(&agent_socket::path(&node.directories.run))
}
