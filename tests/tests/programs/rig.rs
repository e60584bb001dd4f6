//! A node with the data plane loaded and interfaces to run the programs for, one packet at a time
//! (`BPF_PROG_TEST_RUN`).

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use nix::net::if_::if_nametoindex;
use repoint::datapath::{Datapath, EventReader, EventsFrom, FROM_CONTAINER, Maps, TO_CONTAINER};
use repoint_common::{
    LAYOUT_VERSION,
    counter::{Counter, Reason},
    drops::DropKey,
    endpoint::{self, Endpoint},
    interface::{FLAG_LINK_LOCAL, FLAG_MORE_ADDRESSES, FLAG_STACK, Interface},
    mac::GATEWAY_MAC,
};
use repoint_tests::{Node, command};

use super::{
    case::{
        Addresses, Case, Device, GONE, NARROW, NARROW_MTU, OWN, OWN_MAC, PARKED, PEER, PEER_MAC,
        Program, SECOND, STACK,
    },
    packet::{self, Mac},
};

/// Tc actions of `linux/pkt_cls.h`.
/// -1: other filters and programs go on.
const TC_ACT_UNSPEC: u32 = u32::MAX;
pub const TC_ACT_SHOT: u32 = 2;
const TC_ACT_REDIRECT: u32 = 7;

/// Offsets in `struct __sk_buff` of `linux/bpf.h`, and its size.
const SK_BUFF: usize = 192;
const SK_BUFF_INGRESS_IFINDEX: usize = 36;
const SK_BUFF_IFINDEX: usize = 40;
const SK_BUFF_GSO_SIZE: usize = 176;

/// Epoch of all slots.
pub const EPOCH: u64 = 5;

/// Index of no interface.
const NO_INTERFACE: u32 = 0x7fff_ffff;

const DEVICES: [(Device, &str); 10] = [
    (Device::Active, "active"),
    (Device::OnlyV4, "only-v4"),
    (Device::OnlyV6, "only-v6"),
    (Device::More, "more"),
    (Device::LinkLocal, "link-local"),
    (Device::Narrow, "narrow"),
    (Device::Peer, "peer"),
    (Device::Stack, "stack"),
    (Device::Parked, "parked"),
    (Device::Unknown, "unknown"),
];

/// What became of a packet.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    action: u32,
    counted: Vec<(Reason, Counter)>,
    /// By slot, interface and reason.
    dropped: Vec<(DropKey, Counter)>,
    /// Records that were written, or left out because the CPU had written its share.
    recorded: u64,
    packet: Vec<u8>,
}

/// The programs and maps of a node of their own.
pub struct Rig {
    from_container: SchedClassifier,
    to_container: SchedClassifier,
    maps: Maps,
    events: EventReader,
    bpf_dir: PathBuf,
    ifindexes: Vec<(Device, u32)>,
}

/// The node and the rig of all tables: loading takes the verifier some seconds where a kernel is
/// emulated. They end with the process.
static SHARED: Mutex<Option<(Node, Rig)>> = Mutex::new(None);

/// Runs all cases. Fails at the end, when one did, naming all that did.
pub fn run(cases: &[Case]) -> Result<()> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let (node, rig) = match &mut *shared {
        Some(made) => made,
        absent => {
            let node = Node::new()?;
            let rig = node.run(|| Rig::new(&node))?;
            absent.insert((node, rig))
        }
    };
    node.run(move || run_all(rig, cases))
}

/// The rig goes along to the node's thread: it is no thing that two threads may have.
fn run_all(rig: &mut Rig, cases: &[Case]) -> Result<()> {
    let failed = cases.iter().filter(|case| !rig.passes(case)).count();
    ensure!(failed == 0, "{failed} of {} cases failed", cases.len());
    Ok(())
}

impl Rig {
    /// Loads the data plane, and makes interfaces and map entries. In the node's namespaces.
    pub fn new(node: &Node) -> Result<Self> {
        let dirs = node.dirs();
        let datapath = Datapath::load(&dirs.bpf, &dirs.run)?;
        let open = |name| {
            let path: PathBuf = dirs.bpf.join(format!("v{LAYOUT_VERSION}")).join(name);
            SchedClassifier::from_pin(&path).with_context(|| path.display().to_string())
        };
        let rig = Self {
            from_container: open(FROM_CONTAINER)?,
            to_container: open(TO_CONTAINER)?,
            maps: datapath.maps,
            events: EventReader::open_existing(&dirs.bpf, EventsFrom::Now)?
                .context("no data plane")?,
            bpf_dir: dirs.bpf.clone(),
            ifindexes: create_devices()?,
        };
        rig.fill_maps()?;
        Ok(rig)
    }

