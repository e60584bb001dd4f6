//! One masquerade rule for the whole node, there exactly while a slot needs it.

use std::path::Path;

use super::{Alias, GROUP, GROUP_MASQUERADED};
use crate::{
    failpoint,
    lock::{LOCK_TIMEOUT, Lock, LockError},
    netlink::{
        NetfilterSocket, NetlinkError, RouteSocket, add_masquerade, links, masquerades,
        remove_masquerade,
    },
    store::{Slot, SlotState, Store, StoreError},
};

/// Why the rule cannot be added or removed.
#[derive(Debug, thiserror::Error)]
pub enum MasqueradeError {
    /// The lock on the rule cannot be taken.
    #[error("cannot change the masquerade rule: {0}")]
    Lock(#[from] LockError),
    /// The kernel refused.
    #[error("masquerading needs nftables in the kernel (CONFIG_NF_TABLES, CONFIG_NFT_MASQ): {0}")]
    Nftables(#[source] NetlinkError),
    /// Whether another database's slot needs the rule cannot be found out.
    #[error("cannot find out who needs the masquerade rule: {0}")]
    Links(#[source] NetlinkError),
    /// Whether a slot needs the rule cannot be found out.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Adds the rule where it is missing; reports whether it was. The slot that needs it must be on record
/// already.
///
/// The function looks for the rule each time: reloading a firewall flushes others' rules.
pub fn require_masquerade(run_dir: &Path) -> Result<bool, MasqueradeError> {
    let _lock = lock(run_dir)?;
    let mut socket = NetfilterSocket::open_netfilter().map_err(MasqueradeError::Nftables)?;
    if masquerades(&mut socket).map_err(MasqueradeError::Nftables)? {
        return Ok(false);
    }
    add_masquerade(&mut socket, GROUP_MASQUERADED, &[GROUP, GROUP_MASQUERADED])
        .map_err(MasqueradeError::Nftables)?;
    failpoint::hit("masquerade:added");
    Ok(true)
}

/// Removes the rule if no slot on record needs it. A slot that is being deleted does not need it.
///
/// A build records its slot before it adds the rule, and both functions take the same lock: this one
/// either sees a slot that is about to be built, or that slot adds the rule after it was removed.
pub fn release_masquerade(run_dir: &Path, store: &Store) -> Result<(), MasqueradeError> {
    let _lock = lock(run_dir)?;
    if store.read(|transaction| transaction.any_slot(needs_rule))? || others_need_it(store)? {
        return Ok(());
    }
    let mut socket = NetfilterSocket::open_netfilter().map_err(MasqueradeError::Nftables)?;
    remove_masquerade(&mut socket).map_err(MasqueradeError::Nftables)?;
    failpoint::hit("masquerade:removed");
    Ok(())
}

/// Whether the slot of a masqueraded interface is not on record. The slot is another database's, or of a
/// database that was lost under a running container.
fn others_need_it(store: &Store) -> Result<bool, MasqueradeError> {
    let links = RouteSocket::open().and_then(|mut socket| links(&mut socket));
    let links = links.map_err(MasqueradeError::Links)?;
    let masqueraded = links.iter().filter(|link| link.group == GROUP_MASQUERADED);
    let others: Vec<_> = masqueraded.filter_map(|link| Alias::read(&link.alias)).collect();
    Ok(store.read(|transaction| {
        let is_on_record = |alias: &Alias| Ok(transaction.slot(alias.slot)?.is_some());
        let on_record = others.iter().map(is_on_record).collect::<Result<Vec<_>, StoreError>>()?;
        Ok::<_, StoreError>(on_record.contains(&false))
    })?)
}

/// Whether a slot needs the rule.
pub(super) fn needs_rule(slot: &Slot) -> bool {
    slot.masquerade && slot.state() != SlotState::Deleting
}

fn lock(run_dir: &Path) -> Result<Lock, LockError> {
    Lock::exclusive(&run_dir.join("masquerade.lock"), LOCK_TIMEOUT)
}
