//! The kernel's objects: links, addresses, routes and what else the routing family reports.

use std::{collections::HashSet, fmt};

use super::{Budget, FingerprintError, Kernel, names::Names, render};
use crate::netlink::{UntypedMessage, attributes};

/// `IFLA_EXT_MASK`, and `RTEXT_FILTER_SKIP_STATS` for it.
const LINK_EXT_MASK: u16 = 29;
const SKIP_STATISTICS: u32 = 1 << 3;
/// `NHA_ID`
const NEXTHOP_ID: u16 = 1;
/// `IFA_ADDRESS`
const ADDRESS_ITSELF: u16 = 1;
/// `RTA_DST`
const ROUTE_TO: u16 = 1;
/// `RTN_LOCAL`
const LOCAL_ROUTE: u8 = 2;
/// `AF_INET6`
const IPV6: u8 = 10;
/// `AF_BRIDGE`
const BRIDGE: u8 = 7;
/// `NDA_LLADDR`
const LINK_LAYER: u16 = 2;
/// `NTF_PROXY`
const PROXY: u8 = 1 << 3;
/// `NUD_PERMANENT`
const PERMANENT: u16 = 0x80;
/// `RTM_F_CLONED`
const CLONED: u32 = 0x200;
/// `IFF_UP`
const UP: u32 = 1;
/// `IFF_RUNNING`, `IFF_LOWER_UP`, `IFF_DORMANT`, `IFF_ECHO`: links change these by themselves.
const MOVING_LINK_FLAGS: u32 = 0x40 | 0x1_0000 | 0x2_0000 | 0x4_0000;
/// `RTNH_F_DEAD`, `RTNH_F_LINKDOWN`, `RTNH_F_OFFLOAD`, `RTNH_F_TRAP`, `RTM_F_…OFFLOAD…`.
const MOVING_ROUTE_FLAGS: u32 = 0x1 | 0x8 | 0x10 | 0x40 | 0x4000 | 0x8000 | 0x2000_0000;

/// A class of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::slot) enum Class {
    Link,
    Address,
    Route,
    Rule,
    Neighbour,
    Proxy,
    Nexthop,
    Label,
    Qdisc,
    /// A further Ethernet address that a link receives packets for. It is a multicast group's, or that of
    /// a link stacked on this one, in whichever namespace.
    Heard,
    /// The number of another network namespace. The kernel assigns it when a link comes from there, goes
    /// there, or has its other end there, and never takes it back.
    Elsewhere,
}

/// An object as the kernel reported it.
#[derive(Debug)]
pub(in crate::slot) struct Object {
    pub class: Class,
    /// Its line in the fingerprint.
    pub line: String,
    /// Its header and attributes.
    pub payload: Vec<u8>,
}

impl Class {
    /// All classes but links, which the others speak of; in the order in which objects are deleted:
    /// routes go with the nexthops that they are through.
    pub(super) const BEHIND_LINKS: [Self; 10] = [
        Self::Address,
        Self::Nexthop,
        Self::Route,
        Self::Rule,
        Self::Neighbour,
        Self::Proxy,
        Self::Label,
        Self::Qdisc,
        Self::Heard,
        Self::Elsewhere,
    ];

    /// `RTM_NEW…`; `RTM_DEL…` and `RTM_GET…` follow it.
    fn new_kind(self) -> u16 {
        match self {
            Self::Link => 16,
            Self::Address => 20,
            Self::Route => 24,
            Self::Neighbour | Self::Proxy | Self::Heard => 28,
            Self::Rule => 32,
            Self::Qdisc => 36,
            Self::Label => 72,
            Self::Elsewhere => 88,
            Self::Nexthop => 104,
        }
    }

    /// Length of the header: `struct ifinfomsg`, `ifaddrmsg`, `rtmsg`, `ndmsg`, `fib_rule_hdr`,
    /// `tcmsg`, `ifaddrlblmsg`, `nhmsg`, `rtgenmsg`.
    pub(super) fn header(self) -> usize {
        match self {
            Self::Elsewhere => 4,
            Self::Address | Self::Nexthop => 8,
            Self::Route
            | Self::Rule
            | Self::Neighbour
            | Self::Proxy
            | Self::Heard
            | Self::Label => 12,
            Self::Link => 16,
            Self::Qdisc => 20,
        }
    }

    /// The request for all objects of the class.
    fn request(self) -> UntypedMessage {
        let mut header = [0; 20];
        match self {
            // Only IPv6 has them.
            Self::Label => header[0] = IPV6,
            Self::Proxy => header[10] = PROXY,
            Self::Heard => header[0] = BRIDGE,
            _ => {}
        }
        let message = UntypedMessage::new(self.new_kind() + 2, &header[..self.header()]);
        match self {
            Self::Link => message.attribute(LINK_EXT_MASK, &SKIP_STATISTICS.to_ne_bytes()),
            _ => message,
        }
    }

