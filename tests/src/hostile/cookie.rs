//! The kernel's number of a network namespace, which is never given again before a reboot. Inode
//! numbers of namespaces are.

use anyhow::{Context as _, Result};
use nix::{
    getsockopt_impl, sockopt_impl,
    sys::socket::{AddressFamily, SockFlag, SockType, getsockopt, socket},
};

use crate::traffic::Host;

sockopt_impl!(
    /// Cookie of the network namespace that a socket belongs to.
    NetnsCookie,
    GetOnly,
    libc::SOL_SOCKET,
    libc::SO_NETNS_COOKIE,
    u64
);

/// The cookie of the namespace that a party is in (`SO_NETNS_COOKIE`, Linux 5.14).
pub fn netns_cookie(host: &Host) -> Result<u64> {
    host.run(|| {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None)
            .context("open a socket")?;
        getsockopt(&socket, NetnsCookie).context("getsockopt(SO_NETNS_COOKIE)")
    })
}
