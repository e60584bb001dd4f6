//! Looking at a namespace, from inside.

use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use aya::programs::ProgramError;
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::thread::{MembarrierCommand, membarrier};

use super::{
    Fingerprint,
    names::Names,
    objects::{self, Class, Link, Object},
    others, sysctls,
};
use crate::{
    netlink::{NetlinkError, UntypedSocket, open_netfilter_untyped},
    store::Slot,
};

/// How long links may take to act on a carrier. It takes the kernel's link watch milliseconds.
const SETTLING: Duration = Duration::from_secs(2);
/// How long addresses may take to get their routes, mostly less than a millisecond, where somebody may
/// have taken those away.
const ROUTING: Duration = Duration::from_millis(300);
/// The same where nobody was yet: what all slots of a pool are compared with must be whole, however
/// busy the kernel's threads are.
const ROUTING_AT_FIRST: Duration = Duration::from_secs(10);

/// Why a namespace cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum FingerprintError {
    /// The kernel does not answer.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A sysctl cannot be read or written.
    #[error("cannot {call} sysctl {path} below /proc/sys/net: {source}")]
    Sysctl {
        /// Its path.
        path: PathBuf,
        /// The system call.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// Tables of a firewall or load balancer cannot be listed.
    #[error("cannot read {path}: {source}")]
    Tables {
        /// The file that lists them.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// Programs of a link cannot be listed.
    #[error("cannot list programs attached to {link}: {source}")]
    Programs {
        /// The link's name.
        link: String,
        /// Why not.
        source: ProgramError,
    },
    /// Links do not come to rest.
    #[error("link {link} has a carrier, but is not ready after {SETTLING:?}")]
    Settling {
        /// The link's name.
        link: String,
    },
}

/// What there is in a namespace.
#[derive(Debug)]
pub(in crate::slot) struct Observation {
    pub links: Vec<Link>,
    pub objects: Vec<Object>,
    /// Lines of everything that is no object of the routing family.
    others: Vec<String>,
}

impl Observation {
    /// Looks at the namespace that the calling thread is in, which is `slot`'s.
    pub(in crate::slot) fn take(slot: &Slot) -> Result<Self, FingerprintError> {
        Self::take_within(slot, ROUTING)
    }

    /// The same of a namespace that nobody has used yet.
    pub(super) fn take_first(slot: &Slot) -> Result<Self, FingerprintError> {
        Self::take_within(slot, ROUTING_AT_FIRST)
    }

    fn take_within(slot: &Slot, routing: Duration) -> Result<Self, FingerprintError> {
        let mut socket = UntypedSocket::open_untyped(NETLINK_ROUTE)?;
        let links = settled_links(&mut socket)?;
        let mut names = Names::new(slot);
        for link in &links {
            names.learn(link.ifindex, &link.name);
        }
        let objects = settled_objects(&mut socket, &links, &names, routing)?;
        let sysctls = sysctls::lines(&names)?;
        let mut others = others(&links, &names)?;
        others.extend(sysctls);
        Ok(Self { links, objects, others })
    }

    pub(in crate::slot) fn fingerprint(&self) -> Fingerprint {
        let objects = self.objects.iter().map(|object| &object.line);
        Fingerprint::new(objects.chain(&self.others).cloned().collect())
    }
}

fn others(links: &[Link], names: &Names<'_>) -> Result<Vec<String>, FingerprintError> {
    let mut found = others::nftables(&mut open_netfilter_untyped()?)?;
    found.extend(others::tables()?);
    found.extend(others::xfrm()?);
    for link in links {
        found.extend(others::programs(&link.name, &names.text(&link.name))?);
    }
    Ok(found)
}

/// All objects, once every IPv6 address has its route; or without it, should somebody have taken
/// that away.
fn settled_objects(
    socket: &mut UntypedSocket,
    links: &[Link],
    names: &Names<'_>,
    routing: Duration,
) -> Result<Vec<Object>, FingerprintError> {
    let deadline = Instant::now() + routing;
    loop {
        let mut objects = objects::observe(socket, Class::Link, names)?;
        for class in Class::BEHIND_LINKS {
            objects.extend(objects::observe(socket, class, names)?);
        }
        if !objects::has_unrouted_address(&objects, links) || Instant::now() >= deadline {
            return Ok(objects);
        }
        wait_for_kernel();
    }
}

/// The links, once all that have a carrier are ready. The kernel's link watch makes them so, which
/// is when IPv6 adds its routes for them.
fn settled_links(socket: &mut UntypedSocket) -> Result<Vec<Link>, FingerprintError> {
    let deadline = Instant::now() + SETTLING;
    loop {
        let links: Vec<_> =
            objects::list(socket, Class::Link)?.iter().map(|link| Link::read(link)).collect();
        let Some(settling) = links.iter().find(|link| link.settling) else {
            return Ok(links);
        };
        if Instant::now() >= deadline {
            return Err(FingerprintError::Settling { link: settling.name.clone() });
        }
        wait_for_kernel();
    }
}

/// Waits as long as work takes that the kernel left to its own threads: a grace period is of that
/// length. Where there is none to wait for, the question is asked again at once.
fn wait_for_kernel() {
    _ = membarrier(MembarrierCommand::Global);
}
