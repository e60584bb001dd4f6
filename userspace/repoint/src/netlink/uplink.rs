//! The node's uplink: the interfaces that its default route leads out of.
//!
//! The kernel's own answer counts where a packet to the outside takes the default route. Where a more
//! specific route covers the address that is asked for (hosts with BGP refuse packets to the
//! documentation prefixes), or the kernel has no answer, the program looks for the default route in the
//! tables that the policy rules name.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use netlink_sys::protocols::NETLINK_ROUTE;

use super::{
    NetlinkError, Request, UntypedMessage, UntypedSocket,
    default_route::{DefaultRoute, Path, default_route},
    policy::{Rule, Selection, tables},
};

/// `RTM_GETLINK`, `RTM_GETROUTE`, `RTM_GETRULE` and `RTM_GETNEXTHOP`
const GET_LINK: u16 = 18;
const GET_ROUTE: u16 = 26;
const GET_RULE: u16 = 34;
const GET_NEXTHOP: u16 = 106;
/// `RTA_DST` and `RTA_TABLE`
const DESTINATION: u16 = 1;
const TABLE: u16 = 15;
/// `NHA_ID`
const NEXTHOP_ID: u16 = 1;
/// `RTM_F_FIB_MATCH`: the answer is the route, rather than the path that the packet takes.
const FIB_MATCH: u32 = 0x2000;

/// A family, and an address of the outside that no network routes specially: one of a documentation
/// prefix (RFC 5737), and the unspecified address, which the kernel takes for IPv6 alone.
const FAMILIES: [(i32, IpAddr); 2] = [
    (libc::AF_INET, IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1))),
    (libc::AF_INET6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
];

/// Where packets to the outside leave the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// Index and name of each interface, by index. A route of several paths has several, and the kernel
    /// begins with the path that a packet would take, which differs from boot to boot.
    pub interfaces: Vec<(u32, String)>,
    /// Largest packet, in bytes, that passes on each path: the least MTU of the interfaces, and of the
    /// route where it names one.
    pub mtu: u32,
}

/// The uplink of the namespace that the calling thread is in, if a default route leads out of it: of
/// IPv4, or else of IPv6.
///
/// A route that only some packets take (by mark, source or interface) counts where no other is.
pub fn uplink() -> Result<Option<Uplink>, NetlinkError> {
    let mut kernel = Asked::open()?;
    for (family, outside) in FAMILIES {
        if let Some(uplink) = kernel.matching(family, outside)? {
            return Ok(Some(uplink));
        }
        if let Some(uplink) = kernel.by_policy(family, Selection::AnyPacket)? {
            return Ok(Some(uplink));
        }
    }
    for (family, _) in FAMILIES {
        if let Some(uplink) = kernel.by_policy(family, Selection::SomePackets)? {
            return Ok(Some(uplink));
        }
    }
    Ok(None)
}

/// A socket for questions of which the answer is one object, or a table read whole.
struct Asked {
    socket: UntypedSocket,
}

impl Asked {
    fn open() -> Result<Self, NetlinkError> {
        Ok(Self { socket: UntypedSocket::open_untyped(NETLINK_ROUTE)? })
    }

    /// The uplink by the kernel's own choice for a packet to `outside`, where that is a default route.
    fn matching(&mut self, family: i32, outside: IpAddr) -> Result<Option<Uplink>, NetlinkError> {
        let (octets, length) = match outside {
            IpAddr::V4(v4) => (v4.octets().to_vec(), 32),
            IpAddr::V6(v6) => (v6.octets().to_vec(), 128),
        };
        let message = UntypedMessage::new(GET_ROUTE, &route_header(family, length, FIB_MATCH))
            .attribute(DESTINATION, &octets);
        let what = format!("find the route to {outside}");
        let Some(found) = self.find(what, message)? else { return Ok(None) };
        match default_route(&found) {
            Some(route) => self.uplink_of(&route),
            None => Ok(None),
        }
    }

    /// The uplink by the tables that policy rules of the family name.
    fn by_policy(
        &mut self,
        family: i32,
        selection: Selection,
    ) -> Result<Option<Uplink>, NetlinkError> {
        let mut header = [0; 12];
        header[0] = byte(family);
        let request = UntypedMessage::new(GET_RULE, &header);
        let rules = match self.socket.dump("list policy rules", &request) {
            // The kernel has no such family, or no policy routing.
            Err(NetlinkError::Refused { .. }) => return Ok(None),
            rules => rules?,
        };
        let rules: Vec<_> =
            rules.iter().filter_map(|rule| Rule::read(family, &rule.payload)).collect();
        for table in tables(&rules, selection) {
            let mut routes = default_routes(family, table)?;
            routes.sort_by_key(|route| route.priority);
            for route in routes {
                if let Some(uplink) = self.uplink_of(&route)? {
                    return Ok(Some(uplink));
                }
            }
        }
        Ok(None)
    }

