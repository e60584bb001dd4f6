//! Two slots with policies, and packets between them, the node and the outside.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Pod,
    maps::{HashMap, Map, MapData},
};
use nix::time::{ClockId, clock_gettime};
use repoint::datapath::PolicyMaps;
use repoint_common::{
    LAYOUT_VERSION,
    conntrack::{self, BudgetKey, Connection, ConnectionKey, YOUNG},
    counter::Reason,
    endpoint::{self, Endpoint},
    interface::{FLAG_ENFORCE, Interface},
    mac::GATEWAY_MAC,
    policy::{DENY, GROUP_WORDS, Identity, MAX_RULES, Policy, Rule},
};
use repoint_tests::Node;
pub use repoint_tests::policies::{ANY, TCP, UDP};

pub use super::payloads::{
    ACK, FIN, ICMP, ICMPV6, RST, SCTP, SYN, icmp, ping, pong, sctp, tcp, udp,
};

use crate::{
    case::{Addresses, Case, Device, OWN, OWN_MAC, PEER, PEER_MAC, Program, REMOTE},
    packet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ipv4, Ipv6},
    rig::{Rig, TC_ACT_SHOT, difference, interface},
};

/// Identity and tenant of the slot of [`OWN`].
pub const OWN_IDENTITY: u32 = 300;
pub const OWN_TENANT: u32 = 256;
/// The same of the slot of [`PEER`].
pub const PEER_IDENTITY: u32 = 301;
pub const PEER_TENANT: u32 = 257;

/// A version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// The versions that the kernel has. Without IPv6 it says of no address that it would forward packets there.
pub fn families() -> Vec<Family> {
    let mut families = vec![Family::V4];
    if Path::new(IPV6).exists() {
        families.push(Family::V6);
    }
    families
}

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// Present on kernels with IPv6.
pub const IPV6: &str = "/proc/sys/net/ipv6";

/// From where to where a packet goes, and by what way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By redirection.
    OwnToPeer,
    PeerToOwn,
    /// By the host stack.
    OwnToPeerByStack,
    PeerToOwnByStack,
    /// By the host stack, which has put its own address in the place of the slot's.
    OwnToPeerTranslated,
    OwnToRemote,
    RemoteToOwn,
    PeerToRemote,
    RemoteToPeer,
    /// By the host stack, which has put the address outside in the place of the other slot's.
    PeerToOwnTranslated,
    /// A process of the node.
    HostToOwn,
    /// A process of the node, with the address of the other slot.
    HostAsPeerToOwn,
    /// From outside, with the address of the other slot.
    RemoteAsPeerToOwn,
}

impl Way {
    fn ends(self) -> (Addresses, Addresses) {
        match self {
            Self::OwnToPeer | Self::OwnToPeerByStack => (OWN, PEER),
            Self::PeerToOwn
            | Self::PeerToOwnByStack
            | Self::HostAsPeerToOwn
            | Self::RemoteAsPeerToOwn => (PEER, OWN),
            Self::OwnToRemote => (OWN, REMOTE),
            Self::PeerToRemote => (PEER, REMOTE),
            Self::RemoteToOwn | Self::HostToOwn | Self::PeerToOwnTranslated => (REMOTE, OWN),
            Self::RemoteToPeer | Self::OwnToPeerTranslated => (REMOTE, PEER),
        }
    }

    /// The program, its device, and the one by which the packet came to the node.
    fn place(self) -> (Program, Device, Option<Device>) {
        let (sent, got) = (Program::FromContainer, Program::ToContainer);
        match self {
            Self::OwnToPeer | Self::OwnToRemote => (sent, Device::Active, None),
            Self::PeerToOwn | Self::PeerToRemote => (sent, Device::Peer, None),
            Self::OwnToPeerByStack | Self::OwnToPeerTranslated => {
                (got, Device::Peer, Some(Device::Active))
            }
            Self::PeerToOwnByStack | Self::PeerToOwnTranslated => {
                (got, Device::Active, Some(Device::Peer))
            }
            Self::RemoteToOwn | Self::RemoteAsPeerToOwn => {
                (got, Device::Active, Some(Device::Unknown))
            }
            Self::RemoteToPeer => (got, Device::Peer, Some(Device::Unknown)),
            Self::HostToOwn | Self::HostAsPeerToOwn => (got, Device::Active, None),
        }
    }
}

/// The rig, with the maps of policies.
pub struct World<'a> {
    pub rig: &'a Rig,
    pub maps: PolicyMaps,
    tcp: HashMap<MapData, ConnectionKey, Connection>,
    other: HashMap<MapData, ConnectionKey, Connection>,
    budgets: HashMap<MapData, BudgetKey, u64>,
    /// An epoch of just over a minute ago. It wraps where the machine is younger than that, as it does in the programs.
    pub old: u64,
}

