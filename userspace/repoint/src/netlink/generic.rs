//! Generic netlink: which families there are, and what they hold.

use std::{collections::HashMap, sync::OnceLock};

use netlink_sys::protocols::NETLINK_GENERIC;

use super::{NetlinkError, Request, UntypedMessage, UntypedSocket, attributes};

/// `GENL_ID_CTRL`
const CONTROLLER: u16 = 0x10;
/// `CTRL_CMD_GETFAMILY`
const GET_FAMILY: u8 = 3;
/// `CTRL_ATTR_FAMILY_NAME`
const FAMILY_NAME: u16 = 2;
/// `CTRL_ATTR_FAMILY_ID`
const FAMILY_ID: u16 = 1;
/// Length of `struct genlmsghdr`: command, version, reserved.
pub const GENERIC_HEADER: usize = 4;
/// `TCP_METRICS_CMD_DEL`; without an address it is for all peers.
const FORGET_PEERS: u8 = 2;

/// Opens a socket of generic netlink in the current network namespace.
pub fn open_generic() -> Result<UntypedSocket, NetlinkError> {
    UntypedSocket::open_untyped(NETLINK_GENERIC)
}

/// A command of a family that [`families`] found, without attributes.
#[must_use]
pub fn generic_message(family: u16, command: u8) -> UntypedMessage {
    UntypedMessage::new(family, &[command, 1, 0, 0])
}

/// Names and numbers of the families that network namespaces have.
///
/// The function lists all families: if asked for a name that it does not know, the kernel would call
/// `modprobe`.
pub fn families(socket: &mut UntypedSocket) -> Result<HashMap<String, u16>, NetlinkError> {
    let request = generic_message(CONTROLLER, GET_FAMILY);
    let families = socket.dump("list generic netlink families", &request)?;
    Ok(families.iter().filter_map(|family| named(&family.payload)).collect())
}

/// The number of a family that is built into the kernel, if this one has it. They are asked for once.
pub fn built_in_family(
    socket: &mut UntypedSocket,
    name: &str,
) -> Result<Option<u16>, NetlinkError> {
    static FAMILIES: OnceLock<HashMap<String, u16>> = OnceLock::new();
    if let Some(known) = FAMILIES.get() {
        return Ok(known.get(name).copied());
    }
    let found = families(socket)?;
    Ok(FAMILIES.get_or_init(|| found).get(name).copied())
}

/// Makes TCP forget what it learned about the paths to its peers in the socket's network namespace
/// (`ip tcp_metrics flush`).
pub fn forget_tcp_metrics(socket: &mut UntypedSocket) -> Result<(), NetlinkError> {
    let Some(family) = built_in_family(socket, "tcp_metrics")? else { return Ok(()) };
    let forget = generic_message(family, FORGET_PEERS);
    socket.execute(vec![Request::new("forget TCP metrics", forget, 0)])
}

fn named(family: &[u8]) -> Option<(String, u16)> {
    let rest = family.get(GENERIC_HEADER..)?;
    let value =
        |wanted| attributes(rest).find_map(|(kind, value)| (kind == wanted).then_some(value));
    let name = String::from_utf8_lossy(value(FAMILY_NAME)?).trim_end_matches('\0').to_owned();
    Some((name, u16::from_ne_bytes(value(FAMILY_ID)?.try_into().ok()?)))
}
