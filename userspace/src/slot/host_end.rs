//! Whether a slot's interface on the node is as it was built: other plugins of a chain work there,
//! and what they leave would be the next user's.

use super::{
    hook::{HookError, PLACES, attached_names, sorted},
    is_alias_of,
};
use crate::{
    netlink::{RouteSocket, get_link},
    store::Slot,
};

/// The queueing discipline of an interface that nobody gave one.
const NO_QUEUE: &str = "noqueue";

/// What is different of a slot's interface on the node; none: nothing.
pub fn host_end_difference(slot: &Slot) -> Result<Option<String>, HookError> {
    let mut socket = RouteSocket::open()?;
    let name = slot.id.host_ifname();
    let link = match get_link(&mut socket, &name) {
        Err(error) if error.is_absent() => return Ok(Some(format!("interface {name} is gone"))),
        link => link.map_err(HookError::Netlink)?,
    };
    if link.ifindex != slot.host_ifindex || !is_alias_of(&link.alias, slot) {
        return Ok(Some(format!("interface {name} is another's by now")));
    }
    if !link.up || link.mtu != slot.mtu {
        return Ok(Some(format!("interface {name} is down, or of another MTU")));
    }
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
