//! Addresses of interfaces.

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage},
};

use super::{NetlinkError, Request, RouteSocket, link::family};

/// Gives an interface an address, usable at once.
///
/// No duplicate address detection (the address manager knows that there is no duplicate; detecting
/// takes other plugins one to two seconds), and no route to the prefix: neighbours are reached
/// through the gateway.
#[must_use]
pub fn add_address(ifindex: u32, address: IpNet) -> Request<RouteNetlinkMessage> {
    let mut message = AddressMessage::default();
    message.header.family = family(address.addr());
    message.header.prefix_len = address.prefix_len();
    message.header.index = ifindex;
    let mut flags = AddressFlags::Noprefixroute | AddressFlags::Permanent;
    if address.addr().is_ipv6() {
        flags |= AddressFlags::Nodad;
    }
    message.attributes = vec![
        AddressAttribute::Local(address.addr()),
        AddressAttribute::Address(address.addr()),
        AddressAttribute::Flags(flags),
    ];
    let request = RouteNetlinkMessage::NewAddress(message);
    Request::new(format!("add address {address}"), request, NLM_F_CREATE | NLM_F_EXCL)
}

/// Takes an address from an interface.
#[must_use]
pub fn delete_address(ifindex: u32, address: IpNet) -> Request<RouteNetlinkMessage> {
    let mut message = AddressMessage::default();
    message.header.family = family(address.addr());
    message.header.prefix_len = address.prefix_len();
    message.header.index = ifindex;
    message.attributes = vec![AddressAttribute::Local(address.addr())];
    Request::new(format!("delete address {address}"), RouteNetlinkMessage::DelAddress(message), 0)
}

/// The addresses of one interface in the socket's namespace.
pub fn addresses(socket: &mut RouteSocket, ifindex: u32) -> Result<Vec<IpNet>, NetlinkError> {
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let objects = socket.dump("list addresses", &request)?;
    Ok(objects
        .into_iter()
        .filter_map(|object| match object {
            RouteNetlinkMessage::NewAddress(message) if message.header.index == ifindex => {
                prefix(&message)
            }
            _ => None,
        })
        .collect())
}

/// IPv4 speaks of the own address as `Local`, IPv6 of the only one as `Address`.
fn prefix(message: &AddressMessage) -> Option<IpNet> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let only = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    IpNet::new(local.or(only)?, message.header.prefix_len).ok()
}
