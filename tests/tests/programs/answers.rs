//! Questions to the gateway, whose addresses no interface has: the program answers them, and no others.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use repoint_common::{GATEWAY_V4, GATEWAY_V6, counter::Reason, mac::GATEWAY_MAC};

use super::{
    case::{
        Case, Device, OWN, OWN_MAC, PEER,
        Program::{self, FromContainer, ToContainer},
        REMOTE, SECOND, frame,
    },
    packet::{
        self, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, HOP_BY_HOP, ICMPV6, Ipv4, Ipv6, Mac,
        checksum,
    },
    rig,
};

/// A virtual machine's own address, behind the container's interface.
const GUEST_MAC: Mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const EVERYBODY: Mac = [0xff; 6];
/// Where solicitations for the gateway go.
const SOLICITED_MAC: Mac = [0x33, 0x33, 0xff, 0, 0, 1];

const GATEWAY: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::from_octets(GATEWAY_V4), Ipv6Addr::from_octets(GATEWAY_V6));

fn guest_link_local() -> Ipv6Addr {
    "fe80::5054:ff:fe12:3456".parse().unwrap()
}

fn solicited() -> Ipv6Addr {
    "ff02::1:ff00:1".parse().unwrap()
}

/// An ARP message from a station.
fn arp(operation: u8, station: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut message = vec![0, 1, 8, 0, 6, 4, 0, operation];
    message.extend([&station[..], &sender.octets(), &[0; 6], &target.octets()].concat());
    message
}

/// The answer to a question that ended with `padding`.
fn arp_reply(station: Mac, sender: Ipv4Addr, padding: &[u8]) -> Vec<u8> {
    let mut message = vec![0, 1, 8, 0, 6, 4, 0, 2];
    message.extend([&GATEWAY_MAC[..], &GATEWAY_V4, &station, &sender.octets(), padding].concat());
    packet::frame(station, GATEWAY_MAC, ETHERTYPE_ARP, &message)
}

/// An `ICMPv6` message with its checksum.
fn icmpv6(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let pseudo =
        [&source.octets()[..], &destination.octets(), &length, &[0, 0, 0, ICMPV6], message]
            .concat();
    let mut message = message.to_vec();
    message[2..4].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    message
}

fn v6(source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8, message: &[u8]) -> Ipv6 {
    let message = icmpv6(source, destination, message);
    Ipv6 { hop_limit, ..Ipv6::new(source, destination).carrying(ICMPV6, &message) }
}

/// A solicitation's message.
fn solicitation(target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
    [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target.octets(), options].concat()
}

fn advertisement(station: Mac, asker: Ipv6Addr) -> Vec<u8> {
    let head = [136, 0, 0, 0, 0xe0, 0, 0, 0];
    let message = [&head[..], &GATEWAY_V6, &[2, 1], &GATEWAY_MAC].concat();
    let ip = v6(GATEWAY.1, asker, 255, &message);
    packet::frame(station, GATEWAY_MAC, ETHERTYPE_IPV6, &ip.bytes())
}

fn answered(name: impl Into<String>, packet: Vec<u8>, answer: Vec<u8>) -> Case {
    Case { answer: Some(answer), ..Case::new(name, FromContainer, packet, Reason::Answered) }
}

#[test]
fn arp_for_the_gateway_is_answered() -> Result<()> {
    let mut cases = Vec::new();
    for (who, station) in [("the container", OWN_MAC), ("a guest", GUEST_MAC)] {
        for (how, destination) in [("all", EVERYBODY), ("the gateway", GATEWAY_MAC)] {
            for padding in [&[0; 0][..], &[0; 18], &[7; 40]] {
                for sender in [OWN.v4, REMOTE.v4] {
                    let question = arp(1, station, sender, GATEWAY.0);
                    let question = [&question[..], padding].concat();
                    let packet = packet::frame(destination, station, ETHERTYPE_ARP, &question);
                    let name = format!("{who} at {sender} asks {how}");
                    cases.push(answered(name, packet, arp_reply(station, sender, padding)));
                }
            }
        }
    }
    rig::run(&cases)
}

