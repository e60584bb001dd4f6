//! Policies: stored, copied into the database of the node, and written into the maps.
//!
//! A change goes three steps, and each process that finds one of them missing takes it: the stored objects, which
//! outlive the boot; their copy in the database, with what each identity is for them; the maps.

//!
//! `plan` says what the objects mean for the functions on record, `install` writes the maps, `provide` is ADD's part, and
//! `difference` the sweep's look.

mod difference;
mod install;
mod plan;
mod provide;

pub use difference::policies_difference;

use std::{path::PathBuf, sync::PoisonError, time::Duration};

use super::{Node, NodeError};
use crate::{
    conf::Directories,
    datapath::{Maps, PolicyMaps},
    failpoint,
    lock::{LOCK_TIMEOUT, Lock},
    private,
    store::{PoliciesState, PolicyStore, StoreError, StoredPolicies, Write},
};
use plan::{Plan, plan};

/// File in `runDir` that processes lock which change policies.
const LOCK: &str = "policies.lock";

impl Node {
    /// The folder of the database of policies.
    #[must_use]
    pub fn policies_folder(directories: &Directories) -> PathBuf {
        directories.state.join("policies")
    }

    /// Everything that is stored of policies.
    pub fn stored_policies(directories: &Directories) -> Result<StoredPolicies, NodeError> {
        let stored = PolicyStore::open_existing(&Self::policies_folder(directories))?;
        Ok(stored.map_or_else(|| Ok(StoredPolicies::default()), |stored| stored.read())?)
    }

