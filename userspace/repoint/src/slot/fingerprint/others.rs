//! What else a user may have left: legacy firewalls, `IPsec`, load balancing, flow labels, programs,
//! actions, queues of links.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read as _},
    os::{fd::AsFd as _, unix::ffi::OsStrExt as _},
};

use rustix::{fs::OFlags, io::Errno};

use super::{
    FingerprintError, Kernel, Link,
    files::{self, Walk, mount_sysfs},
    generic, kernel,
    names::{Names, hexadecimal, shown},
    netfilter, sysctls,
};
use crate::{
    datapath::{AttachPoint, attached_count},
    netlink::{UntypedMessage, attributes, xfrm_counts, xfrm_defaults, xfrm_thresholds},
};

/// Files below `/proc/thread-self/net` with an object on each line. Each entry has the file, its number
/// of heading lines and the kind of object. A legacy iptables table, once a program has read it, exists
/// until the namespace ends.
const TABLES: [(&str, usize, &str); 5] = [
    ("ip_tables_names", 0, "iptables (legacy) table"),
    ("ip6_tables_names", 0, "ip6tables (legacy) table"),
    ("arp_tables_names", 0, "arptables (legacy) table"),
    ("ip_vs", 3, "IPVS service"),
    ("ip6_flowlabel", 1, "IPv6 flow label"),
];
/// `RTM_GETACTION`, `TCA_ACT_TAB` and `TCA_ACT_KIND`
const GET_ACTION: u16 = 50;
const ACTIONS: u16 = 1;
const ACTION_KIND: u16 = 1;
/// Length of `struct tcamsg`.
const ACTION_HEADER: usize = 4;
/// Kinds of traffic control actions, of all kernels. A request for a kind that the kernel lacks finds
/// nothing and loads no module (`tc_dump_action`).
const ACTION_KINDS: [&str; 21] = [
    "bpf",
    "connmark",
    "csum",
    "ct",
    "ctinfo",
    "gact",
    "gate",
    "ife",
    "ipt",
    "mirred",
    "mpls",
    "nat",
    "pedit",
    "police",
    "sample",
    "simple",
    "skbedit",
    "skbmod",
    "tunnel_key",
    "vlan",
    "xt",
];
/// Files of a link in sysfs that the walk leaves out. The link's line has their value already, or they
/// cannot be written, and trying that takes as long as reading.
const LEFT_OUT: [&str; 32] = [
    "addr_assign_type",
    "addr_len",
    "address",
    "broadcast",
    "carrier",
    "carrier_changes",
    "carrier_down_count",
    "carrier_up_count",
    "dev_id",
    "dev_port",
    "dormant",
    "duplex",
    "flags",
    "ifalias",
    "ifindex",
    "iflink",
    "link_mode",
    "mtu",
    "name_assign_type",
    "netdev_group",
    "operstate",
    "phys_port_id",
    "phys_port_name",
    "phys_switch_id",
    "power",
    "proto_down",
    "speed",
    "statistics",
    "testing",
    "tx_queue_len",
    "type",
    "uevent",
];

/// Lines of everything that is no object of the routing family.
pub(super) fn lines(
    kernel: &mut Kernel,
    links: &[Link],
    names: &Names<'_>,
) -> Result<Vec<String>, FingerprintError> {
    let mut found = sysctls::lines(names, &mut kernel.budget)?;
    found.extend(netfilter::lines(&mut kernel.netfilter, &mut kernel.budget)?);
    found.extend(tables(kernel)?);
    found.extend(xfrm(kernel)?);
    found.extend(generic::lines(kernel, names)?);
    found.extend(actions(kernel)?);
    found.extend(programs(links, names)?);
    found.extend(queues(kernel, links, names)?);
    Ok(found)
}

/// Lines of files of which each line is an object; none where the kernel has no such file.
fn tables(kernel: &mut Kernel) -> Result<Vec<String>, FingerprintError> {
    let mut lines = Vec::new();
    for (file, headings, kind) in TABLES {
        let path = format!("/proc/thread-self/net/{file}");
        let failed = |source| FingerprintError::Read { path: path.clone(), source };
        let mut text = Vec::new();
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => {
                let bound = kernel.budget.bytes_left().saturating_add(1);
                file.and_then(|file| file.take(bound).read_to_end(&mut text)).map_err(failed)?;
            }
        }
        let objects = text.split(|byte| *byte == b'\n').skip(headings);
        for (number, object) in objects.filter(|line| !line.is_empty()).enumerate() {
            kernel.budget.spend(kind, number + 1, object.len())?;
            lines.push(format!("{kind} {}", words(object)));
        }
    }
    Ok(lines)
}

