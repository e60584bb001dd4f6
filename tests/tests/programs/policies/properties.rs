//! Policies and packets by chance, against the plainest judge.

use anyhow::{Result, ensure};
use repoint_common::{
    counter::Reason,
    policy::{ALLOW, Network, PEER_ANY, PEER_GROUP, PEER_IDENTITY, Rule, WORLD},
};

use super::world::{
    OWN_IDENTITY, OWN_TENANT, PEER_IDENTITY as PEER_NUMBER, PEER_TENANT, SCTP, TCP, UDP, Way,
    families, tcp, udp, with_world, words,
};
use crate::case::Device;

/// How many policies are drawn, and how many packets for each.
const POLICIES: usize = 150;
const PACKETS: usize = 12;

struct Peer {
    identity: u32,
    tenant: u32,
    groups: Vec<u32>,
}

/// The plainest judge.
fn allows(rules: &[Rule], default: u8, peer: &Peer, tenant: u32, protocol: u8, port: u16) -> bool {
    let matching = rules.iter().find(|rule| {
        let named = match rule.peer_kind {
            PEER_ANY => true,
            PEER_IDENTITY => rule.peer == peer.identity,
            PEER_GROUP => peer.groups.contains(&rule.peer),
            _ => tenant != 0 && tenant == peer.tenant,
        };
        named
            && [0, protocol].contains(&rule.protocol)
            && (rule.port_low..=rule.port_high).contains(&port)
    });
    matching.map_or(default, |rule| rule.action) == ALLOW
}

fn some_rule(random: &mut fastrand::Rng, number: u32) -> Rule {
    let ports = [(0, u16::MAX), (0, 0), (53, 53), (50, 60), (1, u16::MAX), (80, 443), (443, 80)];
    let (port_low, port_high) = ports[random.usize(..ports.len())];
    let peer_kind = random.u8(0..4);
    let peer = match peer_kind {
        PEER_IDENTITY => [OWN_IDENTITY, PEER_NUMBER, WORLD, 9][random.usize(..4)],
        PEER_GROUP => random.u32(..6),
        _ => 0,
    };
    Rule {
        peer,
        port_low,
        port_high,
        protocol: [0, TCP, UDP, SCTP][random.usize(..4)],
        peer_kind,
        action: random.u8(0..2),
        padding: 0,
        number,
    }
}

fn some_groups(random: &mut fastrand::Rng) -> Vec<u32> {
    (0..6).filter(|_| random.bool()).collect()
}

#[test]
fn programs_judge_as_the_plainest_judge_does() -> Result<()> {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    with_world(|world| {
        let mut random = fastrand::Rng::with_seed(seed);
        let families = families();
        let (mut passed, mut dropped) = (0, 0);
        for round in 0..POLICIES {
            let count = if random.u8(..10) == 0 { 64 } else { random.usize(..8) };
            let rules: Vec<_> = (0..count)
                .map(|at| some_rule(&mut random, u32::try_from(at).unwrap() + 1))
                .collect();
            let default = random.u8(0..2);
            world.policy(1, default, 0, &rules)?;
            let is_egress = random.bool();
            let tenant = [0, OWN_TENANT, PEER_TENANT][random.usize(..3)];
            world.give(Device::Active, OWN_IDENTITY, tenant, world.old, true)?;
            let (egress, ingress) = if is_egress { (1, 0) } else { (0, 1) };
            world.identity(OWN_IDENTITY, egress, ingress, &some_groups(&mut random))?;
            let slot = Peer {
                identity: PEER_NUMBER,
                tenant: PEER_TENANT,
                groups: some_groups(&mut random),
            };
            world.identity(PEER_NUMBER, 0, 0, &slot.groups)?;
            let outside = Peer {
                identity: [WORLD, 9][random.usize(..2)],
                tenant: 0,
                groups: some_groups(&mut random),
            };
            let network = Network { identity: outside.identity, groups: words(&outside.groups) };
            for prefix in ["10.217.9.0/24", "fd00:217:9::/48"] {
                world.maps.insert_network(prefix.parse()?, &network)?;
            }
            for _ in 0..PACKETS {
                let (way, peer) = match (is_egress, random.bool()) {
                    (true, true) => (Way::OwnToPeer, &slot),
                    (true, false) => (Way::OwnToRemote, &outside),
                    (false, true) => (Way::PeerToOwn, &slot),
                    (false, false) => (Way::RemoteToOwn, &outside),
                };
                let family = families[random.usize(..families.len())];
                let port = [0, 1, 52, 53, 60, 61, 80, 443, u16::MAX][random.usize(..9)];
                let (protocol, payload) = some_packet(&mut random, port);
                let wanted = allows(&rules, default, peer, tenant, protocol, port);
                let verdict = world.send(way, family, protocol, &payload)?;
                let denied = if is_egress { Reason::PolicyEgress } else { Reason::PolicyIngress };
                ensure!(
                    if wanted { !verdict.is_drop() } else { verdict == denied },
                    "round {round}: {way:?} {family:?} protocol {protocol} port {port}: {}, wanted \
                     {wanted} by {rules:?}, default {default}, tenant {tenant}",
                    verdict.label()
                );
                *(if wanted { &mut passed } else { &mut dropped }) += 1;
            }
            world.forget()?;
        }
        println!("{passed} passed, {dropped} dropped");
        ensure!(passed > 200 && dropped > 200, "the draw is one-sided");
        Ok(())
    })
}

fn some_packet(random: &mut fastrand::Rng, port: u16) -> (u8, Vec<u8>) {
    let source = random.u16(1024..);
    match random.u8(..3) {
        0 => tcp(source, port, 2),
        1 => udp(source, port),
        _ => (SCTP, [source.to_be_bytes(), port.to_be_bytes(), [0; 2], [0; 2]].concat()),
    }
}