    /// The message that deletes an object of the class. The kernel accepts the object as it reported it,
    /// but for a nexthop only its number (`nh_valid_get_del_req`).
    pub(in crate::slot) fn deletion(self, object: &[u8]) -> UntypedMessage {
        let kind = self.new_kind() + 1;
        let rest = object.get(self.header()..).unwrap_or_default();
        match attributes(rest).find(|(kind, _)| *kind == NEXTHOP_ID) {
            Some((_, id)) if self == Self::Nexthop => {
                UntypedMessage::new(kind, &[0; 8]).attribute(NEXTHOP_ID, id)
            }
            _ => UntypedMessage { kind, payload: object.to_vec() },
        }
    }

    /// What the header says.
    pub(super) fn head(self, header: &[u8], names: &Names<'_>) -> String {
        let (byte, word) = (|at| byte(header, at), |at| word(header, at));
        match self {
            Self::Link => {
                let flags = word(8);
                let state = if flags & UP == 0 { "down" } else { "up" };
                let name = names.link(word(4));
                format!(
                    " {name}: {state}, hardware {}, flags {:#x},",
                    half(header, 2),
                    flags & !MOVING_LINK_FLAGS & !UP
                )
            }
            Self::Address => {
                format!(" on {}: prefix {} scope {}", names.link(word(4)), byte(1), byte(3))
            }
            Self::Route => format!(
                " {}: {} prefix {} from-prefix {} tos {} protocol {} scope {} flags {:#x}",
                family(byte(0)),
                route_type(byte(7)),
                byte(1),
                byte(2),
                byte(3),
                byte(5),
                byte(6),
                word(8) & !MOVING_ROUTE_FLAGS
            ),
            Self::Rule => format!(
                " {}: prefix {} from-prefix {} tos {} action {} flags {:#x}",
                family(byte(0)),
                byte(1),
                byte(2),
                byte(3),
                byte(7),
                word(8)
            ),
            Self::Neighbour | Self::Proxy | Self::Heard => {
                format!(" on {}: flags {:#x}", names.link(word(4)), byte(10))
            }
            Self::Elsewhere => String::new(),
            Self::Nexthop => {
                let flags = word(4) & !MOVING_ROUTE_FLAGS;
                format!(
                    " {}: scope {} protocol {} flags {flags:#x}",
                    family(byte(0)),
                    byte(1),
                    byte(2)
                )
            }
            Self::Label => format!(": prefix {} on {}", byte(2), names.link(word(4))),
            Self::Qdisc => {
                let (handle, parent) = (word(8), word(12));
                format!(" on {}: handle {handle:#x} parent {parent:#x}", names.link(word(4)))
            }
        }
    }

    /// Whether a repair deletes unexpected objects of the class. It leaves further Ethernet addresses of
    /// a link alone: the kernel would delete one, but not the stacked link in another namespace.
    pub(in crate::slot) fn can_be_deleted(self) -> bool {
        !matches!(self, Self::Link | Self::Heard | Self::Elsewhere)
    }

    /// Whether an object lasts. Learned neighbours come and go, and so do routes that the kernel clones
    /// for what it learned of a path.
    pub(in crate::slot) fn lasts(self, payload: &[u8]) -> bool {
        match self {
            Self::Neighbour => half(payload, 8) == PERMANENT,
            Self::Route => word(payload, 8) & CLONED == 0,
            _ => true,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "link",
            Self::Address => "address",
            Self::Route => "route",
            Self::Rule => "rule",
            Self::Neighbour => "neighbour",
            Self::Proxy => "proxy neighbour",
            Self::Nexthop => "nexthop",
            Self::Label => "address label",
            Self::Qdisc => "queueing discipline",
            Self::Heard => "link-layer address",
            Self::Elsewhere => "namespace",
        })
    }
}

/// All objects of a class; none where the kernel has no such class.
pub(in crate::slot) fn list(
    kernel: &mut Kernel,
    class: Class,
) -> Result<Vec<Vec<u8>>, FingerprintError> {
    match kernel.budget.list(&mut kernel.route, &class.to_string(), &class.request()) {
        Err(FingerprintError::Netlink(error)) if error.errno() == Some(libc::EOPNOTSUPP) => {
            Ok(Vec::new())
        }
        other => other,
    }
}

/// The lasting objects of a class.
pub(super) fn observe(
    kernel: &mut Kernel,
    class: Class,
    names: &Names<'_>,
) -> Result<Vec<Object>, FingerprintError> {
    let payloads = list(kernel, class)?;
    of(class, payloads, names, &mut kernel.budget)
}

