//! Where packets may go that go to no endpoint: addresses that never leave a host, link-local ones;
//! and endpoints that a packet does not fit or that have no interface any more.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
};

use anyhow::{Result, ensure};
use repoint_common::counter::Reason;
use repoint_tests::{Node, command};

use super::{
    case::{
        Addresses, Case, Device, GONE, NARROW, NARROW_MTU, OWN, Program::FromContainer, both,
        v4_frame, v6_frame,
    },
    packet::{IPV4, IPV6, Ipv4, Ipv6},
    rig::{self, Rig},
};

/// Of a cloud's metadata service.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// Of a DNS cache on the node.
const NODE_DNS: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 10);

/// A datagram to an address.
fn to_v4(destination: Ipv4Addr, expected: Reason) -> Case {
    let packet = v4_frame(FromContainer, &Ipv4::new(OWN.v4, destination));
    Case::new(format!("to {destination}"), FromContainer, packet, expected)
}

/// A datagram to an address.
fn to_v6(destination: &str, expected: Reason) -> Case {
    let destination: Ipv6Addr = destination.parse().unwrap();
    let packet = v6_frame(FromContainer, &Ipv6::new(OWN.v6, destination));
    Case::new(format!("to {destination}"), FromContainer, packet, expected)
}

/// On a node that forwards, with default routes: runs what `cases` gives, which may change the node.
fn run_on_router(cases: impl FnOnce(&mut dyn FnMut(Case)) -> Result<()> + Send) -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")?;
        let rig = Rig::new(&node)?;
        let mut failed = 0;
        cases(&mut |case| failed += usize::from(!rig.passes(&case)))?;
        ensure!(failed == 0, "{failed} cases failed");
        Ok(())
    })
}

#[test]
fn addresses_that_never_leave_a_host_are_dropped() -> Result<()> {
    run_on_router(|run| {
        for last in
            [[127, 0, 0, 1], [127, 0, 0, 53], [127, 255, 255, 255], [0; 4], [169, 254, 1, 1]]
        {
            run(to_v4(last.into(), Reason::Martian));
        }
        for text in ["::", "::1", "::ffff:10.217.1.6", "::ffff:127.0.0.1", "::ffff:0:0", "fe80::1"]
        {
            run(to_v6(text, Reason::Martian));
        }
        Ok(())
    })
}

#[test]
fn addresses_beside_those_are_not_dropped() -> Result<()> {
    run_on_router(|run| {
        for last in [[126, 255, 255, 255], [128, 0, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]] {
            run(to_v4(last.into(), Reason::ToHost));
        }
        for text in [
            "::2",
            "::fffe:10.217.1.6",
            "::1:0:0",
            "::1:ffff:0:1",
            "0:0:1::1",
            "1::ffff:10.217.1.6",
            "fe80::2",
            "fe80::1:0:0:1",
            "fec0::1",
        ] {
            run(to_v6(text, Reason::ToHost));
        }
        Ok(())
    })
}

/// A forged packet is counted as forged, wherever it goes.
#[test]
fn forged_packets_to_such_addresses_count_as_forged() -> Result<()> {
    let forged_v4 = Ipv4::new(NARROW.v4, Ipv4Addr::LOCALHOST);
    let forged_v6 = Ipv6::new(NARROW.v6, Ipv6Addr::LOCALHOST);
    let packets = [v4_frame(FromContainer, &forged_v4), v6_frame(FromContainer, &forged_v6)];
    rig::run(&packets.map(|packet| {
        Case::new("forged, to loopback", FromContainer, packet, Reason::ForeignAddress)
    }))
}

#[test]
fn link_local_packets_leave_the_node_where_the_network_allows_it() -> Result<()> {
    run_on_router(|run| {
        for last in [[169, 254, 169, 254], [169, 254, 0, 0], [169, 254, 255, 255], [169, 254, 1, 2]]
        {
            run(to_v4(last.into(), Reason::LinkLocal));
            run(to_v4(last.into(), Reason::ToHost).on(Device::LinkLocal));
        }
        for last in [[169, 253, 255, 255], [169, 255, 0, 0], [168, 254, 0, 1]] {
            run(to_v4(last.into(), Reason::ToHost));
        }
        Ok(())
    })
}

/// The kernel forwards none, wherever routes lead.
#[test]
fn link_local_packets_of_ipv6_are_left_to_the_host_stack() -> Result<()> {
    run_on_router(|run| {
        command::run("ip", ["-6", "route", "add", "fe80::a9fe:a9fe/128", "dev", "uplink"])?;
        for text in ["fe80::a9fe:a9fe", "febf:ffff::1"] {
            run(to_v6(text, Reason::ToHost));
            run(to_v6(text, Reason::ToHost).on(Device::LinkLocal));
        }
        Ok(())
    })
}

