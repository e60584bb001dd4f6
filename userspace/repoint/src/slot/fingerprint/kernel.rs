//! The netlink sockets of one namespace: one of each family, opened once.

use std::{fs::File, io, os::fd::OwnedFd};

use netlink_sys::protocols::NETLINK_ROUTE;

use super::{Budget, Fingerprint, FingerprintError};
use crate::netlink::{
    NetlinkError, UntypedSocket, open_generic, open_netfilter_untyped, open_xfrm,
};

/// Sockets in one namespace, and the budget for requests over them. The namespace is that of the thread
/// that opened them.
#[derive(Debug)]
pub(in crate::slot) struct Kernel {
    pub route: UntypedSocket,
    pub netfilter: UntypedSocket,
    pub generic: UntypedSocket,
    /// None: the kernel has no `IPsec`.
    pub xfrm: Option<UntypedSocket>,
    pub budget: Budget,
}

impl Kernel {
    /// Opens the sockets in a namespace that should be as `expected`.
    pub(in crate::slot) fn open(expected: &Fingerprint) -> Result<Self, NetlinkError> {
        let bytes = expected.lines().iter().map(String::len).sum();
        Self::with_budget(Budget::beside(expected.lines().len(), bytes))
    }

    /// Opens the sockets in a namespace that has had no user. The program itself made all that is in it.
    pub(super) fn open_first() -> Result<Self, NetlinkError> {
        Self::with_budget(Budget::unlimited())
    }

    fn with_budget(budget: Budget) -> Result<Self, NetlinkError> {
        Ok(Self {
            route: UntypedSocket::open_untyped(NETLINK_ROUTE)?,
            netfilter: open_netfilter_untyped()?,
            generic: open_generic()?,
            xfrm: open_xfrm()?,
            budget,
        })
    }
}

/// The namespace that the calling thread is in.
pub(super) fn own_namespace() -> Result<OwnedFd, FingerprintError> {
    let path = "/proc/thread-self/ns/net";
    File::open(path)
        .map(OwnedFd::from)
        .map_err(|source: io::Error| FingerprintError::Read { path: path.to_owned(), source })
}
