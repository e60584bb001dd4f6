//! Random objects, compiled and written into the maps, and random packets: the programs judge as objects are defined.
//!
//! `REPOINT_POLICY_SEED` repeats a seed, and `REPOINT_POLICY_CASES` sets the number of packets.

use std::{net::IpAddr, ops::RangeInclusive, time::Instant};

use anyhow::{Context as _, Result, ensure};
use repoint::datapath::{EventReader, EventsFrom};
use repoint_common::{
    counter::Reason,
    event::{AUDIT, DROP, Event},
    policy::{Identity, Network, WORLD},
};
use repoint_policy::Rules;
use repoint_tests::{command, node::has_ipv6, share::is_whole};

use super::{
    naive::{
        counts::Counts,
        draw::Draw,
        evaluate::{self, Verdict},
        rules::{Compared, ComparedRule, RulesOf},
        settings,
        world::{Flow, Place, TENANTS, World as Facts},
    },
    world::{
        Family, ICMP, ICMPV6, SCTP, SYN, TCP, UDP, World, case_at, icmp, sctp, tcp, udp, with_world,
    },
};
use crate::{
    case::{Addresses, Case, Device, Program},
    packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ipv4, Ipv6},
};

/// Packets: a share, and all under `--whole`.
const CASES: [u64; 2] = [5_000, 100_000];
/// Packets between the functions of one world.
const FLOWS: u64 = 10;
/// Identity of a world's first function, and number of its first tenant.
const FIRST_IDENTITY: u32 = 300;
const FIRST_TENANT: u32 = 256;
/// Types of `ICMPv6` that are neighbour discovery: the programs answer or drop these whatever policies say.
const NEIGHBOUR_DISCOVERY: RangeInclusive<u16> = 133..=137;

#[test]
fn programs_judge_as_objects_are_defined() -> Result<()> {
    let (seed, cases) = (settings::seed(), settings::cases(CASES[usize::from(is_whole())]));
    let begun = Instant::now();
    with_world(|world| {
        give_node_its_addresses()?;
        let mut comparison = Comparison::new(world)?;
        let (mut refused, mut numbers) = (0, 0..);
        while comparison.judged < cases {
            let number = numbers.next().context("no number")?;
            let mut draw = Draw::new(seed, number);
            let facts = Facts::draw(&mut draw);
            let Ok(rules) = RulesOf::new(&facts, &mut draw) else {
                refused += FLOWS;
                continue;
            };
            install(world, &rules)?;
            world.refill()?;
            for _ in 0..FLOWS {
                let flow = sendable_flow(&facts, &mut draw);
                let compared = comparison.send(world, (&facts, &rules), flow, &mut draw);
                compared
                    .with_context(|| format!("world {number} of seed {seed}, {flow:?}; {facts}"))?;
            }
        }
        comparison.ensure_wide(cases, refused)?;
        println!("{:.1?}", begun.elapsed());
        Ok(())
    })
}

/// Makes the addresses that flows to the node have the node's.
fn give_node_its_addresses() -> Result<()> {
    for (first, second) in (1..=2).flat_map(|first| (0..=2).map(move |second| (first, second))) {
        let v4 = format!("10.{first}.{second}.200/32");
        command::run("ip", ["address", "add", &v4, "dev", "lo"])?;
        if has_ipv6() {
            let v6 = format!("2001:db8:{first}:{second}::c8/128");
            command::run("ip", ["address", "add", &v6, "dev", "lo", "nodad"])?;
        }
    }
    Ok(())
}

/// Writes the rules and groups of a world into the maps, in the place of the last one's.
fn install(world: &World<'_>, rules: &RulesOf) -> Result<()> {
    let policy = |number, rules: Option<&Rules>| match rules {
        None => Ok(0),
        Some(rules) => world.maps.insert_policy(number, &rules.to_policy()).map(|()| number),
    };
    for (number, function) in (0..).zip(&rules.functions) {
        let egress = policy(2 * number + 1, function.egress.as_ref())?;
        let ingress = policy(2 * number + 2, function.ingress.as_ref())?;
        let what = Identity { egress, ingress, groups: function.groups };
        world.maps.insert_identity(FIRST_IDENTITY + number, &what)?;
    }
    for former in world.maps.networks()?.into_keys() {
        world.maps.remove_network(former)?;
    }
    for (prefix, groups) in rules.set.groups.networks() {
        world.maps.insert_network(prefix, &Network { identity: WORLD, groups })?;
    }
    Ok(())
}

