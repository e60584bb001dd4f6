//! Policies and packets by chance, against the plainest judge.

use anyhow::{Context as _, Result, ensure};
use ipnet::IpNet;
use repoint::datapath::{EventReader, EventsFrom};
use repoint_common::{
    counter::Reason,
    event,
    policy::{
        ALLOW, AUDIT, DENY, FLAG_NETWORKS, NETWORK_GROUPS, Network, PASS, PEER_ANY, PEER_GROUP,
        PEER_IDENTITY, Rule, SKIP, TENANT_GROUPS, WORLD,
    },
};

use super::world::{
    OWN_IDENTITY, OWN_TENANT, PEER_IDENTITY as PEER_NUMBER, PEER_TENANT, SCTP, TCP, UDP, Way,
    World, families, sctp, tcp, udp, with_world, words,
};
use crate::case::{Device, PEER};

/// How many policies are drawn, and how many packets for each.
const POLICIES: usize = 150;
const PACKETS: usize = 12;

/// Groups of each kind.
const GROUPS: [u32; 8] = [0, 31, 32, 63, NETWORK_GROUPS, 191, TENANT_GROUPS, 255];

struct Peer {
    identity: u32,
    tenant: u32,
    groups: Vec<u32>,
}

/// The plainest judge: whether the flow is allowed, and which rule reports it.
fn judge(
    (rules, default): (&[Rule], u8),
    peer: &Peer,
    tenant: u32,
    (protocol, port): (u8, u16),
) -> (bool, Option<u32>) {
    let is_same = tenant != 0 && tenant == peer.tenant;
    let matches = |rule: &Rule| {
        let named = match rule.peer_kind {
            PEER_ANY => true,
            PEER_IDENTITY => rule.peer == peer.identity,
            PEER_GROUP => {
                peer.groups.contains(&rule.peer) && (rule.peer < TENANT_GROUPS || is_same)
            }
            _ => is_same,
        };
        named
            && [0, protocol].contains(&rule.protocol)
            && (rule.port_low..=rule.port_high).contains(&port)
    };
    let mut reported = None;
    let mut place = 0;
    while let Some(rule) = rules.get(place) {
        place += 1;
        if !matches(rule) {
            continue;
        }
        match rule.action {
            ALLOW | DENY => return (rule.action == ALLOW, reported),
            AUDIT => reported = reported.or(Some(rule.number)),
            _ => place = usize::from(rule.next),
        }
    }
    (default == ALLOW, reported)
}

fn some_rule(random: &mut fastrand::Rng, number: u32) -> Rule {
    let ports = [(0, u16::MAX), (0, 0), (53, 53), (50, 60), (1, u16::MAX), (80, 443), (443, 80)];
    let (port_low, port_high) = ports[random.usize(..ports.len())];
    let peer_kind = random.u8(0..4);
    let peer = match peer_kind {
        PEER_IDENTITY => [OWN_IDENTITY, PEER_NUMBER, WORLD, 9][random.usize(..4)],
        PEER_GROUP => GROUPS[random.usize(..GROUPS.len())],
        _ => 0,
    };
    let action = [DENY, ALLOW, DENY, ALLOW, PASS, SKIP, AUDIT][random.usize(..7)];
    // Rules send on to later ones only.
    let next = match action {
        PASS | SKIP => u8::try_from(number).unwrap() + random.u8(..4),
        _ => 0,
    };
    Rule {
        peer,
        port_low,
        port_high,
        protocol: [0, TCP, UDP, SCTP][random.usize(..4)],
        peer_kind,
        action,
        next,
        number,
    }
}

fn some_groups(random: &mut fastrand::Rng) -> Vec<u32> {
    GROUPS.into_iter().filter(|_| random.bool()).collect()
}

/// A policy by chance, and those that it is about.
struct Round {
    rules: Vec<Rule>,
    default: u8,
    is_egress: bool,
    tenant: u32,
    slot: Peer,
    outside: Peer,
}

impl Round {
    /// Draws one, and writes it into the maps.
    fn draw(world: &World<'_>, random: &mut fastrand::Rng) -> Result<Self> {
        let count = if random.u8(..10) == 0 { 64 } else { random.usize(..8) };
        let rules: Vec<_> =
            (0..count).map(|at| some_rule(random, u32::try_from(at).unwrap() + 1)).collect();
        let default = random.u8(0..2);
        let flags = [0, FLAG_NETWORKS][random.usize(..2)];
        world.policy(1, default, flags, &rules)?;
        let is_egress = random.bool();
        let tenant = [0, OWN_TENANT, PEER_TENANT][random.usize(..3)];
        world.give(Device::Active, OWN_IDENTITY, tenant, world.old, true)?;
        let (egress, ingress) = if is_egress { (1, 0) } else { (0, 1) };
        world.identity(OWN_IDENTITY, egress, ingress, &some_groups(random))?;
        let slot = draw_slot(world, random, is_egress && flags == FLAG_NETWORKS)?;
        let outside = draw_outside(world, random)?;
        Ok(Self { rules, default, is_egress, tenant, slot, outside })
    }

