//! Compares and repairs the host's halves of slots, and what slots need of the node.

use std::{cell::Cell, mem, net::IpAddr, slice};

use super::{Node, error::NodeError};
use crate::{
    datapath::{Datapath, Programs},
    failpoint,
    model::SlotId,
    netlink::RouteSocket,
    slot::{
        Compared, NodeLack, NodeNeeds, Part, SeenHalf, compare_half, look_at_halves,
        parts_in_words, restore_half,
    },
    store::{Prefix, Slot, SlotState, StoreError},
};

/// What became of a slot's half on the node.
#[derive(Debug)]
pub enum HalfFate {
    /// It is as it was built.
    Whole,
    /// These parts were restored.
    Restored(Vec<Part>),
    /// These parts differ still: the kernel refuses, or another program changes them at once.
    Differs(Vec<Part>, Option<NodeError>),
    /// Its interface is gone.
    Gone,
    /// Its interface differs in name, index or alias: it belongs to another slot or program.
    Strange,
    /// The slot has changed since it was read: it is deleted, or was given to a container. Its half may
    /// differ still.
    Changed,
    /// One of its addresses is recorded for another slot, and its route leads to that slot.
    Contested,
}

/// Compares the host's halves of slots, and repairs those that differ. A slot that has changed
/// since it was read is left alone. Returns the result for each slot, in the order of `slots`.
pub fn repair_halves(node: &Node, slots: &[Slot]) -> Result<Vec<HalfFate>, NodeError> {
    let mut socket = RouteSocket::open()?;
    let programs = node.programs()?;
    let compared = compare_all(&mut socket, slots, programs.as_ref())?;
    let (mut outcomes, mut restored) = (Vec::with_capacity(slots.len()), Vec::new());
    for (number, (slot, compared)) in slots.iter().zip(compared).enumerate() {
        outcomes.push(match compared {
            Compared::Own(parts) if parts.is_empty() => HalfFate::Whole,
            Compared::Own(_) if !is_unchanged(node, slot)? => HalfFate::Changed,
            Compared::Own(_) if !has_its_addresses(node, slot)? => HalfFate::Contested,
            Compared::Own(parts) => {
                let failed = restore_half(&mut socket, slot, &parts, programs.as_ref()).err();
                restored.push(number);
                HalfFate::Differs(parts, failed.map(Into::into))
            }
            Compared::Gone => HalfFate::Gone,
            Compared::Strange => HalfFate::Strange,
        });
    }
    look_again(&mut socket, slots, &restored, programs.as_ref(), &mut outcomes)?;
    Ok(outcomes)
}

/// Compares restored halves again: only a half without differences counts as restored.
fn look_again(
    socket: &mut RouteSocket,
    slots: &[Slot],
    restored: &[usize],
    programs: Option<&Programs>,
    outcomes: &mut [HalfFate],
) -> Result<(), NodeError> {
    let some: Vec<Slot> = restored.iter().map(|number| slots[*number].clone()).collect();
    for (number, compared) in restored.iter().zip(compare_all(socket, &some, programs)?) {
        let outcome = &mut outcomes[*number];
        let HalfFate::Differs(parts, failed) = outcome else { continue };
        *outcome = match compared {
            Compared::Own(left) if left.is_empty() => HalfFate::Restored(mem::take(parts)),
            Compared::Own(left) => HalfFate::Differs(left, failed.take()),
            Compared::Gone => HalfFate::Gone,
            Compared::Strange => HalfFate::Strange,
        };
    }
    Ok(())
}

fn compare_all(
    socket: &mut RouteSocket,
    slots: &[Slot],
    programs: Option<&Programs>,
) -> Result<Vec<Compared>, NodeError> {
    let numbers = programs.map(Programs::numbers);
    let seen: Vec<SeenHalf> = look_at_halves(socket, &slots.iter().collect::<Vec<_>>(), numbers)?;
    let pairs = slots.iter().zip(&seen);
    Ok(pairs.map(|(slot, seen)| compare_half(slot, seen, numbers)).collect())
}

/// Whether a slot is unchanged since it was read. A slot that a DEL deletes, or that another
/// container has, is left alone.
fn is_unchanged(node: &Node, slot: &Slot) -> Result<bool, StoreError> {
    node.store.read(|transaction| Ok(transaction.unchanged(slot)?.is_some()))
}

