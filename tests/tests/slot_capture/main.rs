//! What was changed in a slot's namespace, described as operations; and slots that are built from these.
#![cfg(test)]

mod fixture;

use anyhow::{Context as _, Result, bail, ensure};
use repoint::{
    slot::CaptureError,
    template::{Operation, Template},
};
use repoint_tests::template::ordinary;

use fixture::{build, on_node, with_slot};

/// What a user changes, and the operations that it amounts to.
const CAPTURED: &[(&str, &[&str])] = &[
    ("true", &[]),
    (
        "echo 77 > /proc/sys/net/ipv4/tcp_keepalive_time",
        &["setSysctl net.ipv4.tcp_keepalive_time = 77"],
    ),
    (
        "echo 2 > /proc/sys/net/ipv4/conf/eth0/rp_filter",
        &["setSysctl net.ipv4.conf.{interface}.rp_filter = 2"],
    ),
    (
        "echo 1 > /proc/sys/net/ipv4/conf/default/arp_ignore",
        &[
            "setSysctl net.ipv4.conf.default.arp_ignore = 1",
            "setSysctl net.ipv4.conf.lo.arp_ignore = 0",
            "setSysctl net.ipv4.conf.{interface}.arp_ignore = 0",
        ],
    ),
    (
        "echo '20000 30000' > /proc/sys/net/ipv4/ip_local_port_range",
        &["setSysctl net.ipv4.ip_local_port_range = 20000 30000"],
    ),
    ("ip route add 10.50.0.0/16 via 169.254.1.1", &["addRoute to 10.50.0.0/16 via gateway"]),
    (
        "ip -6 route add fd50::/32 via fe80::1 dev eth0 mtu 1300 metric 9 table 99",
        &["addRoute to fd50::/32 via gateway mtu 1300 priority 9 table 99"],
    ),
    (
        "ip neigh add 192.0.2.1 dev eth0 lladdr 02:72:70:00:00:01 nud permanent;
         ip route add 10.51.0.0/16 via 192.0.2.1 dev eth0 onlink advmss 1200",
        &[
            "addNeighbour 192.0.2.1 mac 02:72:70:00:00:01",
            "addRoute to 10.51.0.0/16 via 192.0.2.1 advmss 1200",
        ],
    ),
    (
        "ip route add 10.217.1.0/24 via 169.254.1.1 table 99;
         ip -6 route add fd00:217:1::/64 via fe80::1 dev eth0 table 99",
        &["addRoute to ownSubnets via gateway table 99"],
    ),
    ("ip neigh add 192.0.2.7 dev eth0 lladdr 02:00:00:00:00:07 nud reachable", &[]),
];

