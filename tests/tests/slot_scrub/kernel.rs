//! Everything of the running kernel that can hold a namespace's state, and why a scrub need not look at
//! it, if it does not. What is new in a kernel fails here.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::{fd::AsFd as _, unix::fs::PermissionsExt as _},
    path::Path,
};

use anyhow::{Result, ensure};
use repoint::{
    datapath::namespace_attach_types,
    netlink::{UntypedMessage, UntypedSocket, families, open_generic, open_netfilter_untyped},
};
use repoint_tests::command;

use super::fixture::{Built, with_slot};

/// What is compared, or flushed.
const COMPARED: &str = "compared";
const FORGOTTEN: &str = "forgotten by each scrub";
const SOCKETS: &str = "goes with a socket, of which none may be left";
const STATISTICS: &str = "statistics";
const ELSE: &str = "shows what is compared by netlink";
const SYSCTLS: &str = "shows sysctls, which are compared";
const NODE: &str = "is the node's, not a namespace's";
const BRIDGES: &str = "goes with a link of another kind, which is compared";
const QDISC: &str = "goes with a queueing discipline, which is compared";
const RULES: &str = "goes with rules, whose tables are compared";
const CONTENT: &str = "says what there could be, not what there is";
const HARDWARE: &str = "is of hardware: neither `lo` nor a veth has it";

type Table = &'static [(&'static str, &'static str)];

/// Families of generic netlink.
const FAMILIES: Table = &[
    ("nlctrl", CONTENT),
    ("TASKSTATS", STATISTICS),
    ("tcp_metrics", FORGOTTEN),
    ("mptcp_pm", COMPARED),
    ("SEG6", COMPARED),
    ("IOAM6", COMPARED),
    ("ethtool", "features are compared; a veth can be set nothing else by it"),
    ("netdev", "a veth has NAPI with features that are compared; sysfs shows the rest"),
    ("devlink", HARDWARE),
    ("dpll", HARDWARE),
    ("nl80211", HARDWARE),
    ("wireguard", BRIDGES),
    ("macsec", BRIDGES),
    ("l2tp", "goes with sockets and links"),
    ("team", BRIDGES),
    ("IPVS", "its services are compared (/proc/net/ip_vs)"),
    ("handshake", SOCKETS),
    ("net_shaper", HARDWARE),
    ("thermal_event", NODE),
    ("acpi_event", NODE),
    ("VFS_DQUOT", NODE),
];

/// Subsystems of nfnetlink, by number.
const SUBSYSTEMS: Table = &[
    ("1", FORGOTTEN),
    ("2", "expected connections go with the ones that expect them"),
    ("3", SOCKETS),
    ("4", SOCKETS),
    ("5", NODE),
    ("6", COMPARED),
    ("7", COMPARED),
    ("8", "policies are compared; their defaults are sysctls"),
    ("9", NODE),
    ("10", "tables are compared"),
    ("11", CONTENT),
    ("12", "hooks go with tables; those of BPF links are not looked at"),
];

/// Kinds of `RTM_GET…`, by number.
const KINDS: Table = &[
    ("18", COMPARED),
    ("22", COMPARED),
    ("26", COMPARED),
    ("30", "compared where permanent, forgotten where learned"),
    ("34", COMPARED),
    ("38", COMPARED),
    ("42", QDISC),
    ("46", QDISC),
    ("50", COMPARED),
    ("58", "groups are joined by sockets, links and addresses; links' are compared"),
    ("62", "goes with sockets, addresses and sysctls"),
    ("66", SYSCTLS),
    ("74", COMPARED),
    ("78", HARDWARE),
    ("82", SYSCTLS),
    ("86", BRIDGES),
    ("90", COMPARED),
    ("94", STATISTICS),
    ("102", QDISC),
    ("106", COMPARED),
    ("114", BRIDGES),
    ("118", "goes with a next hop, which is compared"),
    ("122", BRIDGES),
];

/// `BPF_FLOW_DISSECTOR`, `BPF_SK_LOOKUP`.
const ATTACH_TYPES: Table = &[("17", COMPARED), ("36", COMPARED)];

