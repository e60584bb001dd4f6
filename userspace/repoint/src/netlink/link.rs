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
        AfSpecInet, AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InetDevConf, InfoData, InfoKind,
        InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo as LinkInfoAttribute,
        LinkMessage,
    },
};

use super::{NetlinkError, Request, RouteSocket};
use crate::model::Mac;

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

/// Changes of a link; none: the value stays as it is.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own, and off by default"
)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkChange {
    /// Its Ethernet address.
    pub mac: Option<Mac>,
    /// Its largest packet, in bytes.
    pub mtu: Option<u32>,
    /// Its group.
    pub group: Option<u32>,
    /// Whether a link that it is a port of lets it go.
    pub release: bool,
    /// Whether it resolves addresses (no `IFF_NOARP`).
    pub arp: bool,
    /// Whether it comes up.
    pub up: bool,
    /// Whether packets from it are forwarded (sysctl `forwarding` of IPv4).
    pub forwarding: bool,
    /// Whether it gets no link-local IPv6 address.
    pub no_link_local: bool,
}

/// Changes a link.
#[must_use]
pub fn change_link(ifindex: u32, change: &LinkChange) -> Request<RouteNetlinkMessage> {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    if change.up {
        message.header.flags |= LinkFlags::Up;
        message.header.change_mask |= LinkFlags::Up;
    }
    if change.arp {
        message.header.change_mask |= LinkFlags::Noarp;
    }
    let attributes = &mut message.attributes;
    attributes.extend(change.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    attributes.extend(change.mtu.map(LinkAttribute::Mtu));
    attributes.extend(change.group.map(LinkAttribute::Group));
    attributes.extend(change.release.then_some(LinkAttribute::Controller(0)));
    let mut families = Vec::new();
    families.extend(change.forwarding.then(forwarding));
    families.extend(change.no_link_local.then(no_link_local));
    if !families.is_empty() {
        attributes.push(LinkAttribute::AfSpecUnspec(families));
    }
    Request::new("restore the interface", RouteNetlinkMessage::SetLink(message), 0)
}

/// Sysctl `forwarding` of IPv4, set: a link has what `conf/default` had when it was made.
fn forwarding() -> AfSpecUnspec {
    let mut settings = InetDevConf::default();
    settings.forwarding = 1;
    AfSpecUnspec::Inet(vec![AfSpecInet::DevConfRequest(settings)])
}

fn no_link_local() -> AfSpecUnspec {
    AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)])
}