#[test]
fn solicitations_for_the_gateway_are_answered() -> Result<()> {
    let mut cases = Vec::new();
    for (who, station) in [("the container", OWN_MAC), ("a guest", GUEST_MAC)] {
        let own = [&[1, 1][..], &station].concat();
        let nonce = [&own[..], &[14, 1, 1, 2, 3, 4, 5, 6]].concat();
        for options in [&[][..], &own, &nonce] {
            for asker in [OWN.v6, guest_link_local(), REMOTE.v6] {
                for (how, mac, destination) in
                    [("all", SOLICITED_MAC, solicited()), ("the gateway", GATEWAY_MAC, GATEWAY.1)]
                {
                    let ip = v6(asker, destination, 255, &solicitation(GATEWAY.1, options));
                    let packet = packet::frame(mac, station, ETHERTYPE_IPV6, &ip.bytes());
                    let name = format!("{who} at {asker} asks {how}");
                    cases.push(answered(name, packet, advertisement(station, asker)));
                }
            }
        }
    }
    rig::run(&cases)
}

fn echo_v4(kind: u8, source: Ipv4Addr, destination: Ipv4Addr, data: &[u8]) -> Ipv4 {
    let mut payload = [&[kind, 0, 0, 0, 0x12, 0x34, 0, 1][..], data].concat();
    let checksum = checksum(&payload);
    payload[2..4].copy_from_slice(&checksum.to_be_bytes());
    Ipv4 { protocol: 1, payload, ..Ipv4::new(source, destination) }
}

fn echo_v6(kind: u8, source: Ipv6Addr, destination: Ipv6Addr, data: &[u8]) -> Ipv6 {
    v6(source, destination, 64, &[&[kind, 0, 0, 0, 0x12, 0x34, 0, 1][..], data].concat())
}

/// The checksum is corrected, not summed up: it must be right where it carries, too.
#[test]
fn echo_requests_to_the_gateway_are_answered() -> Result<()> {
    let mut cases = Vec::new();
    let mut echo = |data: &[u8], station: Mac| {
        let name = format!("echo request with {} bytes", data.len());
        let send = |ethertype, ip: &[u8]| packet::frame(GATEWAY_MAC, station, ethertype, ip);
        let back = |ethertype, ip: &[u8]| packet::frame(station, GATEWAY_MAC, ethertype, ip);
        cases.push(answered(
            format!("IPv4 {name}"),
            send(ETHERTYPE_IPV4, &echo_v4(8, OWN.v4, GATEWAY.0, data).bytes()),
            back(ETHERTYPE_IPV4, &echo_v4(0, GATEWAY.0, OWN.v4, data).bytes()),
        ));
        for source in [OWN.v6, guest_link_local()] {
            cases.push(answered(
                format!("IPv6 {name} from {source}"),
                send(ETHERTYPE_IPV6, &echo_v6(128, source, GATEWAY.1, data).bytes()),
                back(ETHERTYPE_IPV6, &echo_v6(129, GATEWAY.1, source, data).bytes()),
            ));
        }
    };
    for length in [0, 1, 56, 1400] {
        echo(&vec![0xab; length], OWN_MAC);
        echo(&vec![0xab; length], GUEST_MAC);
    }
    for word in (0..=u16::MAX).step_by(251) {
        echo(&word.to_be_bytes(), OWN_MAC);
    }
    rig::run(&cases)
}

