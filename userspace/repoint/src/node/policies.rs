//! Policies: stored, copied into the database of the node, and written into the maps.
//!
//! A change goes three steps, and each process that finds one of them missing takes it: the stored objects, which
//! outlive the boot; their copy in the database, with what each identity is for them; the maps.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::PathBuf,
    sync::PoisonError,
    time::Duration,
};

use ipnet::IpNet;
use repoint_common::policy::{
    GROUP_WORDS, Identity as Element, MAX_ENTRIES, MAX_IDENTITIES, Network, WORLD,
};
use repoint_policy::{Compiled, Groups, NamedPort, Numbered, PolicySet, Rules, Words, longest};

use super::{Node, NodeError};
use crate::{
    conf::Directories,
    datapath::{DatapathError, Maps, PolicyMaps},
    failpoint,
    lock::{LOCK_TIMEOUT, Lock},
    model::{Identity, SlotId},
    private,
    store::{
        Access, IdentityPolicies, PartyNames, PoliciesState, PolicyStore, Read, Slot, SlotState,
        Store, StoreError, StoredPolicies, Transaction, Write,
    },
};

/// File in `runDir` that processes lock which change policies.
const LOCK: &str = "policies.lock";
/// How many elements are written in one transaction. Writers wait for it, for a few ms at most.
const BATCH: usize = 256;

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
    pub fn try_policies(
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
        let is_whole = !state.is_pending && self.are_policies_installed(state)?;
        if state.revision == revision + 1 && is_whole {
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

    /// Writes what a slot's identity is for policies into the maps, before traffic of the slot is enabled. Returns
    /// whether a change of policies is not whole in the maps.
    pub(crate) fn provide_policies<T: Access>(
        &self,
        transaction: &Transaction<'_, T>,
        slot: &Slot,
    ) -> Result<bool, NodeError> {
        let state = transaction.policies_state()?;
        if !state.in_use {
            return Ok(state.is_pending);
        }
        let provided = self.with_policy_maps(|maps| {
            let mark = maps.installed()?;
            if mark == 0 {
                return Err(NodeError::NoPolicies);
            }
            let is_installed = mark == state.mark();
            let Some(wanted) = transaction.identity_policies(slot.identity)? else {
                return Ok(!is_installed);
            };
            let element = element(&wanted);
            match maps.identity(slot.identity.0)? {
                Some(found) if found == element => {}
                // The process that writes the change finishes it. A container may have the identity of another one,
                // whose element that process has written already.
                Some(_) if !is_installed && !slot.identity.is_of_container() => {}
                _ => {
                    provide_rules(transaction, maps, &wanted)?;
                    maps.insert_identity(slot.identity.0, &element)?;
                    failpoint::hit("policies:identity");
                }
            }
            Ok(!is_installed)
        })?;
        Ok(provided.unwrap_or(false))
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
                if self.are_policies_installed(state)? { Ok(()) } else { self.install_policies() }
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

    fn are_policies_installed(&self, state: PoliciesState) -> Result<bool, NodeError> {
        if !state.in_use {
            return Ok(true);
        }
        let installed = self.with_policy_maps(|maps| Ok(maps.installed()? == state.mark()))?;
        // Where no data plane is loaded, the loader installs them.
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
        let state = self.store.read(|transaction| transaction.policies_state())?;
        let is_whole = !state.is_pending && self.are_policies_installed(state)?;
        if is_whole { Ok(()) } else { self.install_policies() }
    }

    /// Writes the maps as the database has it, if the data plane is loaded. The caller holds the lock.
    ///
    /// What is allowed before and after is never denied in between: first more is allowed, then less. Numbers of
    /// policies and groups mean the same before and after.
    fn install_policies(&self) -> Result<(), NodeError> {
        let bpf_dir = &self.directories.bpf;
        // Not the maps that this process keeps open: the caller may have locked these.
        let (Some(maps), Some(entries)) = (PolicyMaps::open_existing(bpf_dir)?, self.maps()?)
        else {
            return Ok(());
        };
        let (state, wanted) = self.store.read(|transaction| {
            Ok::<_, StoreError>((transaction.policies_state()?, Wanted::read(transaction)?))
        })?;
        let found = Found::read(&maps)?;
        wanted.write_rules(&maps)?;
        failpoint::hit("policies:rules");
        wanted.widen(&maps, &found)?;
        failpoint::hit("policies:widened");
        self.switch(&maps, &found)?;
        failpoint::hit("policies:switched");
        self.write_differing(&entries, &self.slots_with_entries(&entries)?)?;
        failpoint::hit("policies:enforced");
        self.narrow(&maps, &wanted)?;
        failpoint::hit("policies:narrowed");
        maps.raise_generation()?;
        failpoint::hit("policies:raised");
        maps.record_installed(state.mark())?;
        self.store.write(|transaction| transaction.record_policies_installed(state.revision))?;
        failpoint::hit("policies:installed");
        self.prune_policies()
    }

    /// Forgets unused policies, unless a process changes policies, or was killed while it did.
    pub(crate) fn prune_unused_policies(&self) -> Result<(), NodeError> {
        let _lock = match self.lock_policies(Duration::ZERO) {
            Err(NodeError::Lock(error)) if error.is_held() => return Ok(()),
            lock => lock?,
        };
        let state = self.store.read(|transaction| transaction.policies_state())?;
        let is_whole = !state.is_pending && self.are_policies_installed(state)?;
        if is_whole { self.prune_policies() } else { Ok(()) }
    }

    /// The slots that containers have and that have map entries. The sweep writes those of a new data plane.
    fn slots_with_entries(&self, maps: &Maps) -> Result<Vec<SlotId>, NodeError> {
        let slots = self.store.read(|transaction| transaction.slots())?;
        let mut found = Vec::new();
        for slot in slots.iter().filter(|slot| slot.state() == SlotState::Active) {
            let Some(ifindex) = slot.host_ifindex() else { continue };
            if maps.interface(ifindex)?.is_some() {
                found.push(slot.id);
            }
        }
        Ok(found)
    }

    /// Gives the identities their new policies, in the groups of before and after.
    fn switch(&self, maps: &PolicyMaps, found: &Found) -> Result<(), NodeError> {
        self.for_identities(|transaction, identity, wanted| {
            let mut element = element(wanted);
            if let Some(found) = found.identities.get(&identity.0) {
                unite(&mut element.groups, &found.groups);
            }
            if maps.identity(identity.0)? != Some(element) {
                provide_rules(transaction, maps, wanted)?;
                maps.insert_identity(identity.0, &element)?;
            }
            Ok(())
        })
    }

    /// Leaves the identities and prefixes in the groups of after only, and removes those that are of before only.
    fn narrow(&self, maps: &PolicyMaps, wanted: &Wanted) -> Result<(), NodeError> {
        self.for_identities(|transaction, identity, wanted| {
            let element = element(wanted);
            if maps.identity(identity.0)? != Some(element) {
                provide_rules(transaction, maps, wanted)?;
                maps.insert_identity(identity.0, &element)?;
            }
            Ok(())
        })?;
        let found = maps.networks()?;
        for (prefix, network) in &wanted.networks {
            if found.get(prefix) != Some(network) {
                maps.insert_network(*prefix, network)?;
            }
        }
        for prefix in found.into_keys() {
            if !wanted.networks.contains_key(&prefix) {
                maps.remove_network(prefix)?;
            }
        }
        // An ADD may have brought an identity meanwhile.
        self.store.read(|transaction| {
            let known = transaction.all_identity_policies()?;
            let known: HashSet<_> = known.into_iter().map(|(identity, _)| identity.0).collect();
            for identity in maps.identities()?.into_keys() {
                if !known.contains(&identity) {
                    maps.remove_identity(identity)?;
                }
            }
            Ok(())
        })
    }

    /// Calls `work` for what each identity is now. No process can write to the database meanwhile.
    fn for_identities(
        &self,
        work: impl Fn(&Read<'_>, Identity, &IdentityPolicies) -> Result<(), NodeError>,
    ) -> Result<(), NodeError> {
        let all = self.store.read(|transaction| transaction.all_identity_policies())?;
        for batch in all.chunks(BATCH) {
            self.store.read(|transaction| {
                for (identity, _) in batch {
                    if let Some(wanted) = transaction.identity_policies(*identity)? {
                        work(transaction, *identity, &wanted)?;
                    }
                }
                Ok::<_, NodeError>(())
            })?;
        }
        Ok(())
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

/// How the node's policies differ from those that are stored, in words; none: they do not.
pub fn policies_difference(
    directories: &Directories,
    store: &Store,
) -> Result<Option<String>, NodeError> {
    let stored = Node::stored_policies(directories)?;
    let is_gone = !Node::policies_folder(directories).exists();
    let maps = PolicyMaps::open_existing(&directories.bpf)?;
    store.read(|transaction| {
        let state = transaction.policies_state()?;
        if state.in_use && is_gone {
            return Ok(Some("policies are enforced that are not stored any more".to_owned()));
        }
        if state.revision != stored.revision + 1 && (state.in_use || !stored.objects.is_empty()) {
            return Ok(Some("the database does not have the stored policies".to_owned()));
        }
        let Some(maps) = maps else { return Ok(None) };
        let found = Found::read(&maps)?;
        if !state.in_use && found.is_empty() {
            return Ok(None);
        }
        if state.is_pending || state.in_use && maps.installed()? != state.mark() {
            return Ok(Some("a change of policies is not whole in the maps".to_owned()));
        }
        let in_use = transaction.slots()?.into_iter();
        let in_use = in_use.filter(|slot| slot.state() == SlotState::Active);
        let in_use = in_use.map(|slot| slot.identity.0).collect();
        Ok(Wanted::read(transaction)?.difference(&maps, &found, &in_use)?)
    })
}

/// What stored policies mean for this node.
struct Plan {
    groups: Groups,
    parties: Vec<(Identity, Compiled)>,
}

/// What `stored` means for the identities on record. `closes`: functions for which it cannot be enforced may do
/// nothing, rather than that this fails.
fn plan<T: Access>(
    transaction: &Transaction<'_, T>,
    stored: &StoredPolicies,
    closes: bool,
) -> Result<Plan, NodeError> {
    let ports: BTreeSet<NamedPort> =
        stored.declared.values().flat_map(|declared| declared.ports.iter().cloned()).collect();
    let objects = stored.objects.iter().map(|Numbered { object, .. }| object);
    let former = transaction.policy_set()?.groups;
    let groups = former.renew(objects, &ports).map_err(StoreError::from)?;
    let set = PolicySet { objects: stored.objects.clone(), groups: groups.clone(), ports };
    let mut parties = Vec::new();
    let mut compile = |identity, names: PartyNames<'_>| {
        let party = stored.party(&names);
        let compiled = match set.compile(&party, &names.in_words()) {
            Err(error) if closes => {
                tracing::error!(%error, "the function may open no flow, and none is opened to it");
                closed()
            }
            compiled => compiled.map_err(StoreError::from)?,
        };
        parties.push((identity, compiled));
        Ok::<_, NodeError>(())
    };
    if !stored.objects.is_empty() {
        let mut known = HashSet::new();
        for record in transaction.identities()? {
            known.insert(record.identity);
            let (tenant, function) = (record.tenant.as_ref(), Some(&record.function));
            compile(record.identity, PartyNames { network: &record.network, tenant, function })?;
        }
        // Single containers, and functions whose number was forgotten while their containers run.
        for slot in transaction.slots()? {
            if slot.identity.0 != 0 && known.insert(slot.identity) {
                let tenant = slot.tenant.as_ref();
                let function = slot.function.as_ref().filter(|_| !slot.identity.is_of_container());
                compile(slot.identity, PartyNames { network: &slot.network, tenant, function })?;
            }
        }
    }
    if !closes {
        ensure_numbers(transaction, &parties)?;
        if parties.len() > MAX_IDENTITIES {
            let map = repoint_common::policy::MAP_IDENTITIES;
            return Err(DatapathError::Full { map }.into());
        }
    }
    Ok(Plan { groups, parties })
}

/// Fails where the policies of functions would be too many, with those that the functions have now.
fn ensure_numbers<T: Access>(
    transaction: &Transaction<'_, T>,
    parties: &[(Identity, Compiled)],
) -> Result<(), NodeError> {
    let now = transaction.all_policy_rules()?;
    let mut all: HashSet<&Rules> = now.values().collect();
    all.extend(parties.iter().flat_map(|(_, it)| it.egress.iter().chain(&it.ingress)));
    let most = MAX_ENTRIES - 1;
    if all.len() > most {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        return Err(StoreError::NoPolicyNumber { most }.into());
    }
    Ok(())
}

/// Denies everything.
fn closed() -> Compiled {
    let deny = || Some(Rules { rules: Vec::new(), default: repoint_common::policy::DENY });
    Compiled { egress: deny(), ingress: deny(), groups: [0; GROUP_WORDS] }
}

/// What the maps should hold.
struct Wanted {
    rules: BTreeMap<u32, Rules>,
    identities: BTreeMap<u32, IdentityPolicies>,
    networks: BTreeMap<IpNet, Network>,
}

/// What the maps hold.
struct Found {
    identities: BTreeMap<u32, Element>,
    networks: BTreeMap<IpNet, Network>,
}

impl Found {
    fn read(maps: &PolicyMaps) -> Result<Self, DatapathError> {
        Ok(Self { identities: maps.identities()?, networks: maps.networks()? })
    }

    fn is_empty(&self) -> bool {
        self.identities.is_empty() && self.networks.is_empty()
    }

    /// The groups of addresses of a prefix.
    fn groups_of(&self, prefix: &IpNet) -> Words {
        longest(&self.networks, prefix).map(|network| network.groups).unwrap_or_default()
    }
}

impl Wanted {
    fn read<T: Access>(transaction: &Transaction<'_, T>) -> Result<Self, StoreError> {
        let networks = transaction.policy_set()?.groups.networks().into_iter();
        let network = |groups| Network { identity: WORLD, groups };
        let identities = transaction.all_identity_policies()?.into_iter();
        Ok(Self {
            rules: transaction.all_policy_rules()?,
            identities: identities.map(|(identity, wanted)| (identity.0, wanted)).collect(),
            networks: networks.map(|(prefix, groups)| (prefix, network(groups))).collect(),
        })
    }

    fn write_rules(&self, maps: &PolicyMaps) -> Result<(), DatapathError> {
        for (number, rules) in &self.rules {
            let policy = rules.to_policy();
            if maps.policy(*number)? != Some(policy) {
                maps.insert_policy(*number, &policy)?;
            }
        }
        Ok(())
    }

    /// Puts prefixes and identities into their new groups, beside the former ones.
    fn widen(&self, maps: &PolicyMaps, found: &Found) -> Result<(), DatapathError> {
        for (prefix, network) in &self.networks {
            let mut network = *network;
            unite(&mut network.groups, &found.groups_of(prefix));
            if found.networks.get(prefix) != Some(&network) {
                maps.insert_network(*prefix, &network)?;
            }
        }
        // A prefix of before only hides a shorter one of after.
        for (prefix, former) in &found.networks {
            let is_former = !self.networks.contains_key(prefix);
            let Some(wanted) = longest(&self.networks, prefix).filter(|_| is_former) else {
                continue;
            };
            let mut network = *former;
            unite(&mut network.groups, &wanted.groups);
            if network != *former {
                maps.insert_network(*prefix, &network)?;
            }
        }
        for (identity, former) in &found.identities {
            let Some(wanted) = self.identities.get(identity) else { continue };
            let mut element = *former;
            unite(&mut element.groups, &wanted.groups);
            if element != *former {
                maps.insert_identity(*identity, &element)?;
            }
        }
        Ok(())
    }

    /// `in_use`: the identities of slots that containers have.
    fn difference(
        &self,
        maps: &PolicyMaps,
        found: &Found,
        in_use: &HashSet<u32>,
    ) -> Result<Option<String>, DatapathError> {
        for (number, wanted) in &self.identities {
            match found.identities.get(number) {
                Some(found) if *found != element(wanted) => {}
                None if in_use.contains(number) => {}
                // Written by the first ADD.
                _ => continue,
            }
            return Ok(Some(format!("identity {number} is not in the maps as recorded")));
        }
        if let Some(number) = found.identities.keys().find(|it| !self.identities.contains_key(it)) {
            return Ok(Some(format!("identity {number} is in the maps, and not on record")));
        }
        let written = found.identities.values().flat_map(|it| [it.egress, it.ingress]);
        for number in written.collect::<HashSet<_>>() {
            let Some(rules) = self.rules.get(&number) else { continue };
            if maps.policy(number)? != Some(rules.to_policy()) {
                return Ok(Some(format!("policy {number} is not in the maps as recorded")));
            }
        }
        if self.networks != found.networks {
            return Ok(Some("networks are not in the maps as policies name them".to_owned()));
        }
        Ok(None)
    }
}

fn unite(groups: &mut Words, others: &Words) {
    for (word, other) in groups.iter_mut().zip(others) {
        *word |= other;
    }
}

/// The element of map `identities`.
fn element(policies: &IdentityPolicies) -> Element {
    let IdentityPolicies { egress, ingress, groups } = *policies;
    Element { egress, ingress, groups }
}

/// Writes the rules that an identity has, where they are not in the maps.
fn provide_rules<T: Access>(
    transaction: &Transaction<'_, T>,
    maps: &PolicyMaps,
    wanted: &IdentityPolicies,
) -> Result<(), NodeError> {
    for number in [wanted.egress, wanted.ingress].into_iter().filter(|number| *number != 0) {
        let Some(rules) = transaction.policy_rules(number)? else { continue };
        let policy = rules.to_policy();
        if maps.policy(number)? != Some(policy) {
            maps.insert_policy(number, &policy)?;
            failpoint::hit("policies:policy");
        }
    }
    Ok(())
}
