//! What is repaired, and what a slot is deleted for.

use anyhow::{Result, ensure};

use super::fixture::{clean, with_slot};

/// What containers leave: each is repaired.
const REPAIRED: &[&str] = &[
    "nft 'add table inet t; add chain inet t c { type filter hook input priority 0; }; \
     add rule inet t c drop'",
    "iptables-nft -A INPUT -p tcp --dport 80 -j DROP; ip6tables-nft -A INPUT -j DROP",
    "ip address add 10.9.9.9/24 dev eth0",
    "ip address add 10.9.9.9/24 dev eth0 label eth0:1",
    "ip address add fd00:9::9/64 dev eth0 nodad",
    "ip address add 10.9.9.9/32 dev lo",
    "ip address del 10.217.1.5/24 dev eth0",
    "ip address flush dev eth0",
    "ip address flush dev lo",
    "ip route replace default via 10.217.1.77 dev eth0 onlink",
    "ip -6 route del default",
    "ip route flush dev eth0; ip -6 route flush dev eth0",
    "ip route add blackhole 10.8.0.0/16; ip route add 10.7.0.0/16 dev eth0 table 99",
    "ip route del local 10.217.1.5 dev eth0 table local",
    "ip route change default via 169.254.1.1 dev eth0 onlink mtu 1200",
    "ip rule add from 10.9.0.0/16 table 99; ip -6 rule add fwmark 7 table 98",
    "ip rule flush; ip -6 rule del pref 32766; ip rule del pref 0",
    "echo 1 > /proc/sys/net/ipv4/ip_forward",
    "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
    "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6",
    "echo 9 > /proc/sys/net/core/somaxconn; echo 2 > /proc/sys/net/ipv4/conf/eth0/arp_ignore",
    "echo '20000 30000' > /proc/sys/net/ipv4/ip_local_port_range",
    "ip link set lo down",
    "ip link set eth0 down",
    "ip link set eth0 mtu 1400; ip link set lo mtu 1400",
    "ip link set eth0 mtu 1200",
    "ip link set eth0 address 02:00:00:00:00:01",
    "ip link set eth0 down; ip link set eth0 name other0",
    "ip link set eth0 down; ip link set eth0 name '{ifname}'",
    "ip link set eth0 alias 'up, hardware 1, flags 0x1002,'",
    "ip link set eth0 txqueuelen 5 promisc on allmulticast on group 9 arp off alias mine",
    "ip link set eth0 addrgenmode eui64; ip link set eth0 down; ip link set eth0 up",
    "tc qdisc add dev eth0 root tbf rate 1mbit burst 10k latency 50ms",
    "tc qdisc add dev eth0 clsact",
    "ip neigh replace 169.254.1.1 dev eth0 lladdr 02:00:00:00:00:99 nud permanent",
    "ip neigh del fe80::1 dev eth0",
    "ip neigh add 10.9.9.9 dev eth0 lladdr 02:00:00:00:00:99 nud permanent; \
     ip neigh add proxy 10.9.9.8 dev eth0",
    "ip nexthop add id 5 blackhole; ip route add 10.6.0.0/16 nhid 5",
    "ip addrlabel add prefix 2001:db8::/32 label 77",
    "ip xfrm policy add src 10.9.0.0/16 dst 10.8.0.0/16 dir out \
     tmpl src 10.9.9.9 dst 10.8.8.8 proto esp mode tunnel",
];

/// What has no way back.
const DELETED: &[(&str, &str)] = &[
    ("iptables-legacy -A INPUT -j DROP", "iptables (legacy) table filter"),
    ("ip link add br0 type bridge", "link br0"),
    ("ip link add v7 type veth peer name v8", "link v7"),
    ("ip link property add dev eth0 altname another", "link {:ifname}"),
    // Operstate is still up, or dormant already: the kernel's link watch follows when it runs.
    ("ip link set eth0 mode dormant", " mode 1 "),
    ("ip maddr add 33:33:00:00:00:99 dev eth0", "link-layer address on {:ifname}"),
    ("ip mptcp endpoint add 10.9.9.9 subflow", "MPTCP endpoint"),
    ("ip mptcp limits set subflow 3 add_addr_accepted 3", "MPTCP limits"),
    ("ip sr tunsrc set fd00::9", "segment routing source"),
    (
        "echo secret | ip sr hmac set 17 sha256 || ip sr hmac set 17 sha256 secret",
        "segment routing key",
    ),
    ("ip ioam namespace add 7", "IOAM namespace"),
    ("ip ioam schema add 7 text", "IOAM schema"),
    ("ip xfrm policy setdefault in block fwd block out block", "IPsec defaults 0x010101"),
    ("ip xfrm policy set hthresh4 8 8", "IPsec thresholds"),
    ("tc actions add action mirred egress redirect dev lo", "traffic control actions mirred"),
    (
        "unshare --mount sh -ec 'mount -t sysfs none /sys; \
         echo 1 > /sys/class/net/eth0/queues/rx-0/rps_cpus'",
        "setting {:ifname}/queues/rx-0/rps_cpus",
    ),
    (
        "unshare --mount sh -ec 'mount -t sysfs none /sys; \
         echo 5 > /sys/class/net/eth0/gro_flush_timeout'",
        "setting {:ifname}/gro_flush_timeout",
    ),
    ("echo 2001:db8:0:0:0:0:0:1 > /proc/sys/net/ipv6/conf/default/stable_secret", "stable_secret"),
];

#[test]
fn each_change_is_repaired() -> Result<()> {
    let mut failed = Vec::new();
    for script in REPAIRED {
        println!("{script}");
        let result = with_slot(|slot| {
            slot.shell(script)?;
            slot.scrub_and_compare()?;
            let again = slot.scrub()?;
            ensure!(again == clean(), "not clean the second time: {again:?}");
            Ok(())
        });
        failed.extend(result.err().map(|error| format!("{script}: {error:#}")));
    }
    ensure!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
    Ok(())
}

#[test]
fn all_changes_together_are_repaired() -> Result<()> {
    with_slot(|slot| {
        for script in REPAIRED {
            // One may make another impossible.
            if let Err(error) = slot.shell(script) {
                println!("{error:#}");
            }
        }
        slot.scrub_and_compare()
    })
}

#[test]
fn what_has_no_way_back_is_named() -> Result<()> {
    let mut failed = Vec::new();
    for (script, named) in DELETED {
        println!("{script}");
        let result = with_slot(|slot| {
            slot.shell(script)?;
            slot.is_different(named)
        });
        failed.extend(result.err().map(|error| format!("{script}: {error:#}")));
    }
    ensure!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
    Ok(())
}
