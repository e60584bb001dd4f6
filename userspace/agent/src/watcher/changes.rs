//! Changes that the kernel reported and the watcher has not looked at yet.

use std::{
    collections::{HashMap, HashSet},
    fs,
    net::IpAddr,
    path::Path,
};

use repoint::{
    model::SlotId,
    netlink::{Change, Notice, RouteSocket, links},
    node::{Node, NodeError, owners_of, slots_on_record},
    slot::NodeLack,
};

/// Most changes that are remembered one by one. Beyond that, the watcher looks at everything.
const MOST: usize = 8192;
/// What the names of repoint's own programs begin with.
const OWN: &str = "repoint";
/// Largest number of a process (`PID_MAX_LIMIT`). The kernel gives a process's second socket a
/// netlink port beyond it, which does not name the process.
const LARGEST_PROCESS: u32 = 1 << 22;
/// Programs that are remembered by name.
const MOST_KNOWN: usize = 256;

/// What changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Anything may have changed.
    everything: bool,
    /// Something that slots need of the node.
    node: bool,
    /// The uplink, or what leads there.
    uplink: bool,
    interfaces: HashSet<u32>,
    addresses: HashSet<IpAddr>,
    slots: HashSet<SlotId>,
    /// Slots of the interfaces that were seen.
    known: HashMap<u32, SlotId>,
    /// Netlink port that changed a slot's interface last, where the kernel reports it.
    by: HashMap<SlotId, u32>,
    by_interface: HashMap<u32, u32>,
    /// Names of programs that were seen, by their netlink ports.
    names: HashMap<u32, String>,
    /// Process that changed nftables last, and its name.
    firewall: Option<(u32, String)>,
}

impl Changes {
    /// The changes of a new watcher: everything may have changed.
    pub(super) fn of_everything() -> Self {
        Self { everything: true, node: true, uplink: true, ..Self::default() }
    }

    /// Remembers a notification.
    pub(super) fn hear(&mut self, Notice { change, by }: Notice) {
        match change {
            Change::Missed => (self.everything, self.node, self.uplink) = (true, true, true),
            Change::Rule => self.uplink = true,
            Change::Firewall { pid, name } => {
                self.node = true;
                if !is_own_thread(pid) && !name.starts_with(OWN) {
                    self.firewall = Some((pid, name));
                }
            }
            Change::Settings(None) => self.node = true,
            Change::Settings(Some(ifindex)) | Change::OfLink(ifindex) => self.touch(ifindex, by),
            Change::Link { ifindex, name, gone } => match slot_of(&name) {
                Some(slot) => {
                    self.known.insert(ifindex, slot);
                    self.touch(ifindex, by);
                    if gone {
                        self.known.remove(&ifindex);
                        self.slots.insert(slot);
                    }
                }
                // An interface that was a slot's may have another name now.
                None if self.known.contains_key(&ifindex) => self.touch(ifindex, by),
                None => self.uplink = true,
            },
            Change::Route { oif, host, is_default } => {
                self.uplink |= is_default;
                if let Some(ifindex) = oif {
                    self.touch(ifindex, by);
                }
                // A route of another interface may lead away from a slot's.
                let is_own = oif.is_some_and(|oif| self.known.contains_key(&oif));
                self.addresses.extend(host.filter(|_| !is_own));
            }
        }
        if self.interfaces.len().max(self.addresses.len()) > MOST {
            self.everything = true;
            self.interfaces.clear();
            self.addresses.clear();
        }
    }

    /// Remembers that an interface changed, if it is a slot's.
    fn touch(&mut self, ifindex: u32, by: u32) {
        if !self.known.contains_key(&ifindex) {
            return;
        }
        self.interfaces.insert(ifindex);
        if by == 0 || by > LARGEST_PROCESS {
            return;
        }
        if self.names.len() < MOST_KNOWN && !self.names.contains_key(&by) {
            let name = fs::read_to_string(format!("/proc/{by}/comm")).unwrap_or_default();
            self.names.insert(by, name.trim().to_owned());
        }
        let is_own = self.names.get(&by).is_some_and(|name| name.starts_with(OWN));
        if !is_own {
            self.by_interface.insert(ifindex, by);
        }
    }

    pub(super) fn take_node(&mut self) -> bool {
        std::mem::take(&mut self.node)
    }

    pub(super) fn take_uplink(&mut self) -> bool {
        std::mem::take(&mut self.uplink)
    }

    pub(super) fn is_everything(&self) -> bool {
        self.everything
    }

    /// Whether there is something to look at.
    pub(super) fn has_any(&self) -> bool {
        self.everything || !self.slots.is_empty() || !self.interfaces.is_empty()
    }