    /// Changes what is stored of policies, and makes it so on the node. `change` returns none where there is nothing
    /// to do.
    ///
    /// Nothing is changed where the policies cannot be enforced for a function on record.
    ///
    /// # Errors
    /// [`StoreError::Policies`] where they cannot.
    pub fn change_policies<T>(
        &self,
        change: impl FnOnce(&mut StoredPolicies) -> Result<Option<T>, NodeError>,
    ) -> Result<Option<T>, NodeError> {
        let _lock = self.lock_policies(LOCK_TIMEOUT)?;
        private::folder(&self.directories.state)?;
        let store = PolicyStore::open(&Self::policies_folder(&self.directories))?;
        let mut stored = store.read()?;
        // The numbers of groups and policies in the maps must be those of the copy.
        if let Err(error) = self.copy_and_install(&stored) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "former policies are not in the maps"
            );
        }
        let changed = change(&mut stored)?;
        if changed.is_some() {
            self.store.read(|transaction| plan(transaction, &stored, false).map(drop))?;
            self.store.ensure_room()?;
            stored.revision += 1;
            store.replace(&stored)?;
            failpoint::hit("policies:stored");
        }
        self.copy_and_install(&stored)?;
        Ok(changed)
    }

    /// Fails where [`Self::change_policies`] would, and changes nothing.
    pub fn check_policies(
        directories: &Directories,
        change: impl FnOnce(&mut StoredPolicies),
    ) -> Result<(), NodeError> {
        let mut stored = Self::stored_policies(directories)?;
        change(&mut stored);
        let Some(node) = Self::look(directories)? else { return Ok(()) };
        node.store.read(|transaction| plan(transaction, &stored, false).map(drop))
    }

    /// Makes the node's policies those that are stored, if they are not.
    ///
    /// Returns whether there was anything to do.
    pub fn synchronise_policies(&self) -> Result<bool, NodeError> {
        let state = self.store.read(|transaction| transaction.policies_state())?;
        let revision = Self::stored_policies(&self.directories)?.revision;
        if state.revision == revision + 1 && self.are_policies_installed(state)? {
            return Ok(false);
        }
        let _lock = self.lock_policies(LOCK_TIMEOUT)?;
        self.copy_and_install(&self.still_stored()?)?;
        Ok(true)
    }

    /// What is stored of policies; an error where policies are in force, and their database is gone.
    fn still_stored(&self) -> Result<StoredPolicies, NodeError> {
        let state = self.store.read(|transaction| transaction.policies_state())?;
        let path = Self::policies_folder(&self.directories);
        if state.in_use && !path.exists() {
            return Err(StoreError::PoliciesGone { path }.into());
        }
        Self::stored_policies(&self.directories)
    }

    /// Calls `work` in a transaction that gives slots to containers. Where the database is new, the stored policies
    /// are copied first.
    pub(crate) fn claim<T>(
        &self,
        work: impl Fn(&mut Write<'_>) -> Result<T, NodeError>,
    ) -> Result<T, NodeError> {
        match self.store.grow(&work) {
            Err(NodeError::Store(StoreError::PoliciesUnknown)) => {
                self.synchronise_policies()?;
                self.store.grow(&work)
            }
            done => done,
        }
    }

    /// Makes the maps hold the policies, where a process has just loaded the data plane or made the database.
    pub(crate) fn provide_stored_policies(&self) -> Result<(), NodeError> {
        let state = self.store.read(|transaction| transaction.policies_state())?;
        match state {
            PoliciesState { revision: 0, .. } => self.synchronise_policies().map(drop),
            PoliciesState { in_use: false, is_pending: false, .. } => Ok(()),
            _ if self.are_policies_installed(state)? => Ok(()),
            _ if self.with_policy_maps(|maps| Ok(maps.installed()?))? == Some(0) => {
                // No slot may have traffic before rules know all peers.
                let _lock = self.lock_policies(LOCK_TIMEOUT)?;
                self.install_if_needed()
            }
            _ => self.finish_policies(),
        }
    }

    /// As [`Self::finish_policies`], for a slot whose own policies are in the maps: an error is a warning.
    pub(crate) fn finish_policies_of_others(&self) {
        if let Err(error) = self.finish_policies() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a change of policies is not whole in the maps"
            );
        }
    }

    /// Finishes what a process left that was killed while it changed policies. Does nothing where such a process runs.
    fn finish_policies(&self) -> Result<(), NodeError> {
        match self.lock_policies(Duration::ZERO) {
            Ok(_lock) => self.install_policies(),
            Err(NodeError::Lock(error)) if error.is_held() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn lock_policies(&self, patience: Duration) -> Result<Lock, NodeError> {
        private::folder(&self.directories.run)?;
        Ok(Lock::exclusive(&self.directories.run.join(LOCK), patience)?)
    }

    /// Whether the maps have the policies whole, or will get them from the process that loads the data plane.
    fn are_policies_installed(&self, state: PoliciesState) -> Result<bool, NodeError> {
        if state.is_pending || !state.in_use {
            return Ok(!state.is_pending);
        }
        let installed = self.with_policy_maps(|maps| Ok(maps.installed()? == state.mark()))?;
        Ok(installed.unwrap_or(true))
    }

    /// Calls `work` with the maps of policies, if the data plane is loaded.
    pub(crate) fn with_policy_maps<T>(
        &self,
        work: impl FnOnce(&PolicyMaps) -> Result<T, NodeError>,
    ) -> Result<Option<T>, NodeError> {
        let mut open = self.policy_maps.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(folder) = Maps::folder(&self.directories.bpf)? else {
            *open = None;
            return Ok(None);
        };
        if open.as_ref().is_none_or(|(known, _)| *known != folder) {
            let maps = PolicyMaps::open_existing(&self.directories.bpf)?;
            *open = maps.map(|maps| (folder, maps));
        }
        open.as_ref().map(|(_, maps)| work(maps)).transpose()
    }

    /// Copies stored policies into the database, and writes the maps. The caller holds the lock.
    fn copy_and_install(&self, stored: &StoredPolicies) -> Result<(), NodeError> {
        let state = self.store.read(|transaction| transaction.policies_state())?;
        if state.revision != stored.revision + 1 {
            self.store.grow(|transaction| {
                let Plan { groups, parties } = plan(transaction, stored, true)?;
                transaction.copy_policies(stored, &groups, &parties)?;
                Ok::<_, NodeError>(transaction.enforce_on_slots()?)
            })?;
            failpoint::hit("policies:copied");
        }
        self.install_if_needed()
    }

    /// Writes the maps, unless they have the policies whole. The caller holds the lock.
    fn install_if_needed(&self) -> Result<(), NodeError> {
        let state = self.store.read(|transaction| transaction.policies_state())?;
        if self.are_policies_installed(state)? { Ok(()) } else { self.install_policies() }
    }

    /// Forgets unused policies, unless a process changes policies, or was killed while it did.
    pub(crate) fn prune_unused_policies(&self) -> Result<(), NodeError> {
        let _lock = match self.lock_policies(Duration::ZERO) {
            Err(NodeError::Lock(error)) if error.is_held() => return Ok(()),
            lock => lock?,
        };
        let state = self.store.read(|transaction| transaction.policies_state())?;
        if self.are_policies_installed(state)? { self.prune_policies() } else { Ok(()) }
    }

    /// Removes policies that no identity has, from the database and the maps.
    fn prune_policies(&self) -> Result<(), NodeError> {
        let is_due = self.store.read(|transaction| {
            let slots = transaction.slots()?;
            transaction.has_unused_policies(&slots)
        })?;
        if !is_due {
            return Ok(());
        }
        let maps = PolicyMaps::open_existing(&self.directories.bpf)?;
        self.store.write(|transaction| {
            let slots = transaction.slots()?;
            let (policies, identities) = transaction.prune_policies(&slots)?;
            let Some(maps) = maps else { return Ok(()) };
            for identity in identities {
                maps.remove_identity(identity.0)?;
            }
            for policy in policies {
                maps.remove_policy(policy)?;
                failpoint::hit("policies:removed");
            }
            Ok::<_, NodeError>(maps.remove_unused_rules()?)
        })
    }

    /// Copies the stored policies and writes the maps, whether or not that seems needed.
    pub(crate) fn restore_policies(&self) -> Result<(), NodeError> {
        let _lock = self.lock_policies(LOCK_TIMEOUT)?;
        self.copy_and_install(&self.still_stored()?)?;
        self.install_policies()
    }
}
