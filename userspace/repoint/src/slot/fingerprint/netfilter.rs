//! What netfilter has of a namespace, and is no sysctl.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{Budget, FingerprintError, names::shown};
use crate::netlink::{NetfilterObject, UntypedSocket, is_unknown};

/// Kinds of objects that are compared by name. An nftables table stands for its rules, chains and sets.
const NAMED: [NetfilterObject; 4] = [
    NetfilterObject::Table,
    NetfilterObject::Set,
    NetfilterObject::Accounting,
    NetfilterObject::Timeout,
];

/// Which of these the kernel lacks. Each request to a subsystem that the kernel does not know makes it
/// call `modprobe` (`nfnetlink_rcv_msg`).
static ABSENT: [AtomicBool; NAMED.len()] = [const { AtomicBool::new(false) }; NAMED.len()];

/// Lines of all that has a name.
pub(super) fn lines(
    netfilter: &mut UntypedSocket,
    budget: &mut Budget,
) -> Result<Vec<String>, FingerprintError> {
    let mut lines = Vec::new();
    for (object, absent) in NAMED.into_iter().zip(&ABSENT) {
        if absent.load(Ordering::Relaxed) && !is_loaded(object) {
            continue;
        }
        match budget.list(netfilter, object.kind(), &object.request()) {
            Err(FingerprintError::Netlink(error)) if is_unknown(&error) => {
                absent.store(true, Ordering::Relaxed);
            }
            found => lines.extend(found?.iter().filter_map(|found| line(object, found))),
        }
    }
    Ok(lines)
}

fn line(object: NetfilterObject, found: &[u8]) -> Option<String> {
    let (family, name) = object.named(found)?;
    let (kind, name) = (object.kind(), shown(name));
    Some(match object {
        NetfilterObject::Table => format!("{kind} {name} of family {family}"),
        _ => format!("{kind} {name}"),
    })
}

fn is_loaded(object: NetfilterObject) -> bool {
    Path::new("/sys/module").join(object.module()).exists()
}

/// Fails if the nftables tables have more rules than the budget allows. The time that the kernel needs to
/// remove them grows with their number.
pub(in crate::slot) fn count_rules(
    netfilter: &mut UntypedSocket,
    budget: &mut Budget,
) -> Result<(), FingerprintError> {
    let rules = NetfilterObject::Rule;
    match budget.list(netfilter, rules.kind(), &rules.request()) {
        Err(FingerprintError::Netlink(error)) if is_unknown(&error) => Ok(()),
        found => found.map(drop),
    }
}