/// What no operation can say, and how it is reported.
const UNCAPTURABLE: &[(&str, &[&str])] = &[
    ("ip link add br0 type bridge", &["slot 000000000005: added: link br0 (there is no such"]),
    ("ip link set eth0 mtu 1400", &["changed: link {:ifname}: mtu 1500 is now 1400 ("]),
    ("ip link set lo down", &["changed: link lo: lo: up, is now down,", "removed: address on lo"]),
    (
        "ip link set eth0 down; ip link set eth0 name other0",
        &["added: link other0", "removed: link {:ifname};"],
    ),
    (
        "ip address add 10.9.9.9/32 dev eth0",
        &["added: address on {:ifname}", "added: route IPv4: local"],
    ),
    ("ip route del default", &["removed: route IPv4: unicast prefix 0"]),
    (
        "ip route change default via 169.254.1.1 dev eth0 onlink mtu 1200",
        &["removed: route IPv4: unicast prefix 0", "(there is another one to this destination)"],
    ),
    (
        "ip route append default via 192.0.2.9 dev eth0 onlink",
        &["(there is another one to this destination)"],
    ),
    ("ip route add 10.50.0.0/16 dev eth0", &["(it has no gateway)"]),
    ("ip route add blackhole 10.50.0.0/16", &["(it is not a unicast route)"]),
    ("ip route add 10.50.0.0/16 via 169.254.1.1 proto static", &["(its protocol is not boot"]),
    (
        "ip route add 10.50.0.0/16 via 169.254.1.1 src 10.217.1.5",
        &["no operation can say PrefSource"],
    ),
    ("ip route add 10.50.0.0/16 via 169.254.1.1 window 9", &["no operation can say Window"]),
    (
        "ip route add 10.50.0.0/16 tos 4 via 169.254.1.1",
        &["(it depends on more than the destination)"],
    ),
    (
        "ip route add 10.217.1.64/26 via 169.254.1.1",
        &["(its destination is in a subnet of this node)"],
    ),
    (
        "ip route add 10.50.0.0/16 via 10.217.1.99 dev eth0 onlink",
        &["(router 10.217.1.99 is in a subnet of this node)"],
    ),
    (
        "ip route add 10.217.1.0/24 via 169.254.1.1 table 99",
        &["(there is none to the slot's other subnet)"],
    ),
    (
        "ip neigh add 10.217.1.99 dev eth0 lladdr 02:00:00:00:00:99 nud permanent",
        &["added: neighbour on {:ifname}", "(it is in a subnet of this node)"],
    ),
    (
        "ip neigh add 192.0.2.1 dev eth0 lladdr $(ip -br link show eth0 | awk '{print $3}') nud permanent",
        &["(its Ethernet address is the slot's own)"],
    ),
    (
        "ip neigh replace 169.254.1.1 dev eth0 lladdr 02:00:00:00:00:99 nud permanent",
        &["removed: neighbour on {:ifname}"],
    ),
    ("ip neigh add proxy 192.0.2.1 dev eth0", &["added: proxy neighbour"]),
    ("ip rule add from 10.9.0.0/16 table 99", &["added: rule IPv4"]),
    ("nft add table inet t", &["added: nftables table t"]),
    ("tc qdisc add dev eth0 clsact", &["added: queueing discipline on {:ifname}"]),
    (
        "ip nexthop add id 5 via 169.254.1.1 dev eth0; ip route add 10.6.0.0/16 nhid 5",
        &["added: nexthop", "no operation can say NhId(5)"],
    ),
    (
        "echo 2001:db8:0:0:0:0:0:1 > /proc/sys/net/ipv6/conf/default/stable_secret",
        &["sysctl ipv6/conf/default/stable_secret (it is a secret)"],
    ),
    (
        "echo 77 > /proc/sys/net/core/somaxconn; nft add table ip one; nft add table ip two",
        &["added: nftables table one", "added: nftables table two"],
    ),
];

#[test]
fn what_a_template_can_say_is_described_by_operations() -> Result<()> {
    for (script, expected) in CAPTURED {
        with_slot(|slot| {
            slot.shell(script)?;
            let mut reported: Vec<_> = slot.capture()?.iter().map(ToString::to_string).collect();
            reported.sort_unstable();
            ensure!(reported == *expected, "{reported:?}");
            Ok(())
        })
        .context(*script)?;
    }
    Ok(())
}

#[test]
fn what_no_template_can_say_is_named() -> Result<()> {
    for (script, expected) in UNCAPTURABLE {
        with_slot(|slot| {
            slot.shell(script)?;
            let reported = match slot.capture() {
                Err(CaptureError::Uncapturable(reported)) => reported.to_string(),
                other => bail!("{other:?}"),
            };
            println!("{reported}");
            for part in *expected {
                ensure!(reported.contains(part), "{part:?} is not in {reported:?}");
            }
            ensure!(
                !reported.contains("2001:db8") && !reported.contains("2001:0db8"),
                "it has a secret"
            );
            Ok(())
        })
        .context(*script)?;
    }
    Ok(())
}