/// Whether all addresses of a slot are recorded for it.
fn has_its_addresses(node: &Node, slot: &Slot) -> Result<bool, StoreError> {
    node.store.read(|transaction| {
        for address in &slot.addresses {
            if transaction.address_owner(address.addr())? != Some(slot.id) {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

/// Ensures that a slot carries packets: restores its host's half and what it needs of the node.
pub(crate) fn ensure_carries(node: &Node, slot: &Slot) -> Result<(), NodeError> {
    NodeNeeds::of(slot).restore(&node.directories.run)?;
    failpoint::hit("half:node-restored");
    ensure_half(node, slot).map(drop)
}

/// Makes sure that a slot's half on the node is as it was built. Returns the parts that were repaired.
///
/// # Errors
/// Where something differs still.
pub(crate) fn ensure_half(node: &Node, slot: &Slot) -> Result<Vec<Part>, NodeError> {
    let outcome = repair_halves(node, slice::from_ref(slot))?.pop();
    failpoint::hit("half:ensured");
    match outcome.unwrap_or(HalfFate::Whole) {
        HalfFate::Whole => Ok(Vec::new()),
        HalfFate::Restored(parts) => Ok(parts),
        HalfFate::Differs(_, Some(error)) => Err(error),
        HalfFate::Differs(parts, None) => Err(half_differs(slot, &parts)),
        HalfFate::Gone | HalfFate::Strange => {
            Err(NodeError::HalfLost { slot: slot.id, interface: slot.id.host_ifname() })
        }
        HalfFate::Changed | HalfFate::Contested => Err(NodeError::Conflict { slot: slot.id }),
    }
}

/// The error for a half that differs again right after its repair.
pub(crate) fn half_differs(slot: &Slot, parts: &[Part]) -> NodeError {
    let difference = parts_in_words(parts);
    NodeError::HalfDiffers { slot: slot.id, interface: slot.id.host_ifname(), difference }
}

/// Restores what recorded slots need of the node. Returns what was missing.
pub fn restore_node(node: &Node) -> Result<Vec<NodeLack>, NodeError> {
    let needs = node.store.read(|transaction| {
        let needs = Cell::new(NodeNeeds::default());
        transaction.any_slot(|slot| {
            if slot.state() != SlotState::Deleting {
                needs.set(needs.get().with(NodeNeeds::of(slot)));
            }
            needs.get().is_all()
        })?;
        Ok::<_, StoreError>(needs.get())
    })?;
    Ok(needs.restore(&node.directories.run)?)
}

/// Slots to compare with the node.
#[derive(Debug, Default)]
pub struct Waiting {
    /// Slots in a settled state: the node must match all that their records say.
    pub settled: Vec<Slot>,
    /// Slots on their way to a settled state.
    pub unsettled: Vec<SlotId>,
}

/// The slots of these numbers that are on record, and not being deleted.
pub fn waiting_for_looks(
    node: &Node,
    ids: impl Iterator<Item = SlotId>,
) -> Result<Waiting, NodeError> {
    Ok(node.store.read(|transaction| {
        let mut waiting = Waiting::default();
        for id in ids {
            match transaction.slot(id)? {
                Some(slot) if slot.state().is_settled() => waiting.settled.push(slot),
                Some(slot) if slot.state() != SlotState::Deleting => waiting.unsettled.push(id),
                _ => {}
            }
        }
        Ok::<_, StoreError>(waiting)
    })?)
}

/// Numbers of all recorded slots, except those that are being deleted.
pub fn slots_on_record(node: &Node) -> Result<Vec<SlotId>, NodeError> {
    Ok(node.store.read(|transaction| {
        let mut ids = Vec::new();
        for state in SlotState::ALL.into_iter().filter(|state| *state != SlotState::Deleting) {
            for id in transaction.indexed(Prefix::State(state))? {
                ids.push(id?);
            }
        }
        Ok::<_, StoreError>(ids)
    })?)
}

/// Numbers of the slots that have these addresses.
pub fn owners_of(
    node: &Node,
    addresses: impl Iterator<Item = IpAddr>,
) -> Result<Vec<SlotId>, NodeError> {
    let mut addresses = addresses.peekable();
    if addresses.peek().is_none() {
        return Ok(Vec::new());
    }
    Ok(node.store.read(|transaction| {
        let mut owners = Vec::new();
        for address in addresses {
            owners.extend(transaction.address_owner(address)?);
        }
        Ok::<_, StoreError>(owners)
    })?)
}

impl Node {
    /// The pinned programs, where the data plane is loaded.
    fn programs(&self) -> Result<Option<Programs>, NodeError> {
        let datapath = Datapath::open_existing(&self.directories.bpf)?;
        Ok(datapath.map(|datapath| datapath.programs))
    }
}
