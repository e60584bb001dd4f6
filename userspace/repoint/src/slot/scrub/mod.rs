//! Proving a slot's namespace unused from inside, and bringing it back to what it was.
//!
//! The scrub compares what a fingerprint shows, and repairs what differs. Each scrub flushes what a
//! fingerprint cannot show: tracked connections, learned neighbours and paths, the key of TCP fast open.

mod flush;
mod repair;

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    Difference, Fingerprint, FingerprintError, SocketsError, User,
    fingerprint::{Class, Kernel, Observation, Occasion, TooMuch},
    usage::close_ownerless,
};
use crate::{
    failpoint,
    netlink::NetlinkError,
    netns::{Netns, NetnsError},
    store::Slot,
    template::NetworkConfig,
};
use repair::{Depth, Repair, is_beyond_repair};

/// How long a repair waits for the link-layer addresses of groups that were left. On a loaded machine they were
/// seen on the interface after the call that leaves the group had returned (kernel 6.18).
const GROUPS_LEFT: Duration = Duration::from_millis(200);
/// Between two looks at them.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Why a scrub came to no result.
#[derive(Debug, thiserror::Error)]
pub enum ScrubError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// Its sockets cannot be counted.
    #[error(transparent)]
    Sockets(#[from] SocketsError),
    /// It cannot be looked at.
    #[error(transparent)]
    Fingerprint(#[from] FingerprintError),
    /// The kernel does not answer, or does not forget what it learned.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// TCP fast open does not get another key.
    #[error("cannot give TCP fast open another key: {path}: {source}")]
    FastOpenKey {
        /// The file that cannot be read or written.
        path: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The kernel does not drop cached routes.
    #[error("cannot drop cached routes: write {path}: {source}")]
    RouteCache {
        /// The sysctl.
        path: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

/// The result of a scrub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scrubbed {
    /// The namespace is as it was when it was built.
    Clean {
        /// What had to be repaired, a line for each.
        repaired: Vec<String>,
    },
    /// Sockets are left: the scrub is to be tried again.
    InUse(User),
    /// Something in it cannot be repaired, or there is more in it than is looked at: the slot is to be
    /// deleted.
    Different(Difference),
}

/// Scrubs the namespace of a slot that no task is in (see [`super::users`]).
pub fn scrub(
    slot: &Slot,
    config: &NetworkConfig,
    netns: &Netns,
    expected: &Fingerprint,
) -> Result<Scrubbed, ScrubError> {
    match netns.run(|| scrub_inside(slot, config, expected))? {
        Err(ScrubError::Fingerprint(FingerprintError::TooMuch(too_much))) => {
            Ok(Scrubbed::Different(too_much.into()))
        }
        scrubbed => scrubbed,
    }
}

impl From<TooMuch> for Difference {
    fn from(too_much: TooMuch) -> Self {
        Self { added: vec![too_much.to_string()], missing: Vec::new() }
    }
}

fn scrub_inside(
    slot: &Slot,
    config: &NetworkConfig,
    expected: &Fingerprint,
) -> Result<Scrubbed, ScrubError> {
    if let Some(user) = close_ownerless()? {
        return Ok(Scrubbed::InUse(user));
    }
    failpoint::hit("scrub:sockets");
    let mut kernel = Kernel::open(expected)?;
    flush::flush(&mut kernel)?;
    failpoint::hit("scrub:flushed");
    restore(slot, config, expected, &mut kernel)
}

/// Compares, and repairs until it is as expected or nothing more can be done.
fn restore(
    slot: &Slot,
    config: &NetworkConfig,
    expected: &Fingerprint,
    kernel: &mut Kernel,
) -> Result<Scrubbed, ScrubError> {
    let mut observation = Observation::take(slot, kernel, Occasion::Used)?;
    let Some(first) = expected.difference(&observation.fingerprint()) else {
        return Ok(Scrubbed::Clean { repaired: Vec::new() });
    };
    if is_beyond_repair(&first) {
        return Ok(Scrubbed::Different(first));
    }
    let mut left = first.clone();
    for depth in Depth::ALL {
        let repair =
            Repair { slot, config, expected, observation: &observation, difference: &left };
        repair.run(depth, kernel)?;
        failpoint::hit("scrub:repaired");
        observation = Observation::take(slot, kernel, Occasion::Repaired)?;
        match expected.difference(&observation.fingerprint()) {
            Some(difference) => left = difference,
            None => return Ok(Scrubbed::Clean { repaired: first.repairs() }),
        }
    }
    let begun = Instant::now();
    while left.is_only_of(Class::Heard) && begun.elapsed() < GROUPS_LEFT {
        thread::park_timeout(LOOK_AGAIN);
        let observation = Observation::take(slot, kernel, Occasion::Repaired)?;
        match expected.difference(&observation.fingerprint()) {
            Some(difference) => left = difference,
            None => return Ok(Scrubbed::Clean { repaired: first.repairs() }),
        }
    }
    Ok(Scrubbed::Different(left))
}
