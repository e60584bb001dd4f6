//! Fragments, options and extension headers.

use anyhow::{Result, ensure};
use repoint_common::{
    counter::Reason,
    policy::{ALLOW, AUDIT, PASS, Rule, SKIP},
};

use super::world::{ANY, SYN, TCP, UDP, Way, World, tcp, udp, v4_packet, v6_packet, with_world};
use crate::packet::{
    DESTINATION_OPTIONS, ETHERTYPE_IPV4, FRAGMENT, HOP_BY_HOP, Ipv4, Ipv6, ROUTING,
};

pub const MORE: u16 = 0x2000;
/// More fragments follow, and this one is at 720 bytes.
const BETWEEN: u16 = 0x205a;

/// A fragment of IPv4, with its identification.
pub fn v4_bytes(way: Way, id: u16, field: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut ip: Ipv4 = v4_packet(way);
    (ip.protocol, ip.fragment, ip.payload) = (protocol, field, payload.to_vec());
    let mut bytes = ip.bytes();
    bytes[4..6].copy_from_slice(&id.to_be_bytes());
    bytes
}

/// Sends a fragment of IPv4.
fn v4(
    world: &World<'_>,
    way: Way,
    id: u16,
    field: u16,
    protocol: u8,
    payload: &[u8],
) -> Result<Reason> {
    world.send_frame(way, ETHERTYPE_IPV4, &v4_bytes(way, id, field, protocol, payload))
}

/// Sends a fragment of IPv6: its offset in bytes, and whether more follow.
fn v6(
    world: &World<'_>,
    way: Way,
    id: u32,
    (place, more): (u16, bool),
    protocol: u8,
    payload: &[u8],
) -> Result<Reason> {
    let field = place | u16::from(more);
    let header = [&[protocol, 0][..], &field.to_be_bytes(), &id.to_be_bytes()].concat();
    world.send_v6(way, &v6_packet(way).carrying(FRAGMENT, &[&header, payload].concat()))
}

#[track_caller]
fn expect(what: &str, seen: Reason, expected: Option<Reason>) -> Result<()> {
    let wanted = expected.map_or("pass", Reason::label);
    ensure!(seen.is_drop().then_some(seen) == expected, "{what}: {}, not {wanted}", seen.label());
    Ok(())
}