    /// Index of an interface.
    pub fn ifindex(&self, device: Device) -> u32 {
        let found = self.ifindexes.iter().find(|(other, _)| *other == device);
        found.map(|(_, ifindex)| *ifindex).unwrap()
    }

    /// Makes the entries of all slots.
    pub fn fill_maps(&self) -> Result<()> {
        for (device, ifindex) in &self.ifindexes {
            if let Some(interface) = interface(*device) {
                self.maps.insert_interface(*ifindex, &interface)?;
            }
        }
        let (own, more) = (self.ifindex(Device::Active), self.ifindex(Device::More));
        let (peer, parked) = (self.ifindex(Device::Peer), self.ifindex(Device::Parked));
        for (addresses, ifindex, identity, mac) in [
            (OWN, own, 7, OWN_MAC),
            (SECOND, more, 7, OWN_MAC),
            (PEER, peer, 8, PEER_MAC),
            (PARKED, parked, 0, PEER_MAC),
            (NARROW, self.ifindex(Device::Narrow), 8, PEER_MAC),
            (GONE, NO_INTERFACE, 8, PEER_MAC),
        ] {
            self.insert(
                addresses,
                &Endpoint { ifindex, identity, mac, flags: 0, tenant: 0, padding: 0, epoch: EPOCH },
            )?;
        }
        let (ifindex, mac) = (self.ifindex(Device::Stack), PEER_MAC);
        let flags = endpoint::FLAG_STACK;
        self.insert(
            STACK,
            &Endpoint { ifindex, identity: 8, mac, flags, tenant: 0, padding: 0, epoch: EPOCH },
        )
    }

    /// Makes or replaces the endpoints of addresses.
    pub fn insert(&self, addresses: Addresses, endpoint: &Endpoint) -> Result<()> {
        self.maps.insert_endpoint(addresses.v4.into(), endpoint)?;
        self.maps.insert_endpoint(addresses.v6.into(), endpoint)?;
        Ok(())
    }

    /// Where the data plane is pinned.
    pub fn bpf_dir(&self) -> &Path {
        &self.bpf_dir
    }

    /// The maps of the programs.
    pub fn maps(&self) -> &Maps {
        &self.maps
    }

    /// Runs a case and says how it went.
    pub fn passes(&self, case: &Case) -> bool {
        let Case { name, program, expected, .. } = case;
        let length = case.packet.len();
        let title = format!("{program:?} on {:?}: {name}, {length} bytes", case.device);
        match self.outcome(case) {
            Ok(seen) if seen == self.wanted(case) => {
                println!("ok    {title}: {}", expected.label());
                true
            }
            Ok(seen) => {
                println!("FAIL  {title}\n  seen   {seen:?}\n  wanted {:?}", self.wanted(case));
                false
            }
            Err(error) => {
                println!("FAIL  {title}: {error:#}");
                false
            }
        }
    }

    fn outcome(&self, case: &Case) -> Result<Outcome> {
        let before = (self.maps.counters()?, self.maps.drops()?);
        let recorded = self.recorded()?;
        let (action, packet) = self.send(case)?;
        Ok(Outcome {
            action,
            counted: difference(&before.0, &self.maps.counters()?),
            dropped: more_drops(&before.1, &self.maps.drops()?),
            recorded: self.recorded()? - recorded,
            packet,
        })
    }

    fn recorded(&self) -> Result<u64> {
        let left_out: u64 = self.events.suppressed()?.iter().map(|(_, packets)| packets).sum();
        Ok(self.events.written()? + left_out)
    }