/// Services of clouds at other addresses, each beside its neighbours.
#[test]
fn metadata_services_are_out_of_reach_unless_the_network_allows_them() -> Result<()> {
    run_on_router(|run| {
        run(to_v4([100, 100, 100, 200].into(), Reason::Metadata));
        run(to_v4([100, 100, 100, 200].into(), Reason::ToHost).on(Device::LinkLocal));
        for last in [[100, 100, 100, 199], [100, 100, 101, 200], [168, 63, 129, 16]] {
            run(to_v4(last.into(), Reason::ToHost));
        }
        for text in ["fd00:ec2::254", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42"] {
            run(to_v6(text, Reason::Metadata));
            run(to_v6(text, Reason::ToHost).on(Device::LinkLocal));
        }
        for text in ["fd00:ec2::253", "fd00:ec2:0:1::254", "fd20:ec2::254", "fd00:ce::254"] {
            run(to_v6(text, Reason::ToHost));
        }
        // A proxy on the node that has the address.
        command::run("ip", ["address", "add", "fd00:ec2::254/128", "dev", "lo", "nodad"])?;
        run(to_v6("fd00:ec2::254", Reason::ToHost));
        Ok(())
    })
}

/// Also an address that the node gets, or loses, after the slot was made.
#[test]
fn link_local_packets_reach_the_node_that_has_the_address() -> Result<()> {
    run_on_router(|run| {
        let dns = NODE_DNS.to_string();
        run(to_v4(NODE_DNS, Reason::LinkLocal));
        command::run("ip", ["address", "add", &dns, "dev", "lo"])?;
        run(to_v4(NODE_DNS, Reason::ToHost));
        run(to_v4(NODE_DNS, Reason::ToHost).on(Device::LinkLocal));
        run(to_v4(METADATA, Reason::LinkLocal));
        command::run("ip", ["address", "del", &format!("{dns}/32"), "dev", "lo"])?;
        run(to_v4(NODE_DNS, Reason::LinkLocal));
        Ok(())
    })
}

/// The host stack answers such packets itself.
#[test]
fn link_local_packets_that_the_node_does_not_forward_are_left_to_the_host_stack() -> Result<()> {
    run_on_router(|run| {
        for kind in ["blackhole", "unreachable", "prohibit"] {
            command::run("ip", ["route", "add", kind, "169.254.0.0/16"])?;
            run(to_v4(METADATA, Reason::ToHost));
            command::run("ip", ["route", "del", kind, "169.254.0.0/16"])?;
        }
        run(to_v4(METADATA, Reason::LinkLocal));
        fs::write("/proc/sys/net/ipv4/ip_forward", "0")?;
        run(to_v4(METADATA, Reason::ToHost));
        Ok(())
    })
}

/// The kernel's rules count, too.
#[test]
fn link_local_packets_follow_the_rules_of_the_node() -> Result<()> {
    run_on_router(|run| {
        command::run("ip", ["route", "del", "default"])?;
        run(to_v4(METADATA, Reason::ToHost));
        command::run("ip", ["route", "add", "default", "dev", "uplink", "table", "7"])?;
        command::run("ip", ["rule", "add", "to", "169.254.0.0/16", "lookup", "7"])?;
        run(to_v4(METADATA, Reason::LinkLocal));
        Ok(())
    })
}

/// Packets of a length, Ethernet header not counted, to a slot.
fn of_length(length: usize, destination: Addresses, expected: Reason) -> [Case; 2] {
    let v4 = Ipv4 { payload: vec![7; length - IPV4], ..Ipv4::new(OWN.v4, destination.v4) };
    let v6 = Ipv6 { payload: vec![7; length - IPV6], ..Ipv6::new(OWN.v6, destination.v6) };
    [v4_frame(FromContainer, &v4), v6_frame(FromContainer, &v6)]
        .map(|packet| Case::new("of a length", FromContainer, packet, expected))
}

#[test]
fn packets_larger_than_the_receivers_mtu_are_left_to_the_host_stack() -> Result<()> {
    let cases = [
        of_length(NARROW_MTU, NARROW, Reason::Redirected),
        of_length(NARROW_MTU + 1, NARROW, Reason::TooLarge),
        of_length(1500, NARROW, Reason::TooLarge),
        of_length(1500, super::case::PEER, Reason::Redirected),
    ];
    rig::run(&cases.concat())
}

#[test]
fn large_packets_without_a_hop_left_expire_first() -> Result<()> {
    let payload = vec![7; 1400];
    let v4 = Ipv4 { time_to_live: 1, payload, ..Ipv4::new(OWN.v4, NARROW.v4) };
    let packet = v4_frame(FromContainer, &v4);
    rig::run(&[Case::new("1 hop left", FromContainer, packet, Reason::ToHost)])
}

#[test]
fn packets_to_an_interface_that_is_gone_are_dropped() -> Result<()> {
    rig::run(&both("to a slot without interface", FromContainer, OWN, GONE, Reason::Undeliverable))
}
