//! The pinned maps.

use std::{net::IpAddr, path::Path};

use aya::maps::{MapData, PerCpuArray};
use repoint_common::{
    conntrack,
    counter::{self, Counter, Reason},
    drops::{self, DropKey, PolicyDropKey},
    endpoint::{self, AddressV4, AddressV6, Endpoint},
    event, flow,
    interface::{self, Interface, InterfaceKey},
    learned::{self, Learned},
    mac::Mac,
    policy, settings,
};

use super::{
    DatapathError, Pins,
    pinned_map::{PinnedMap, open_map},
};

/// Names of the pinned maps.
pub(super) const NAMES: [&str; 21] = [
    endpoint::MAP_V4,
    endpoint::MAP_V6,
    interface::MAP,
    counter::MAP,
    drops::MAP,
    drops::MAP_BY_POLICY,
    event::MAP,
    event::MAP_HEAD,
    event::MAP_BUDGETS,
    flow::MAP,
    learned::MAP,
    settings::MAP,
    policy::MAP,
    policy::MAP_RULES,
    policy::MAP_IDENTITIES,
    policy::MAP_NETWORKS_V4,
    policy::MAP_NETWORKS_V6,
    conntrack::MAP_TCP,
    conntrack::MAP_OTHER,
    conntrack::MAP_FRAGMENTS,
    conntrack::MAP_BUDGETS,
];

/// The maps of a loaded data plane, each opened when it is first used.
///
/// What is written is seen by the next packet. An entry is replaced whole.
#[derive(Debug)]
pub struct Maps {
    endpoints_v4: PinnedMap<AddressV4, Endpoint>,
    endpoints_v6: PinnedMap<AddressV6, Endpoint>,
    interfaces: PinnedMap<InterfaceKey, Interface>,
    drops: PinnedMap<DropKey, Counter>,
    policy_drops: PinnedMap<PolicyDropKey, Counter>,
    learned: PinnedMap<InterfaceKey, Learned>,
    pins: Pins,
}

impl Maps {
    /// The maps below `bpf_dir`, if the data plane is loaded.
    pub fn open_existing(bpf_dir: &Path) -> Result<Option<Self>, DatapathError> {
        Ok(Pins::existing(bpf_dir)?.as_ref().map(Self::open))
    }

    /// Inode number of the folder of pins below `bpf_dir`, if it exists. Another number means another
    /// data plane.
    pub fn folder(bpf_dir: &Path) -> Result<Option<u64>, DatapathError> {
        Pins::below(bpf_dir).inode()
    }

    pub(super) fn open(pins: &Pins) -> Self {
        Self {
            endpoints_v4: PinnedMap::new(pins, endpoint::MAP_V4),
            endpoints_v6: PinnedMap::new(pins, endpoint::MAP_V6),
            interfaces: PinnedMap::new(pins, interface::MAP),
            drops: PinnedMap::new(pins, drops::MAP),
            policy_drops: PinnedMap::new(pins, drops::MAP_BY_POLICY),
            learned: PinnedMap::new(pins, learned::MAP),
            pins: pins.clone(),
        }
    }

    /// The endpoint of an address.
    pub fn endpoint(&self, address: IpAddr) -> Result<Option<Endpoint>, DatapathError> {
        match address {
            IpAddr::V4(v4) => self.endpoints_v4.get(&v4.into(), &address),
            IpAddr::V6(v6) => self.endpoints_v6.get(&v6.into(), &address),
        }
    }

    /// Makes or replaces the endpoint of an address.
    pub fn insert_endpoint(
        &self,
        address: IpAddr,
        endpoint: &Endpoint,
    ) -> Result<(), DatapathError> {
        match address {
            IpAddr::V4(v4) => self.endpoints_v4.insert(&v4.into(), endpoint, &address),
            IpAddr::V6(v6) => self.endpoints_v6.insert(&v6.into(), endpoint, &address),
        }
    }

    /// Removes the endpoint of an address, if there is one.
    pub fn remove_endpoint(&self, address: IpAddr) -> Result<(), DatapathError> {
        match address {
            IpAddr::V4(v4) => self.endpoints_v4.remove(&v4.into(), &address),
            IpAddr::V6(v6) => self.endpoints_v6.remove(&v6.into(), &address),
        }
    }