/// Runs a test in a node of its own. Both slots enforce policies; they have none yet.
pub fn with_world(test: impl FnOnce(&mut World<'_>) -> Result<()> + Send) -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        if Path::new(IPV6).exists() {
            fs::write(format!("{IPV6}/conf/all/forwarding"), "1")?;
        }
        let rig = Rig::new(&node)?;
        let bpf = &node.dirs().bpf;
        let mut world = World {
            rig: &rig,
            maps: PolicyMaps::open_existing(bpf)?.context("no data plane")?,
            tcp: open(bpf, conntrack::MAP_TCP)?,
            other: open(bpf, conntrack::MAP_OTHER)?,
            budgets: open(bpf, conntrack::MAP_BUDGETS)?,
            old: now(ClockId::CLOCK_BOOTTIME)?.wrapping_sub((YOUNG + 1) * SECOND),
        };
        world.give(Device::Active, OWN_IDENTITY, OWN_TENANT, world.old, true)?;
        world.give(Device::Peer, PEER_IDENTITY, PEER_TENANT, world.old, true)?;
        test(&mut world)
    })
}

/// Opens a pinned map.
fn open<K: Pod, V: Pod>(bpf_dir: &Path, name: &str) -> Result<HashMap<MapData, K, V>> {
    let path = bpf_dir.join(format!("v{LAYOUT_VERSION}")).join(name);
    let map = Map::from_map_data(MapData::from_pin(&path)?)?;
    HashMap::try_from(map).with_context(|| path.display().to_string())
}

impl World<'_> {
    /// Gives a slot to a user.
    pub fn give(
        &self,
        device: Device,
        identity: u32,
        tenant: u32,
        epoch: u64,
        enforced: bool,
    ) -> Result<()> {
        let addresses = if device == Device::Active { OWN } else { PEER };
        self.give_with(device, addresses, (identity, tenant), epoch, enforced)
    }

    /// Gives a slot with these addresses to a user of this identity and tenant.
    pub fn give_with(
        &self,
        device: Device,
        addresses: Addresses,
        (identity, tenant): (u32, u32),
        epoch: u64,
        enforced: bool,
    ) -> Result<()> {
        let recorded = interface(device).context("no slot")?;
        let ifindex = self.rig.ifindex(device);
        let flags = if enforced { FLAG_ENFORCE } else { 0 };
        let (ipv4, ipv6) = (addresses.v4.octets(), addresses.v6.octets());
        let slot = Interface { identity, tenant, epoch, flags, ipv4, ipv6, ..recorded };
        self.rig.maps().insert_interface(ifindex, &slot)?;
        let flags = if enforced { endpoint::FLAG_ENFORCE } else { 0 };
        let mac = recorded.mac;
        let endpoint = Endpoint { ifindex, identity, mac, flags, tenant, padding: 0, epoch };
        self.rig.insert(addresses, &endpoint)
    }

    /// Gives both slots to users, at this moment.
    pub fn give_now(&self) -> Result<()> {
        let epoch = now(ClockId::CLOCK_BOOTTIME)?;
        self.give(Device::Active, OWN_IDENTITY, OWN_TENANT, epoch, true)?;
        self.give(Device::Peer, PEER_IDENTITY, PEER_TENANT, epoch, true)
    }

    /// Makes or replaces a policy.
    pub fn policy(&self, number: u32, default: u8, flags: u8, rules: &[Rule]) -> Result<()> {
        ensure!(rules.len() <= MAX_RULES, "{} rules", rules.len());
        let mut all = [Rule { action: DENY, port_high: 0, number: 0, ..ANY }; MAX_RULES];
        all[..rules.len()].copy_from_slice(rules);
        let policy = Policy { count: u16::try_from(rules.len())?, default, flags, rules: all };
        Ok(self.maps.insert_policy(number, &policy)?)
    }

    /// Makes or replaces what an identity is.
    pub fn identity(&self, identity: u32, egress: u32, ingress: u32, groups: &[u32]) -> Result<()> {
        let what = Identity { egress, ingress, groups: words(groups) };
        Ok(self.maps.insert_identity(identity, &what)?)
    }

    /// Both slots may do anything.
    pub fn allow_all(&self) -> Result<()> {
        self.identity(OWN_IDENTITY, 0, 0, &[])?;
        self.identity(PEER_IDENTITY, 0, 0, &[])
    }

    /// Own may open flows by these rules, and may not be reached; the peer may do anything.
    pub fn restrict_own(&self, egress: &[Rule]) -> Result<()> {
        self.policy(1, DENY, 0, egress)?;
        self.policy(2, DENY, 0, &[])?;
        self.identity(OWN_IDENTITY, 1, 2, &[])?;
        self.identity(PEER_IDENTITY, 0, 0, &[])
    }

    /// Sends a packet with this payload, and says what became of it.
    pub fn send(&self, way: Way, family: Family, protocol: u8, payload: &[u8]) -> Result<Reason> {
        let (source, destination) = way.ends();
        match family {
            Family::V4 => {
                let mut ip = Ipv4::new(source.v4, destination.v4);
                (ip.protocol, ip.payload) = (protocol, payload.to_vec());
                self.send_v4(way, &ip)
            }
            Family::V6 => {
                self.send_v6(way, &Ipv6::new(source.v6, destination.v6).carrying(protocol, payload))
            }
        }
    }

    pub fn send_v4(&self, way: Way, ip: &Ipv4) -> Result<Reason> {
        self.send_frame(way, ETHERTYPE_IPV4, &ip.bytes())
    }

    pub fn send_v6(&self, way: Way, ip: &Ipv6) -> Result<Reason> {
        self.send_frame(way, ETHERTYPE_IPV6, &ip.bytes())
    }

    /// Sends a packet of bytes.
    pub fn send_frame(&self, way: Way, ethertype: u16, ip: &[u8]) -> Result<Reason> {
        self.outcome(&case(way, ethertype, ip))
    }

    /// What becomes of a case's packet.
    pub fn outcome(&self, case: &Case) -> Result<Reason> {
        let before = self.rig.maps().counters()?;
        self.rig.send(case)?;
        let counted = difference(&before, &self.rig.maps().counters()?);
        let [(reason, packets)] = counted[..] else { anyhow::bail!("counted: {counted:?}") };
        ensure!(packets.packets == 1, "{packets:?}");
        Ok(reason)
    }

    /// Whether an IPv4 packet passes. It takes a system call, where the reason takes some hundred: a flood must be
    /// faster than what a slot earns meanwhile.
    pub fn passes(&self, way: Way, ip: &[u8]) -> Result<bool> {
        let (action, _) = self.rig.send(&case(way, ETHERTYPE_IPV4, ip))?;
        Ok(action != TC_ACT_SHOT)
    }

    /// How many packets were dropped for a reason until now.
    pub fn dropped(&self, reason: Reason) -> Result<u64> {
        let counters = self.rig.maps().counters()?;
        Ok(counters.iter().find(|(other, _)| *other == reason).map_or(0, |(_, it)| it.packets))
    }

    /// Sends a packet, which must be dropped for this reason, or else pass.
    #[track_caller]
    pub fn expect(
        &self,
        what: &str,
        (way, family): (Way, Family),
        (protocol, payload): (u8, Vec<u8>),
        expected: Option<Reason>,
    ) -> Result<()> {
        let seen = self.send(way, family, protocol, &payload)?;
        let dropped = seen.is_drop().then_some(seen);
        let wanted = expected.map_or("pass", Reason::label);
        ensure!(
            dropped == expected,
            "{what} ({way:?}, {family:?}): {}, not {wanted}",
            seen.label()
        );
        Ok(())
    }

    /// Makes the last packet of all flows have passed so many seconds ago.
    pub fn age(&mut self, seconds: u64) -> Result<()> {
        let last_seen = now(ClockId::CLOCK_MONOTONIC)?.wrapping_sub(seconds * SECOND);
        for map in [&mut self.tcp, &mut self.other] {
            let all: Vec<_> = map.iter().collect::<Result<_, _>>()?;
            for (key, connection) in all {
                map.insert(key, Connection { last_seen, ..connection }, 0)?;
            }
        }
        Ok(())
    }

    /// Gives all slots and tenants their whole share of flows.
    pub fn refill(&mut self) -> Result<()> {
        let keys: Vec<_> = self.budgets.keys().collect::<Result<_, _>>()?;
        keys.iter().try_for_each(|key| Ok(self.budgets.remove(key)?))
    }

    /// Forgets all flows.
    pub fn forget(&mut self) -> Result<()> {
        for map in [&mut self.tcp, &mut self.other] {
            let keys: Vec<_> = map.keys().collect::<Result<_, _>>()?;
            for key in keys {
                map.remove(&key)?;
            }
        }
        Ok(())
    }
}

