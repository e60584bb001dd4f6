//! Links: veth pairs, made with both ends where they belong.

use std::{
    os::fd::{AsRawFd as _, BorrowedFd},
    path::Path,
    sync::OnceLock,
};

use netlink_packet_core::{DefaultNla, NLA_F_NESTED, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{
        AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
        LinkExtentMask, LinkFlags, LinkInfo as LinkInfoAttribute, LinkMessage,
    },
};

use super::{NetlinkError, Request, RouteSocket};
use crate::types::Mac;

/// `AF_INET`
const AF_INET: u16 = 2;
/// `IFLA_INET_CONF`
const INET_CONF: u16 = 1;
/// `IPV4_DEVCONF_ARP_NOTIFY`
const ARP_NOTIFY: u16 = 22;

/// A veth pair to be made: the host's end in the socket's namespace, the container's in another.
#[derive(Debug, Clone, Copy)]
pub struct Veth<'a> {
    /// Name of the host's end.
    pub host_ifname: &'a str,
    /// Ethernet address of the host's end.
    pub host_mac: Mac,
    /// Link group of the host's end.
    pub host_group: u32,
    /// Name of the container's end.
    pub container_ifname: &'a str,
    /// Ethernet address of the container's end.
    pub container_mac: Mac,
    /// Network namespace of the container's end.
    pub container_netns: BorrowedFd<'a>,
    /// Largest packet of both ends, in bytes, without the Ethernet header.
    pub mtu: u32,
}

/// Makes both ends in their final namespaces in one request, both down.
///
/// Moving a device between namespaces later would wait for a grace period under RTNL (15 ms on
/// 6.18 with HZ=250): that wait is most of what other plugins' ADD takes. One queue a side: by
/// default the kernel makes one for each CPU the node might have, each with its files in sysfs
/// (0.2 ms on two CPUs, 1.1 ms on 64), and a veth pair has no use for more. The container's end
/// cannot be made up here: the kernel opens it before it is joined to its peer (`ENOTCONN`). The
/// host's end could, but each later change of a link that is up makes IPv6 walk all routes of the
/// node (`rt6_sync_down_dev`): 0.8 ms with 4,000 slots.
#[must_use]
pub fn create_veth(veth: &Veth<'_>) -> Request<RouteNetlinkMessage> {
    let mut peer = end(veth.container_ifname, veth.container_mac, veth.mtu);
    peer.attributes.push(LinkAttribute::NetNsFd(veth.container_netns.as_raw_fd()));
    let mut host = end(veth.host_ifname, veth.host_mac, veth.mtu);
    host.attributes.push(LinkAttribute::Group(veth.host_group));
    host.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfoAttribute::Kind(InfoKind::Veth),
        LinkInfoAttribute::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    let what = format!("create interface {} (host: {})", veth.container_ifname, veth.host_ifname);
    Request::new(what, RouteNetlinkMessage::NewLink(host), NLM_F_CREATE | NLM_F_EXCL)
}

fn end(name: &str, mac: Mac, mtu: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Address(mac.0.to_vec()),
        LinkAttribute::Mtu(mtu),
        LinkAttribute::NumTxQueues(1),
        LinkAttribute::NumRxQueues(1),
    ];
    message
}

/// Keeps a link that has IPv6 from getting a link-local address, and sets its alias, free text that
/// says whose it is, where one is given. None where there is nothing to set.
///
/// Nobody would talk to the address, and making it sends router solicitations. This must be done
/// before the link is up, and in a request of its own: the kernel takes it in none that creates a link,
/// and in one that brings it up too it comes after (`do_setlink`). For a link without IPv6 the kernel
/// refuses the whole request (`EAFNOSUPPORT`).
#[must_use]
pub fn configure_link(
    ifindex: u32,
    has_ipv6: bool,
    alias: Option<&str>,
) -> Option<Request<RouteNetlinkMessage>> {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    if has_ipv6 {
        message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![
            AfSpecInet6::AddrGenMode(In6AddrGenMode::None),
        ])]));
    }
    message.attributes.extend(alias.map(|text| LinkAttribute::IfAlias(text.to_owned())));
    let is_empty = message.attributes.is_empty();
    let request = RouteNetlinkMessage::SetLink(message);
    (!is_empty).then(|| Request::new("configure the interface", request, 0))
}

/// Whether the kernel has IPv6: it was built with it, and not started with `ipv6.disable=1`. That does
/// not change while a kernel runs.
#[must_use]
pub fn kernel_has_ipv6() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| Path::new("/proc/net/if_inet6").exists())
}

