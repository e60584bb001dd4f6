//! What is not a datagram from one station to another: tags, neighbour discovery, multicast, other
//! protocols.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use repoint_common::counter::Reason;

use super::{
    case::{
        Case, OWN, OWN_MAC, PEER, REMOTE, frame, good_v4, good_v6, of_both, v4_frame, v6_frame,
    },
    packet::{
        ETHERTYPE_ARP, ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN, HOP_BY_HOP, ICMPV6, Ipv4, Ipv6,
        icmpv6, tagged,
    },
    rig,
};

/// Padding behind the two first bytes of hop-by-hop options.
const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];

#[test]
fn tagged_packets_are_dropped() -> Result<()> {
    rig::run(&of_both(|program| {
        let v4 = v4_frame(program, &good_v4(program).0);
        let v6 = v6_frame(program, &good_v6(program).0);
        [
            ("IPv4 in a VLAN", tagged(ETHERTYPE_VLAN, &v4)),
            ("IPv6 in a VLAN", tagged(ETHERTYPE_VLAN, &v6)),
            ("IPv4 in a service VLAN", tagged(ETHERTYPE_SERVICE_VLAN, &v4)),
            ("IPv4 in both", tagged(ETHERTYPE_SERVICE_VLAN, &tagged(ETHERTYPE_VLAN, &v4))),
        ]
        .map(|(name, packet)| Case::new(name, program, packet, Reason::Vlan))
        .to_vec()
    }))
}

#[test]
fn arp_is_dropped() -> Result<()> {
    rig::run(&of_both(|program| {
        ["request", "reply", "probe"]
            .into_iter()
            .zip([(1, OWN.v4), (2, OWN.v4), (1, Ipv4Addr::UNSPECIFIED)])
            .map(|(name, (operation, sender))| {
                let mut arp = vec![0, 1, 8, 0, 6, 4, 0, operation];
                arp.extend([&OWN_MAC[..], &sender.octets()].concat());
                arp.extend([&[0; 6][..], &PEER.v4.octets()].concat());
                let packet = frame(program, ETHERTYPE_ARP, &arp);
                Case::new(format!("ARP {name}"), program, packet, Reason::NeighbourDiscovery)
            })
            .collect()
    }))
}

/// As kernels send them when an interface comes up, and as an attacker would.
#[test]
fn neighbour_discovery_is_dropped() -> Result<()> {
    let everyone: Ipv6Addr = "ff02::1".parse()?;
    rig::run(&of_both(|program| {
        let mut cases = Vec::new();
        for kind in 133..=137 {
            for (name, source, destination) in [
                ("detecting duplicates", Ipv6Addr::UNSPECIFIED, everyone),
                ("to everyone", OWN.v6, everyone),
                ("to a neighbour", OWN.v6, PEER.v6),
                ("from a stranger", REMOTE.v6, OWN.v6),
            ] {
                let ip = Ipv6::new(source, destination).carrying(ICMPV6, &icmpv6(kind));
                let hidden = ip.clone().behind(HOP_BY_HOP, &PADDING);
                for (where_, ip) in [("", ip), (" behind hop-by-hop options", hidden)] {
                    let name = format!("ICMPv6 type {kind} {name}{where_}");
                    let packet = v6_frame(program, &ip);
                    cases.push(Case::new(name, program, packet, Reason::NeighbourDiscovery));
                }
            }
        }
        cases
    }))
}

#[test]
fn other_messages_of_icmpv6_are_carried() -> Result<()> {
    rig::run(&of_both(|program| {
        let (ip, expected) = good_v6(program);
        [1, 2, 3, 4, 128, 129, 132, 138]
            .map(|kind| {
                let packet = v6_frame(program, &ip.clone().carrying(ICMPV6, &icmpv6(kind)));
                Case::new(format!("ICMPv6 type {kind}"), program, packet, expected)
            })
            .to_vec()
    }))
}

#[test]
fn multicast_and_broadcast_are_dropped() -> Result<()> {
    rig::run(&of_both(|program| {
        let mut cases = Vec::new();
        let mut add = |name: String, packet| {
            cases.push(Case::new(name, program, packet, Reason::Multicast));
        };
        for source in [OWN.v4, Ipv4Addr::UNSPECIFIED] {
            for destination in [
                Ipv4Addr::new(224, 0, 0, 1),
                Ipv4Addr::new(239, 255, 255, 255),
                Ipv4Addr::BROADCAST,
            ] {
                let packet = v4_frame(program, &Ipv4::new(source, destination));
                add(format!("{source} to {destination}"), packet);
            }
        }
        for source in [OWN.v6, Ipv6Addr::UNSPECIFIED] {
            for destination in ["ff02::1", "ff02::16", "ff0e::1"].map(|text| text.parse().unwrap())
            {
                // A multicast listener report, as it is sent: behind hop-by-hop options.
                let report = Ipv6::new(source, destination)
                    .carrying(ICMPV6, &icmpv6(143))
                    .behind(HOP_BY_HOP, &PADDING);
                add(format!("{source} to {destination}"), v6_frame(program, &report));
            }
        }
        cases
    }))
}

/// A datagram for one station in a frame for all is not what any stack sends.
#[test]
fn unicast_in_broadcast_frames_is_dropped() -> Result<()> {
    rig::run(&of_both(|program| {
        [[0xff; 6], [0x01, 0, 0x5e, 0, 0, 1]]
            .map(|destination| {
                let good = v4_frame(program, &good_v4(program).0);
                let packet = [&destination, &good[6..]].concat();
                Case::new(format!("to {destination:02x?}"), program, packet, Reason::Multicast)
            })
            .to_vec()
    }))
}

#[test]
fn other_protocols_are_dropped() -> Result<()> {
    rig::run(&of_both(|program| {
        [
            ("LLDP", 0x88cc),
            ("MPLS", 0x8847),
            ("PPPoE", 0x8864),
            ("802.1X", 0x888e),
            ("802.3 with a length", 38),
            ("none", 0),
        ]
        .map(|(name, ethertype)| {
            let packet = frame(program, ethertype, &[0; 38]);
            Case::new(name, program, packet, Reason::UnknownProtocol)
        })
        .to_vec()
    }))
}
