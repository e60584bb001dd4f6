//! Headers that are cut off, contradict themselves, or have more to them than the fixed part.

use anyhow::Result;
use repoint_common::counter::Reason;

use super::{
    case::{Case, OWN, PEER, Program, good_v4, good_v6, of_both, v4_frame, v6_frame},
    packet::{
        DESTINATION_OPTIONS, ETHERNET, FRAGMENT, HOP_BY_HOP, ICMPV6, IPV4, IPV6, Ipv4, ROUTING,
        UDP, checksum, icmpv6,
    },
    rig,
};

/// More fragments follow: `IP_MF` of `net/ip.h`.
const MORE_FRAGMENTS: u16 = 0x2000;

/// The packet cut off at every length from that of its fixed header on: test runs refuse less.
fn cuts(name: &str, program: Program, packet: &[u8], fixed: usize, headers: usize) -> Vec<Case> {
    (fixed..packet.len())
        .map(|length| {
            let whole = length >= headers;
            let expected = if whole { Reason::Malformed } else { Reason::Truncated };
            Case::new(name, program, packet[..length].to_vec(), expected)
        })
        .collect()
}

#[test]
fn cut_off_packets_are_dropped() -> Result<()> {
    rig::run(&of_both(|program| {
        let (v4, v6) = (good_v4(program).0, good_v6(program).0);
        let with_options = Ipv4 { options: vec![1; 40], ..v4.clone() };
        let fixed_v4 = ETHERNET + IPV4;
        let fixed_v6 = ETHERNET + IPV6;
        let v4 = v4_frame(program, &v4);
        let v6 = v6_frame(program, &v6);
        let with_options = v4_frame(program, &with_options);
        [
            cuts("IPv4 cut off", program, &v4, fixed_v4, fixed_v4),
            cuts("IPv4 with options cut off", program, &with_options, fixed_v4, fixed_v4 + 40),
            cuts("IPv6 cut off", program, &v6, fixed_v6, fixed_v6),
        ]
        .concat()
    }))
}

/// The length in the header is that of what is there: nothing but the next header is cut off.
#[test]
fn cut_off_headers_behind_ipv6_are_dropped() -> Result<()> {
    rig::run(&of_both(|program| {
        let ip = good_v6(program).0;
        [
            ("no hop-by-hop options", ip.clone().carrying(HOP_BY_HOP, &[])),
            ("one byte of hop-by-hop options", ip.clone().carrying(HOP_BY_HOP, &[UDP])),
            (
                "seven bytes of hop-by-hop options",
                ip.clone().carrying(HOP_BY_HOP, &[UDP, 0, 1, 4, 0, 0, 0]),
            ),
            (
                "a third of hop-by-hop options",
                ip.clone().carrying(HOP_BY_HOP, &[UDP, 2, 1, 4, 0, 0, 0, 0]),
            ),
            ("no ICMPv6", ip.clone().carrying(ICMPV6, &[])),
            (
                "no ICMPv6 behind hop-by-hop options",
                ip.carrying(HOP_BY_HOP, &[ICMPV6, 0, 1, 4, 0, 0, 0, 0]),
            ),
        ]
        .map(|(name, ip)| Case::new(name, program, v6_frame(program, &ip), Reason::Truncated))
        .to_vec()
    }))
}

/// A good packet with one byte of its IP header changed.
fn changed(name: &str, program: Program, good: &[u8], offset: usize, byte: u8) -> Case {
    let mut packet = good.to_vec();
    packet[ETHERNET + offset] = byte;
    Case::new(name, program, packet, Reason::Malformed)
}

#[test]
fn contradictions_are_dropped() -> Result<()> {
    rig::run(&of_both(|program| {
        let v4 = v4_frame(program, &good_v4(program).0);
        let v6 = v6_frame(program, &good_v6(program).0);
        vec![
            changed("IPv4 of version 0", program, &v4, 0, 0x05),
            changed("IPv4 of version 6", program, &v4, 0, 0x65),
            changed("IPv4 with no header", program, &v4, 0, 0x40),
            changed("IPv4 with a header of 16 bytes", program, &v4, 0, 0x44),
            changed("IPv4 with a total of 0 bytes", program, &v4, 3, 0),
            changed("IPv4 with a total of 19 bytes", program, &v4, 3, 19),
            changed("IPv4 with a byte too few", program, &v4, 3, 37),
            changed("IPv4 with far too few bytes", program, &v4, 2, 0xff),
            changed("IPv6 of version 4", program, &v6, 0, 0x40),
            changed("IPv6 of version 7", program, &v6, 0, 0x70),
            changed("IPv6 with a byte too few", program, &v6, 5, 17),
            changed("IPv6 with far too few bytes", program, &v6, 4, 0xff),
        ]
    }))
}

#[test]
fn padding_of_short_frames_is_carried() -> Result<()> {
    rig::run(&of_both(|program| {
        let ((v4, expected), (v6, _)) = (good_v4(program), good_v6(program));
        let padded = |packet: Vec<u8>| [packet, vec![0; 24]].concat();
        vec![
            Case::new("IPv4 padded", program, padded(v4_frame(program, &v4)), expected),
            Case::new("IPv6 padded", program, padded(v6_frame(program, &v6)), expected),
        ]
    }))
}

