//! Routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric,
        RouteProtocol, RouteScope, RouteType,
    },
};
use serde::{Deserialize, Serialize};

use super::{NetlinkError, Request, RouteSocket, link::family};

/// A unicast route out of one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// Through which router; none: the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// What is special about it.
    pub options: RouteOptions,
}

impl Route {
    /// A route in the main table with nothing special about it.
    #[must_use]
    pub fn new(destination: IpNet, gateway: Option<IpAddr>) -> Self {
        Self { destination, gateway, options: RouteOptions::default() }
    }
}

/// What may be special about a route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouteOptions {
    /// Largest packet, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Largest TCP segment to announce, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    /// Metric: the lowest wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// Routing table; none: main.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// Scope, as in `rtm_scope`; none: link without a gateway, universe with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<u8>,
}

/// Adds a route out of an interface; there must be none to the destination. The gateway need not be
/// in any prefix of the interface.
#[must_use]
pub fn add_route(ifindex: u32, route: &Route) -> Request<RouteNetlinkMessage> {
    request(ifindex, route, NLM_F_EXCL)
}

/// Puts a route out of an interface in the place of one to the same destination, if there is one.
#[must_use]
pub fn replace_route(ifindex: u32, route: &Route) -> Request<RouteNetlinkMessage> {
    request(ifindex, route, NLM_F_REPLACE)
}

/// Adds a route out of an interface behind existing routes to the destination. A packet that is bound to
/// no interface takes the first route.
///
/// IPv6 has no such order: routes of one metric would share the load. The kernel refuses a second
/// one there ([`NetlinkError::is_present`]).
#[must_use]
pub fn append_route(ifindex: u32, route: &Route) -> Request<RouteNetlinkMessage> {
    let ipv4 = route.destination.addr().is_ipv4();
    request(ifindex, route, if ipv4 { NLM_F_APPEND } else { NLM_F_EXCL })
}

/// Deletes a route.
#[must_use]
pub fn delete_route(ifindex: u32, route: &Route) -> Request<RouteNetlinkMessage> {
    let request = RouteNetlinkMessage::DelRoute(message(ifindex, route));
    Request::new(format!("delete the route to {}", route.destination), request, 0)
}

fn request(ifindex: u32, route: &Route, flags: u16) -> Request<RouteNetlinkMessage> {
    let request = RouteNetlinkMessage::NewRoute(message(ifindex, route));
    Request::new(format!("add route to {}", route.destination), request, NLM_F_CREATE | flags)
}

fn message(ifindex: u32, route: &Route) -> RouteMessage {
    let options = &route.options;
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family(route.destination.addr()),
        destination_prefix_length: route.destination.prefix_len(),
        protocol: RouteProtocol::Boot,
        kind: RouteType::Unicast,
        scope: scope(route),
        // Tables above 255 go into the attribute, and 0 here (rtm_get_table).
        table: options.table.map_or(RouteHeader::RT_TABLE_MAIN, |t| u8::try_from(t).unwrap_or(0)),
        ..RouteHeader::default()
    };
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Destination(route.destination.network().into()));
    attributes.push(RouteAttribute::Oif(ifindex));
    if let Some(gateway) = route.gateway {
        attributes.push(RouteAttribute::Gateway(gateway.into()));
        message.header.flags = RouteFlags::Onlink;
    }
    attributes.extend(options.table.map(RouteAttribute::Table));
    attributes.extend(options.priority.map(RouteAttribute::Priority));
    let mtu = options.mtu.map(RouteMetric::Mtu).into_iter();
    let metrics: Vec<_> = mtu.chain(options.advmss.map(RouteMetric::Advmss)).collect();
    if !metrics.is_empty() {
        attributes.push(RouteAttribute::Metrics(metrics));
    }
    message
}

fn scope(route: &Route) -> RouteScope {
    match route.options.scope {
        Some(scope) => scope.into(),
        None if route.gateway.is_none() && route.destination.addr().is_ipv4() => RouteScope::Link,
        None => RouteScope::Universe,
    }
}

/// The unicast routes of the socket's namespace, of all tables, with the interfaces they leave by.
pub fn routes(socket: &mut RouteSocket) -> Result<Vec<(u32, Route)>, NetlinkError> {
    let request = RouteNetlinkMessage::GetRoute(RouteMessage::default());
    let objects = socket.dump("list routes", &request)?;
    Ok(objects
        .into_iter()
        .filter_map(|object| match object {
            RouteNetlinkMessage::NewRoute(message) if message.header.kind == RouteType::Unicast => {
                outgoing(&message)
            }
            _ => None,
        })
        .collect())
}