    /// All endpoints, IPv4 first, else in no order. An endpoint that comes or goes meanwhile may be
    /// missing, or there twice.
    pub fn endpoints(&self) -> Result<Vec<(IpAddr, Endpoint)>, DatapathError> {
        let v4 = self.endpoints_v4.entries()?.into_iter();
        let v6 = self.endpoints_v6.entries()?.into_iter();
        Ok(v4
            .map(|(key, endpoint)| (IpAddr::V4(key.into()), endpoint))
            .chain(v6.map(|(key, endpoint)| (IpAddr::V6(key.into()), endpoint)))
            .collect())
    }

    /// The slot behind a host-side interface.
    pub fn interface(&self, ifindex: u32) -> Result<Option<Interface>, DatapathError> {
        self.interfaces.get(&InterfaceKey { ifindex }, &format_args!("interface {ifindex}"))
    }

    /// Makes or replaces the record of a host-side interface.
    pub fn insert_interface(
        &self,
        ifindex: u32,
        interface: &Interface,
    ) -> Result<(), DatapathError> {
        self.interfaces.insert(
            &InterfaceKey { ifindex },
            interface,
            &format_args!("interface {ifindex}"),
        )
    }

    /// Replaces the record of a host-side interface; [`DatapathError::Absent`] where there is none.
    pub fn replace_interface(
        &self,
        ifindex: u32,
        interface: &Interface,
    ) -> Result<(), DatapathError> {
        self.interfaces.replace(
            &InterfaceKey { ifindex },
            interface,
            &format_args!("interface {ifindex}"),
        )
    }

    /// Removes the record of a host-side interface, if there is one.
    pub fn remove_interface(&self, ifindex: u32) -> Result<(), DatapathError> {
        self.interfaces.remove(&InterfaceKey { ifindex }, &format_args!("interface {ifindex}"))
    }

    /// All interfaces' indices and records, in no order. An interface that comes or goes meanwhile may be
    /// missing, or there twice.
    pub fn interfaces(&self) -> Result<Vec<(u32, Interface)>, DatapathError> {
        let entries = self.interfaces.entries()?.into_iter();
        Ok(entries.map(|(key, interface)| (key.ifindex, interface)).collect())
    }

    /// The Ethernet address that was learned of the container behind a host-side interface, if it is
    /// not the slot's own.
    pub fn learned_mac(&self, ifindex: u32) -> Result<Option<Mac>, DatapathError> {
        let key = InterfaceKey { ifindex };
        let learned = self.learned.get(&key, &format_args!("interface {ifindex}"))?;
        Ok(learned.map(|learned| learned.mac))
    }

    /// Forgets what was learned of the container behind a host-side interface, if anything was.
    pub fn forget_mac(&self, ifindex: u32) -> Result<(), DatapathError> {
        self.learned.remove(&InterfaceKey { ifindex }, &format_args!("interface {ifindex}"))
    }

    /// What became of packets since the data plane was loaded, over all CPUs, in the order of the
    /// reasons' numbers.
    pub fn counters(&self) -> Result<Vec<(Reason, Counter)>, DatapathError> {
        let map: PerCpuArray<MapData, Counter> = open_map(self.pins.path(counter::MAP))?;
        let sum = |reason: &Reason| {
            let values = map.get(&(*reason as u32), 0);
            let values = values.map_err(|source| DatapathError::Entry {
                action: "read",
                key: reason.label().to_owned(),
                map: counter::MAP,
                source: Box::new(source),
            })?;
            Ok((*reason, values.iter().fold(Counter::default(), add)))
        };
        Reason::ALL.iter().map(sum).collect()
    }

    /// Dropped packets by slot and reason, in no order. The map holds a bounded number of elements:
    /// those that have not counted for long make room for others.
    pub fn drops(&self) -> Result<Vec<(DropKey, Counter)>, DatapathError> {
        self.drops.entries()
    }

    /// Packets that policies denied, or would deny, by identity and rule, as [`Self::drops`].
    pub fn policy_drops(&self) -> Result<Vec<(PolicyDropKey, Counter)>, DatapathError> {
        self.policy_drops.entries()
    }
}

fn add(sum: Counter, one: &Counter) -> Counter {
    Counter { packets: sum.packets + one.packets, bytes: sum.bytes + one.bytes }
}
