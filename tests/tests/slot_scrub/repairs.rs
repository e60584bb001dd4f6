//! What is repaired, and what a slot is given up for.

use anyhow::{Context as _, Result, ensure};
use repoint::slot::Scrubbed;

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
    "echo 1 2 3 4 > /proc/sys/net/ipv4/tcp_fastopen_key 2>/dev/null || \
     echo 00000001-00000002-00000003-00000004 > /proc/sys/net/ipv4/tcp_fastopen_key",
    "ip link set lo down",
    "ip link set eth0 down",
    "ip link set eth0 mtu 1400; ip link set lo mtu 1400",
    "ip link set eth0 mtu 1200",
    "ip link set eth0 address 02:00:00:00:00:01",
    "ip link set eth0 down; ip link set eth0 name other0",
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
const GIVEN_UP: &[(&str, &str)] = &[
    ("iptables-legacy -A INPUT -j DROP", "iptables (legacy) table filter"),
    ("ip link add br0 type bridge", "link br0"),
    ("ip link add v7 type veth peer name v8", "link v7"),
    ("ip link property add dev eth0 altname another", "link {ifname}"),
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
fn what_has_no_way_back_is_told() -> Result<()> {
    for (script, told) in GIVEN_UP {
        with_slot(|slot| {
            slot.shell(script)?;
            match slot.scrub()? {
                Scrubbed::Different(difference) => {
                    println!("{difference}");
                    ensure!(difference.to_string().contains(told), "{difference}");
                    Ok(())
                }
                other => anyhow::bail!("{other:?}"),
            }
        })
        .context(*script)?;
    }
    Ok(())
}