/// Only UDP to port 53 may go out.
fn with_dns_only(test: impl FnOnce(&mut World<'_>) -> Result<()> + Send) -> Result<()> {
    with_world(|world| {
        let dns = Rule { protocol: UDP, port_low: 53, port_high: 53, ..ANY };
        world.restrict_own(&[dns])?;
        test(world)
    })
}

#[test]
fn later_fragments_have_the_ports_of_the_first() -> Result<()> {
    with_dns_only(|world| {
        let (out, back) = (Way::OwnToRemote, Way::RemoteToOwn);
        let first = [&udp(900, 53).1[..8], &[0; 1472]].concat();
        let wrong = [&udp(900, 54).1[..8], &[0; 1472]].concat();
        let blind = Some(Reason::Fragment);
        let egress = Some(Reason::PolicyEgress);
        expect("before the first", v4(world, out, 1, 185, UDP, &[0; 64])?, blind)?;
        expect("the first", v4(world, out, 1, MORE, UDP, &first)?, None)?;
        expect("the last", v4(world, out, 1, 185, UDP, &[0; 64])?, None)?;
        expect("one between", v4(world, out, 1, BETWEEN, UDP, &[0; 64])?, None)?;
        expect("of another packet", v4(world, out, 2, 185, UDP, &[0; 64])?, blind)?;
        expect("of another protocol", v4(world, out, 1, 185, TCP, &[0; 64])?, egress)?;
        expect("a first to another port", v4(world, out, 3, MORE, UDP, &wrong)?, egress)?;
        expect("and its last", v4(world, out, 3, 185, UDP, &[0; 64])?, blind)?;
        // The identification is used again, for a first fragment that is dropped: the former one stays.
        expect("a first again", v4(world, out, 1, MORE, UDP, &wrong)?, egress)?;
        expect("and its last", v4(world, out, 1, 185, UDP, &[0; 64])?, None)?;
        // The answer, in pieces.
        let answer = [&udp(53, 900).1[..8], &[0; 1472]].concat();
        expect("answer", v4(world, back, 9, MORE, UDP, &answer)?, None)?;
        expect("answer's last", v4(world, back, 9, 185, UDP, &[0; 64])?, None)?;
        expect(
            "of no answer",
            v4(world, back, 10, 185, UDP, &[0; 64])?,
            Some(Reason::PolicyIngress),
        )?;

        expect("before the first", v6(world, out, 1, (1480, false), UDP, &[0; 64])?, blind)?;
        expect("the first", v6(world, out, 1, (0, true), UDP, &first)?, None)?;
        expect("the last", v6(world, out, 1, (1480, false), UDP, &[0; 64])?, None)?;
        expect("of another packet", v6(world, out, 2, (1480, false), UDP, &[0; 64])?, blind)?;
        expect("a first to another port", v6(world, out, 3, (0, true), UDP, &wrong)?, egress)?;
        expect("and its last", v6(world, out, 3, (1480, false), UDP, &[0; 64])?, blind)?;
        // Extension headers, which the first fragment alone shows.
        let behind = [&[UDP, 0, 1, 4, 0, 0, 0, 0][..], &first].concat();
        expect(
            "options in the first",
            v6(world, out, 5, (0, true), DESTINATION_OPTIONS, &behind)?,
            None,
        )?;
        let last = v6(world, out, 5, (1488, false), DESTINATION_OPTIONS, &[0; 64])?;
        expect("and its last", last, None)?;
        expect("whole, in a fragment", v6(world, out, 4, (0, false), UDP, &first)?, None)
    })
}

#[test]
fn fragments_hide_no_ports_and_no_flags() -> Result<()> {
    with_world(|world| {
        world.restrict_own(&[Rule { protocol: TCP, port_low: 80, port_high: 80, ..ANY }])?;
        let (out, blind) = (Way::OwnToRemote, Some(Reason::Fragment));
        let syn = tcp(900, 80, SYN).1;
        for size in [0, 1, 3, 8, 13] {
            expect("a tiny first", v4(world, out, 1, MORE, TCP, &syn[..size])?, blind)?;
            expect("a tiny first", v6(world, out, 1, (0, true), TCP, &syn[..size])?, blind)?;
        }
        expect("a first", v4(world, out, 1, MORE, TCP, &syn)?, None)?;
        expect("over its flags", v4(world, out, 1, 1, TCP, &syn[8..])?, blind)?;
        expect("behind them", v4(world, out, 1, 3, TCP, &[0; 64])?, None)?;
        expect("a first", v6(world, out, 1, (0, true), TCP, &syn)?, None)?;
        expect("over its flags", v6(world, out, 1, (8, false), TCP, &syn[8..])?, blind)?;
        expect("behind them", v6(world, out, 1, (24, false), TCP, &[0; 64])?, None)
    })
}

/// Rules that only report drop nothing, also where they would have to know ports.
#[test]
fn rules_that_report_pass_fragments() -> Result<()> {
    with_dns_only(|world| {
        let dns = Rule { protocol: UDP, port_low: 53, port_high: 53, next: 2, ..ANY };
        let blind = Some(Reason::Fragment);
        for (action, expected) in [(SKIP, None), (AUDIT, None), (PASS, blind), (ALLOW, blind)] {
            world.policy(1, ALLOW, 0, &[Rule { action, ..dns }])?;
            let fragment = v4(world, Way::OwnToRemote, 1, 185, UDP, &[0; 64])?;
            expect(&format!("action {action}"), fragment, expected)?;
        }
        Ok(())
    })
}

/// Where no rule asks for ports, fragments need none.
#[test]
fn fragments_pass_where_rules_ask_for_no_ports() -> Result<()> {
    with_world(|world| {
        world.restrict_own(&[Rule { protocol: UDP, ..ANY }])?;
        let out = Way::OwnToRemote;
        expect("without its first", v4(world, out, 1, 185, UDP, &[0; 64])?, None)?;
        expect("without its first", v6(world, out, 1, (1480, false), UDP, &[0; 64])?, None)?;
        expect(
            "of another protocol",
            v4(world, out, 1, 185, 47, &[0; 64])?,
            Some(Reason::PolicyEgress),
        )
    })
}

#[test]
fn options_of_ipv4_are_carried_but_for_source_routes() -> Result<()> {
    with_dns_only(|world| {
        let route = Some(Reason::SourceRoute);
        for (what, options, expected) in [
            ("none", vec![], None),
            ("router alert", vec![148, 4, 0, 0], None),
            ("padding", vec![1; 40], None),
            ("loose source route", vec![131, 7, 4, 10, 0, 0, 1, 0], route),
            ("strict source route", vec![137, 7, 4, 10, 0, 0, 1, 0], route),
            ("behind padding", vec![1, 1, 1, 1, 1, 131, 3, 4], route),
            ("behind router alert", vec![148, 4, 0, 0, 131, 3, 4, 0], route),
            ("behind the end", vec![0, 131, 3, 4], None),
            ("its number in another option", vec![7, 8, 131, 137, 0, 0, 0, 0], None),
            ("at the very end", [vec![1; 39], vec![131]].concat(), route),
            ("a length of 0", vec![7, 0, 0, 0], Some(Reason::Malformed)),
            ("a length beyond the header", vec![7, 255, 131, 4], None),
        ] {
            let mut ip = v4_packet(Way::OwnToRemote);
            (ip.protocol, ip.payload) = udp(900, 53);
            ip.options = options;
            expect(what, world.send_v4(Way::OwnToRemote, &ip)?, expected)?;
        }
        Ok(())
    })
}

#[test]
fn extension_headers_of_ipv6_hide_no_ports() -> Result<()> {
    with_dns_only(|world| {
        let packet = |port| {
            let (protocol, payload) = udp(900, port);
            v6_packet(Way::OwnToRemote).carrying(protocol, &payload)
        };
        let send = |ip: &Ipv6| world.send_v6(Way::OwnToRemote, ip);
        for count in 0..=9 {
            let (mut right, mut wrong) = (packet(53), packet(54));
            for _ in 0..count {
                right = right.behind(DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]);
                wrong = wrong.behind(DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]);
            }
            let too_many = (count > 8).then_some(Reason::Malformed);
            let denied = too_many.or(Some(Reason::PolicyEgress));
            expect(&format!("{count} headers"), send(&right)?, too_many)?;
            expect(&format!("{count} headers, port 54"), send(&wrong)?, denied)?;
        }
        let long = packet(53).behind(DESTINATION_OPTIONS, &[[1, 12].as_slice(), &[0; 12]].concat());
        expect("a long header", send(&long)?, None)?;
        expect("hop by hop", send(&packet(53).behind(HOP_BY_HOP, &[1, 4, 0, 0, 0, 0]))?, None)?;
        let routing = packet(53).behind(ROUTING, &[0; 6]);
        expect("a routing header", send(&routing)?, Some(Reason::SourceRoute))?;
        let behind = routing.behind(DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]);
        expect("behind another", send(&behind)?, Some(Reason::SourceRoute))?;
        // Authentication: its length is in other units.
        let ah = [&[UDP, 4, 0, 0][..], &[0; 20], &udp(900, 53).1].concat();
        expect("authentication", send(&packet(53).carrying(51, &ah))?, None)?;
        let cut = packet(53).carrying(DESTINATION_OPTIONS, &[UDP]);
        expect("cut off", send(&cut)?, Some(Reason::Truncated))
    })
}