/// Has a link announce itself by a gratuitous ARP when its Ethernet address is changed (sysctl
/// `arp_notify`): the programs learn from it where frames to the container go.
#[must_use]
pub fn announce_changes(ifindex: u32) -> Request<RouteNetlinkMessage> {
    let nested = |kind: u16, value: &[u8]| {
        let length = u16::try_from(4 + value.len()).unwrap_or_default();
        [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat()
    };
    let setting = nested(ARP_NOTIFY, &1_u32.to_ne_bytes());
    let family = nested(AF_INET | NLA_F_NESTED, &nested(INET_CONF | NLA_F_NESTED, &setting));
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    // The crate writes these settings as the kernel tells them, which is not as it takes them.
    message.attributes =
        vec![LinkAttribute::Other(DefaultNla::new(libc::IFLA_AF_SPEC | NLA_F_NESTED, family))];
    let request = RouteNetlinkMessage::SetLink(message);
    Request::new("have the interface announce its Ethernet address", request, 0)
}

/// Brings a link up.
#[must_use]
pub fn bring_up(ifindex: u32) -> Request<RouteNetlinkMessage> {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    Request::new("bring the interface up", RouteNetlinkMessage::SetLink(message), 0)
}

/// Deletes a link; the other end of a veth pair goes with it.
#[must_use]
pub fn delete_link(name: &str) -> Request<RouteNetlinkMessage> {
    Request::new(format!("delete interface {name}"), RouteNetlinkMessage::DelLink(named(name)), 0)
}

/// Moves a link to a group.
#[must_use]
pub fn move_to_group(name: &str, group: u32) -> Request<RouteNetlinkMessage> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::Group(group));
    let request = RouteNetlinkMessage::SetLink(message);
    Request::new(format!("move interface {name} to group {group:#x}"), request, 0)
}

/// Deletes all links of a group together.
#[must_use]
pub fn delete_group(group: u32) -> Request<RouteNetlinkMessage> {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::Group(group)];
    let what = format!("delete the interfaces of group {group:#x}");
    Request::new(what, RouteNetlinkMessage::DelLink(message), 0)
}

/// Fails with `ENODEV`, after it had its turn to change links.
#[must_use]
pub fn delete_no_link() -> Request<RouteNetlinkMessage> {
    let mut message = LinkMessage::default();
    // The kernel numbers interfaces from 1 up, and no machine gets here.
    message.header.index = i32::MAX.unsigned_abs();
    Request::new("wait for RTNL", RouteNetlinkMessage::DelLink(message), 0)
}

fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
    message
}

/// What is known of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkInfo {
    /// Interface index, in its namespace.
    pub ifindex: u32,
    /// Name.
    pub name: String,
    /// Alias; empty: none.
    pub alias: String,
    /// Ethernet address, where it has one.
    pub mac: Option<Mac>,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Its group; 0: the one that all links are in by default.
    pub group: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Kind of its queueing discipline.
    pub qdisc: String,
}

/// The link of this name in the socket's namespace.
pub fn get_link(socket: &mut RouteSocket, name: &str) -> Result<LinkInfo, NetlinkError> {
    let request = RouteNetlinkMessage::GetLink(named(name));
    let what = format!("find interface {name}");
    match socket.query(Request::new(&what, request, 0))? {
        RouteNetlinkMessage::NewLink(message) => Ok(link_info(message)),
        other => Err(NetlinkError::Answer { what, reason: format!("it is {other:?}") }),
    }
}

/// Index of the other end of the link of this name, in the namespace of that end; none where it has none.
pub fn peer_of(socket: &mut RouteSocket, name: &str) -> Result<Option<u32>, NetlinkError> {
    let request = RouteNetlinkMessage::GetLink(named(name));
    let what = format!("find interface {name}");
    let peer = |attribute: LinkAttribute| match attribute {
        LinkAttribute::Link(index) => Some(index),
        _ => None,
    };
    match socket.query(Request::new(&what, request, 0))? {
        RouteNetlinkMessage::NewLink(message) => Ok(message.attributes.into_iter().find_map(peer)),
        other => Err(NetlinkError::Answer { what, reason: format!("it is {other:?}") }),
    }
}

/// Every link in the socket's namespace, also while links come and go: of such it may have one or not.
pub fn links(socket: &mut RouteSocket) -> Result<Vec<LinkInfo>, NetlinkError> {
    let mut message = LinkMessage::default();
    // Half of what the kernel has to tell is statistics.
    message.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
    let message = RouteNetlinkMessage::GetLink(message);
    let wanted = |object| match object {
        RouteNetlinkMessage::NewLink(message) => Some(link_info(message)),
        _ => None,
    };
    // The kernel takes some 50 ms for thousands, and on a busy node one is made in that time.
    socket.dump_changing("list interfaces", &message, wanted, |link: &LinkInfo| link.ifindex)
}

fn link_info(message: LinkMessage) -> LinkInfo {
    let mut info = LinkInfo {
        ifindex: message.header.index,
        name: String::new(),
        alias: String::new(),
        mac: None,
        mtu: 0,
        group: 0,
        qdisc: String::new(),
        up: message.header.flags.contains(LinkFlags::Up),
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => info.name = name,
            LinkAttribute::IfAlias(alias) => info.alias = alias,
            LinkAttribute::Address(octets) => info.mac = octets.try_into().ok().map(Mac),
            LinkAttribute::Mtu(mtu) => info.mtu = mtu,
            LinkAttribute::Group(group) => info.group = group,
            LinkAttribute::Qdisc(kind) => info.qdisc = kind,
            _ => {}
        }
    }
    info
}

/// The family's number as messages carry it.
pub(super) fn family(address: std::net::IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}