/// Everything at once, since one may stand in the way of another.
#[test]
fn a_slot_built_from_what_was_captured_is_like_the_one_it_was_captured_from() -> Result<()> {
    const SCRIPT: &str = "
        echo 77 > /proc/sys/net/ipv4/tcp_keepalive_time
        echo '20000 30000' > /proc/sys/net/ipv4/ip_local_port_range
        echo 8000,9000-9100 > /proc/sys/net/ipv4/ip_local_reserved_ports
        echo '4096 65536 1048576' > /proc/sys/net/ipv4/tcp_rmem
        echo reno > /proc/sys/net/ipv4/tcp_congestion_control
        echo 1 > /proc/sys/net/ipv4/ip_forward
        echo 0 > /proc/sys/net/ipv4/conf/eth0/forwarding
        echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
        echo 2 > /proc/sys/net/ipv4/conf/eth0/rp_filter
        echo 5 > /proc/sys/net/ipv4/neigh/eth0/mcast_solicit
        echo 1 > /proc/sys/net/ipv4/conf/default/arp_ignore
        ip neigh add 192.0.2.1 dev eth0 lladdr 02:72:70:00:00:01 nud permanent
        ip neigh add 2001:db8::1 dev eth0 lladdr 02:72:70:00:00:01 nud permanent
        ip route add 10.51.0.0/16 via 192.0.2.1 dev eth0 onlink mtu 1300 advmss 1200
        ip -6 route add fd51::/32 via 2001:db8::1 dev eth0 onlink metric 9
        ip route add 10.217.1.0/24 via 169.254.1.1 dev eth0 onlink table 99
        ip -6 route add fd00:217:1::/64 via fe80::1 dev eth0 onlink table 99";
    on_node(|datapath| {
        let first = build(&ordinary(), 5, "eth0", datapath)??;
        first.shell(SCRIPT)?;
        let template = ordinary().extended(first.capture()?);
        let text = template.to_json()?;
        println!("{text}");
        for own in ["10.217", "fd00:217", "eth0", "0a:00"] {
            ensure!(!text.contains(own), "{own} is the node's own");
        }
        let imported = Template::from_json(&text)?;
        // The interface has another name there.
        let second = build(&imported, 6, "net1", datapath)??;
        let (wanted, found) = (first.fingerprint_now()?, &second.fingerprint);
        let difference = wanted.difference(found);
        ensure!(difference.is_none(), "{}", difference.context("none")?);
        ensure!(second.capture()?.is_empty(), "what the template says is captured again");
        Ok(())
    })
}

#[test]
fn a_value_that_is_changed_again_takes_the_place_of_the_first() -> Result<()> {
    on_node(|datapath| {
        let set = |value: &str| {
            let key = "net.ipv4.tcp_keepalive_time".parse().unwrap();
            Operation::SetSysctl { key, value: value.to_owned() }
        };
        let first = ordinary().extended(vec![set("77")]);
        let slot = build(&first, 5, "eth0", datapath)??;
        slot.shell("echo 88 > /proc/sys/net/ipv4/tcp_keepalive_time")?;
        let captured = slot.capture()?;
        ensure!(captured == [set("88")], "{captured:?}");
        ensure!(first.extended(captured) == ordinary().extended(vec![set("88")]));
        Ok(())
    })
}

#[test]
fn a_sysctl_that_cannot_be_set_is_named() -> Result<()> {
    on_node(|datapath| {
        for (number, (key, value, reported)) in (5..).zip([
            ("net.ipv4.no_such_sysctl", "1", "open: No such file or directory"),
            ("net.core.netdev_max_backlog", "1", "open: "),
            ("net.ipv4.tcp_keepalive_time", "soon", "write: Invalid argument"),
            ("net.ipv4.tcp_keepalive_time", "7 8", "write: it takes only \"7 \" of it"),
        ]) {
            let operation = Operation::SetSysctl { key: key.parse()?, value: value.to_owned() };
            let template = ordinary().extended(vec![operation]);
            template.validate()?;
            let Err(error) = build(&template, number, "eth0", datapath)? else {
                bail!("{key} was set")
            };
            let error = error.to_string();
            println!("{error}");
            ensure!(error.contains(key) && error.contains(reported), "{error}");
        }
        Ok(())
    })
}
