//! Who may send what to whom.

use anyhow::Result;
use repoint_common::{counter::Reason, mac::GATEWAY_MAC};

use super::{
    case::{
        Case, Device, OWN, OWN_MAC, PARKED, PEER, PEER_MAC,
        Program::{FromContainer, ToContainer},
        REMOTE, SECOND, STACK, UNSPECIFIED, both, of_both, v4_frame, v6_frame,
    },
    packet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ipv4, Ipv6, Mac},
    rig,
};

const NOBODYS_MAC: Mac = [0x0a, 0, 0, 0, 0, 9];
const GUEST_MAC: Mac = [0x52, 0x54, 0, 0, 0, 9];

#[test]
fn packets_go_to_the_endpoint_or_to_the_host() -> Result<()> {
    let send = |name, destination, expected| both(name, FromContainer, OWN, destination, expected);
    let cases = [
        send("to another slot", PEER, Reason::Redirected),
        send("to itself", OWN, Reason::Redirected),
        send("to a parked slot", PARKED, Reason::Parked),
        send("to another host", REMOTE, Reason::ToHost),
        both("to the slot", ToContainer, REMOTE, OWN, Reason::ToContainer),
        both("from another slot", ToContainer, PEER, OWN, Reason::ToContainer),
    ];
    rig::run(&cases.concat())
}

/// What the network of the sender or of the receiver says counts.
#[test]
fn packets_between_slots_go_through_the_stack_where_a_network_says_so() -> Result<()> {
    let send = |name, source, destination, expected, device| {
        both(name, FromContainer, source, destination, expected)
            .map(|case| Case { packet: with_source(&case.packet, device), ..case }.on(device))
    };
    let cases = [
        send("to such a slot", OWN, STACK, Reason::ToHost, Device::Active),
        send("from such a slot", STACK, PEER, Reason::ToHost, Device::Stack),
        send("from such a slot to itself", STACK, STACK, Reason::Redirected, Device::Stack),
        send("from such a slot to a parked one", STACK, PARKED, Reason::Parked, Device::Stack),
        send("between others", OWN, PEER, Reason::Redirected, Device::Active),
    ];
    rig::run(&cases.concat())
}

/// The packet with the Ethernet address of a device's slot.
fn with_source(packet: &[u8], device: Device) -> Vec<u8> {
    let source = rig::interface(device).map_or(OWN_MAC, |interface| interface.mac);
    [&packet[..6], &source, &packet[12..]].concat()
}

#[test]
fn only_slots_in_use_have_traffic() -> Result<()> {
    rig::run(&of_both(|program| {
        let (source, destination) = match program {
            FromContainer => (OWN, PEER),
            ToContainer => (PEER, OWN),
        };
        let on = |device, expected| {
            both("datagram", program, source, destination, expected).map(|case| case.on(device))
        };
        [on(Device::Parked, Reason::Parked), on(Device::Unknown, Reason::UnknownInterface)].concat()
    }))
}

#[test]
fn sources_are_the_slots_own() -> Result<()> {
    let send = |name, source| both(name, FromContainer, source, PEER, Reason::ForeignAddress);
    let mut cases = [
        send("from another slot's address", PEER),
        send("from an address of nobody", REMOTE),
        send("from no address", UNSPECIFIED),
        send("from a second address", SECOND),
    ]
    .concat();
    // What the record has none of, no packet may come from.
    for device in [Device::OnlyV4, Device::OnlyV6, Device::More] {
        cases.extend(send("from no address", UNSPECIFIED).map(|case| case.on(device)));
    }
    rig::run(&cases)
}

#[test]
fn slots_of_one_family_have_no_traffic_of_the_other() -> Result<()> {
    let on = |device, v4, v6| {
        let [case_v4, case_v6] = both("datagram", FromContainer, OWN, PEER, Reason::Redirected);
        [Case { expected: v4, ..case_v4 }.on(device), Case { expected: v6, ..case_v6 }.on(device)]
    };
    let cases = [
        on(Device::OnlyV4, Reason::Redirected, Reason::ForeignAddress),
        on(Device::OnlyV6, Reason::ForeignAddress, Reason::Redirected),
    ];
    rig::run(&cases.concat())
}

