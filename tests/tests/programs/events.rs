//! Records of dropped packets: what they show, and which of a flood are written.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use repoint::datapath::{EventReader, EventsFrom};
use repoint_common::{
    counter::Reason,
    event::{
        BURST, DROP, Event, FROM_CONTAINER, HEADER_FRAME, HEADER_IP, HEADER_TRANSPORT, RING,
        TO_CONTAINER,
    },
    mac::GATEWAY_MAC,
};
use repoint_tests::Node;

use super::{
    case::{
        Case, Device, OWN, OWN_MAC, PARKED, PEER, Program, REMOTE, UNSPECIFIED, frame, v4_frame,
        v6_frame,
    },
    packet::{
        ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN, ICMPV6, Ipv4, Ipv6, icmpv6,
        tagged,
    },
    rig::{Rig, interface},
};

/// `IPPROTO_TCP`, `IPPROTO_ICMP` and `IPPROTO_UDP` of `linux/in.h`.
const TCP: u8 = 6;
const ICMP: u8 = 1;
const UDP: u8 = 17;
const SYN: u8 = 2;

/// A TCP header from port 4000 to port 443.
fn syn() -> Vec<u8> {
    let (source, destination) = (4000_u16.to_be_bytes(), 443_u16.to_be_bytes());
    [&source[..], &destination, &[0; 8], &[0x50, SYN], &[0; 6]].concat()
}

/// What an event shows of a packet: addresses, protocol, ports and flags.
type Packet = ([u8; 16], [u8; 16], u8, Option<(u16, u16)>, u8);

const NOT_IP: Packet = ([0; 16], [0; 16], 0, None, 0);

fn reader(node: &Node, from: EventsFrom) -> Result<EventReader> {
    EventReader::open_existing(&node.dirs().bpf, from)?.context("no data plane")
}

/// A packet, the identities of its slot and the other end, the protocol of Ethernet, and what is shown of
/// it.
fn cases() -> Vec<(Case, (u32, u32), u16, Packet)> {
    use Program::{FromContainer, ToContainer};
    let mapped = |v4: std::net::Ipv4Addr| v4.to_ipv6_mapped().octets();
    let forged = Ipv4 { protocol: TCP, payload: syn(), ..Ipv4::new(REMOTE.v4, PEER.v4) };
    let parked = Ipv6::new(OWN.v6, PARKED.v6).carrying(TCP, &syn());
    let martian =
        Ipv4 { protocol: ICMP, payload: vec![13, 7], ..Ipv4::new(OWN.v4, UNSPECIFIED.v4) };
    let later = Ipv4 { fragment: 100, ..Ipv4::new(REMOTE.v4, OWN.v4) };
    let stranger = Ipv6::new(OWN.v6, REMOTE.v6);
    let discovery = Ipv6::new(OWN.v6, PEER.v6).carrying(ICMPV6, &icmpv6(134));
    let v4 = |ip: &Ipv4, program, reason| Case::new("", program, v4_frame(program, ip), reason);
    let v6 = |ip: &Ipv6, program, reason| Case::new("", program, v6_frame(program, ip), reason);
    let (own, peer) = (OWN.v6.octets(), PEER.v6.octets());
    vec![
        (
            v4(&forged, FromContainer, Reason::ForeignAddress),
            (7, 8),
            ETHERTYPE_IPV4,
            (mapped(REMOTE.v4), mapped(PEER.v4), TCP, Some((4000, 443)), SYN),
        ),
        (
            v6(&parked, FromContainer, Reason::Parked),
            (7, 0),
            ETHERTYPE_IPV6,
            (own, PARKED.v6.octets(), TCP, Some((4000, 443)), SYN),
        ),
        (
            v4(&martian, FromContainer, Reason::Martian),
            (7, 0),
            ETHERTYPE_IPV4,
            (mapped(OWN.v4), mapped(UNSPECIFIED.v4), ICMP, Some((13, 7)), 0),
        ),
        (
            // It has no ports.
            v4(&later, ToContainer, Reason::ForeignDestination).on(Device::Peer),
            (7, 0),
            ETHERTYPE_IPV4,
            (mapped(REMOTE.v4), mapped(OWN.v4), UDP, None, 0),
        ),
        (
            v6(&stranger, ToContainer, Reason::ForeignDestination).by(Device::Peer),
            (7, 7),
            ETHERTYPE_IPV6,
            (own, REMOTE.v6.octets(), UDP, Some((40000, 53)), 0),
        ),
        (
            v6(&discovery, FromContainer, Reason::NeighbourDiscovery),
            (7, 8),
            ETHERTYPE_IPV6,
            (own, peer, ICMPV6, Some((134, 0)), 0),
        ),
        (
            v6(&stranger, ToContainer, Reason::UnknownInterface).on(Device::Unknown),
            (0, 0),
            ETHERTYPE_IPV6,
            (own, REMOTE.v6.octets(), UDP, Some((40000, 53)), 0),
        ),
        (
            Case::new(
                "",
                FromContainer,
                frame(FromContainer, ETHERTYPE_ARP, &[0; 28]),
                Reason::NeighbourDiscovery,
            ),
            (7, 0),
            ETHERTYPE_ARP,
            NOT_IP,
        ),
        (
            Case::new(
                "",
                FromContainer,
                frame(FromContainer, 0x88cc, &[0; 28]),
                Reason::UnknownProtocol,
            ),
            (7, 0),
            0x88cc,
            NOT_IP,
        ),
    ]
}

