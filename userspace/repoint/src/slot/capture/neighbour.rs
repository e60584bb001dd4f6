//! Permanent neighbours that were added.

use std::net::IpAddr;

use netlink_packet_core::Parseable as _;
use netlink_packet_route::{
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage},
    route::RouteProtocol,
};

use super::{Capture, Refusal};
use crate::{model::Mac, template::Operation};

impl Capture<'_> {
    pub(super) fn neighbour(&mut self, payload: &[u8]) -> Result<(), Refusal> {
        let message = NeighbourMessage::parse(payload).map_err(|error| error.to_string())?;
        if Some(message.header.ifindex) != self.ifindex {
            return Err("it is of another interface than the slot's".into());
        }
        if message.header.flags != NeighbourFlags::empty() {
            return Err(format!("no operation can say {:?}", message.header.flags).into());
        }
        let (address, mac) = read(&message)?;
        if self.is_own(address) {
            return Err("it is in a subnet of this node".into());
        }
        if mac == self.slot.mac {
            return Err("its Ethernet address is the slot's own".into());
        }
        self.operations.push(Operation::AddNeighbour { address, mac });
        Ok(())
    }
}

/// Reads a neighbour of which everything can be said by an operation.
fn read(message: &NeighbourMessage) -> Result<(IpAddr, Mac), Refusal> {
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => {
                address = Some(IpAddr::V4(*ip));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => {
                address = Some(IpAddr::V6(*ip));
            }
            NeighbourAttribute::LinkLayerAddress(octets) => mac = Some(unicast(octets)?),
            NeighbourAttribute::CacheInfo(_)
            | NeighbourAttribute::Probes(_)
            | NeighbourAttribute::Protocol(RouteProtocol::Unspec) => {}
            other => return Err(format!("no operation can say {other:?}").into()),
        }
    }
    Ok((address.ok_or("it has no IP address")?, mac.ok_or("it has no Ethernet address")?))
}

fn unicast(octets: &[u8]) -> Result<Mac, Refusal> {
    let octets = <[u8; 6]>::try_from(octets).map_err(|_| "it has no Ethernet address")?;
    Mac(octets).to_string().parse::<Mac>().map_err(|error| error.to_string().into())
}
