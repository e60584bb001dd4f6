//! Flushing what the kernel learned, and keys that a user may know.

use std::{
    fs::{self, File},
    io::{self, Read as _},
};

use super::ScrubError;
use crate::{
    failpoint,
    netlink::{Request, forget_connections, forget_tcp_metrics},
    slot::fingerprint::{Class, Kernel, list},
};

/// Writing here drops what was learned of paths (`ipv4_sysctl_rtcache_flush`); IPv6 drops only what
/// is out of date.
const ROUTE_CACHES: [&str; 2] =
    ["/proc/sys/net/ipv4/route/flush", "/proc/sys/net/ipv6/route/flush"];

/// The key of TCP fast open's cookies. It reads as zeros where there is no key yet and where a user set
/// zeros, so its text does not show its state.
const FAST_OPEN_KEY: &str = "/proc/sys/net/ipv4/tcp_fastopen_key";
const RANDOM: &str = "/dev/urandom";

/// Drops tracked connections, learned neighbours and paths, TCP's memory of its peers and its key.
pub(super) fn flush(kernel: &mut Kernel) -> Result<(), ScrubError> {
    forget_connections(&mut kernel.netfilter)?;
    failpoint::hit("scrub:connections");
    for class in [Class::Neighbour, Class::Route] {
        forget_learned(kernel, class)?;
        failpoint::hit("scrub:learned");
    }
    for path in ROUTE_CACHES {
        match fs::write(path, "0") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(|source| ScrubError::RouteCache { path, source })?,
        }
        failpoint::hit("scrub:paths");
    }
    forget_tcp_metrics(&mut kernel.generic)?;
    renew_fast_open_key()
}

/// Sets a random key for TCP fast open. The kernel makes a key itself, unless there is one, when a
/// listener first needs it.
fn renew_fast_open_key() -> Result<(), ScrubError> {
    let failed = |path| move |source| ScrubError::FastOpenKey { path, source };
    let mut key = [0; 16];
    let random = File::open(RANDOM).and_then(|mut random| random.read_exact(&mut key));
    random.map_err(failed(RANDOM))?;
    let words = key.as_chunks().0.iter().map(|word| format!("{:08x}", u32::from_ne_bytes(*word)));
    match fs::write(FAST_OPEN_KEY, words.collect::<Vec<_>>().join("-")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written.map_err(failed(FAST_OPEN_KEY)),
    }
}

/// Deletes neighbours that are not permanent, and cloned routes. The kernel clones a route for what it
/// learned of a path.
fn forget_learned(kernel: &mut Kernel, class: Class) -> Result<(), ScrubError> {
    let learned = list(kernel, class)?.into_iter().filter(|object| !class.lasts(object));
    let delete = |object: Vec<u8>| {
        Request::new(format!("forget a learned {class}"), class.deletion(&object), 0)
    };
    let refusals = kernel.route.execute_in_parts(learned.map(delete).collect())?;
    // An object that expired meanwhile is no refusal.
    let refusal = refusals.into_iter().find(|refusal| !refusal.is_absent());
    refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
}