/// A random flow about which the programs ask policies.
fn sendable_flow(facts: &Facts, draw: &mut Draw) -> Flow {
    loop {
        let flow = facts.flow(draw);
        let is_discovery = flow.protocol == ICMPV6 && NEIGHBOUR_DISCOVERY.contains(&flow.port);
        let has_destination = match facts.address(flow.to, flow.is_v6) {
            IpAddr::V4(to) => {
                !(to.is_unspecified() || to.is_loopback() || to.is_multicast() || to.is_broadcast())
            }
            IpAddr::V6(to) => !(to.is_unspecified() || to.is_loopback() || to.is_multicast()),
        };
        if has_destination && !is_discovery && (has_ipv6() || !flow.is_v6) {
            return flow;
        }
    }
}

/// Gives the functions of a flow to slots. With another epoch than before, the slots have no open flows.
fn place_functions(world: &World<'_>, facts: &Facts, flow: Flow, epoch: u64) -> Result<()> {
    for (place, device) in [(flow.from, Device::Active), (flow.to, Device::Peer)] {
        let Place::Function(number) = place else { continue };
        let function = &facts.functions[number];
        let [IpAddr::V4(v4), IpAddr::V6(v6)] = function.addresses else {
            anyhow::bail!("addresses {:?}", function.addresses);
        };
        let name = function.party.tenant.as_deref();
        let tenant = (FIRST_TENANT..).zip(TENANTS).find(|(_, tenant)| name == Some(tenant));
        let identity = FIRST_IDENTITY + u32::try_from(number)?;
        let tenant = tenant.map_or(0, |(number, _)| number);
        world.give_with(device, Addresses { v4, v6 }, (identity, tenant), epoch, true)?;
    }
    Ok(())
}

/// The packet that opens a flow, where a program meets it.
fn first_packet(facts: &Facts, flow: Flow, draw: &mut Draw) -> Result<Case> {
    let is_local = |place| matches!(place, Place::Function(_));
    let place = match (flow.from, is_local(flow.to)) {
        (Place::Function(_), true) if draw.chance(50) => {
            (Program::ToContainer, Device::Peer, Some(Device::Active))
        }
        (Place::Function(_), _) => (Program::FromContainer, Device::Active, None),
        (Place::Node(_), _) => (Program::ToContainer, Device::Peer, None),
        (Place::Outside(_), _) => (Program::ToContainer, Device::Peer, Some(Device::Unknown)),
    };
    let (protocol, payload) = payload(flow, draw)?;
    let [from, to] = [flow.from, flow.to].map(|place| facts.address(place, flow.is_v6));
    Ok(match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let ip = Ipv4 { protocol, payload, ..Ipv4::new(from, to) };
            case_at(place, ETHERTYPE_IPV4, &ip.bytes())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let ip = Ipv6::new(from, to).carrying(protocol, &payload);
            case_at(place, ETHERTYPE_IPV6, &ip.bytes())
        }
        _ => anyhow::bail!("{from} and {to}"),
    })
}

fn payload(flow: Flow, draw: &mut Draw) -> Result<(u8, Vec<u8>)> {
    let source = u16::try_from(1024 + draw.below(60_000))?;
    let family = if flow.is_v6 { Family::V6 } else { Family::V4 };
    Ok(match flow.protocol {
        TCP => tcp(source, flow.port, SYN),
        UDP => udp(source, flow.port),
        SCTP => sctp(source, flow.port),
        ICMP | ICMPV6 => {
            let rest = [source.to_be_bytes(), [0, 1]].concat();
            icmp(family, u8::try_from(flow.port)?, 0, &rest)
        }
        other => (other, vec![0; 8]),
    })
}

