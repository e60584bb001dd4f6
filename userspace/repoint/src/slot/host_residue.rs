//! What other plugins of a chain left on a slot's host-side interface. The next user of the slot would
//! have it.

use super::hook::{HookError, PLACES, attached_names, sorted};
use crate::{
    netlink::{RouteSocket, find_link},
    store::Slot,
};

/// The queueing discipline of an interface for which none was set.
const NO_QUEUE: &str = "noqueue";

/// What others left on a slot's interface on the node; none: nothing.
pub fn host_residue(slot: &Slot) -> Result<Option<String>, HookError> {
    let mut socket = RouteSocket::open()?;
    let name = slot.id.host_ifname();
    let ifindex = slot.host_ifindex();
    let link = ifindex.map(|ifindex| find_link(&mut socket, ifindex)).transpose()?.flatten();
    let Some(link) = link else {
        return Ok(Some(format!("interface {name} is gone")));
    };
    if link.qdisc != NO_QUEUE {
        return Ok(Some(format!("interface {name} has queueing discipline {}", link.qdisc)));
    }
    for (direction, own) in PLACES {
        let found = attached_names(&mut socket, link.ifindex, direction)?;
        let (here, elsewhere) = sorted(slot.hook, found);
        if here != [own] || !elsewhere.is_empty() {
            let all = [here, elsewhere].concat().join(", ");
            return Ok(Some(format!("interface {name} has filters or programs {all}")));
        }
    }
    Ok(None)
}
