//! Flows: what belongs to one passes, whatever rules say of its direction.

use anyhow::{Result, ensure};
use repoint_common::{
    counter::Reason,
    policy::{ALLOW, DENY, Rule, WORLD},
};

use super::world::{
    ACK, ANY, FIN, Family, ICMP, OWN_IDENTITY, OWN_TENANT, PEER_IDENTITY, PEER_TENANT, RST, SYN,
    TCP, UDP, Way, World, families, icmp, ping, pong, tcp, udp, v4_packet, with_world,
};
use crate::case::Device;

const EGRESS: Option<Reason> = Some(Reason::PolicyEgress);
const INGRESS: Option<Reason> = Some(Reason::PolicyIngress);
const NO_FLOW: Option<Reason> = Some(Reason::NoFlow);

/// Ways from the slot to others, and back.
const PAIRS: [(Way, Way); 3] = [
    (Way::OwnToPeer, Way::PeerToOwn),
    (Way::OwnToPeerByStack, Way::PeerToOwnByStack),
    (Way::OwnToRemote, Way::RemoteToOwn),
];

/// Runs a test for each pair of ways and each family: the slot may open any flow, and none may be opened to it.
fn for_each(test: impl Fn(&mut World<'_>, Family, Way, Way) -> Result<()> + Send) -> Result<()> {
    with_world(move |world| {
        world.restrict_own(&[ANY])?;
        for family in families() {
            for (out, back) in PAIRS {
                world.forget()?;
                test(world, family, out, back)?;
            }
        }
        Ok(())
    })
}

#[test]
fn answers_pass_and_nothing_else_does() -> Result<()> {
    for_each(|world, family, out, back| {
        world.expect("unasked", (back, family), udp(53, 900), INGRESS)?;
        world.expect("question", (out, family), udp(900, 53), None)?;
        world.expect("answer", (back, family), udp(53, 900), None)?;
        world.expect("from another port", (back, family), udp(54, 900), INGRESS)?;
        world.expect("to another port", (back, family), udp(53, 901), INGRESS)?;
        world.expect("echoed ports", (back, family), udp(900, 53), INGRESS)?;
        world.expect("another protocol", (back, family), tcp(53, 900, SYN), INGRESS)?;
        world.expect("ping", (out, family), ping(family, 7), None)?;
        world.expect("pong", (back, family), pong(family, 7), None)?;
        world.expect("another pong", (back, family), pong(family, 8), INGRESS)?;
        world.expect("GRE", (out, family), (47, vec![0; 8]), None)?;
        world.expect("GRE back", (back, family), (47, vec![0; 8]), None)?;
        world.expect("ESP back", (back, family), (50, vec![0; 8]), INGRESS)
    })
}

/// Two slots, one and the other, or two ports of one address.
#[test]
fn a_slot_answers_itself() -> Result<()> {
    with_world(|world| {
        world.policy(1, DENY, 0, &[Rule { port_low: 53, port_high: 53, ..ANY }])?;
        world.identity(OWN_IDENTITY, 1, 1, &[])?;
        for (what, source, destination, expected) in
            [("question", 900, 53, None), ("answer", 53, 900, None), ("another", 900, 54, EGRESS)]
        {
            let mut ip = v4_packet(Way::OwnToPeer);
            ip.destination = ip.source;
            (_, ip.payload) = udp(source, destination);
            let seen = world.send_v4(Way::OwnToPeer, &ip)?;
            ensure!(seen.is_drop().then_some(seen) == expected, "{what}: {}", seen.label());
        }
        Ok(())
    })
}

#[test]
fn tcp_goes_from_syn_to_the_last_ack() -> Result<()> {
    for_each(|world, family, out, back| {
        for (what, way, flags) in [
            ("SYN", out, SYN),
            ("SYN again", out, SYN),
            ("SYN-ACK", back, SYN | ACK),
            ("ACK", out, ACK),
            ("data", back, ACK),
            ("FIN", out, FIN | ACK),
            ("data of the half that is open", back, ACK),
            ("ACK of that", out, ACK),
            ("FIN", back, FIN | ACK),
            ("last ACK", out, ACK),
        ] {
            let segment = if way == out { tcp(900, 80, flags) } else { tcp(80, 900, flags) };
            world.expect(what, (way, family), segment, None)?;
        }
        // The same ports, for another connection.
        world.expect("SYN", (out, family), tcp(900, 80, SYN), None)?;
        world.expect("SYN-ACK", (back, family), tcp(80, 900, SYN | ACK), None)
    })
}

#[test]
fn tcp_that_opens_nothing_needs_a_flow() -> Result<()> {
    with_world(|world| {
        world.give_now()?;
        world.restrict_own(&[ANY])?;
        for family in families() {
            for (out, back) in PAIRS {
                for (what, flags) in [
                    ("ACK", ACK),
                    ("FIN", FIN | ACK),
                    ("RST", RST),
                    ("SYN-ACK", SYN | ACK),
                    ("none", 0),
                ] {
                    world.expect(what, (out, family), tcp(900, 80, flags), NO_FLOW)?;
                    world.expect(what, (back, family), tcp(80, 900, flags), NO_FLOW)?;
                }
                for (what, flags) in [("SYN-FIN", SYN | FIN), ("SYN-RST", SYN | RST)] {
                    let malformed = Some(Reason::Malformed);
                    world.expect(what, (out, family), tcp(900, 80, flags), malformed)?;
                }
                world.expect("SYN", (back, family), tcp(80, 900, SYN), INGRESS)?;
                world.expect("SYN", (out, family), tcp(901, 80, SYN), None)?;
                world.expect("ACK", (back, family), tcp(80, 901, SYN | ACK), None)?;
            }
        }
        Ok(())
    })
}

/// A flow whose element had to make room for others heals from either end, once the slots are not young.
#[test]
fn a_flow_that_was_pushed_out_heals() -> Result<()> {
    for_each(|world, family, out, back| {
        world.expect("server speaks", (back, family), tcp(80, 900, ACK), None)?;
        world.expect("client speaks", (out, family), tcp(901, 80, ACK), None)?;
        world.expect("its answer", (back, family), tcp(80, 901, ACK), None)?;
        world.expect(
            "a SYN-ACK heals nothing",
            (back, family),
            tcp(80, 902, SYN | ACK),
            NO_FLOW,
        )?;
        // What neither may open is no flow.
        world.policy(1, DENY, 0, &[])?;
        world.expect("server of none", (back, family), tcp(80, 903, ACK), NO_FLOW)?;
        world.expect("client of none", (out, family), tcp(904, 80, ACK), NO_FLOW)?;
        world.policy(1, DENY, 0, &[ANY])
    })
}

/// UDP is judged in its own direction, always.
#[test]
fn udp_that_was_pushed_out_heals_from_its_opener_only() -> Result<()> {
    for_each(|world, family, out, back| {
        world.expect("server", (back, family), udp(53, 900), INGRESS)?;
        world.expect("client", (out, family), udp(900, 53), None)?;
        world.forget()?;
        world.expect("server", (back, family), udp(53, 900), INGRESS)?;
        world.expect("client", (out, family), udp(900, 53), None)?;
        world.expect("server", (back, family), udp(53, 900), None)
    })
}

#[test]
fn a_forged_rst_or_fin_ends_no_flow() -> Result<()> {
    for_each(|world, family, out, back| {
        world.expect("SYN", (out, family), tcp(900, 80, SYN), None)?;
        world.expect("SYN-ACK", (back, family), tcp(80, 900, SYN | ACK), None)?;
        world.expect("RST", (back, family), tcp(80, 900, RST), None)?;
        world.expect("data", (out, family), tcp(900, 80, ACK), None)?;
        world.age(60)?;
        world.expect("data, a minute later", (back, family), tcp(80, 900, ACK), None)?;
        world.expect("FIN", (back, family), tcp(80, 900, FIN), None)?;
        world.age(60)?;
        world.expect("data of one half", (back, family), tcp(80, 900, ACK), None)
    })
}

#[test]
fn flows_end_without_packets() -> Result<()> {
    with_world(|world| {
        // Whose slots are young, so that TCP does not heal.
        world.restrict_own(&[ANY])?;
        world.give_now()?;
        for family in families() {
            let (out, back) = (Way::OwnToPeer, Way::PeerToOwn);
            let syn = |port| tcp(port, 80, SYN);
            let syn_ack = |port| tcp(80, port, SYN | ACK);
            let ack = |port| tcp(80, port, ACK);
            world.expect("SYN", (out, family), syn(1), None)?;
            world.age(19)?;
            world.expect("SYN-ACK in time", (back, family), syn_ack(1), None)?;
            world.age(3599)?;
            world.expect("data in time", (back, family), ack(1), None)?;
            world.expect("SYN", (out, family), syn(5), None)?;
            world.expect("SYN-ACK", (back, family), syn_ack(5), None)?;
            world.age(3601)?;
            world.expect("data too late", (back, family), ack(5), NO_FLOW)?;
            world.forget()?;
            world.expect("SYN", (out, family), syn(2), None)?;
            world.age(21)?;
            world.expect("SYN-ACK too late", (back, family), syn_ack(2), NO_FLOW)?;
            world.expect("SYN", (out, family), syn(3), None)?;
            world.expect("FIN", (back, family), tcp(80, 3, FIN | ACK), None)?;
            world.expect("FIN", (out, family), tcp(3, 80, FIN | ACK), None)?;
            world.age(31)?;
            world.expect("ACK after FINs", (back, family), ack(3), NO_FLOW)?;
            world.expect("SYN", (out, family), syn(4), None)?;
            world.expect("RST", (back, family), tcp(80, 4, RST), None)?;
            world.age(11)?;
            world.expect("data after RST", (back, family), ack(4), NO_FLOW)?;

            world.expect("UDP", (out, family), udp(900, 53), None)?;
            world.age(31)?;
            world.expect("its answer, too late", (back, family), udp(53, 900), INGRESS)?;
            world.expect("UDP", (out, family), udp(900, 53), None)?;
            world.age(29)?;
            world.expect("its answer", (back, family), udp(53, 900), None)?;
            world.age(119)?;
            world.expect("another", (back, family), udp(53, 900), None)?;
            world.age(121)?;
            world.expect("too late", (back, family), udp(53, 900), INGRESS)?;
            world.expect("ping", (out, family), ping(family, 3), None)?;
            world.age(6)?;
            world.expect("pong, too late", (back, family), pong(family, 3), INGRESS)?;
        }
        Ok(())
    })
}

/// Both ends send a SYN: each is judged in its own direction.
#[test]
fn a_simultaneous_opening_is_judged_in_both_directions() -> Result<()> {
    for_each(|world, family, out, back| {
        world.expect("SYN", (out, family), tcp(900, 80, SYN), None)?;
        world.expect("SYN of the other", (back, family), tcp(80, 900, SYN), INGRESS)?;
        world.policy(2, ALLOW, 0, &[])?;
        world.expect("SYN of the other", (back, family), tcp(80, 900, SYN), None)?;
        world.expect("SYN-ACK", (out, family), tcp(900, 80, SYN | ACK), None)?;
        world.expect("SYN-ACK", (back, family), tcp(80, 900, SYN | ACK), None)?;
        world.policy(2, DENY, 0, &[])
    })
}

/// The next user of an address or a slot has none of the flows.
#[test]
fn flows_end_with_their_slot() -> Result<()> {
    for_each(|world, family, out, back| {
        world.give_now()?;
        world.expect("SYN", (out, family), tcp(900, 80, SYN), None)?;
        world.expect("SYN-ACK", (back, family), tcp(80, 900, SYN | ACK), None)?;
        world.expect("UDP", (out, family), udp(900, 53), None)?;
        world.expect("ping", (out, family), ping(family, 3), None)?;
        // Another user of the same function: even policies are the same.
        world.give_now()?;
        world.expect("late TCP", (back, family), tcp(80, 900, ACK), NO_FLOW)?;
        world.expect("late TCP out", (out, family), tcp(900, 80, ACK), NO_FLOW)?;
        world.expect("late UDP", (back, family), udp(53, 900), INGRESS)?;
        world.expect("late pong", (back, family), pong(family, 3), INGRESS)?;
        world.expect("its own", (out, family), tcp(900, 80, SYN), None)?;
        world.expect("answered", (back, family), tcp(80, 900, SYN | ACK), None)
    })
}

/// Under a default that allows, a late packet of the former user's peers opens nothing.
#[test]
fn late_packets_of_a_former_users_peers_do_not_arrive() -> Result<()> {
    with_world(|world| {
        world.policy(1, ALLOW, 0, &[])?;
        world.identity(OWN_IDENTITY, 1, 1, &[])?;
        for family in families() {
            world.give_now()?;
            world.expect("out", (Way::OwnToRemote, family), tcp(900, 80, SYN), None)?;
            world.expect("back", (Way::RemoteToOwn, family), tcp(80, 900, SYN | ACK), None)?;
            world.give_now()?;
            world.expect("late", (Way::RemoteToOwn, family), tcp(80, 900, ACK), NO_FLOW)?;
            world.expect("new", (Way::RemoteToOwn, family), tcp(80, 900, SYN), None)?;
        }
        Ok(())
    })
}

#[test]
fn open_flows_are_judged_again_when_policies_change() -> Result<()> {
    for_each(|world, family, out, back| {
        world.expect("SYN", (out, family), tcp(900, 80, SYN), None)?;
        world.expect("SYN-ACK", (back, family), tcp(80, 900, SYN | ACK), None)?;
        world.expect("UDP", (out, family), udp(900, 53), None)?;
        world.expect("ping", (out, family), ping(family, 3), None)?;
        // Tightened: in the direction in which they were opened, whichever end sends next.
        world.policy(1, DENY, 0, &[Rule { protocol: UDP, ..ANY }])?;
        world.maps.raise_generation()?;
        world.expect("TCP back", (back, family), tcp(80, 900, ACK), EGRESS)?;
        world.expect("TCP out", (out, family), tcp(900, 80, ACK), EGRESS)?;
        world.expect("pong", (back, family), pong(family, 3), EGRESS)?;
        world.expect("an unrelated flow", (back, family), udp(53, 900), None)?;
        // Loosened: they run on.
        world.policy(1, DENY, 0, &[ANY])?;
        world.maps.raise_generation()?;
        world.expect("TCP back", (back, family), tcp(80, 900, ACK), None)?;
        world.expect("TCP out", (out, family), tcp(900, 80, ACK), None)?;
        world.expect("pong", (back, family), pong(family, 3), None)?;
        // Ingress and ports, likewise.
        world.policy(2, DENY, 0, &[Rule { port_low: 22, port_high: 22, protocol: TCP, ..ANY }])?;
        world.expect("SYN in", (back, family), tcp(5000, 22, SYN), None)?;
        world.expect("SYN-ACK", (out, family), tcp(22, 5000, SYN | ACK), None)?;
        world.policy(2, DENY, 0, &[Rule { port_low: 23, port_high: 23, protocol: TCP, ..ANY }])?;
        world.expect("of the old generation", (out, family), tcp(22, 5000, ACK), None)?;
        world.maps.raise_generation()?;
        world.expect("of the new one", (out, family), tcp(22, 5000, ACK), INGRESS)?;
        world.expect("of the new one", (back, family), tcp(5000, 22, ACK), INGRESS)
    })
}

/// What a packet says is kept also where it is the first that is judged by other policies.
#[test]
fn a_packet_counts_that_is_judged_again() -> Result<()> {
    with_world(|world| {
        world.restrict_own(&[ANY])?;
        world.give_now()?;
        let (out, back) = (Way::OwnToPeer, Way::PeerToOwn);
        for family in families() {
            world.expect("SYN", (out, family), tcp(900, 80, SYN), None)?;
            world.maps.raise_generation()?;
            world.expect("SYN-ACK", (back, family), tcp(80, 900, SYN | ACK), None)?;
            world.age(21)?;
            world.expect("data", (back, family), tcp(80, 900, ACK), None)?;
            world.expect("question", (out, family), udp(900, 53), None)?;
            for _ in 0..3 {
                world.age(20)?;
                world.maps.raise_generation()?;
                world.expect("another", (out, family), udp(900, 53), None)?;
            }
            world.expect("answer", (back, family), udp(53, 900), None)?;
        }
        Ok(())
    })
}

/// The opener of a flow to a service address sees that, and not the slot behind it, when policies change.
#[test]
fn answers_of_a_service_are_judged_by_its_address() -> Result<()> {
    with_world(|world| {
        // Rules about the service's port, and about the port of the slot behind it.
        let to = |port| Rule { port_low: port, port_high: port, protocol: TCP, ..ANY };
        world.policy(1, DENY, 0, &[Rule { peer: WORLD, peer_kind: 1, ..to(80) }])?;
        world.policy(2, DENY, 0, &[to(8080)])?;
        world.identity(OWN_IDENTITY, 1, 0, &[])?;
        world.identity(PEER_IDENTITY, 0, 2, &[])?;
        for family in families() {
            world.expect("to the service", (Way::OwnToRemote, family), tcp(900, 80, SYN), None)?;
            let answer = Way::PeerToOwnTranslated;
            world.expect("its answer", (answer, family), tcp(80, 900, SYN | ACK), None)?;
            world.maps.raise_generation()?;
            world.expect("the server speaks", (answer, family), tcp(80, 900, ACK), None)?;
            world.policy(1, DENY, 0, &[])?;
            world.maps.raise_generation()?;
            world.expect("by now denied", (answer, family), tcp(80, 900, ACK), EGRESS)?;
            world.policy(1, DENY, 0, &[Rule { peer: WORLD, peer_kind: 1, ..to(80) }])?;
        }
        Ok(())
    })
}

/// An echo request is judged in its own direction, also where its identifier is that of a flow.
#[test]
fn echo_requests_are_no_answers() -> Result<()> {
    for_each(|world, family, out, back| {
        world.expect("ping", (out, family), ping(family, 7), None)?;
        world.expect("ping back", (back, family), ping(family, 7), INGRESS)?;
        world.expect("pong", (back, family), pong(family, 7), None)
    })
}

/// The last acknowledgement of a connection ends it, and no data that is repeated does.
#[test]
fn repeated_data_ends_no_connection() -> Result<()> {
    with_world(|world| {
        world.restrict_own(&[ANY])?;
        world.give_now()?;
        let (out, back) = (Way::OwnToRemote, Way::RemoteToOwn);
        let with_data =
            |(protocol, segment): (u8, Vec<u8>)| (protocol, [segment, vec![7; 9]].concat());
        for family in families() {
            for (what, way, segment) in [
                ("SYN", out, tcp(900, 80, SYN)),
                ("SYN-ACK", back, tcp(80, 900, SYN | ACK)),
                ("request and FIN", out, with_data(tcp(900, 80, FIN | ACK))),
                ("the end of the answer", back, with_data(tcp(80, 900, FIN | ACK))),
                ("its beginning, again", back, with_data(tcp(80, 900, ACK))),
                ("its middle, again", back, with_data(tcp(80, 900, ACK))),
                ("acknowledged", out, tcp(900, 80, ACK)),
            ] {
                world.expect(what, (way, family), segment, None)?;
            }
        }
        Ok(())
    })
}

/// ICMP that is neither an error nor an echo message has no flow: each message is judged for itself.
#[test]
fn other_icmp_is_judged_message_by_message() -> Result<()> {
    for_each(|world, family, out, back| {
        let (request, reply) = if family == Family::V4 { (13, 14) } else { (139, 140) };
        world.expect("request", (out, family), icmp(family, request, 0, &[0; 16]), None)?;
        world.expect("reply", (back, family), icmp(family, reply, 0, &[0; 16]), INGRESS)
    })
}

/// The host stack hides who sends: rules see the slot all the same, for every packet.
#[test]
fn translated_packets_are_judged_by_who_sends_them() -> Result<()> {
    with_world(|world| {
        let out = Way::OwnToPeerTranslated;
        world.policy(1, DENY, 0, &[Rule { peer: OWN_IDENTITY, peer_kind: 1, ..ANY }])?;
        world.identity(OWN_IDENTITY, 0, 0, &[])?;
        world.identity(PEER_IDENTITY, 0, 1, &[])?;
        for family in families() {
            world.expect("the slot's", (out, family), udp(900, 53), None)?;
            world.expect("outside's", (Way::RemoteToPeer, family), udp(901, 53), INGRESS)?;
            // Another slot, by the same translated address and port.
            world.give(Device::Active, 999, OWN_TENANT, world.old, true)?;
            world.identity(999, 0, 0, &[])?;
            world.expect("another slot's", (out, family), udp(900, 53), INGRESS)?;
            world.give(Device::Active, OWN_IDENTITY, OWN_TENANT, world.old, true)?;
            world.expect("the slot's", (out, family), udp(900, 53), None)?;
        }
        Ok(())
    })
}

/// An address of a slot is the slot's: nobody else's packets are taken for its.
#[test]
fn nobody_outside_sends_as_a_slot() -> Result<()> {
    with_world(|world| {
        world.allow_all()?;
        let foreign = Some(Reason::ForeignAddress);
        for family in families() {
            world.expect("slot", (Way::OwnToPeer, family), tcp(900, 80, SYN), None)?;
            world.expect("forged", (Way::RemoteAsPeerToOwn, family), tcp(80, 900, RST), foreign)?;
            world.expect("slot", (Way::PeerToOwn, family), tcp(80, 900, SYN | ACK), None)?;
        }
        Ok(())
    })
}

/// One element, one key, for both directions.
#[test]
fn a_flow_has_one_element() -> Result<()> {
    with_world(|world| {
        world.allow_all()?;
        for family in families() {
            world.expect("out", (Way::OwnToPeer, family), udp(900, 53), None)?;
            world.expect("back", (Way::PeerToOwn, family), udp(53, 900), None)?;
            world.expect(
                "by the host stack",
                (Way::OwnToPeerByStack, family),
                udp(900, 53),
                None,
            )?;
        }
        let flows = world.maps.connections()?;
        ensure!(flows.len() == families().len(), "{flows:?}");
        ensure!(
            flows.iter().all(|(key, _)| key.protocol == UDP && key.low.octets < key.high.octets),
            "{flows:?}"
        );
        // Tenants and identities play no part in it.
        world.give(Device::Peer, PEER_IDENTITY, PEER_TENANT + 1, world.old, true)?;
        world.expect("back", (Way::PeerToOwn, Family::V4), udp(53, 900), None)?;
        ensure!(world.maps.connections()?.len() == flows.len(), "another element");
        let (protocol, _) = icmp(Family::V4, 8, 0, &[]);
        ensure!(protocol == ICMP, "{protocol}");
        Ok(())
    })
}
