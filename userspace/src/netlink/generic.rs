//! Generic netlink, as far as it is needed: what TCP remembers of its peers.

use netlink_sys::protocols::NETLINK_GENERIC;

use super::{NetlinkError, Request, UntypedMessage, UntypedSocket, attributes};

/// `GENL_ID_CTRL`
const CONTROLLER: u16 = 0x10;
/// `struct genlmsghdr` of `CTRL_CMD_GETFAMILY`: command, version, reserved.
const GET_FAMILY: [u8; 4] = [3, 1, 0, 0];
/// `CTRL_ATTR_FAMILY_NAME`
const FAMILY_NAME: u16 = 2;
/// `CTRL_ATTR_FAMILY_ID`
const FAMILY_ID: u16 = 1;
/// `struct genlmsghdr` of `TCP_METRICS_CMD_DEL`; without an address it is for all peers.
const FORGET_PEERS: [u8; 4] = [2, 1, 0, 0];

/// Makes TCP forget what it learned about the paths to its peers in the current network namespace
/// (`ip tcp_metrics flush`).
pub fn forget_tcp_metrics() -> Result<(), NetlinkError> {
    let mut socket = UntypedSocket::open_untyped(NETLINK_GENERIC)?;
    let what = "find netlink family tcp_metrics";
    let request =
        UntypedMessage::new(CONTROLLER, &GET_FAMILY).attribute(FAMILY_NAME, b"tcp_metrics\0");
    let answer = socket.query(Request::new(what, request, 0))?;
    let id = answer.payload.get(4..).and_then(family_id).ok_or_else(|| NetlinkError::Answer {
        what: what.to_owned(),
        reason: "it has no number".to_owned(),
    })?;
    let forget = UntypedMessage::new(id, &FORGET_PEERS);
    socket.execute(vec![Request::new("forget TCP metrics", forget, 0)])
}

fn family_id(bytes: &[u8]) -> Option<u16> {
    let value = attributes(bytes).find_map(|(kind, value)| (kind == FAMILY_ID).then_some(value))?;
    Some(u16::from_ne_bytes(value.try_into().ok()?))
}