/// BIG TCP: the length does not fit into its field, which is 0 then.
#[test]
fn super_packets_without_a_length_are_carried() -> Result<()> {
    rig::run(&of_both(|program| {
        let ((v4, expected), (v6, _)) = (good_v4(program), good_v6(program));
        let mut v4 = v4_frame(program, &v4);
        v4[ETHERNET + 2..ETHERNET + 4].fill(0);
        v4[ETHERNET + 10..ETHERNET + 12].fill(0);
        let checksum = checksum(&v4[ETHERNET..ETHERNET + IPV4]);
        v4[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&checksum.to_be_bytes());
        // Kernels before 6.19 put a jumbo option (RFC 2675) before the payload.
        let jumbo = v6.clone().behind(HOP_BY_HOP, &[0xc2, 4, 0, 1, 0, 0]);
        let without_length = |packet: Vec<u8>| {
            let mut packet = packet;
            packet[ETHERNET + 4..ETHERNET + 6].fill(0);
            packet
        };
        let v6 = without_length(v6_frame(program, &v6));
        let jumbo = without_length(v6_frame(program, &jumbo));
        vec![
            Case::new("IPv4 of no length", program, v4, expected).segmented(),
            Case::new("IPv6 of no length", program, v6, expected).segmented(),
            Case::new("IPv6 jumbogram", program, jumbo, expected).segmented(),
        ]
    }))
}

#[test]
fn ipv4_options_are_carried() -> Result<()> {
    rig::run(&of_both(|program| {
        let (ip, expected) = good_v4(program);
        [
            ("router alert", vec![0x94, 4, 0, 0]),
            ("record route, nine hops", [&[7, 39, 4][..], &[0; 37]].concat()),
            ("loose source route", vec![0x83, 7, 4, 198, 51, 100, 1, 0]),
        ]
        .map(|(name, options)| {
            let packet = v4_frame(program, &Ipv4 { options, ..ip.clone() });
            Case::new(format!("IPv4 with {name}"), program, packet, expected)
        })
        .to_vec()
    }))
}

#[test]
fn ipv6_extension_headers_are_carried() -> Result<()> {
    rig::run(&of_both(|program| {
        let (ip, expected) = good_v6(program);
        let padding = [1, 4, 0, 0, 0, 0];
        let message = ip.clone().carrying(ICMPV6, &icmpv6(128));
        [
            ("hop-by-hop options", ip.clone().behind(HOP_BY_HOP, &padding)),
            ("long hop-by-hop options", ip.clone().behind(HOP_BY_HOP, &[0; 254])),
            ("an echo request behind hop-by-hop options", message.behind(HOP_BY_HOP, &padding)),
            ("destination options", ip.clone().behind(DESTINATION_OPTIONS, &padding)),
            ("a routing header", ip.clone().behind(ROUTING, &padding)),
            (
                "three extension headers",
                ip.clone()
                    .behind(DESTINATION_OPTIONS, &padding)
                    .behind(ROUTING, &padding)
                    .behind(HOP_BY_HOP, &padding),
            ),
            ("no payload", ip.carrying(59, &[])),
        ]
        .map(|(name, ip)| {
            let packet = v6_frame(program, &ip);
            Case::new(format!("IPv6 with {name}"), program, packet, expected)
        })
        .to_vec()
    }))
}

/// Fragments, first or later, are judged by their addresses, like whole packets: what a later one
/// begins with is no header, even if it looks like one.
#[test]
fn fragments_are_carried() -> Result<()> {
    rig::run(&of_both(|program| {
        let ((v4, expected), (v6, _)) = (good_v4(program), good_v6(program));
        let v4 = |name, fragment| {
            let packet = v4_frame(program, &Ipv4 { fragment, ..v4.clone() });
            Case::new(name, program, packet, expected)
        };
        let v6 = |name, offset_and_more: [u8; 2]| {
            let solicitation = v6.clone().carrying(ICMPV6, &icmpv6(135));
            let [high, low] = offset_and_more;
            let packet =
                v6_frame(program, &solicitation.behind(FRAGMENT, &[high, low, 0, 0, 0, 1]));
            Case::new(name, program, packet, expected)
        };
        vec![
            v4("IPv4, first fragment", MORE_FRAGMENTS),
            v4("IPv4, middle fragment", MORE_FRAGMENTS + 185),
            v4("IPv4, last fragment", 370),
            v6("IPv6, first fragment", [0, 1]),
            v6("IPv6, middle fragment", [5, 1]),
            v6("IPv6, last fragment", [10, 0]),
        ]
    }))
}

/// A fragment's addresses count as much as a whole packet's.
#[test]
fn forged_fragments_are_dropped() -> Result<()> {
    let forged = Ipv4 { fragment: 370, ..Ipv4::new(PEER.v4, OWN.v4) };
    let packet = v4_frame(Program::FromContainer, &forged);
    let expected = Reason::ForeignAddress;
    rig::run(&[Case::new("IPv4, last fragment", Program::FromContainer, packet, expected)])
}
