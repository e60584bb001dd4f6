//! The kernel's number of a network namespace, seen by a party of an attack.

use anyhow::Result;

use crate::{netns::cookie, traffic::Host};

/// The cookie of the namespace that a party is in.
pub fn netns_cookie(host: &Host) -> Result<u64> {
    host.run(cookie)
}