/// Files below `/proc/self/net`.
const FILES: Table = &[
    ("anycast6", "goes with sockets, addresses and sysctls"),
    ("arp", ELSE),
    ("arp_tables_matches", CONTENT),
    ("arp_tables_names", COMPARED),
    ("arp_tables_targets", CONTENT),
    ("dev", STATISTICS),
    ("dev_mcast", ELSE),
    ("dev_snmp6/eth0", STATISTICS),
    ("dev_snmp6/lo", STATISTICS),
    ("fib_trie", ELSE),
    ("fib_triestat", STATISTICS),
    ("icmp", SOCKETS),
    ("icmp6", SOCKETS),
    ("if_inet6", ELSE),
    ("igmp", "groups are joined by sockets and links; links' are compared"),
    ("igmp6", "groups are joined by sockets and addresses; links' are compared"),
    ("ip6_flowlabel", COMPARED),
    ("ip6_mr_cache", SOCKETS),
    ("ip6_mr_vif", SOCKETS),
    ("ip6_tables_matches", CONTENT),
    ("ip6_tables_names", COMPARED),
    ("ip6_tables_targets", CONTENT),
    ("ip6t_hashlimit", RULES),
    ("ip_mr_cache", SOCKETS),
    ("ip_mr_vif", SOCKETS),
    ("ip_tables_matches", CONTENT),
    ("ip_tables_names", COMPARED),
    ("ip_tables_targets", CONTENT),
    ("ip_vs", COMPARED),
    ("ip_vs_app", NODE),
    ("ip_vs_conn", "goes with a service, which is compared"),
    ("ip_vs_conn_sync", "goes with a service, which is compared"),
    ("ip_vs_stats", STATISTICS),
    ("ip_vs_stats_percpu", STATISTICS),
    ("ipt_hashlimit", RULES),
    ("ipv6_route", ELSE),
    ("mcfilter", SOCKETS),
    ("mcfilter6", SOCKETS),
    ("netfilter/nf_log", SYSCTLS),
    ("netfilter/nfnetlink_log", SOCKETS),
    ("netfilter/nfnetlink_queue", SOCKETS),
    ("netlink", SOCKETS),
    ("netstat", STATISTICS),
    ("nf_conntrack", FORGOTTEN),
    ("nf_conntrack_expect", FORGOTTEN),
    ("packet", SOCKETS),
    ("protocols", "sockets are counted by it"),
    ("psched", NODE),
    ("ptype", SOCKETS),
    ("raw", SOCKETS),
    ("raw6", SOCKETS),
    ("route", ELSE),
    ("rt6_stats", STATISTICS),
    ("rt_acct", STATISTICS),
    ("rt_cache", "is empty since Linux 3.6"),
    ("sctp/assocs", SOCKETS),
    ("sctp/eps", SOCKETS),
    ("sctp/remaddr", SOCKETS),
    ("sctp/snmp", STATISTICS),
    ("snmp", STATISTICS),
    ("snmp6", STATISTICS),
    ("sockstat", "sockets are counted by it"),
    ("sockstat6", "sockets are counted by it"),
    ("softnet_stat", STATISTICS),
    ("stat/arp_cache", STATISTICS),
    ("stat/ip_conntrack", STATISTICS),
    ("stat/ndisc_cache", STATISTICS),
    ("stat/nf_conntrack", STATISTICS),
    ("stat/rt_cache", STATISTICS),
    ("stat/synproxy", STATISTICS),
    ("tcp", SOCKETS),
    ("tcp6", SOCKETS),
    ("tls_stat", STATISTICS),
    ("udp", SOCKETS),
    ("udp6", SOCKETS),
    ("udplite", SOCKETS),
    ("udplite6", SOCKETS),
    ("unix", SOCKETS),
    ("vlan/config", BRIDGES),
    ("wireless", HARDWARE),
    ("xdp", SOCKETS),
    ("xfrm_stat", STATISTICS),
    ("xt_recent", RULES),
];

/// Sysctls below `/proc/sys/net` that can be written and are no lines of a fingerprint, by their last
/// parts.
const SYSCTL_FILES: Table = &[
    ("tcp_fastopen_key", "each scrub writes another"),
    ("flush", "is written to forget cached routes, by each scrub"),
    ("stable_secret", "compared once it is set: until then it cannot be read"),
];

/// What sysfs has of a link, can be written and is no line of a fingerprint.
const LINK_FILES: Table = &[
    ("carrier", "shows whether the other end is up; a veth's cannot be set"),
    ("flags", ELSE),
    ("ifalias", ELSE),
    ("mtu", ELSE),
    ("netdev_group", ELSE),
    ("proto_down", ELSE),
    ("tx_queue_len", ELSE),
    ("uevent", "announces the link to the node"),
    ("power/control", HARDWARE),
    ("power/autosuspend_delay_ms", HARDWARE),
    ("queues/tx-0/xps_cpus", "cannot be read where there is one queue"),
];

/// Fails for each of `found` that the table does not have.
fn are_known(what: &str, found: &BTreeSet<String>, table: Table) -> Result<()> {
    let (mut unknown, mut shown) = (Vec::new(), Vec::new());
    for name in found {
        match table.iter().find(|(known, _)| known == name) {
            Some((_, why)) => shown.push(format!("{name}: {why}")),
            None => unknown.push(name.as_str()),
        }
    }
    println!("{what}\n  {}", shown.join("\n  "));
    ensure!(!found.is_empty(), "{what}: nothing was found");
    ensure!(
        unknown.is_empty(),
        "{what}: neither compared nor explained: {}. Have the scrub compare it, or say in this table \
         why it need not (docs/development.md, \"Have the scrub compare one thing more\").",
        unknown.join(", ")
    );
    Ok(())
}

#[test]
fn every_family_of_generic_netlink_is_known() -> Result<()> {
    with_slot(|slot| {
        let found = slot.netns.run(|| families(&mut open_generic()?))??;
        are_known("families of generic netlink", &found.into_keys().collect(), FAMILIES)
    })
}