/// Switches off a link's link-local address, and sets its alias. The first is only for a link that has
/// IPv6, the second only where an alias is given: free text that names the link's owner. None where there
/// is nothing to set.
///
/// No host would use the address, and making it sends router solicitations. The link must not be up yet,
/// and the request must be a separate one: the kernel does not accept the setting in a request that
/// creates a link, and applies it too late in one that also brings the link up (`do_setlink`). For a link
/// without IPv6 the kernel refuses the whole request (`EAFNOSUPPORT`).
#[must_use]
pub fn configure_link(
    ifindex: u32,
    has_ipv6: bool,
    alias: Option<&str>,
) -> Option<Request<RouteNetlinkMessage>> {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    if has_ipv6 {
        message.attributes.push(LinkAttribute::AfSpecUnspec(vec![no_link_local()]));
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

/// Makes a link announce a changed Ethernet address by gratuitous ARP. The sysctl is `arp_notify`. The
/// programs learn from the announcement where frames to the container go.
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
    // The crate writes these settings as the kernel reports them, which is not as it takes them.
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

/// A request that waits for RTNL and then fails with `ENODEV`.
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
    /// Index of the link that it is a port of, such as a bridge or a VRF.
    pub master: Option<u32>,
    /// Whether it resolves addresses (no `IFF_NOARP`).
    pub arp: bool,
    /// Whether packets from it are forwarded (sysctl `forwarding` of IPv4); none: it has no IPv4.
    pub forwarding: Option<bool>,
    /// Its IPv6 settings; none: it has no IPv6.
    pub ipv6: Option<Ipv6Settings>,
}

/// IPv6 settings of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv6Settings {
    /// Whether IPv6 is switched off (sysctl `disable_ipv6`).
    pub disabled: bool,
    /// Whether it gets a link-local address (`addrgenmode` is not `none`).
    pub link_local: bool,
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

/// The link of this index in the socket's namespace; none: there is none.
pub fn find_link(socket: &mut RouteSocket, ifindex: u32) -> Result<Option<LinkInfo>, NetlinkError> {
    Ok(find_links(socket, &[ifindex])?.pop().flatten())
}

/// The links of these indices in the socket's namespace, in their order.
pub fn find_links(
    socket: &mut RouteSocket,
    indices: &[u32],
) -> Result<Vec<Option<LinkInfo>>, NetlinkError> {
    let mut found = Vec::with_capacity(indices.len());
    for some in indices.chunks(AT_ONCE) {
        let requests = some.iter().map(|ifindex| {
            let mut message = LinkMessage::default();
            message.header.index = *ifindex;
            message.attributes = vec![without_statistics()];
            let request = RouteNetlinkMessage::GetLink(message);
            Request::new(format!("find interface {ifindex}"), request, 0)
        });
        for answer in socket.query_each(requests.collect())? {
            found.push(match answer {
                Ok(RouteNetlinkMessage::NewLink(message)) => Some(link_info(message)),
                Ok(other) => {
                    let what = "find an interface".to_owned();
                    return Err(NetlinkError::Answer { what, reason: format!("it is {other:?}") });
                }
                Err(error) if error.is_absent() || error.errno() == Some(libc::EINVAL) => None,
                Err(error) => return Err(error),
            });
        }
    }
    Ok(found)
}

/// Links asked for at once: as many as their answers fit into a socket's buffer.
const AT_ONCE: usize = 32;

/// Half of what the kernel reports is statistics.
fn without_statistics() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
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

/// Every link in the socket's namespace. A link that comes or goes meanwhile may be missing.
pub fn links(socket: &mut RouteSocket) -> Result<Vec<LinkInfo>, NetlinkError> {
    let mut message = LinkMessage::default();
    message.attributes = vec![without_statistics()];
    let message = RouteNetlinkMessage::GetLink(message);
    let wanted = |object| match object {
        RouteNetlinkMessage::NewLink(message) => Some(link_info(message)),
        _ => None,
    };
    // The kernel takes some 50 ms for thousands, and on a busy node a link is made in that time.
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
        master: None,
        arp: !message.header.flags.contains(LinkFlags::Noarp),
        forwarding: None,
        ipv6: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => info.name = name,
            LinkAttribute::IfAlias(alias) => info.alias = alias,
            LinkAttribute::Address(octets) => info.mac = octets.try_into().ok().map(Mac),
            LinkAttribute::Mtu(mtu) => info.mtu = mtu,
            LinkAttribute::Group(group) => info.group = group,
            LinkAttribute::Qdisc(kind) => info.qdisc = kind,
            LinkAttribute::Controller(index) => info.master = (index != 0).then_some(index),
            LinkAttribute::AfSpecUnspec(families) => {
                for family in &families {
                    read_settings(&mut info, family);
                }
            }
            _ => {}
        }
    }
    info
}

fn read_settings(info: &mut LinkInfo, family: &AfSpecUnspec) {
    match family {
        AfSpecUnspec::Inet(settings) => {
            info.forwarding = settings.iter().find_map(|setting| match setting {
                AfSpecInet::DevConf(settings) => Some(settings.forwarding != 0),
                _ => None,
            });
        }
        AfSpecUnspec::Inet6(settings) => {
            let disabled = settings.iter().find_map(|setting| match setting {
                AfSpecInet6::DevConf(settings) => Some(settings.disable_ipv6 != 0),
                _ => None,
            });
            let none = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
            let link_local = !settings.contains(&none);
            info.ipv6 = disabled.map(|disabled| Ipv6Settings { disabled, link_local });
        }
        _ => {}
    }
}

/// The family's number as messages carry it.
pub(super) fn family(address: std::net::IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}
