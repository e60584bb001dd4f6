//! What other plugins of a chain left on a slot's interface on the node: it would be the next user's.

use crate::{
    datapath::{FROM_CONTAINER, TO_CONTAINER},
    netlink::{Direction, NetlinkError, RouteSocket, filter_names, find_link},
    store::Slot,
};

/// The queueing discipline of an interface that nobody gave one.
const NO_QUEUE: &str = "noqueue";

/// What others left on a slot's interface on the node; none: nothing.
pub fn host_residue(slot: &Slot) -> Result<Option<String>, NetlinkError> {
    let mut socket = RouteSocket::open()?;
    let name = slot.id.host_ifname();
    let Some(link) = find_link(&mut socket, slot.host_ifindex)? else {
        return Ok(Some(format!("interface {name} is gone")));
    };
    if link.qdisc != NO_QUEUE {
        return Ok(Some(format!("interface {name} has queueing discipline {}", link.qdisc)));
    }
    for (direction, own) in
        [(Direction::Ingress, FROM_CONTAINER), (Direction::Egress, TO_CONTAINER)]
    {
        let found = filter_names(&mut socket, link.ifindex, direction)?;
        if found != [own] {
            return Ok(Some(format!("interface {name} has filters {}", found.join(", "))));
        }
    }
    Ok(None)
}
