//! What the kernel learned, and forgets.

use std::{fs, io};

use netlink_sys::protocols::NETLINK_ROUTE;

use super::ScrubError;
use crate::{
    failpoint,
    netlink::{
        NetlinkError, Request, UntypedSocket, forget_connections, forget_tcp_metrics,
        open_netfilter_untyped,
    },
    slot::fingerprint::{Class, list},
};

/// Writing here drops what was learned of paths (`ipv4_sysctl_rtcache_flush`); IPv6 drops only what
/// is out of date.
const ROUTE_CACHES: [&str; 2] =
    ["/proc/sys/net/ipv4/route/flush", "/proc/sys/net/ipv6/route/flush"];

/// Drops tracked connections, learned neighbours and paths, and TCP's memory of its peers.
pub(super) fn flush() -> Result<(), ScrubError> {
    forget_connections(&mut open_netfilter_untyped()?)?;
    failpoint::hit("scrub:connections");
    let mut socket = UntypedSocket::open_untyped(NETLINK_ROUTE)?;
    for class in [Class::Neighbour, Class::Route] {
        forget_learned(&mut socket, class)?;
        failpoint::hit("scrub:learned");
    }
    for path in ROUTE_CACHES {
        match fs::write(path, "0") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(|source| ScrubError::RouteCache { path, source })?,
        }
        failpoint::hit("scrub:paths");
    }
    Ok(forget_tcp_metrics()?)
}

/// Deletes neighbours that are not permanent, and routes that were made of others by what was
/// learned of a path.
fn forget_learned(socket: &mut UntypedSocket, class: Class) -> Result<(), NetlinkError> {
    let learned = list(socket, class)?.into_iter().filter(|object| !class.lasts(object));
    let delete = |object: Vec<u8>| {
        Request::new(format!("forget a learned {class}"), class.deletion(&object), 0)
    };
    let refusals = socket.execute_each(learned.map(delete).collect())?;
    // One that expired meanwhile is no refusal.
    refusals.into_iter().find(|refusal| !refusal.is_absent()).map_or(Ok(()), Err)
}
