//! A slot that opens as many flows as it can.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use repoint_common::{
    conntrack::{BURST, SLOT_PER_SECOND},
    counter::Reason,
    policy::{DENY, Rule},
};

use super::{
    fragments::{MORE, v4_bytes},
    world::{
        ACK, ANY, FIN, Family, OWN_IDENTITY, OWN_TENANT, SYN, UDP, Way, World, families, tcp, udp,
        v4_packet, with_world,
    },
};
use crate::case::Device;

/// Sends datagrams of this many flows; how many passed. The others are beyond the share.
fn flood(world: &World<'_>, way: Way, destination: u16, flows: u16) -> Result<u64> {
    let before = world.dropped(Reason::FlowRate)?;
    let mut ip = v4_packet(way);
    let mut passed = 0;
    for source in 1..=flows {
        (_, ip.payload) = udp(source, destination);
        passed += u64::from(world.passes(way, &ip.bytes())?);
    }
    let limited = world.dropped(Reason::FlowRate)? - before;
    ensure!(passed + limited == u64::from(flows), "{passed} passed, {limited} beyond the share");
    Ok(passed)
}

/// How many flows a slot may have opened since a time, at least and at most.
fn ensure_share(passed: u64, begun: Instant) -> Result<()> {
    let more = (begun.elapsed() + Duration::from_millis(50)).as_millis();
    let most = BURST + SLOT_PER_SECOND * u64::try_from(more)? / 1000 + 1;
    println!("{passed} flows, between {BURST} and {most}");
    ensure!((BURST..=most).contains(&passed), "{passed} flows");
    Ok(())
}

#[test]
fn a_slot_opens_its_share_of_flows_and_keeps_those_it_has() -> Result<()> {
    with_world(|world| {
        world.allow_all()?;
        let begun = Instant::now();
        let passed = flood(world, Way::OwnToRemote, 53, 8000)?;
        ensure_share(passed, begun)?;
        // Packets of flows are none that open one.
        let (protocol, payload) = udp(1, 53);
        let seen = world.send(Way::OwnToRemote, Family::V4, protocol, &payload)?;
        ensure!(!seen.is_drop(), "{}", seen.label());
        // The other slot has its own share, of another tenant's.
        for family in families() {
            world.expect("the other slot", (Way::RemoteToPeer, family), tcp(7, 80, SYN), None)?;
        }
        // What others open to the slot is counted apart, and has a bound as well.
        let begun = Instant::now();
        let received = flood(world, Way::RemoteToOwn, 9999, 60_000)?;
        ensure_share(received, begun)?;
        // The node's probes are free.
        for port in 0..10 {
            world.expect("a probe", (Way::HostToOwn, Family::V4), tcp(port, 80, SYN), None)?;
        }
        Ok(())
    })
}

/// Flows from outside do not keep a slot from opening its own.
#[test]
fn flows_from_outside_leave_a_slot_its_share() -> Result<()> {
    with_world(|world| {
        world.allow_all()?;
        let begun = Instant::now();
        let received = flood(world, Way::RemoteToOwn, 53, 8000)?;
        ensure_share(received, begun)?;
        world.expect("its own", (Way::OwnToRemote, Family::V4), tcp(7, 80, SYN), None)?;
        world.expect("its own", (Way::OwnToPeer, Family::V6), tcp(7, 80, SYN), None)
    })
}

/// TCP without SYN that the receiver denies costs the receiver nothing.
#[test]
fn packets_that_the_receiver_denies_cost_it_nothing() -> Result<()> {
    with_world(|world| {
        world.policy(2, DENY, 0, &[])?;
        world.identity(OWN_IDENTITY, 0, 0, &[])?;
        world.identity(super::world::PEER_IDENTITY, 0, 2, &[])?;
        for port in 1..6000 {
            world.expect("ACK", (Way::OwnToPeer, Family::V4), tcp(443, port, ACK), None)?;
        }
        ensure!(world.maps.connections()?.is_empty(), "{:?}", world.maps.connections()?.len());
        world.expect("its own", (Way::PeerToOwn, Family::V4), tcp(7, 80, SYN), None)
    })
}

/// Slots of one tenant have a share together; what is denied costs nothing.
#[test]
fn a_tenants_slots_share_and_denied_packets_are_free() -> Result<()> {
    with_world(|world| {
        world.allow_all()?;
        world.give(Device::Peer, super::world::PEER_IDENTITY, OWN_TENANT, world.old, true)?;
        world.policy(1, DENY, 0, &[])?;
        world.identity(OWN_IDENTITY, 1, 0, &[])?;
        for source in 1..=6000 {
            let (protocol, payload) = udp(source, 53);
            let seen = world.send(Way::OwnToRemote, Family::V4, protocol, &payload)?;
            ensure!(seen == Reason::PolicyEgress, "{}", seen.label());
        }
        ensure!(world.maps.connections()?.is_empty(), "denied packets have flows");
        world.allow_all()?;
        let begun = Instant::now();
        let own = flood(world, Way::OwnToRemote, 53, 3000)?;
        ensure!(own >= 3000.min(BURST), "{own}");
        let peer = flood(world, Way::PeerToRemote, 54, 6000)?;
        ensure_share(own + peer, begun)
    })
}

/// A connection that both ends have closed costs nothing: its element is gone.
#[test]
fn connections_that_end_are_given_back() -> Result<()> {
    with_world(|world| {
        world.allow_all()?;
        let (out, back) = (Way::OwnToPeer, Way::PeerToOwn);
        for number in 0..2 * u16::try_from(BURST)? {
            let port = 1024 + number;
            for (way, flags) in [
                (out, SYN),
                (back, SYN | ACK),
                (out, ACK),
                (out, FIN | ACK),
                (back, FIN | ACK),
                (out, ACK),
            ] {
                let segment = if way == out { tcp(port, 80, flags) } else { tcp(80, port, flags) };
                world.expect("connection", (way, Family::V4), segment, None)?;
            }
        }
        let flows = world.maps.connections()?;
        ensure!(flows.is_empty(), "{} flows are left", flows.len());
        // What leaves the node may be lost: the flow stays for a FIN that is repeated.
        let (out, back) = (Way::OwnToRemote, Way::RemoteToOwn);
        for (way, flags) in [
            (out, SYN),
            (back, SYN | ACK),
            (out, FIN | ACK),
            (back, FIN | ACK),
            (out, ACK),
            (back, FIN | ACK),
        ] {
            let segment = if way == out { tcp(7, 80, flags) } else { tcp(80, 7, flags) };
            world.expect("to the outside", (way, Family::V6), segment, None)?;
        }
        ensure!(world.maps.connections()?.len() == 1, "{:?}", world.maps.connections()?);
        Ok(())
    })
}

/// What a slot keeps of fragmented packets has a bound, so that it does not push out a neighbour's.
#[test]
fn a_slot_keeps_its_share_of_fragmented_packets() -> Result<()> {
    with_world(|world| {
        let dns = Rule { protocol: UDP, port_low: 53, port_high: 53, ..ANY };
        world.restrict_own(&[dns])?;
        let first = [&udp(900, 53).1[..8], &[0; 64]].concat();
        let mut lost = 0;
        let way = Way::OwnToRemote;
        for id in 1..=6000 {
            ensure!(world.passes(way, &v4_bytes(way, id, MORE, UDP, &first))?, "a first");
            lost += u32::from(!world.passes(way, &v4_bytes(way, id, 185, UDP, &[0; 64]))?);
        }
        println!("{lost} of 6000 packets without their first fragment");
        ensure!(lost > 1000, "{lost}");
        Ok(())
    })
}
