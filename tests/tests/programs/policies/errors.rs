//! ICMP errors: those about a flow pass, and those that path MTU discovery needs.

use anyhow::Result;
use repoint_common::{counter::Reason, policy::DENY};

use super::world::{ANY, Family, SYN, Way, World, families, icmp, ping, tcp, udp, with_world};
use crate::case::{Addresses, OWN, PEER, REMOTE};

const INGRESS: Option<Reason> = Some(Reason::PolicyIngress);

/// A packet as an error holds it: the IP header and 8 bytes.
fn about(
    family: Family,
    from: Addresses,
    to: Addresses,
    (protocol, payload): &(u8, Vec<u8>),
) -> Vec<u8> {
    let payload = payload[..payload.len().min(8)].to_vec();
    match family {
        Family::V4 => {
            let mut ip = crate::packet::Ipv4::new(from.v4, to.v4);
            (ip.protocol, ip.payload) = (*protocol, payload);
            ip.bytes()
        }
        Family::V6 => {
            crate::packet::Ipv6::new(from.v6, to.v6).carrying(*protocol, &payload).bytes()
        }
    }
}

/// Port unreachable, about a packet.
fn unreachable(family: Family, packet: &[u8]) -> (u8, Vec<u8>) {
    let (kind, code) = if family == Family::V4 { (3, 3) } else { (1, 4) };
    icmp(family, kind, code, &[&[0; 4], packet].concat())
}

/// A packet was too large.
fn too_large(family: Family, packet: &[u8]) -> (u8, Vec<u8>) {
    let (kind, code) = if family == Family::V4 { (3, 4) } else { (2, 0) };
    icmp(family, kind, code, &[&[0, 0, 5, 0], packet].concat())
}

fn with_restricted(test: impl Fn(&mut World<'_>, Family) -> Result<()> + Send) -> Result<()> {
    with_world(move |world| {
        world.restrict_own(&[ANY])?;
        for family in families() {
            test(world, family)?;
        }
        Ok(())
    })
}

#[test]
fn errors_about_a_flow_pass() -> Result<()> {
    with_restricted(|world, family| {
        for (sent, back, to) in
            [(Way::OwnToRemote, Way::RemoteToOwn, REMOTE), (Way::OwnToPeer, Way::PeerToOwn, PEER)]
        {
            for segment in [tcp(900, 80, SYN), udp(900, 53), ping(family, 7)] {
                let error = unreachable(family, &about(family, OWN, to, &segment));
                world.expect("before the flow", (back, family), error.clone(), INGRESS)?;
                world.expect("the flow", (sent, family), segment, None)?;
                world.expect("the error", (back, family), error, None)?;
            }
        }
        // A router between says so as well.
        let error = unreachable(family, &about(family, OWN, PEER, &udp(900, 53)));
        world.expect("of a router", (Way::RemoteToOwn, family), error, None)
    })
}

#[test]
fn errors_about_something_else_are_judged_as_messages() -> Result<()> {
    with_restricted(|world, family| {
        world.expect("the flow", (Way::OwnToRemote, family), udp(900, 53), None)?;
        let flow = udp(900, 53);
        let whole = unreachable(family, &about(family, OWN, REMOTE, &flow)).1;
        let header = if family == Family::V4 { 20 } else { 40 };
        let protocol = ping(family, 1).0;
        for (what, error) in [
            ("another source", unreachable(family, &about(family, PEER, REMOTE, &flow)).1),
            ("the other way round", unreachable(family, &about(family, REMOTE, OWN, &flow)).1),
            ("other ports", unreachable(family, &about(family, OWN, REMOTE, &udp(901, 53))).1),
            (
                "another protocol",
                unreachable(family, &about(family, OWN, REMOTE, &tcp(900, 53, 2))).1,
            ),
            ("cut off in the ports", whole[..8 + header + 3].to_vec()),
            ("cut off in the header", whole[..8 + header - 1].to_vec()),
            ("nothing in it", whole[..8].to_vec()),
        ] {
            world.expect(what, (Way::RemoteToOwn, family), (protocol, error), INGRESS)?;
        }
        // An error about an error.
        let inner = unreachable(family, &about(family, OWN, REMOTE, &flow));
        let error = unreachable(family, &about(family, OWN, REMOTE, &inner));
        world.expect("about an error", (Way::RemoteToOwn, family), error, INGRESS)
    })
}

/// A policy that denies a flow denies the errors about it as well.
#[test]
fn errors_about_a_flow_that_is_denied_by_now_do_not_pass() -> Result<()> {
    with_restricted(|world, family| {
        let flow = udp(900, 53);
        let error = unreachable(family, &about(family, OWN, REMOTE, &flow));
        world.expect("the flow", (Way::OwnToRemote, family), flow.clone(), None)?;
        world.expect("an error", (Way::RemoteToOwn, family), error.clone(), None)?;
        world.policy(1, DENY, 0, &[])?;
        world.maps.raise_generation()?;
        world.expect("the same, later", (Way::RemoteToOwn, family), error, INGRESS)?;
        world.policy(1, DENY, 0, &[ANY])?;
        world.maps.raise_generation().map_err(Into::into)
    })
}

/// A slot of the node says nothing about flows that it is no part of, and sends nothing past policies by errors.
#[test]
fn errors_of_another_slot_are_about_its_own_flows_only() -> Result<()> {
    with_restricted(|world, family| {
        let flow = udp(900, 53);
        world.expect("the flow", (Way::OwnToRemote, family), flow.clone(), None)?;
        let packet = about(family, OWN, REMOTE, &flow);
        for error in [unreachable(family, &packet), too_large(family, &packet)] {
            world.expect("another slot's", (Way::PeerToOwn, family), error.clone(), INGRESS)?;
            world.expect("by the stack", (Way::PeerToOwnByStack, family), error, INGRESS)?;
        }
        let tunnel = too_large(family, &about(family, OWN, PEER, &udp(7, 7)));
        world.expect("without a flow", (Way::PeerToOwn, family), tunnel, INGRESS)?;
        // ICMP of the other version is no ICMP.
        let other = if family == Family::V4 { (58, 2) } else { (1, 3) };
        let payload = [&[other.1, 4, 0, 0, 0, 0, 5, 0][..], &packet].concat();
        world.expect("another version's", (Way::RemoteToOwn, family), (other.0, payload), INGRESS)
    })
}

/// Path MTU discovery works also for flows whose element had to make room.
#[test]
fn too_large_passes_about_the_receivers_own_packets_only() -> Result<()> {
    with_restricted(|world, family| {
        let flow = udp(900, 53);
        let own = too_large(family, &about(family, OWN, REMOTE, &flow));
        world.expect("its own packet", (Way::RemoteToOwn, family), own, None)?;
        let foreign = too_large(family, &about(family, PEER, REMOTE, &flow));
        world.expect("another's packet", (Way::RemoteToOwn, family), foreign, INGRESS)?;
        let (protocol, payload) = too_large(family, &[]);
        world.expect("none", (Way::RemoteToOwn, family), (protocol, payload), INGRESS)
    })
}