    /// Runs a case's program for its packet; gives the tc action, and the packet as it is then.
    pub fn send(&self, case: &Case) -> Result<(u32, Vec<u8>)> {
        let program = match case.program {
            Program::FromContainer => &self.from_container,
            Program::ToContainer => &self.to_container,
        };
        let mut context = [0; SK_BUFF];
        let mut set = |offset: usize, value: u32| {
            context[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        };
        set(SK_BUFF_INGRESS_IFINDEX, case.came_by.map_or(0, |device| self.ifindex(device)));
        set(SK_BUFF_IFINDEX, self.ifindex(case.device));
        set(SK_BUFF_GSO_SIZE, case.gso_size);
        let mut packet = vec![0; case.packet.len() + 64];
        let result = program.test_run(TestRunOptions {
            data_in: Some(&case.packet),
            data_out: Some(&mut packet),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        })?;
        packet.truncate(usize::try_from(result.data_size_out)?);
        Ok((result.return_value, packet))
    }

    fn wanted(&self, case: &Case) -> Outcome {
        let action = match case.expected {
            Reason::Redirected | Reason::Answered => TC_ACT_REDIRECT,
            reason if reason.is_drop() => TC_ACT_SHOT,
            _ => TC_ACT_UNSPEC,
        };
        let packet = if let Some(answer) = &case.answer {
            answer.clone()
        } else if case.expected == Reason::Redirected {
            packet::routed(&case.packet, destination_mac(&case.packet), GATEWAY_MAC)
        } else {
            case.packet.clone()
        };
        // Of what is answered, the answer counts: a solicitation without options is shorter.
        let whole = if case.expected == Reason::Answered { &packet } else { &case.packet };
        let counter = Counter { packets: 1, bytes: whole.len() as u64 };
        let key = DropKey {
            slot: interface(case.device).map_or(0, |interface| interface.slot),
            ifindex: self.ifindex(case.device),
            reason: case.expected as u32,
        };
        let dropped = case.expected.is_drop().then_some((key, counter));
        let dropped: Vec<_> = dropped.into_iter().collect();
        let recorded = dropped.len() as u64;
        Outcome { action, counted: vec![(case.expected, counter)], dropped, recorded, packet }
    }
}

/// Makes the devices, as ends of pairs: every kernel that the programs run on has these.
fn create_devices() -> Result<Vec<(Device, u32)>> {
    for [(_, one), (_, other)] in DEVICES.as_chunks().0 {
        let arguments = ["link", "add", one, "type", "veth", "peer", other];
        command::run("ip", arguments)?;
    }
    command::run("ip", ["link", "set", "narrow", "mtu", &NARROW_MTU.to_string()])?;
    DEVICES.into_iter().map(|(device, name)| Ok((device, if_nametoindex(name)?))).collect()
}

/// The record of a device's slot.
pub fn interface(device: Device) -> Option<Interface> {
    let active = Interface {
        slot: 0x0017_0000_0005,
        identity: 7,
        flags: 0,
        ipv4: OWN.v4.octets(),
        ipv6: OWN.v6.octets(),
        mac: OWN_MAC,
        padding: [0; 2],
        tenant: 0,
        epoch: EPOCH,
    };
    let other = |slot, Addresses { v4, v6 }: Addresses| Interface {
        slot,
        ipv4: v4.octets(),
        ipv6: v6.octets(),
        mac: PEER_MAC,
        ..active
    };
    match device {
        Device::Active => Some(active),
        Device::OnlyV4 => Some(Interface { ipv6: [0; 16], ..active }),
        Device::OnlyV6 => Some(Interface { ipv4: [0; 4], ..active }),
        Device::More => Some(Interface { flags: FLAG_MORE_ADDRESSES, ..active }),
        Device::LinkLocal => Some(Interface { flags: FLAG_LINK_LOCAL, ..active }),
        Device::Narrow => Some(other(0x0017_0000_0008, NARROW)),
        Device::Peer => Some(other(0x0017_0000_0009, PEER)),
        Device::Stack => Some(Interface { flags: FLAG_STACK, ..other(0x0017_0000_000a, STACK) }),
        Device::Parked => Some(Interface { identity: 0, ..active }),
        Device::Unknown => None,
    }
}

/// MAC of the endpoint that a redirected packet goes to.
fn destination_mac(packet: &[u8]) -> Mac {
    let destination = match packet[packet::ETHERNET] >> 4 {
        4 => packet[30..34].to_vec(),
        _ => packet[38..54].to_vec(),
    };
    let is_own = [OWN, SECOND]
        .iter()
        .any(|own| destination == own.v4.octets() || destination == own.v6.octets());
    if is_own { OWN_MAC } else { PEER_MAC }
}

/// Elements of the map of drops that are new or have changed, and by how much.
fn more_drops(
    before: &[(DropKey, Counter)],
    after: &[(DropKey, Counter)],
) -> Vec<(DropKey, Counter)> {
    let known = |key| before.iter().find(|(known, _)| *known == key).map(|(_, counter)| *counter);
    let more = after.iter().map(|(key, counter)| {
        let known = known(*key).unwrap_or_default();
        let (packets, bytes) = (counter.packets - known.packets, counter.bytes - known.bytes);
        (*key, Counter { packets, bytes })
    });
    more.filter(|(_, counter)| counter.packets > 0).collect()
}

/// Counters that have changed, and by how much.
pub fn difference(
    before: &[(Reason, Counter)],
    after: &[(Reason, Counter)],
) -> Vec<(Reason, Counter)> {
    let pairs = before.iter().zip(after);
    pairs
        .filter(|((_, before), (_, after))| before != after)
        .map(|((_, before), (reason, after))| {
            let packets = after.packets - before.packets;
            let bytes = after.bytes - before.bytes;
            (*reason, Counter { packets, bytes })
        })
        .collect()
}