/// The lasting objects among those that were listed.
pub(super) fn of(
    class: Class,
    payloads: Vec<Vec<u8>>,
    names: &Names<'_>,
    budget: &mut Budget,
) -> Result<Vec<Object>, FingerprintError> {
    let mut objects = Vec::with_capacity(payloads.len());
    for payload in payloads.into_iter().filter(|payload| class.lasts(payload)) {
        if class == Class::Heard && is_own_group(&payload, names) {
            continue;
        }
        let line = render::line(class, &payload, names);
        budget.spend(&class.to_string(), objects.len() + 1, line.len())?;
        objects.push(Object { class, line, payload });
    }
    Ok(objects)
}

/// Whether a link receives for a group of the slot's addresses. Two addresses that end alike share one
/// group, so these groups are no lines.
fn is_own_group(payload: &[u8], names: &Names<'_>) -> bool {
    let rest = payload.get(Class::Heard.header()..).unwrap_or_default();
    attributes(rest).any(|(kind, value)| kind == LINK_LAYER && names.is_solicited(value))
}

/// What is to be known of a link beside its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::slot) struct Link {
    pub ifindex: u32,
    pub name: Vec<u8>,
    pub mac: Vec<u8>,
    /// Whether it is up and has a carrier.
    pub connected: bool,
    /// Whether the kernel has still to act on that.
    pub settling: bool,
}

impl Link {
    pub(in crate::slot) fn read(payload: &[u8]) -> Self {
        /// `IF_OPER_NOTPRESENT`, `IF_OPER_DOWN` and `IF_OPER_LOWERLAYERDOWN`, which the kernel leaves by
        /// itself. `lo` has `IF_OPER_UNKNOWN`, and users set the values above.
        const DOWN_STATES: std::ops::RangeInclusive<u8> = 1..=3;
        let mut link = Self {
            ifindex: word(payload, 4),
            name: Vec::new(),
            mac: Vec::new(),
            connected: false,
            settling: false,
        };
        let (mut carrier, mut state) = (0, 0);
        for (kind, value) in attributes(payload.get(Class::Link.header()..).unwrap_or_default()) {
            match kind {
                1 => link.mac = value.to_vec(),
                3 => link.name = value.strip_suffix(&[0]).unwrap_or(value).to_vec(),
                16 => state = byte(value, 0),
                33 => carrier = byte(value, 0),
                _ => {}
            }
        }
        let up = word(payload, 8) & UP != 0;
        link.connected = up && carrier == 1;
        link.settling = link.connected && DOWN_STATES.contains(&state);
        link
    }
}

/// Whether an IPv6 address of a connected link lacks its local route. A kernel thread
/// (`addrconf_dad_work`) adds that route soon after the address, with or without duplicate address
/// detection.
pub(super) fn has_unrouted_address(objects: &[Object], links: &[Link]) -> bool {
    let is_ipv6 = |object: &&Object| byte(&object.payload, 0) == IPV6;
    let of = |class| objects.iter().filter(move |object| object.class == class).filter(is_ipv6);
    let routed: HashSet<_> = of(Class::Route)
        .filter(|route| byte(&route.payload, 7) == LOCAL_ROUTE)
        .filter_map(|route| value(route, ROUTE_TO))
        .collect();
    of(Class::Address).any(|address| {
        let ifindex = word(&address.payload, 4);
        links.iter().any(|link| link.ifindex == ifindex && link.connected)
            && value(address, ADDRESS_ITSELF).is_some_and(|own| !routed.contains(own))
    })
}

fn value(object: &Object, kind: u16) -> Option<&[u8]> {
    let rest = object.payload.get(object.class.header()..)?;
    attributes(rest).find_map(|(found, value)| (found == kind).then_some(value))
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or_default()
}

fn half(bytes: &[u8], at: usize) -> u16 {
    let octets = bytes.get(at..at + 2).and_then(|octets| octets.try_into().ok());
    octets.map(u16::from_ne_bytes).unwrap_or_default()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let octets = bytes.get(at..at + 4).and_then(|octets| octets.try_into().ok());
    octets.map(u32::from_ne_bytes).unwrap_or_default()
}

/// `AF_…`, and `RTNL_FAMILY_IPMR`, `RTNL_FAMILY_IP6MR`.
fn family(number: u8) -> String {
    match number {
        2 => "IPv4".to_owned(),
        10 => "IPv6".to_owned(),
        128 => "IPv4 multicast".to_owned(),
        129 => "IPv6 multicast".to_owned(),
        other => format!("family {other}"),
    }
}

/// `RTN_…`
fn route_type(number: u8) -> String {
    match number {
        1 => "unicast".to_owned(),
        2 => "local".to_owned(),
        3 => "broadcast".to_owned(),
        4 => "anycast".to_owned(),
        5 => "multicast".to_owned(),
        6 => "blackhole".to_owned(),
        7 => "unreachable".to_owned(),
        8 => "prohibit".to_owned(),
        9 => "throw".to_owned(),
        other => format!("type {other}"),
    }
}
