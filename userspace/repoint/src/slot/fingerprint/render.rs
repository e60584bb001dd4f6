//! The kernel's objects as lines of text.
//!
//! Every attribute becomes part of the line unless it is known to change by itself. An attribute that a
//! later kernel adds appears by its number, so that nothing a user could set goes unseen.

use std::fmt::Write as _;

use super::{
    names::{Names, hexadecimal},
    objects::Class,
};
use crate::netlink::attributes;

/// How an attribute's value is written.
#[derive(Clone, Copy)]
enum Form {
    Skip,
    Number,
    Text,
    Address,
    Mac,
    Link,
    /// Index of the other end of a veth.
    Peer,
    /// `IF_OPER_…`: of a link that was just made it is unknown, and up only when the link watch has run.
    State,
    /// As they are.
    Bytes,
    /// Attributes inside: numbers, texts or what they are.
    Nest(&'static [Attribute]),
    /// Bits, without those that move by themselves.
    Flags(u32),
}

/// Type, name and form of an attribute.
type Attribute = (u16, &'static str, Form);

use Form::{Address, Bytes, Flags, Link, Mac, Nest, Number, Peer, Skip, State, Text};

/// `IFLA_INET6_…` within `AF_INET6` within `IFLA_AF_SPEC`: what is no sysctl and no statistics.
const INET6: &[Attribute] = &[
    (1, "flags", Skip),
    (2, "conf", Skip),
    (3, "stats", Skip),
    (5, "cacheinfo", Skip),
    (6, "icmp6-stats", Skip),
    (7, "token", Address),
    (8, "addrgenmode", Number),
    (9, "ra-mtu", Skip),
];
/// `IFLA_AF_SPEC`: IPv4's is the sysctls once more.
const AF_SPEC: &[Attribute] = &[(2, "inet", Skip), (10, "inet6", Nest(INET6))];
/// `IFLA_LINKINFO`
const LINK_INFO: &[Attribute] = &[(1, "kind", Text), (3, "statistics", Skip)];
/// `IFLA_…`. The queueing discipline is an object of its own, and users cannot set the space that drivers
/// want before a packet.
const LINK: &[Attribute] = &[
    (1, "mac", Mac),
    (2, "broadcast", Mac),
    (3, "name", Skip),
    (4, "mtu", Number),
    (5, "link", Peer),
    (6, "qdisc", Skip),
    (7, "statistics", Skip),
    (10, "master", Link),
    (13, "txqueuelen", Number),
    (14, "map", Skip),
    (16, "operstate", State),
    (17, "mode", Number),
    (18, "info", Nest(LINK_INFO)),
    (20, "alias", Text),
    (23, "statistics", Skip),
    (26, "af", Nest(AF_SPEC)),
    (27, "group", Number),
    (30, "promiscuity", Number),
    (31, "txqueues", Number),
    (32, "rxqueues", Number),
    (33, "carrier", Skip),
    (35, "carrier-changes", Skip),
    (37, "link-netnsid", Number),
    (39, "protodown", Number),
    (40, "gso-max-segs", Number),
    (41, "gso-max-size", Number),
    (42, "padding", Skip),
    (43, "xdp", Bytes),
    (47, "carrier-up", Skip),
    (48, "carrier-down", Skip),
    (49, "new-index", Skip),
    (50, "min-mtu", Number),
    (51, "max-mtu", Number),
    (54, "permanent-mac", Skip),
    (58, "gro-max-size", Number),
    (59, "tso-max-size", Number),
    (60, "tso-max-segs", Number),
    (61, "allmulti", Number),
    (62, "devlink-port", Skip),
    (63, "gso-ipv4-max-size", Number),
    (64, "gro-ipv4-max-size", Number),
    (65, "dpll-pin", Skip),
    (66, "max-pacing-horizon", Number),
    (67, "netns-immutable", Number),
    (68, "headroom", Skip),
    (69, "tailroom", Skip),
];
/// `IFA_…`. An address that is tentative (0x40) ceases to be.
const ADDRESS: &[Attribute] = &[
    (1, "address", Address),
    (2, "local", Address),
    (3, "label", Text),
    (4, "broadcast", Address),
    (6, "cacheinfo", Skip),
    (8, "flags", Flags(!0x40)),
    (9, "metric", Number),
    (11, "protocol", Number),
];
/// `RTA_…`
const ROUTE: &[Attribute] = &[
    (1, "to", Address),
    (2, "from", Address),
    (3, "iif", Link),
    (4, "dev", Link),
    (5, "via", Address),
    (6, "metric", Number),
    (7, "src", Address),
    (8, "metrics", Nest(&[])),
    (12, "cacheinfo", Skip),
    (15, "table", Number),
    (20, "pref", Number),
    (23, "expires", Skip),
    (24, "padding", Skip),
    (30, "nexthop", Number),
];
/// `FRA_…`
const RULE: &[Attribute] = &[
    (1, "to", Address),
    (2, "from", Address),
    (3, "iif", Text),
    (4, "goto", Number),
    (6, "priority", Number),
    (10, "fwmark", Number),
    (13, "suppress-group", Number),
    (14, "suppress-prefixlen", Number),
    (15, "table", Number),
    (16, "fwmask", Number),
    (17, "oif", Text),
    (18, "padding", Skip),
    (21, "protocol", Number),
];
/// `NDA_…`
const NEIGHBOUR: &[Attribute] = &[
    (1, "address", Address),
    (2, "mac", Mac),
    (3, "cacheinfo", Skip),
    (4, "probes", Skip),
    (12, "protocol", Number),
];
/// `NDA_…` of addresses that links hear.
const HEARD: &[Attribute] = &[(2, "mac", Mac), (3, "cacheinfo", Skip)];
/// `NETNSA_…`
const ELSEWHERE: &[Attribute] = &[(1, "number", Number)];
/// `NHA_…`
const NEXTHOP: &[Attribute] = &[(1, "id", Number), (5, "dev", Link), (6, "via", Address)];
/// `IFAL_…`
const LABEL: &[Attribute] = &[(1, "prefix", Address), (2, "label", Number)];
/// `TCA_…`
const QDISC: &[Attribute] = &[
    (1, "kind", Text),
    (3, "statistics", Skip),
    (4, "statistics", Skip),
    (7, "statistics", Skip),
    (9, "padding", Skip),
    (12, "offload", Number),
];

/// The line of an object, which is its header and attributes.
pub(super) fn line(class: Class, payload: &[u8], names: &Names<'_>) -> String {
    let mut line = class.to_string();
    let (header, rest) = payload.split_at(class.header().min(payload.len()));
    let known = match class {
        Class::Link => LINK,
        Class::Address => ADDRESS,
        Class::Route => ROUTE,
        Class::Rule => RULE,
        Class::Neighbour | Class::Proxy => NEIGHBOUR,
        Class::Nexthop => NEXTHOP,
        Class::Label => LABEL,
        Class::Qdisc => QDISC,
        Class::Heard => HEARD,
        Class::Elsewhere => ELSEWHERE,
    };
    line += &class.head(header, names);
    append(&mut line, rest, known, names);
    line
}

fn append(line: &mut String, bytes: &[u8], known: &[Attribute], names: &Names<'_>) {
    for (kind, value) in attributes(bytes) {
        let Some((_, name, form)) = known.iter().find(|(known, ..)| *known == kind) else {
            // Writing to a string cannot fail.
            _ = write!(line, " attribute-{kind} {}", hexadecimal(value));
            continue;
        };
        match form {
            Skip => continue,
            Nest(inner) => {
                append(line, value, inner, names);
                continue;
            }
            _ => _ = write!(line, " {name} "),
        }
        line.push_str(&reported(*form, value, names));
    }
}

fn reported(form: Form, value: &[u8], names: &Names<'_>) -> String {
    match form {
        Number => number(value).map_or_else(|| hexadecimal(value), |number| number.to_string()),
        Flags(mask) => number(value)
            .map_or_else(|| hexadecimal(value), |bits| format!("{:#x}", bits & u64::from(mask))),
        Link => {
            let index = number(value).and_then(|number| u32::try_from(number).ok());
            index.map_or_else(|| hexadecimal(value), |index| names.link(index))
        }
        State => match number(value) {
            Some(0 | 6) => "up".to_owned(),
            Some(other) => other.to_string(),
            None => hexadecimal(value),
        },
        Peer => {
            let index = number(value).and_then(|number| u32::try_from(number).ok());
            index.map_or_else(|| hexadecimal(value), |index| names.peer(index))
        }
        Text => names.text(value.strip_suffix(&[0]).unwrap_or(value)),
        Address => names.address(value),
        Mac => names.mac(value),
        Bytes | Skip | Nest(_) => hexadecimal(value),
    }
}

/// A number of one, two, four or eight bytes in host byte order.
fn number(value: &[u8]) -> Option<u64> {
    match value.len() {
        1 => value.first().map(|octet| u64::from(*octet)),
        2 => value.try_into().ok().map(|octets| u16::from_ne_bytes(octets).into()),
        4 => value.try_into().ok().map(|octets| u32::from_ne_bytes(octets).into()),
        8 => value.try_into().ok().map(u64::from_ne_bytes),
        _ => None,
    }
}