#[test]
fn a_record_shows_the_packet_and_whose_it_is() -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let rig = Rig::new(&node)?;
        let (mut one, mut other) =
            (reader(&node, EventsFrom::Now)?, reader(&node, EventsFrom::Oldest)?);
        for (case, (identity, peer), ethertype, packet) in cases() {
            rig.send(&case)?;
            let event = one.next_event()?.with_context(|| format!("no record of {case:?}"))?;
            println!("{event:?}");
            let is_sent = case.program == Program::FromContainer;
            let macs = if is_sent { (OWN_MAC, GATEWAY_MAC) } else { (GATEWAY_MAC, OWN_MAC) };
            let (source, destination, protocol, ports, tcp_flags) = packet;
            let (source_port, destination_port) = ports.unwrap_or_default();
            let is_ip = matches!(ethertype, ETHERTYPE_IPV4 | ETHERTYPE_IPV6);
            let headers = HEADER_FRAME
                | if is_ip { HEADER_IP } else { 0 }
                | if ports.is_some() { HEADER_TRANSPORT } else { 0 };
            let wanted = Event {
                sequence: event.sequence,
                time: event.time,
                slot: interface(case.device).map_or(0, |interface| interface.slot),
                ifindex: rig.ifindex(case.device),
                length: u32::try_from(case.packet.len())?,
                identity,
                peer,
                source,
                destination,
                source_port,
                destination_port,
                source_mac: macs.0,
                destination_mac: macs.1,
                ethertype,
                protocol,
                tcp_flags,
                reason: u8::try_from(case.expected as u32)?,
                direction: if is_sent { FROM_CONTAINER } else { TO_CONTAINER },
                headers,
                kind: DROP,
                rule: 0,
                policy: 0,
            };
            ensure!(event == wanted, "it ought to be\n{wanted:?}");
            ensure!(one.next_event()?.is_none(), "a second record");
            ensure!(other.next_event()? == Some(event), "another reader has another record");
        }
        Ok(())
    })
}

/// What passes has no record.
#[test]
fn only_dropped_packets_have_a_record() -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let rig = Rig::new(&node)?;
        let mut reader = reader(&node, EventsFrom::Oldest)?;
        for (program, packet) in [
            (Program::FromContainer, Ipv4::new(OWN.v4, PEER.v4)),
            (Program::FromContainer, Ipv4::new(OWN.v4, REMOTE.v4)),
            (Program::ToContainer, Ipv4::new(REMOTE.v4, OWN.v4)),
        ] {
            rig.send(&Case::new("", program, v4_frame(program, &packet), Reason::ToHost))?;
        }
        let event = reader.next_event()?;
        ensure!(event.is_none(), "{event:?}");
        Ok(())
    })
}