    /// The interfaces of a route's paths and what passes on all of them; none where a packet would not
    /// leave the node.
    fn uplink_of(&mut self, route: &DefaultRoute) -> Result<Option<Uplink>, NetlinkError> {
        let mut links = Vec::new();
        for ifindex in self.ifindexes(&route.paths)? {
            let mut header = [0; 16];
            header[4..8].copy_from_slice(&ifindex.to_ne_bytes());
            let what = format!("find interface {ifindex}");
            let found = self.find(what, UntypedMessage::new(GET_LINK, &header))?;
            links.extend(found.and_then(|found| super::default_route::way_out(&found)));
        }
        let least = links.iter().map(|(_, _, mtu)| *mtu).chain(route.mtu).min();
        let mut interfaces: Vec<_> =
            links.into_iter().map(|(ifindex, name, _)| (ifindex, name)).collect();
        interfaces.sort_unstable();
        Ok(least.filter(|_| !interfaces.is_empty()).map(|mtu| Uplink { interfaces, mtu }))
    }

    /// Indexes of the interfaces of some paths, each once. Nexthop objects are looked up: the kernel
    /// spells them out in routes only while `net.ipv4.nexthop_compat_mode` is set.
    fn ifindexes(&mut self, paths: &[Path]) -> Result<Vec<u32>, NetlinkError> {
        let (mut found, mut looked_up) = (Vec::new(), HashSet::new());
        let mut paths: Vec<_> = paths.iter().rev().copied().collect();
        while let Some(path) = paths.pop() {
            match path {
                Path::Interface(ifindex) if found.contains(&ifindex) => {}
                Path::Interface(ifindex) => found.push(ifindex),
                Path::Nexthop(id) if !looked_up.insert(id) => {}
                Path::Nexthop(id) => {
                    let message = UntypedMessage::new(GET_NEXTHOP, &[0; 8])
                        .attribute(NEXTHOP_ID, &id.to_ne_bytes());
                    let object = self.find(format!("find nexthop {id}"), message)?;
                    let inner = object.map(|object| super::default_route::nexthop(&object));
                    paths.extend(inner.into_iter().flatten().rev());
                }
            }
        }
        Ok(found)
    }

    /// Asks for one object; none if the kernel has none, or would send no packet.
    fn find(
        &mut self,
        what: String,
        message: UntypedMessage,
    ) -> Result<Option<Vec<u8>>, NetlinkError> {
        match self.socket.query(Request::new(what, message, 0)) {
            Ok(found) => Ok(Some(found.payload)),
            Err(NetlinkError::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The default routes of a table, over a socket of its own.
///
/// IPv4 lists destinations in their order, and the rest of a table, which may be the Internet's, is
/// left unread. IPv6 has its default route at the end.
fn default_routes(family: i32, table: u32) -> Result<Vec<DefaultRoute>, NetlinkError> {
    let mut socket = UntypedSocket::open_untyped(NETLINK_ROUTE)?;
    // Without it the kernel lists all tables.
    socket.check_strictly()?;
    let message = UntypedMessage::new(GET_ROUTE, &route_header(family, 0, 0))
        .attribute(TABLE, &table.to_ne_bytes());
    let mut routes = Vec::new();
    let read = socket.dump_each("list routes", message, |object| {
        routes.extend(default_route(&object.payload).filter(|route| route.table == table));
        let past = family == libc::AF_INET && has_destination(&object.payload);
        if past { Err(()) } else { Ok(()) }
    });
    match read {
        // There is no such table.
        Err(NetlinkError::Refused { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(_) => Ok(routes),
    }
}

/// Whether a route leads to another prefix than one that begins with zeros.
fn has_destination(route: &[u8]) -> bool {
    let rest = route.get(12..).unwrap_or_default();
    super::attributes(rest)
        .any(|(kind, value)| kind == DESTINATION && value.iter().any(|octet| *octet != 0))
}

/// `struct rtmsg`
fn route_header(family: i32, destination_length: u8, flags: u32) -> [u8; 12] {
    let mut header = [0; 12];
    header[0] = byte(family);
    header[1] = destination_length;
    header[8..].copy_from_slice(&flags.to_ne_bytes());
    header
}

/// A family as headers have it.
fn byte(family: i32) -> u8 {
    u8::try_from(family).unwrap_or_default()
}
