//! Which rule decides, and for whom.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use repoint::datapath::{EventReader, EventsFrom};
use repoint_common::{
    counter::Reason,
    event,
    policy::{
        ALLOW, AUDIT, DENY, FLAG_JUDGES_HOST, HOST, Network, PEER_GROUP, PEER_IDENTITY,
        PEER_TENANT as SAME_TENANT, Rule, WORLD,
    },
};

use repoint_tests::command;

use super::world::{
    ANY, Family, IPV6, OWN_IDENTITY, OWN_TENANT, PEER_IDENTITY as PEER_NUMBER, TCP, UDP, Way,
    World, families, icmp, ping, udp, with_world, words,
};
use crate::case::Device;

const EGRESS: Option<Reason> = Some(Reason::PolicyEgress);
const INGRESS: Option<Reason> = Some(Reason::PolicyIngress);

/// Ports of flows that no other test packet has had.
struct Ports(u16);

impl Ports {
    fn udp(&mut self, destination: u16) -> (u8, Vec<u8>) {
        self.0 += 1;
        udp(self.0, destination)
    }
}

#[test]
fn a_slot_without_its_policies_in_the_maps_sends_and_receives_nothing() -> Result<()> {
    with_world(|world| {
        let none = Some(Reason::NoPolicy);
        for family in families() {
            world.expect("no identity", (Way::OwnToPeer, family), udp(1, 2), none)?;
            world.expect("no identity", (Way::RemoteToOwn, family), udp(1, 2), none)?;
        }
        world.identity(OWN_IDENTITY, 7, 8, &[])?;
        world.identity(PEER_NUMBER, 0, 0, &[])?;
        for family in families() {
            world.expect("no policy", (Way::OwnToPeer, family), udp(1, 2), none)?;
            world.expect("no policy", (Way::RemoteToOwn, family), udp(1, 2), none)?;
        }
        world.allow_all()?;
        for family in families() {
            world.expect("none needed", (Way::OwnToPeer, family), udp(1, 2), None)?;
        }
        Ok(())
    })
}

#[test]
fn the_first_rule_that_matches_decides_or_else_the_default() -> Result<()> {
    with_world(|world| {
        let mut ports = Ports(1000);
        let rule = |port_low, port_high, action, number| Rule {
            port_low,
            port_high,
            action,
            number,
            protocol: UDP,
            ..ANY
        };
        let rules = [
            rule(80, 80, DENY, 1),
            rule(70, 90, ALLOW, 2),
            rule(0, 0, ALLOW, 3),
            rule(u16::MAX, u16::MAX, ALLOW, 4),
            rule(60, 70, DENY, 5),
        ];
        for (default, otherwise) in [(DENY, EGRESS), (ALLOW, None)] {
            world.policy(1, default, 0, &rules)?;
            world.identity(OWN_IDENTITY, 1, 0, &[])?;
            world.identity(PEER_NUMBER, 0, 0, &[])?;
            for (port, expected) in [
                (80, EGRESS),
                (79, None),
                (81, None),
                (70, None),
                (69, EGRESS),
                (91, otherwise),
                (0, None),
                (1, otherwise),
                (u16::MAX, None),
                (u16::MAX - 1, otherwise),
            ] {
                for family in families() {
                    let what = format!("port {port}, default {default}");
                    world.expect(&what, (Way::OwnToPeer, family), ports.udp(port), expected)?;
                }
            }
        }
        Ok(())
    })
}

#[test]
fn both_policies_apply_between_two_slots() -> Result<()> {
    with_world(|world| {
        let mut ports = Ports(1000);
        world.policy(1, DENY, 0, &[Rule { protocol: UDP, ..ANY }])?;
        world.policy(2, DENY, 0, &[])?;
        for (egress, ingress, expected) in
            [(1, 1, None), (1, 2, INGRESS), (2, 1, EGRESS), (2, 2, EGRESS), (0, 2, INGRESS)]
        {
            world.identity(OWN_IDENTITY, egress, 0, &[])?;
            world.identity(PEER_NUMBER, 0, ingress, &[])?;
            for family in families() {
                for way in [Way::OwnToPeer, Way::OwnToPeerByStack, Way::OwnToPeerTranslated] {
                    let what = format!("egress {egress}, ingress {ingress}");
                    world.expect(&what, (way, family), ports.udp(53), expected)?;
                }
            }
        }
        Ok(())
    })
}

/// The policy of a slot applies, whether or not the other slot enforces any.
#[test]
fn the_policy_of_one_slot_is_enough() -> Result<()> {
    with_world(|world| {
        let mut ports = Ports(1000);
        world.policy(2, DENY, 0, &[])?;
        world.identity(OWN_IDENTITY, 2, 2, &[])?;
        world.give(Device::Peer, PEER_NUMBER, 0, world.old, false)?;
        for family in families() {
            for (way, expected) in [
                (Way::OwnToPeer, EGRESS),
                (Way::OwnToPeerByStack, EGRESS),
                (Way::PeerToOwn, INGRESS),
                (Way::PeerToOwnByStack, INGRESS),
                (Way::OwnToRemote, EGRESS),
                (Way::RemoteToOwn, INGRESS),
                (Way::RemoteToPeer, None),
            ] {
                world.expect("one slot's", (way, family), ports.udp(53), expected)?;
            }
        }
        Ok(())
    })
}