#[test]
fn nothing_else_is_answered() -> Result<()> {
    let arp = |name: &str, operation, sender, target| {
        let message = arp(operation, OWN_MAC, sender, target);
        let packet = packet::frame(EVERYBODY, OWN_MAC, ETHERTYPE_ARP, &message);
        Case::new(format!("ARP {name}"), FromContainer, packet, Reason::NeighbourDiscovery)
    };
    let ask = |name: &str, source, hop_limit, message: &[u8]| {
        let ip = v6(source, solicited(), hop_limit, message);
        let packet = packet::frame(SOLICITED_MAC, OWN_MAC, ETHERTYPE_IPV6, &ip.bytes());
        Case::new(format!("NDP {name}"), FromContainer, packet, Reason::NeighbourDiscovery)
    };
    let good = solicitation(GATEWAY.1, &[]);
    let with_code = {
        let mut bad = good.clone();
        bad[1] = 1;
        bad
    };
    let hidden = v6(OWN.v6, solicited(), 255, &good).behind(HOP_BY_HOP, &[1, 4, 0, 0, 0, 0]);
    let hidden = packet::frame(SOLICITED_MAC, OWN_MAC, ETHERTYPE_IPV6, &hidden.bytes());
    let mut cases = vec![
        arp("for another slot", 1, OWN.v4, PEER.v4),
        arp("for its own address", 1, OWN.v4, OWN.v4),
        arp("for the next link-local address", 1, OWN.v4, Ipv4Addr::new(169, 254, 1, 2)),
        arp("from no address for the gateway", 1, Ipv4Addr::UNSPECIFIED, GATEWAY.0),
        arp("from the gateway's address", 1, GATEWAY.0, GATEWAY.0),
        arp("reply to the gateway", 2, OWN.v4, GATEWAY.0),
        arp("reverse, for the gateway", 3, OWN.v4, GATEWAY.0),
        ask("for another slot", OWN.v6, 255, &solicitation(PEER.v6, &[])),
        ask("for the next link-local address", OWN.v6, 255, &solicitation(guest_link_local(), &[])),
        ask("from no address", Ipv6Addr::UNSPECIFIED, 255, &good),
        ask("from the gateway's address", GATEWAY.1, 255, &good),
        ask("that passed a router", OWN.v6, 254, &good),
        ask("with a code", OWN.v6, 255, &with_code),
        ask("cut off", OWN.v6, 255, &good[..20]),
        Case::new("NDP behind options", FromContainer, hidden, Reason::NeighbourDiscovery),
    ];
    cases.extend(echoes_that_are_not_answered());
    cases.extend(questions_elsewhere());
    rig::run(&cases)
}

fn echoes_that_are_not_answered() -> Vec<Case> {
    let from = |name: &str, ip: &[u8], ethertype, expected| {
        let packet = frame(FromContainer, ethertype, ip);
        Case::new(format!("echo {name}"), FromContainer, packet, expected)
    };
    let v4 = |name, ip: &Ipv4| from(name, &ip.bytes(), ETHERTYPE_IPV4, Reason::Martian);
    let good = echo_v4(8, OWN.v4, GATEWAY.0, &[0; 56]);
    let v6 = |name, ip: &Ipv6, expected| from(name, &ip.bytes(), ETHERTYPE_IPV6, expected);
    vec![
        v4("reply to the gateway", &echo_v4(0, OWN.v4, GATEWAY.0, &[])),
        v4("first fragment", &Ipv4 { fragment: 0x2000, ..good.clone() }),
        v4("later fragment", &Ipv4 { fragment: 0x0010, ..good.clone() }),
        v4("with options", &Ipv4 { options: vec![1; 4], ..good.clone() }),
        v4("of UDP", &Ipv4::new(OWN.v4, GATEWAY.0)),
        v4("to loopback", &echo_v4(8, OWN.v4, Ipv4Addr::LOCALHOST, &[])),
        from(
            "from another slot's address",
            &echo_v4(8, PEER.v4, GATEWAY.0, &[]).bytes(),
            ETHERTYPE_IPV4,
            Reason::ForeignAddress,
        ),
        from("cut off", &good.bytes()[..20], ETHERTYPE_IPV4, Reason::Malformed),
        v6("v6 reply", &echo_v6(129, OWN.v6, GATEWAY.1, &[]), Reason::Martian),
        v6("v6 of UDP", &Ipv6::new(OWN.v6, GATEWAY.1), Reason::Martian),
        v6("v6 to loopback", &echo_v6(128, OWN.v6, Ipv6Addr::LOCALHOST, &[]), Reason::Martian),
        v6("v6 foreign", &echo_v6(128, PEER.v6, GATEWAY.1, &[]), Reason::ForeignAddress),
        v6(
            "v6 from the gateway's address",
            &echo_v6(128, GATEWAY.1, GATEWAY.1, &[]),
            Reason::ForeignAddress,
        ),
    ]
}