/// The interface that a route leaves by, and the route.
fn outgoing(message: &RouteMessage) -> Option<(u32, Route)> {
    let everything: IpAddr = match message.header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let (mut oif, mut destination, mut gateway) = (None, everything, None);
    let mut table = u32::from(message.header.table);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => oif = Some(*index),
            RouteAttribute::Destination(to) => destination = address(to)?,
            RouteAttribute::Gateway(via) => gateway = address(via),
            RouteAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    let destination = IpNet::new(destination, message.header.destination_prefix_length).ok()?;
    let main = u32::from(RouteHeader::RT_TABLE_MAIN);
    let table = (table != main).then_some(table);
    let options = RouteOptions { table, ..RouteOptions::default() };
    Some((oif?, Route { destination, gateway, options }))
}

fn address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

/// Addresses that no network routes specially: the documentation prefixes (RFC 5737, 3849).
const OUTSIDE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1)),
];

/// The routers that the node's default routes lead to, one a family at most.
pub fn default_routers(socket: &mut RouteSocket) -> Result<Vec<IpAddr>, NetlinkError> {
    let mut routers = Vec::new();
    for destination in OUTSIDE {
        let found = find_route(socket, destination)?;
        let attributes = found.iter().flat_map(|route| &route.attributes);
        routers.extend(attributes.filter_map(|attribute| match attribute {
            RouteAttribute::Gateway(router) => address(router),
            _ => None,
        }));
    }
    Ok(routers)
}

/// The kernel's table of local routes, `RT_TABLE_LOCAL`.
const LOCAL_TABLE: u8 = 255;

/// The IPv4 addresses of the interfaces in the current namespace, as the kernel's table of local routes
/// has them.
///
/// A dump of the addresses would look at every interface, 0.12 us each, though slots' interfaces have
/// none on the node. A dump of this one table has as many entries as there are addresses, with a socket of
/// [`RouteSocket::open_strict`].
pub fn local_addresses_v4(strict: &mut RouteSocket) -> Result<Vec<IpAddr>, NetlinkError> {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.table = LOCAL_TABLE;
    let request = RouteNetlinkMessage::GetRoute(message);
    let listed = strict.dump_changing(
        "list local addresses",
        &request,
        |object| match object {
            RouteNetlinkMessage::NewRoute(message) => local_address(&message),
            _ => None,
        },
        |address| *address,
    );
    match listed {
        // The kernel makes the table with a namespace's first address.
        Err(refusal) if refusal.errno() == Some(libc::ENOENT) => Ok(Vec::new()),
        listed => listed,
    }
}

/// The destination of a route of the local table. None for a route to a prefix, or to a broadcast
/// address.
fn local_address(route: &RouteMessage) -> Option<IpAddr> {
    if route.header.kind != RouteType::Local || route.header.destination_prefix_length != 32 {
        return None;
    }
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(to) => address(to),
        _ => None,
    })
}

/// Whether packets to an address are for the socket's namespace itself.
pub fn is_local(socket: &mut RouteSocket, address: IpAddr) -> Result<bool, NetlinkError> {
    let found = find_route(socket, address)?;
    Ok(found.is_some_and(|route| route.header.kind == RouteType::Local))
}

/// Addresses asked for at once: as many as their answers fit into a socket's buffer.
const AT_ONCE: usize = 64;

/// Indices of the interfaces by which the node sends packets to addresses, in their order; none:
/// there is no way, or a router is on it.
pub fn interfaces_towards(
    socket: &mut RouteSocket,
    addresses: &[IpAddr],
) -> Result<Vec<Option<u32>>, NetlinkError> {
    let mut found = Vec::with_capacity(addresses.len());
    for some in addresses.chunks(AT_ONCE) {
        let requests = some.iter().map(|address| towards(*address)).collect();
        for answer in socket.query_each(requests)? {
            found.push(match answer {
                Ok(RouteNetlinkMessage::NewRoute(route)) => direct_interface(&route),
                // Errors are answers too: there is no way out, or it is prohibited.
                Ok(_) | Err(NetlinkError::Refused { .. }) => None,
                Err(error) => return Err(error),
            });
        }
    }
    Ok(found)
}

fn direct_interface(route: &RouteMessage) -> Option<u32> {
    let via = route.attributes.iter().any(|one| matches!(one, RouteAttribute::Gateway(_)));
    let is_direct = route.header.kind == RouteType::Unicast && !via;
    if is_direct { oif(route) } else { None }
}

fn oif(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

/// The route that a packet would take; none where the kernel would not send it.
fn find_route(
    socket: &mut RouteSocket,
    destination: IpAddr,
) -> Result<Option<RouteMessage>, NetlinkError> {
    match socket.query(towards(destination)) {
        Ok(RouteNetlinkMessage::NewRoute(found)) => Ok(Some(found)),
        // ENETUNREACH and EACCES are answers too: there is no way out, or it is prohibited.
        Ok(_) | Err(NetlinkError::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Asks for the route that a packet would take.
fn towards(destination: IpAddr) -> Request<RouteNetlinkMessage> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(destination);
    message.header.destination_prefix_length = crate::model::host_prefix(destination);
    message.attributes = vec![RouteAttribute::Destination(destination.into())];
    let request = RouteNetlinkMessage::GetRoute(message);
    Request::new(format!("find the route to {destination}"), request, 0)
}
