//! The functions and containers at the ends of dropped packets.

use std::{
    collections::{HashMap, HashSet},
    fmt,
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
use serde::Serialize;

use crate::policy::drops::in_words;

/// A function or container, as far as the database knows it still.
#[derive(Debug, Default, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Party {
    /// The number in the maps at the time of the event; 0: the slot was parked, or there is none.
    pub identity: u32,
    pub network: Option<String>,
    pub tenant: Option<String>,
    pub function: Option<String>,
    pub container: Option<String>,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.tenant, &self.function, &self.container) {
            (Some(tenant), Some(function), _) => write!(f, "{tenant}/{function}"),
            (_, Some(function), _) => f.write_str(function),
            (_, _, Some(container)) => f.write_str(container),
            _ => write!(f, "{}", self.identity),
        }
    }
}

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
        in_words(self.node.as_ref()?, set, event.rule, direction, names.as_ref())
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
        let Some(record) = self.functions.get(&identity) else {
            return Party { identity, ..Party::default() };
        };
        Party {
            identity,
            network: Some(record.network.to_string()),
            tenant: record.tenant.as_ref().map(ToString::to_string),
            function: Some(record.function.to_string()),
            container: None,
        }
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
    Party {
        identity: slot.identity.0,
        network: Some(slot.network.to_string()),
        tenant: slot.tenant.as_ref().map(ToString::to_string),
        function: slot.function.as_ref().map(ToString::to_string),
        container: slot.container.as_ref().filter(|_| was_there).map(ToString::to_string),
    }
}