    /// Takes the slots to look at, and forgets them.
    pub(super) fn candidates(&mut self, node: &Node) -> Result<HashSet<SlotId>, NodeError> {
        self.by.clear();
        let mut candidates = std::mem::take(&mut self.slots);
        if self.everything {
            let mut socket = RouteSocket::open()?;
            let all = links(&mut socket)?;
            self.known =
                all.iter().filter_map(|link| Some((link.ifindex, slot_of(&link.name)?))).collect();
            candidates.extend(slots_on_record(node)?);
            self.everything = false;
        }
        for ifindex in self.interfaces.drain() {
            let Some(slot) = self.known.get(&ifindex) else { continue };
            candidates.insert(*slot);
            if let Some(by) = self.by_interface.remove(&ifindex) {
                self.by.insert(*slot, by);
            }
        }
        self.by_interface.clear();
        candidates.extend(owners_of(node, self.addresses.drain())?);
        Ok(candidates)
    }

    /// Keeps slots to be looked at again: they were on their way to another state.
    pub(super) fn keep(&mut self, slots: &[SlotId]) {
        self.slots.extend(slots);
    }

    /// Describes which program changed a slot's interface last.
    pub(super) fn who_changed_slot(&self, slot: SlotId) -> String {
        match self.by.get(&slot) {
            None => "the kernel does not say which program changed it".to_owned(),
            Some(by) => match self.names.get(by).filter(|name| !name.is_empty()) {
                Some(name) => format!("changed by {name} (process {by})"),
                None => format!("changed by process {by}, which has ended"),
            },
        }
    }

    /// Describes which program removed what slots need. The kernel does not report it for sysctls.
    pub(super) fn who_changed(&self, lack: NodeLack) -> String {
        match &self.firewall {
            Some((pid, name)) if lack == NodeLack::Masquerade => {
                format!("nftables were changed last by {name} (process {pid})")
            }
            _ => "the kernel does not say which program changed it".to_owned(),
        }
    }
}

/// Whether a thread is the agent's own.
fn is_own_thread(thread: u32) -> bool {
    Path::new(&format!("/proc/self/task/{thread}")).exists()
}

/// The slot that an interface is named after.
fn slot_of(name: &str) -> Option<SlotId> {
    name.strip_prefix("rp")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(ifindex: u32, slot: SlotId, gone: bool) -> Notice {
        Notice { change: Change::Link { ifindex, name: slot.host_ifname(), gone }, by: 0 }
    }

    #[test]
    fn what_concerns_no_slot_is_not_looked_at() {
        let mut changes = Changes::default();
        let others = Change::Link { ifindex: 3, name: "eth0".to_owned(), gone: false };
        for change in [others, Change::OfLink(3), Change::Rule] {
            changes.hear(Notice { change, by: 1 });
        }
        assert!(!changes.has_any() && !changes.take_node() && changes.take_uplink());
    }

    #[test]
    fn a_slots_interface_is_looked_at_and_so_is_the_slot_of_one_that_is_gone() {
        let (mut changes, slot) = (Changes::default(), SlotId(0x1234));
        changes.hear(link(9, slot, false));
        assert_eq!(changes.interfaces, HashSet::from([9]));
        changes.interfaces.clear();
        changes.hear(Notice { change: Change::OfLink(9), by: 0 });
        assert_eq!(changes.interfaces, HashSet::from([9]));
        changes.hear(link(9, slot, true));
        assert_eq!(changes.slots, HashSet::from([slot]));
        changes.interfaces.clear();
        changes.hear(Notice { change: Change::OfLink(9), by: 0 });
        assert!(changes.interfaces.is_empty(), "the index may be another's by now");
    }

    #[test]
    fn a_route_of_another_interface_is_looked_at_by_its_address() {
        let mut changes = Changes::default();
        let host: IpAddr = "10.0.0.5".parse().unwrap();
        let route = |host, is_default| Change::Route { oif: Some(3), host, is_default };
        changes.hear(Notice { change: route(Some(host), false), by: 0 });
        assert_eq!(changes.addresses, HashSet::from([host]));
        assert!(!changes.take_uplink());
        changes.hear(Notice { change: route(None, true), by: 0 });
        assert!(changes.take_uplink());
    }

    #[test]
    fn too_many_changes_are_everything() {
        let (mut changes, slot) = (Changes::default(), SlotId(1));
        (0..=u32::try_from(MOST).unwrap()).for_each(|index| changes.hear(link(index, slot, false)));
        assert!(changes.is_everything() && changes.interfaces.is_empty());
        let mut changes = Changes::default();
        changes.hear(Notice { change: Change::Missed, by: 0 });
        assert!(changes.is_everything() && changes.take_node());
    }
}