/// Packets that are dropped, each for a reason of its own.
fn floods() -> Vec<Case> {
    let program = Program::FromContainer;
    let v4 = |source, destination, reason| {
        Case::new("", program, v4_frame(program, &Ipv4::new(source, destination)), reason)
    };
    let good = v4_frame(program, &Ipv4::new(OWN.v4, PEER.v4));
    let from_group = [&GATEWAY_MAC[..], &[0xff; 6], &good[12..]].concat();
    vec![
        v4(REMOTE.v4, PEER.v4, Reason::ForeignAddress),
        v4(OWN.v4, PARKED.v4, Reason::Parked),
        v4(OWN.v4, UNSPECIFIED.v4, Reason::Martian),
        v4(OWN.v4, [224, 0, 0, 1].into(), Reason::Multicast),
        v4(OWN.v4, PEER.v4, Reason::UnknownInterface).on(Device::Unknown),
        Case::new("", program, tagged(ETHERTYPE_VLAN, &good), Reason::Vlan),
        Case::new("", program, from_group, Reason::ForeignMac),
        Case::new("", program, frame(program, 0x88cc, &[0; 28]), Reason::UnknownProtocol),
        Case::new("", program, frame(program, ETHERTYPE_ARP, &[0; 28]), Reason::NeighbourDiscovery),
        Case::new("", program, frame(program, ETHERTYPE_IPV4, &[0; 40]), Reason::Malformed),
    ]
}

/// A flood of one reason leaves the records of others alone, and each dropped packet is counted as
/// written or as left out.
#[test]
fn a_flood_hides_no_other_reason() -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let rig = Rig::new(&node)?;
        on_one_cpu()?;
        let mut reader = reader(&node, EventsFrom::Now)?;
        let [flood, other, ..] = &floods()[..] else { unreachable!() };
        let sent = 5 * BURST;
        for _ in 0..sent {
            rig.send(flood)?;
        }
        rig.send(other)?;
        let mut seen: HashMap<u8, u64> = HashMap::new();
        while let Some(event) = reader.next_event()? {
            *seen.entry(event.reason).or_default() += 1;
        }
        let suppressed: HashMap<_, _> =
            reader.suppressed()?.into_iter().map(|(reason, n)| (reason as u32, n)).collect();
        println!("{seen:?} written, {suppressed:?} left out");
        let of = |case: &Case| {
            let number = case.expected as u32;
            let seen = u8::try_from(number).ok().and_then(|number| seen.get(&number).copied());
            (seen.unwrap_or_default(), suppressed[&number])
        };
        ensure!(of(other) == (1, 0), "the other reason: {:?}", of(other));
        let (written, left_out) = of(flood);
        ensure!(written + left_out == sent, "{written} and {left_out} are not {sent}");
        // While the flood lasted, more was earned.
        ensure!((BURST..2 * BURST).contains(&written), "{written} records");
        ensure!(reader.take_missed() == 0, "records were overwritten");
        Ok(())
    })
}

/// A reader that comes late has the last records, and one that was slow knows how many it missed.
#[test]
fn a_reader_knows_what_it_missed() -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let rig = Rig::new(&node)?;
        let mut slow = reader(&node, EventsFrom::Now)?;
        for case in floods() {
            for _ in 0..BURST {
                rig.send(&case)?;
            }
        }
        let written = slow.written()?;
        ensure!(written > RING as u64, "only {written} records were written");
        let mut late = reader(&node, EventsFrom::Oldest)?;
        for (name, reader, missed) in
            [("slow", &mut slow, written - RING as u64), ("late", &mut late, 0)]
        {
            let mut numbers = Vec::new();
            while let Some(event) = reader.next_event()? {
                numbers.push(event.sequence - 1);
            }
            let seen: Vec<_> = (written - RING as u64..written).collect();
            ensure!(numbers == seen, "{name}: {:?} to {:?}", numbers.first(), numbers.last());
            let found = reader.take_missed();
            ensure!(found == missed, "{name}: {found} missed, not {missed}");
            ensure!(reader.take_missed() == 0, "{name}: counted twice");
        }
        Ok(())
    })
}

/// Budgets are the CPUs' own: keeps the thread on one.
fn on_one_cpu() -> Result<()> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap_or_default());
    let mut only = CpuSet::new();
    only.set(first.context("no CPU")?)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &only)?)
}