#[test]
fn peers_are_named_by_identity_tenant_and_group() -> Result<()> {
    with_world(|world| {
        let mut ports = Ports(1000);
        let by = |peer_kind, peer| [Rule { peer_kind, peer, ..ANY }];
        for (what, rules, tenant, groups, expected) in [
            ("its identity", by(PEER_IDENTITY, PEER_NUMBER), 9, &[][..], None),
            ("another identity", by(PEER_IDENTITY, OWN_IDENTITY), 9, &[], EGRESS),
            ("its tenant", by(SAME_TENANT, 0), OWN_TENANT, &[], None),
            ("another tenant", by(SAME_TENANT, 0), 9, &[], EGRESS),
            ("no tenant", by(SAME_TENANT, 0), 0, &[], EGRESS),
            ("its group", by(PEER_GROUP, 0), 9, &[0], None),
            ("its last group of the node", by(PEER_GROUP, 191), 9, &[191], None),
            ("its tenant's last group", by(PEER_GROUP, 255), OWN_TENANT, &[255], None),
            ("another tenant's group", by(PEER_GROUP, 192), 9, &[192], EGRESS),
            ("a group of no tenant", by(PEER_GROUP, 192), 0, &[192], EGRESS),
            ("one of its groups", by(PEER_GROUP, 33), 9, &[1, 33, 70], None),
            ("other groups", by(PEER_GROUP, 34), 9, &[2, 33, 35, 66], EGRESS),
            ("an unknown kind", by(77, 0), OWN_TENANT, &[0], EGRESS),
        ] {
            world.policy(1, DENY, 0, &rules)?;
            world.identity(OWN_IDENTITY, 1, 0, &[])?;
            world.identity(PEER_NUMBER, 0, 0, groups)?;
            world.give(Device::Peer, PEER_NUMBER, tenant, world.old, true)?;
            for family in families() {
                world.expect(what, (Way::OwnToPeer, family), ports.udp(53), expected)?;
            }
        }
        // Slots without a tenant are of no common one.
        world.give(Device::Active, OWN_IDENTITY, 0, world.old, true)?;
        world.give(Device::Peer, PEER_NUMBER, 0, world.old, true)?;
        world.policy(1, DENY, 0, &by(SAME_TENANT, 0))?;
        world.expect("no tenants", (Way::OwnToPeer, Family::V4), ports.udp(53), EGRESS)
    })
}

/// The longest prefix says what an address is: an exception within a prefix, and a prefix within that.
#[test]
fn addresses_outside_are_named_by_their_longest_prefix() -> Result<()> {
    with_world(|world| {
        let mut ports = Ports(1000);
        world.policy(1, DENY, 0, &[Rule { peer_kind: PEER_GROUP, peer: 5, ..ANY }])?;
        world.policy(2, DENY, 0, &[Rule { peer_kind: PEER_IDENTITY, peer: WORLD, ..ANY }])?;
        world.identity(OWN_IDENTITY, 1, 1, &[])?;
        let both = |world: &World<'_>, ports: &mut Ports, what: &str, passes: bool| {
            for family in families() {
                for (way, denied) in [(Way::OwnToRemote, EGRESS), (Way::RemoteToOwn, INGRESS)] {
                    let expected = if passes { None } else { denied };
                    world.expect(what, (way, family), ports.udp(53), expected)?;
                }
            }
            anyhow::Ok(())
        };
        both(world, &mut ports, "no prefix", false)?;
        let network = |groups: &[u32]| Network { identity: WORLD, groups: words(groups) };
        for (prefixes, groups, passes) in [
            (["0.0.0.0/0", "::/0"], &[5][..], true),
            (["10.217.0.0/16", "fd00:217::/32"], &[], false),
            (["10.217.9.0/24", "fd00:217:9::/48"], &[4, 5], true),
            (["10.217.9.1/32", "fd00:217:9::1/128"], &[4], false),
        ] {
            for prefix in prefixes {
                world.maps.insert_network(prefix.parse()?, &network(groups))?;
            }
            both(world, &mut ports, prefixes[0], passes)?;
        }
        for prefix in ["10.217.9.1/32", "fd00:217:9::1/128"] {
            world.maps.remove_network(prefix.parse()?)?;
            world.maps.remove_network(prefix.parse()?)?;
        }
        both(world, &mut ports, "an exception less", true)?;
        world.identity(OWN_IDENTITY, 2, 2, &[])?;
        both(world, &mut ports, "the world", true)
    })
}

