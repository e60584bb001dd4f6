//! Another isolation for containers that run: `repoint isolate`.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{Node, NodeError};
use crate::{
    datapath::Maps,
    failpoint,
    model::{Isolation, NetworkName, SlotId},
    slot::{endpoint_of, interface_of, write_waiting_entries},
    store::{Slot, SlotState},
};

/// How long ADDs that have begun may take to end.
const STARTS: Duration = Duration::from_secs(30);
/// How often the slots are looked at meanwhile.
const INTERVAL: Duration = Duration::from_millis(20);
/// Slots whose entries are compared in one transaction. Writers wait for it, for a few ms at most.
const BATCH: usize = 64;

/// What [`Node::isolate`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Isolated {
    /// Slots of the network that containers have.
    pub in_use: usize,
    /// Slots that had another isolation.
    pub changed: usize,
    /// Slots of containers whose ADD had begun and did not end in time: they keep the former isolation.
    pub starting: usize,
}

/// The slots of a network by their state.
struct Recorded {
    in_use: Vec<SlotId>,
    changed: usize,
    /// Slots that an ADD prepares under another isolation.
    starting: Vec<SlotId>,
}

impl Node {
    /// Gives the slots of a network that are in use another isolation, which the next packet is judged by.
    /// Containers whose ADD begins later have that of their network's configuration.
    ///
    /// # Errors
    /// [`DatapathError::Absent`](crate::datapath::DatapathError::Absent) where a slot still has the programs
    /// and maps of another data plane.
    pub fn isolate(
        &self,
        network: &NetworkName,
        isolation: Isolation,
    ) -> Result<Isolated, NodeError> {
        let Some(maps) = self.maps()? else { return Err(NodeError::NoDatapath) };
        let begun = Instant::now();
        let mut awaited: Option<Vec<SlotId>> = None;
        let (mut in_use, mut changed) = (0, 0);
        loop {
            let recorded = self.record_isolation(network, isolation, awaited.as_deref())?;
            failpoint::hit("isolate:recorded");
            self.write_differing(&maps, &recorded.in_use)?;
            in_use += recorded.in_use.len();
            changed += recorded.changed;
            let starting = recorded.starting.len();
            if starting == 0 || begun.elapsed() > STARTS {
                return Ok(Isolated { in_use, changed, starting });
            }
            // ADDs that begin from now on have the configuration's isolation, and are left alone.
            awaited = Some(recorded.starting);
            wait(INTERVAL);
        }
    }

    /// Records the isolation for the slots of the network that are in use: for all, or for `only` some.
    fn record_isolation(
        &self,
        network: &NetworkName,
        isolation: Isolation,
        only: Option<&[SlotId]>,
    ) -> Result<Recorded, NodeError> {
        self.store.write(|transaction| {
            let mut recorded = Recorded { in_use: Vec::new(), changed: 0, starting: Vec::new() };
            let mut slots = transaction.slots()?;
            slots.retain(|slot| slot.network == *network && slot.container.is_some());
            slots.retain(|slot| only.is_none_or(|only| only.contains(&slot.id)));
            for slot in &mut slots {
                match slot.state() {
                    SlotState::Active => recorded.in_use.push(slot.id),
                    SlotState::Building | SlotState::Claimed if slot.isolation != isolation => {
                        recorded.starting.push(slot.id);
                        continue;
                    }
                    _ => continue,
                }
                if slot.isolation != isolation {
                    slot.isolation = isolation;
                    transaction.put_slot(slot)?;
                    recorded.changed += 1;
                }
            }
            Ok(recorded)
        })
    }

    /// Writes the map entries of those of the slots that are still in use and whose entries are not as
    /// recorded. No process can write to the database meanwhile, so that none of them is parked.
    pub(super) fn write_differing(&self, maps: &Maps, slots: &[SlotId]) -> Result<(), NodeError> {
        for batch in slots.chunks(BATCH) {
            self.store.read(|transaction| {
                for id in batch {
                    let slot = transaction.slot(*id)?;
                    if let Some(slot) = slot.filter(|slot| slot.state() == SlotState::Active) {
                        write_if_different(maps, &slot)?;
                    }
                }
                Ok::<_, NodeError>(())
            })?;
        }
        Ok(())
    }
}

pub(super) fn write_if_different(maps: &Maps, slot: &Slot) -> Result<(), NodeError> {
    let (ifindex, identity) = (slot.require_built()?.host_ifindex.get(), slot.identity);
    let endpoint = endpoint_of(slot, ifindex, identity);
    let mut differs = maps.interface(ifindex)? != Some(interface_of(slot, identity));
    for address in &slot.addresses {
        differs |= maps.endpoint(address.addr())? != Some(endpoint);
    }
    if differs {
        write_waiting_entries(slot, ifindex, identity, maps)?;
        failpoint::hit("isolate:entries");
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "nothing says when another process's ADD ends")]
fn wait(time: Duration) {
    thread::sleep(time);
}