    /// A packet's way, and who is at the other end.
    fn way(&self, is_slot: bool) -> (Way, &Peer) {
        match (self.is_egress, is_slot) {
            (true, true) => (Way::OwnToPeer, &self.slot),
            (true, false) => (Way::OwnToRemote, &self.outside),
            (false, true) => (Way::PeerToOwn, &self.slot),
            (false, false) => (Way::RemoteToOwn, &self.outside),
        }
    }
}

/// The slot at the other end; `by_prefix`: rules ask for the prefix of its address as well.
fn draw_slot(world: &World<'_>, random: &mut fastrand::Rng, by_prefix: bool) -> Result<Peer> {
    let mut groups = some_groups(random);
    world.identity(PEER_NUMBER, 0, 0, &groups)?;
    let of_prefix = some_groups(random);
    let network = Network { identity: 9, groups: words(&of_prefix) };
    for prefix in [IpNet::new(PEER.v4.into(), 32)?, IpNet::new(PEER.v6.into(), 128)?] {
        world.maps.insert_network(prefix, &network)?;
    }
    if by_prefix {
        groups.extend(of_prefix.into_iter().filter(|group| *group < NETWORK_GROUPS));
    }
    Ok(Peer { identity: PEER_NUMBER, tenant: PEER_TENANT, groups })
}

/// The other end outside.
fn draw_outside(world: &World<'_>, random: &mut fastrand::Rng) -> Result<Peer> {
    let identity = [WORLD, 9][random.usize(..2)];
    let outside = Peer { identity, tenant: 0, groups: some_groups(random) };
    let network = Network { identity, groups: words(&outside.groups) };
    for prefix in ["10.217.9.0/24", "fd00:217:9::/48"] {
        world.maps.insert_network(prefix.parse()?, &network)?;
    }
    Ok(outside)
}

/// What became of the packets.
#[derive(Debug, Default)]
struct Counts {
    passed: u32,
    dropped: u32,
    /// Those that passed and are to have an event, and those that have one.
    due: u32,
    reported: u32,
}

impl Counts {
    /// Sends a packet by chance, and compares.
    fn send(
        &mut self,
        world: &World<'_>,
        round: &Round,
        random: &mut fastrand::Rng,
        events: &mut EventReader,
    ) -> Result<()> {
        let (way, peer) = round.way(random.bool());
        let families = families();
        let family = families[random.usize(..families.len())];
        let port = [0, 1, 52, 53, 60, 61, 80, 443, u16::MAX][random.usize(..9)];
        let (protocol, payload) = some_packet(random, port);
        let Round { rules, default, is_egress, tenant, .. } = round;
        let (wanted, reported) = judge((rules, *default), peer, *tenant, (protocol, port));
        let verdict = world.send(way, family, protocol, &payload)?;
        let denied = if *is_egress { Reason::PolicyEgress } else { Reason::PolicyIngress };
        let packet = format!(
            "{way:?} {family:?} protocol {protocol} port {port} by {rules:?}, default {default}, tenant {tenant}"
        );
        ensure!(
            if wanted { !verdict.is_drop() } else { verdict == denied },
            "{packet}: {}, wanted {wanted}",
            verdict.label()
        );
        while let Some(event) = events.next_event()? {
            let audited = (event.kind == event::AUDIT).then_some(event.rule);
            ensure!(
                !wanted || audited == reported,
                "{packet}: reported by {audited:?}, wanted {reported:?} of {:?}",
                peer.groups
            );
            self.reported += u32::from(audited.is_some());
        }
        *(if wanted { &mut self.passed } else { &mut self.dropped }) += 1;
        self.due += u32::from(wanted && reported.is_some());
        Ok(())
    }
}

#[test]
fn programs_judge_as_the_plainest_judge_does() -> Result<()> {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    with_world(|world| {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut events = EventReader::open_existing(world.rig.bpf_dir(), EventsFrom::Now)?
            .context("no data plane")?;
        let mut counts = Counts::default();
        for number in 0..POLICIES {
            let round = Round::draw(world, &mut random)?;
            for _ in 0..PACKETS {
                let sent = counts.send(world, &round, &mut random, &mut events);
                sent.with_context(|| format!("round {number}"))?;
            }
            world.forget()?;
        }
        println!("{counts:?}");
        let Counts { passed, dropped, due, reported } = counts;
        ensure!(passed > 200 && dropped > 200, "the draw is one-sided");
        // Events are limited to a number a second.
        ensure!(reported > 20 && reported <= due, "{reported} of {due} reported");
        Ok(())
    })
}

fn some_packet(random: &mut fastrand::Rng, port: u16) -> (u8, Vec<u8>) {
    let source = random.u16(1024..);
    match random.u8(..3) {
        0 => tcp(source, port, 2),
        1 => udp(source, port),
        _ => sctp(source, port),
    }
}
