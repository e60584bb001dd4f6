//! The functions and containers at the ends of dropped packets.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv6Addr},
};

use repoint::{
    conf::Directories,
    model::SlotId,
    node::Node,
    store::{IdentityRecord, PartyNames, Slot, StoreError},
};
use repoint_common::{
    counter::Reason,
    event::{Event, FROM_CONTAINER},
};
use repoint_policy::{Direction, PolicySet};

use crate::party::{Party, rule_in_words};

/// Slots and identities that events name.
pub(super) struct Names<'a> {
    directories: &'a Directories,
    node: Option<Node>,
    slots: HashMap<u64, Slot>,
    /// The slot that has an address.
    addresses: HashMap<IpAddr, u64>,
    functions: HashMap<u32, IdentityRecord>,
    /// The policies in force, if an event names one.
    policies: Option<PolicySet>,
}

impl<'a> Names<'a> {
    pub(super) fn new(directories: &'a Directories) -> Self {
        let (slots, addresses, functions) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { directories, node: None, slots, addresses, functions, policies: None }
    }

    /// Looks the events' slots and identities up. Without a database they are numbers.
    pub(super) fn look_up(&mut self, events: &[Event]) {
        self.slots.clear();
        self.addresses.clear();
        self.functions.clear();
        // Another database may have taken the place of the open one.
        if self.node.as_ref().is_none_or(|node| node.store.ensure_current().is_err()) {
            self.node = Node::look(self.directories).ok().flatten();
        }
        if self.find(events).is_err() {
            self.node = None;
        }
    }

    fn find(&mut self, events: &[Event]) -> Result<(), StoreError> {
        let Some(node) = &self.node else { return Ok(()) };
        let numbers: HashSet<u64> = events.iter().map(|event| event.slot).collect();
        let addresses: HashSet<IpAddr> = events.iter().map(other_end).collect();
        for slot in node.find_slots(numbers.into_iter().map(SlotId), addresses)? {
            let addresses = slot.addresses.iter().map(|address| (address.addr(), slot.id.0));
            self.addresses.extend(addresses);
            self.slots.insert(slot.id.0, slot);
        }
        let identities = node.identities()?.into_iter();
        self.functions = identities.map(|record| (record.identity.0, record)).collect();
        let names_policy = events.iter().any(|event| event.policy != 0);
        self.policies = names_policy.then(|| node.policy_set()).transpose()?;
        Ok(())
    }

    /// The rule that decided, in words; none: no policy did, or it is not in force any more.
    pub(super) fn rule(&self, event: &Event) -> Option<String> {
        let set = self.policies.as_ref().filter(|_| event.policy != 0)?;
        let is_egress = event.reason == Reason::PolicyEgress as u8;
        let direction = if is_egress { Direction::Egress } else { Direction::Ingress };
        let is_own = is_egress == (event.direction == FROM_CONTAINER);
        let record = self.functions.get(if is_own { &event.identity } else { &event.peer });
        let names = record.map(PartyNames::of_function);
        rule_in_words(self.node.as_ref()?, set, event.rule, direction, names.as_ref())
    }

    /// The user that the slot of this number had at a time, nanoseconds since the boot, under this identity.
    pub(super) fn of_slot(&self, number: u64, identity: u32, time: u64) -> Party {
        match self.slots.get(&number).filter(|slot| slot.identity.0 == identity) {
            Some(slot) => of_container(slot, time),
            None => self.of_identity(identity),
        }
    }

    /// The same of the slot that has this address.
    pub(super) fn of_address(&self, address: IpAddr, identity: u32, time: u64) -> Party {
        match self.addresses.get(&address) {
            Some(number) => self.of_slot(*number, identity, time),
            None => self.of_identity(identity),
        }
    }

    fn of_identity(&self, identity: u32) -> Party {
        let record = self.functions.get(&identity);
        record.map_or_else(|| Party::unknown(identity), Party::of_function)
    }
}

/// The address of the other end than the slot.
fn other_end(event: &Event) -> IpAddr {
    let is_sent = event.direction == FROM_CONTAINER;
    let octets = if is_sent { event.destination } else { event.source };
    Ipv6Addr::from_octets(octets).to_canonical()
}

/// The slot's user. A container that got the slot later is left out: a slot may return to its function.
fn of_container(slot: &Slot, time: u64) -> Party {
    let was_there = slot.changed <= time;
    let party = Party::of_slot(slot);
    Party { container: party.container.clone().filter(|_| was_there), ..party }
}