#[test]
fn further_addresses_are_the_slots_by_their_endpoints() -> Result<()> {
    let out = |name, source, expected| both(name, FromContainer, source, PEER, expected);
    let back = |name, destination, expected| both(name, ToContainer, PEER, destination, expected);
    let cases = [
        out("from the first", OWN, Reason::Redirected),
        out("from the second", SECOND, Reason::Redirected),
        out("from another slot's", PEER, Reason::ForeignAddress),
        out("from a stranger's", REMOTE, Reason::ForeignAddress),
        back("to the first", OWN, Reason::ToContainer),
        back("to the second", SECOND, Reason::ToContainer),
        back("to another slot's", PARKED, Reason::ForeignDestination),
        back("to a stranger's", REMOTE, Reason::ForeignDestination),
    ];
    let cases = cases.concat().into_iter();
    rig::run(&cases.map(|case| case.on(Device::More)).collect::<Vec<_>>())
}

#[test]
fn destinations_are_the_slots_own() -> Result<()> {
    let send = |name, destination| {
        both(name, ToContainer, REMOTE, destination, Reason::ForeignDestination)
    };
    let cases = [
        send("to another slot's address", PEER),
        send("to an address of nobody", REMOTE),
        send("to no address", UNSPECIFIED),
        send("to a second address", SECOND),
    ];
    rig::run(&cases.concat())
}

#[test]
fn frames_are_between_container_and_gateway() -> Result<()> {
    let payloads = [
        (ETHERTYPE_IPV4, Ipv4::new(OWN.v4, PEER.v4).bytes()),
        (ETHERTYPE_IPV6, Ipv6::new(OWN.v6, PEER.v6).bytes()),
    ];
    let mut cases = Vec::new();
    for (ethertype, payload) in &payloads {
        let mut send = |name, destination, source| {
            let packet = packet::frame(destination, source, *ethertype, payload);
            cases.push(Case::new(name, FromContainer, packet, Reason::ForeignMac));
        };
        send("from a group's MAC", GATEWAY_MAC, [0x03, 0, 0, 0, 0, 9]);
        send("from no MAC", GATEWAY_MAC, [0; 6]);
        send("from the gateway's MAC", GATEWAY_MAC, GATEWAY_MAC);
        send("from a guest's MAC to nobody's", NOBODYS_MAC, GUEST_MAC);
        send("to nobody's MAC", NOBODYS_MAC, OWN_MAC);
        send("to the destination's MAC", PEER_MAC, OWN_MAC);
    }
    rig::run(&cases)
}

#[test]
fn packets_without_a_hop_left_go_to_the_host() -> Result<()> {
    let mut cases = Vec::new();
    for (hops, expected) in [
        (0, Reason::ToHost),
        (1, Reason::ToHost),
        (2, Reason::Redirected),
        (255, Reason::Redirected),
    ] {
        let mut send = |packet| {
            let name = format!("{hops} hops left");
            cases.push(Case::new(name, FromContainer, packet, expected));
        };
        let ip = Ipv4 { time_to_live: hops, ..Ipv4::new(OWN.v4, PEER.v4) };
        send(v4_frame(FromContainer, &ip));
        let ip = Ipv6 { hop_limit: hops, ..Ipv6::new(OWN.v6, PEER.v6) };
        send(v6_frame(FromContainer, &ip));
    }
    rig::run(&cases)
}

/// The correction of the checksum must be right where it carries, too.
#[test]
fn checksum_is_right_after_a_hop() -> Result<()> {
    let cases: Vec<_> = (0..=u16::MAX)
        .step_by(37)
        .map(|word| {
            let mut ip = Ipv4::new(OWN.v4, PEER.v4);
            ip.options = [&[0x94, 4], &word.to_be_bytes()[..]].concat();
            let packet = v4_frame(FromContainer, &ip);
            Case::new("checksum", FromContainer, packet, Reason::Redirected)
        })
        .collect();
    rig::run(&cases)
}