/// What reaches a container is never answered, nor what a parked one sends.
fn questions_elsewhere() -> Vec<Case> {
    let question = arp(1, OWN_MAC, OWN.v4, GATEWAY.0);
    let solicitation = v6(OWN.v6, solicited(), 255, &solicitation(GATEWAY.1, &[])).bytes();
    let echo = echo_v4(8, OWN.v4, GATEWAY.0, &[]).bytes();
    let all = [
        (ETHERTYPE_ARP, question, Reason::NeighbourDiscovery),
        (ETHERTYPE_IPV6, solicitation, Reason::NeighbourDiscovery),
        (ETHERTYPE_IPV4, echo, Reason::ForeignDestination),
    ];
    let cases = all.iter().flat_map(|(ethertype, message, expected)| {
        let case = |program: Program, device, expected| {
            let packet = frame(program, *ethertype, message);
            Case::new(format!("{ethertype:#06x}"), program, packet, expected).on(device)
        };
        [
            case(ToContainer, Device::Active, *expected),
            case(FromContainer, Device::Parked, Reason::Parked),
        ]
    });
    cases.collect()
}

/// A packet from a slot's address teaches the programs the Ethernet address behind it; what is none of
/// its own teaches nothing.
#[test]
fn another_ethernet_address_is_learned_and_forgotten() -> Result<()> {
    let node = repoint_tests::Node::new()?;
    node.run(|| {
        let rig = rig::Rig::new(&node)?;
        let more = |case: Case| case.on(Device::More);
        let from = |name: &str, station, ethertype, ip: &[u8], expected| {
            let packet = packet::frame(GATEWAY_MAC, station, ethertype, ip);
            more(Case::new(name, FromContainer, packet, expected))
        };
        let out = |name: &str, station, source: Ipv4Addr| {
            let ip = Ipv4::new(source, REMOTE.v4).bytes();
            from(name, station, ETHERTYPE_IPV4, &ip, Reason::ToHost)
        };
        let back = |station: Mac| {
            [SECOND.v6, OWN.v6].map(|own| {
                let ip = Ipv6::new(REMOTE.v6, own).bytes();
                let packet = packet::frame(OWN_MAC, GATEWAY_MAC, ETHERTYPE_IPV6, &ip);
                let answer = packet::frame(station, GATEWAY_MAC, ETHERTYPE_IPV6, &ip);
                let case = Case::new("back", ToContainer, packet, Reason::ToContainer);
                more(Case { answer: Some(answer), ..case })
            })
        };
        let aside = |station: Mac| {
            let ip = Ipv4::new(PEER.v4, SECOND.v4).bytes();
            let packet = packet::frame(GATEWAY_MAC, super::case::PEER_MAC, ETHERTYPE_IPV4, &ip);
            let answer = packet::routed(&packet, station, GATEWAY_MAC);
            let case = Case::new("from another slot", FromContainer, packet, Reason::Redirected);
            Case { answer: Some(answer), ..case.on(Device::Peer) }
        };
        let gratuitous = |sender: Ipv4Addr| {
            let message = arp(1, GUEST_MAC, sender, sender);
            let packet = packet::frame(EVERYBODY, GUEST_MAC, ETHERTYPE_ARP, &message);
            more(Case::new("announcement", FromContainer, packet, Reason::NeighbourDiscovery))
        };
        let foreign = Ipv4::new(REMOTE.v4, PEER.v4).bytes();
        let steps = [
            back(OWN_MAC).to_vec(),
            vec![from("foreign", GUEST_MAC, ETHERTYPE_IPV4, &foreign, Reason::ForeignAddress)],
            vec![gratuitous(PEER.v4)],
            back(OWN_MAC).to_vec(),
            vec![out("from a guest", GUEST_MAC, SECOND.v4), aside(GUEST_MAC)],
            back(GUEST_MAC).to_vec(),
            vec![out("from the container", OWN_MAC, OWN.v4), aside(OWN_MAC)],
            back(OWN_MAC).to_vec(),
            vec![gratuitous(OWN.v4), aside(GUEST_MAC)],
            back(GUEST_MAC).to_vec(),
        ];
        let cases = steps.concat();
        let failed = cases.iter().filter(|case| !rig.passes(case)).count();
        anyhow::ensure!(failed == 0, "{failed} of {} cases failed", cases.len());
        let ifindex = rig.ifindex(Device::More);
        rig.maps().forget_mac(ifindex)?;
        let cases = back(OWN_MAC);
        anyhow::ensure!(cases.iter().all(|case| rig.passes(case)), "it was not forgotten");
        Ok(())
    })
}