/// The kernel answers what it does not know with `EINVAL`. 0 and 1 are what is asked with; in no
/// subsystem do they change anything without attributes.
#[test]
fn every_subsystem_of_nfnetlink_is_known() -> Result<()> {
    with_slot(|slot| {
        let answers = |subsystem: u16| {
            slot.netns.run(|| {
                let mut answered = false;
                for command in [0, 1] {
                    let message = UntypedMessage::new((subsystem << 8) | command, &[0; 4]);
                    let answer = open_netfilter_untyped()?.dump("ask", &message);
                    let errno = answer.err().and_then(|error| error.errno());
                    answered |= !matches!(errno, Some(libc::EINVAL | libc::EOPNOTSUPP));
                }
                anyhow::Ok(answered)
            })?
        };
        let mut found = BTreeSet::new();
        for subsystem in 1..64 {
            if answers(subsystem)? {
                found.insert(subsystem.to_string());
            }
        }
        are_known("subsystems of nfnetlink", &found, SUBSYSTEMS)
    })
}

#[test]
fn every_kind_of_routing_message_is_known() -> Result<()> {
    // Any, IPv4, IPv6, bridge, MPLS, and multicast of both.
    const PROTOCOLS: [u8; 7] = [0, 2, 10, 7, 28, 128, 129];
    with_slot(|slot| {
        let answers = |kind: u16| {
            slot.netns.run(|| {
                let mut answered = false;
                for protocol in PROTOCOLS {
                    let mut header = [0; 20];
                    header[0] = protocol;
                    let message = UntypedMessage::new(kind, &header);
                    let answer = UntypedSocket::open_untyped(0)?.dump("ask", &message);
                    let errno = answer.err().and_then(|error| error.errno());
                    answered |= errno != Some(libc::EOPNOTSUPP);
                }
                anyhow::Ok(answered)
            })?
        };
        let mut found = BTreeSet::new();
        for kind in (18..254).step_by(4) {
            if answers(kind)? {
                found.insert(kind.to_string());
            }
        }
        are_known("kinds of RTM_GET", &found, KINDS)
    })
}

#[test]
fn every_point_at_which_programs_are_attached_to_a_namespace_is_known() -> Result<()> {
    with_slot(|slot| {
        let found = slot.netns.run(|| {
            let netns = File::open("/proc/thread-self/ns/net")?;
            anyhow::Ok(namespace_attach_types(netns.as_fd()))
        })??;
        let found = found.iter().map(u32::to_string).collect();
        are_known("types of attachment of programs to a namespace", &found, ATTACH_TYPES)
    })
}

/// Relative paths of all files below a folder that are wanted.
fn files(folder: &Path, wanted: impl Fn(&Path) -> Result<bool>) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next)? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_symlink() => {}
                kind if kind.is_dir() => folders.push(entry.path()),
                _ if wanted(&entry.path())? => {
                    let path = entry.path();
                    found.insert(path.strip_prefix(folder)?.to_string_lossy().into_owned());
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

fn can_be_written(path: &Path) -> Result<bool> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o200 != 0)
}

#[test]
fn every_file_of_proc_net_is_known() -> Result<()> {
    with_slot(|slot| {
        let found =
            slot.netns.run(|| files(Path::new("/proc/thread-self/net"), |_| Ok(true)))??;
        are_known("files of /proc/net", &found, FILES)
    })
}

#[test]
fn every_sysctl_that_can_be_written_is_compared() -> Result<()> {
    with_slot(|slot| {
        let found = slot.netns.run(|| files(Path::new("/proc/sys/net"), can_be_written))??;
        ensure!(found.len() > 300, "{} sysctls", found.len());
        let left = without_lines(slot, "sysctl", found, |path| path.to_owned());
        let last = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
        are_known("sysctls that are not compared", &left.iter().map(last).collect(), SYSCTL_FILES)
    })
}

#[test]
fn every_setting_of_a_link_is_compared() -> Result<()> {
    with_slot(|slot| {
        for link in ["lo", "eth0"] {
            // In a mount namespace of its own: the thread that enters one leaves it again.
            let script = format!(
                "mount -t sysfs none /sys; cd /sys/class/net/{link}/; find . -type f -perm /200"
            );
            let found =
                slot.netns.run(|| command::run("unshare", ["--mount", "sh", "-ec", &script]))??;
            let found = found.lines().map(|line| line.trim_start_matches("./").to_owned());
            let left =
                without_lines(slot, "setting", found.collect(), |path| format!("{link}/{path}"));
            are_known(&format!("settings of {link} that are not compared"), &left, LINK_FILES)?;
        }
        Ok(())
    })
}

/// What is no line of the slot's fingerprint.
fn without_lines(
    slot: &Built,
    kind: &str,
    found: BTreeSet<String>,
    path: impl Fn(&str) -> String,
) -> BTreeSet<String> {
    let is_line = |file: &String| {
        let named: Vec<_> = path(file)
            .split('/')
            .map(|part| if part == "eth0" { "{:ifname}".to_owned() } else { part.to_owned() })
            .collect();
        let start = format!("{kind} {} = ", named.join("/"));
        slot.expected.lines().iter().any(|line| line.starts_with(&start))
    };
    found.into_iter().filter(|file| !is_line(file)).collect()
}