/// What became of the packets, beside what was to.
struct Comparison {
    events: EventReader,
    counts: Counts,
    judged: u64,
    /// Packets about which an event had to say which rule it was, and those about which one did.
    due: u64,
    explained: u64,
}

impl Comparison {
    fn new(world: &World<'_>) -> Result<Self> {
        let events = EventReader::open_existing(world.rig.bpf_dir(), EventsFrom::Now)?
            .context("no data plane")?;
        Ok(Self { events, counts: Counts::default(), judged: 0, due: 0, explained: 0 })
    }

    /// Sends the first packet of a flow.
    fn send(
        &mut self,
        world: &World<'_>,
        (facts, rules): (&Facts, &RulesOf),
        flow: Flow,
        draw: &mut Draw,
    ) -> Result<()> {
        let wanted = evaluate::judge(facts, flow);
        ensure!(rules.judge(facts, flow) == Compared::from(&wanted), "the rules: {wanted:?}");
        place_functions(world, facts, flow, world.old.wrapping_sub(self.judged))?;
        let case = first_packet(facts, flow, draw)?;
        let seen = world.outcome(&case)?;
        let at = format!("{:?} on {:?}", case.program, case.device);
        let due = Due::new(&wanted);
        let reason = due.as_ref().filter(|due| due.kind == DROP).map(|due| due.reason);
        ensure!(
            seen.is_drop().then_some(seen) == reason,
            "{at}: {}, by definition {wanted:?}",
            seen.label()
        );
        self.compare_events(rules, due.as_ref()).with_context(|| format!("{at}: {wanted:?}"))?;
        self.counts.add(flow, &wanted, |place| facts.has_tenant(place));
        self.judged += 1;
        Ok(())
    }

    fn compare_events(&mut self, rules: &RulesOf, due: Option<&Due>) -> Result<()> {
        self.due += u64::from(due.is_some());
        while let Some(event) = self.events.next_event()? {
            let found = Due::of_event(&event, rules)?;
            ensure!(Some(&found) == due, "event {found:?}, wanted {due:?}");
            self.explained += 1;
        }
        Ok(())
    }

    /// Prints what was seen, and fails where the draw was one-sided.
    fn ensure_wide(&self, cases: u64, refused: u64) -> Result<()> {
        let Self { judged, due, explained, counts, .. } = self;
        println!(
            "{judged} packets judged alike, {refused} not sent: too many rules or groups; {explained} of {due} \
             events compared\n{counts}"
        );
        ensure!(
            refused * 100 <= 3 * cases,
            "{refused} of {cases} are of objects that do not compile"
        );
        // Events are limited to a number a second.
        ensure!(*explained > 20 && explained <= due, "{explained} of {due} events");
        let rare = if cases >= 10_000 { counts.rare(cases / 2_000) } else { Vec::new() };
        ensure!(rare.is_empty(), "seldom seen: {rare:?}");
        Ok(())
    }
}

/// The event of a packet.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    kind: u8,
    reason: Reason,
    /// None: what objects do not allow.
    rule: Option<ComparedRule>,
}

impl Due {
    /// By definition; none: the packet passes, and nothing reports it.
    fn new(Verdict { egress, ingress }: &Verdict<'_>) -> Option<Self> {
        let (kind, reason, rule) = match ingress {
            None => (DROP, Reason::PolicyEgress, egress.by),
            Some(ingress) if !ingress.allows => (DROP, Reason::PolicyIngress, ingress.by),
            Some(ingress) if ingress.audited.is_some() => {
                (AUDIT, Reason::PolicyIngress, ingress.audited)
            }
            Some(_) => (AUDIT, Reason::PolicyEgress, Some(egress.audited?)),
        };
        Some(Self { kind, reason, rule: rule.as_ref().map(ComparedRule::from) })
    }

    fn of_event(event: &Event, rules: &RulesOf) -> Result<Self> {
        let reason = Reason::ALL.iter().find(|reason| **reason as u8 == event.reason);
        let reason = *reason.with_context(|| format!("{event:?}"))?;
        let rule = (event.rule != 0).then(|| rules.rule(event.rule));
        Ok(Self { kind: event.kind, reason, rule })
    }
}