#[test]
fn rules_name_protocols_and_types_of_icmp() -> Result<()> {
    with_world(|world| {
        for family in families() {
            let (protocol, _) = ping(family, 1);
            let kind = if family == Family::V4 { 8 } else { 128 };
            let only_echo = Rule { protocol, port_low: kind, port_high: kind, ..ANY };
            world.restrict_own(&[only_echo])?;
            world.expect("an echo", (Way::OwnToPeer, family), ping(family, 7), None)?;
            let other = icmp(family, 13 + 130 * u8::from(family == Family::V6), 0, &[0; 8]);
            world.expect("another type", (Way::OwnToPeer, family), other, EGRESS)?;
            world.expect("UDP", (Way::OwnToPeer, family), udp(7, kind), EGRESS)?;
            world.restrict_own(&[Rule { protocol: TCP, ..ANY }])?;
            world.expect("not TCP", (Way::OwnToPeer, family), ping(family, 8), EGRESS)?;
            world.expect("no protocol", (Way::OwnToPeer, family), (47, vec![0; 8]), EGRESS)?;
            world.restrict_own(&[Rule { protocol: 47, ..ANY }])?;
            world.expect("GRE", (Way::OwnToPeer, family), (47, vec![0; 8]), None)?;
        }
        Ok(())
    })
}

/// Probes and proxies of the node.
#[test]
fn the_node_reaches_its_slots_unless_their_policy_judges_it() -> Result<()> {
    with_world(|world| {
        let mut ports = Ports(1000);
        for (flags, expected) in [(0, None), (FLAG_JUDGES_HOST, INGRESS)] {
            world.policy(2, DENY, flags, &[])?;
            world.identity(OWN_IDENTITY, 2, 2, &[])?;
            for family in families() {
                world.expect("host", (Way::HostToOwn, family), ports.udp(53), expected)?;
                world.expect("host", (Way::HostAsPeerToOwn, family), ports.udp(53), expected)?;
                world.expect("outside", (Way::RemoteToOwn, family), ports.udp(53), INGRESS)?;
            }
        }
        // What the node has opened is answered, whatever egress says.
        world.policy(2, DENY, 0, &[])?;
        for family in families() {
            world.expect("host", (Way::HostToOwn, family), udp(9000, 53), None)?;
            world.expect("its answer", (Way::OwnToRemote, family), udp(53, 9000), None)?;
            world.expect("another", (Way::OwnToRemote, family), udp(53, 9001), EGRESS)?;
        }
        Ok(())
    })
}

/// The node is in the groups of its identity, in both directions.
#[test]
fn the_node_may_be_in_groups() -> Result<()> {
    with_world(|world| {
        world.policy(
            1,
            DENY,
            FLAG_JUDGES_HOST,
            &[Rule { peer_kind: PEER_GROUP, peer: 3, ..ANY }],
        )?;
        world.identity(OWN_IDENTITY, 1, 1, &[])?;
        for family in families() {
            world.expect("no group", (Way::HostToOwn, family), udp(9000, 53), INGRESS)?;
        }
        world.identity(HOST, 0, 0, &[3])?;
        for family in families() {
            world.expect("in it", (Way::HostToOwn, family), udp(9000, 53), None)?;
            world.maps.raise_generation()?;
            // The answer is to an address that is the node's, or that the node does not route.
            command::run("ip", ["-4", "route", "flush", "table", "main"])?;
            if Path::new(IPV6).exists() {
                command::run("ip", ["-6", "route", "flush", "table", "main"])?;
            }
            world.expect("its answer", (Way::OwnToRemote, family), udp(53, 9000), None)?;
        }
        Ok(())
    })
}

#[test]
fn a_rule_that_reports_drops_nothing() -> Result<()> {
    with_world(|world| {
        let mut events = EventReader::open_existing(world.rig.bpf_dir(), EventsFrom::Now)?
            .context("no data plane")?;
        world.identity(OWN_IDENTITY, 5, 0, &[])?;
        world.identity(PEER_NUMBER, 0, 0, &[])?;
        for (action, kind, expected) in [(AUDIT, event::AUDIT, None), (DENY, event::DROP, EGRESS)] {
            let rule = Rule { action, port_low: 53, port_high: 53, number: 4711, ..ANY };
            world.policy(5, ALLOW, 0, &[rule])?;
            world.maps.raise_generation()?;
            world.expect("audited", (Way::OwnToPeer, Family::V4), udp(9000, 53), expected)?;
            let event = events.next_event()?.context("no event")?;
            ensure!(
                (event.kind, event.policy, event.rule) == (kind, 5, 4711)
                    && event.reason == Reason::PolicyEgress as u8
                    && event.slot != 0,
                "{event:?}"
            );
            ensure!(events.next_event()?.is_none(), "a second event");
        }
        Ok(())
    })
}
