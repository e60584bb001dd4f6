//! Looking at a namespace, from inside.

use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    Fingerprint, Kernel, TooMuch,
    budget::wait_for_kernel,
    names::{Names, shown},
    objects::{self, Class, Link, Object},
    others,
};
use crate::{netlink::NetlinkError, store::Slot};

/// Longest wait for links and addresses to settle. Links act on a carrier, and addresses get their
/// routes. The kernel's threads need milliseconds for it. Where a user has prevented it, a longer wait is
/// of no use.
const SETTLING: Duration = Duration::from_millis(50);
/// The same after a repair, which takes links down and up.
const SETTLING_AFTER_REPAIR: Duration = Duration::from_millis(250);
/// The same in a namespace that has had no user. Its fingerprint, with which all slots of a pool are
/// compared, must be complete, however busy the kernel's threads are.
const SETTLING_AT_FIRST: Duration = Duration::from_secs(10);

/// Why a namespace cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum FingerprintError {
    /// The kernel does not answer.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// There is more in it than is looked at.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
    /// A sysctl, or a setting of a link, cannot be read.
    #[error("cannot {call} {kind} {path}: {source}")]
    File {
        /// What it is: a sysctl, below `/proc/sys/net`, or a setting, below `/sys/class/net`.
        kind: &'static str,
        /// Its path.
        path: PathBuf,
        /// The system call.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// A file that lists objects of the namespace cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// Programs cannot be counted.
    #[error("cannot count the programs that are attached: {place}: {source}")]
    Programs {
        /// Where.
        place: String,
        /// Why not.
        source: io::Error,
    },
    /// A link of an unused namespace is not ready in time.
    #[error("link {link} has a carrier, but is not ready after {SETTLING_AT_FIRST:?}")]
    Settling {
        /// The link's name.
        link: String,
    },
}

/// When a namespace is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::slot) enum Occasion {
    /// It has had no user.
    First,
    /// Its user is gone, or uses it.
    Used,
    /// It was repaired.
    Repaired,
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
    /// Looks at a slot's namespace, by sockets that were opened there. The calling thread must be in that
    /// namespace.
    pub(in crate::slot) fn take(
        slot: &Slot,
        kernel: &mut Kernel,
        occasion: Occasion,
    ) -> Result<Self, FingerprintError> {
        let deadline = Instant::now() + occasion.settling();
        kernel.budget.look_again();
        let links = settled_links(kernel, deadline)?;
        let read: Vec<_> = links.iter().map(|link| Link::read(link)).collect();
        if let Some(link) = read.iter().find(|link| link.settling && occasion == Occasion::First) {
            return Err(FingerprintError::Settling { link: shown(&link.name) });
        }
        let mut names = Names::new(slot);
        for link in &read {
            names.learn(link.ifindex, &link.name);
        }
        let mut objects = objects::of(Class::Link, links, &names, &mut kernel.budget)?;
        objects.extend(settled_objects(kernel, &read, &names, deadline)?);
        let others = others::lines(kernel, &read, &names)?;
        Ok(Self { links: read, objects, others })
    }

    pub(in crate::slot) fn fingerprint(&self) -> Fingerprint {
        let objects = self.objects.iter().map(|object| &object.line);
        Fingerprint::new(objects.chain(&self.others).cloned().collect())
    }
}

impl Occasion {
    fn settling(self) -> Duration {
        match self {
            Self::First => SETTLING_AT_FIRST,
            Self::Used => SETTLING,
            Self::Repaired => SETTLING_AFTER_REPAIR,
        }
    }
}

/// All objects but links, once every IPv6 address has its local route. After the deadline it returns them
/// without such a route, because a user may have removed it.
fn settled_objects(
    kernel: &mut Kernel,
    links: &[Link],
    names: &Names<'_>,
    deadline: Instant,
) -> Result<Vec<Object>, FingerprintError> {
    loop {
        kernel.budget.look_again();
        let mut found = Vec::new();
        for class in Class::BEHIND_LINKS {
            found.extend(objects::observe(kernel, class, names)?);
        }
        if !objects::has_unrouted_address(&found, links) || Instant::now() >= deadline {
            return Ok(found);
        }
        wait_for_kernel();
    }
}

/// The links, once all that have a carrier are ready, or as they are at the deadline. The kernel's link
/// watch makes them ready, which is when IPv6 adds its routes for them.
fn settled_links(kernel: &mut Kernel, deadline: Instant) -> Result<Vec<Vec<u8>>, FingerprintError> {
    loop {
        kernel.budget.look_again();
        let links = objects::list(kernel, Class::Link)?;
        let settling = links.iter().any(|link| Link::read(link).settling);
        if !settling || Instant::now() >= deadline {
            return Ok(links);
        }
        wait_for_kernel();
    }
}