/// The words of a line, with one space between.
fn words(line: &[u8]) -> String {
    let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.map(shown).collect::<Vec<_>>().join(" ")
}

/// Lines of `IPsec`: numbers of states and policies, defaults, hash thresholds.
fn xfrm(kernel: &mut Kernel) -> Result<Vec<String>, FingerprintError> {
    let Some(socket) = &mut kernel.xfrm else { return Ok(Vec::new()) };
    let mut lines = Vec::new();
    let (states, policies) = xfrm_counts(socket)?;
    if (states, policies) != (0, 0) {
        lines.push(format!("IPsec: {states} states, {policies} policies"));
    }
    if let Some(defaults) = xfrm_defaults(socket)? {
        lines.push(format!("IPsec defaults {}", hexadecimal(&defaults)));
    }
    let thresholds = xfrm_thresholds(socket)?;
    lines.extend(thresholds.iter().map(|bits| format!("IPsec thresholds {}", hexadecimal(bits))));
    Ok(lines)
}

/// Lines of actions of traffic control, which need no filter to be there.
fn actions(kernel: &mut Kernel) -> Result<Vec<String>, FingerprintError> {
    let mut lines = Vec::new();
    for kind in ACTION_KINDS {
        let nest = |inner: UntypedMessage, number| {
            UntypedMessage::new(0, &[]).attribute(number, &inner.payload)
        };
        let name =
            UntypedMessage::new(0, &[]).attribute(ACTION_KIND, format!("{kind}\0").as_bytes());
        let table = nest(name, 1);
        let request =
            UntypedMessage::new(GET_ACTION, &[0; ACTION_HEADER]).attribute(ACTIONS, &table.payload);
        let answers = kernel.budget.list(&mut kernel.route, "traffic control action", &request)?;
        let is_some = |answer: &Vec<u8>| {
            let rest = answer.get(ACTION_HEADER..).unwrap_or_default();
            attributes(rest).any(|(kind, value)| kind == ACTIONS && !value.is_empty())
        };
        if answers.iter().any(is_some) {
            lines.push(format!("traffic control actions {kind}"));
        }
    }
    Ok(lines)
}

/// Lines of programs that are attached to the namespace, or to a link by tcx, which no queueing
/// discipline shows.
fn programs(links: &[Link], names: &Names<'_>) -> Result<Vec<String>, FingerprintError> {
    let netns = kernel::own_namespace()?;
    let mut found = Vec::new();
    let mut add = |point, place: &str| match attached_count(point) {
        Ok(0) => Ok(()),
        Ok(count) => {
            found.push(format!("programs are attached: {place}, {count}"));
            Ok(())
        }
        Err(source) => Err(FingerprintError::Programs { place: place.to_owned(), source }),
    };
    add(AttachPoint::FlowDissector(netns.as_fd()), "flow dissector")?;
    add(AttachPoint::SocketLookup(netns.as_fd()), "socket lookup")?;
    for link in links {
        let name = names.link(link.ifindex);
        add(AttachPoint::TcxIngress(link.ifindex), &format!("tcx ingress of {name}"))?;
        add(AttachPoint::TcxEgress(link.ifindex), &format!("tcx egress of {name}"))?;
    }
    Ok(found)
}

/// Lines of link settings that only sysfs has. They say which processors the queues use, and how long
/// they collect packets.
fn queues(
    kernel: &mut Kernel,
    links: &[Link],
    names: &Names<'_>,
) -> Result<Vec<String>, FingerprintError> {
    const KIND: &str = "setting";
    let mounted = match mount_sysfs() {
        // The kernel has none.
        Err(Errno::NODEV) => return Ok(Vec::new()),
        other => other.map_err(files::failed(KIND, "mount", "/sys"))?,
    };
    let mut walk = Walk::new(KIND, &LEFT_OUT, names, &mut kernel.budget);
    for link in links {
        let name = OsStr::from_bytes(&link.name);
        let path = std::path::Path::new("class/net").join(name);
        let folder = files::open(&mounted, &path, OFlags::RDONLY | OFlags::DIRECTORY);
        let shown = names.link(link.ifindex);
        let folder = folder.map_err(files::failed(KIND, "open", &shown))?;
        walk.folder(&folder, &shown)?;
    }
    Ok(walk.lines)
}
