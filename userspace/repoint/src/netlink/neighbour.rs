//! Neighbours: which Ethernet address answers for an IP address.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
};

use super::{NetlinkError, Request, RouteSocket, link::family};
use crate::model::Mac;

/// Adds or replaces a permanent entry: no ARP, no neighbour discovery.
#[must_use]
pub fn add_neighbour(ifindex: u32, address: IpAddr, mac: Mac) -> Request<RouteNetlinkMessage> {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = ifindex;
    message.header.state = NeighbourState::Permanent;
    message.attributes = vec![
        NeighbourAttribute::Destination(address.into()),
        NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
    ];
    let request = RouteNetlinkMessage::NewNeighbour(message);
    Request::new(format!("add neighbour {address}"), request, NLM_F_CREATE | NLM_F_REPLACE)
}

/// Entries asked for at once: as many as their answers fit into a socket's buffer.
const AT_ONCE: usize = 64;

/// Ethernet addresses of permanent neighbours, each of an interface, in their order; none: there is
/// no such entry, or it is not permanent.
pub fn permanent_neighbours(
    socket: &mut RouteSocket,
    wanted: &[(u32, IpAddr)],
) -> Result<Vec<Option<Mac>>, NetlinkError> {
    let mut found = Vec::with_capacity(wanted.len());
    for some in wanted.chunks(AT_ONCE) {
        let requests = some.iter().map(|(ifindex, address)| {
            let mut message = NeighbourMessage::default();
            message.header.family = family(*address);
            message.header.ifindex = *ifindex;
            message.attributes = vec![NeighbourAttribute::Destination((*address).into())];
            let request = RouteNetlinkMessage::GetNeighbour(message);
            Request::new(format!("find neighbour {address}"), request, 0)
        });
        for answer in socket.query_each(requests.collect())? {
            found.push(match answer {
                Ok(RouteNetlinkMessage::NewNeighbour(message))
                    if message.header.state == NeighbourState::Permanent =>
                {
                    entry(&message).map(|(_, mac)| mac)
                }
                // No entry, or no interface.
                Ok(_) | Err(NetlinkError::Refused { .. }) => None,
                Err(error) => return Err(error),
            });
        }
    }
    Ok(found)
}

/// The permanent neighbours of one interface in the socket's namespace.
pub fn neighbours(
    socket: &mut RouteSocket,
    ifindex: u32,
) -> Result<Vec<(IpAddr, Mac)>, NetlinkError> {
    let request = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
    let objects = socket.dump("list neighbours", &request)?;
    Ok(objects
        .into_iter()
        .filter_map(|object| match object {
            RouteNetlinkMessage::NewNeighbour(message)
                if message.header.ifindex == ifindex
                    && message.header.state == NeighbourState::Permanent =>
            {
                entry(&message)
            }
            _ => None,
        })
        .collect())
}

fn entry(message: &NeighbourMessage) -> Option<(IpAddr, Mac)> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    })?;
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(octets) => <[u8; 6]>::try_from(octets.as_slice()).ok(),
        _ => None,
    })?;
    Some((address, Mac(mac)))
}