/// A packet on its way.
fn case(way: Way, ethertype: u16, ip: &[u8]) -> Case {
    case_at(way.place(), ethertype, ip)
}

/// A packet at a program of a device, and the device by which it came to the node.
pub fn case_at(
    (program, device, came_by): (Program, Device, Option<Device>),
    ethertype: u16,
    ip: &[u8],
) -> Case {
    let mac = if device == Device::Peer { PEER_MAC } else { OWN_MAC };
    let (to, from) = match program {
        Program::FromContainer => (GATEWAY_MAC, mac),
        Program::ToContainer => (mac, GATEWAY_MAC),
    };
    let frame = packet::frame(to, from, ethertype, ip);
    let mut case = Case::new("", program, frame, Reason::Redirected).on(device);
    case.came_by = came_by;
    case
}

/// Nanoseconds of a clock.
fn now(clock: ClockId) -> Result<u64> {
    let now = Duration::from(clock_gettime(clock).context("read a clock")?);
    Ok(u64::try_from(now.as_nanos())?)
}

/// The packet of a way.
pub fn v4_packet(way: Way) -> Ipv4 {
    let (source, destination) = way.ends();
    Ipv4::new(source.v4, destination.v4)
}

/// The same of IPv6.
pub fn v6_packet(way: Way) -> Ipv6 {
    let (source, destination) = way.ends();
    Ipv6::new(source.v6, destination.v6)
}

/// A set of groups.
pub fn words(groups: &[u32]) -> [u32; GROUP_WORDS] {
    let mut words = [0; GROUP_WORDS];
    for group in groups {
        words[(group / 32) as usize] |= 1 << (group % 32);
    }
    words
}
