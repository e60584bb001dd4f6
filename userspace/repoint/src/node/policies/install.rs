//! Writing the policies of the database into the maps.

use std::collections::{BTreeMap, HashSet};

use ipnet::IpNet;
use repoint_common::policy::{Identity as Element, Network, WORLD};
use repoint_policy::{Rules, Words, longest};

use super::provide::{element, provide_rules};
use crate::{
    datapath::{DatapathError, Maps, PolicyMaps},
    failpoint,
    model::{Identity, SlotId},
    node::{Node, NodeError},
    store::{Access, IdentityPolicies, Read, SlotState, StoreError, Transaction},
};

/// How many elements are written in one transaction. Writers wait for it, for a few ms at most.
const BATCH: usize = 256;

impl Node {
    /// Writes the maps as the database has it, if the data plane is loaded. The caller holds the lock.
    ///
    /// What is allowed before and after is never denied in between: first more is allowed, then less. Numbers of
    /// policies and groups mean the same before and after.
    pub(super) fn install_policies(&self) -> Result<(), NodeError> {
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
            write_identity(transaction, maps, (identity, wanted), element)
        })
    }

    /// Leaves the identities and prefixes in the groups of after only, and removes those that are of before only.
    fn narrow(&self, maps: &PolicyMaps, wanted: &Wanted) -> Result<(), NodeError> {
        self.for_identities(|transaction, identity, wanted| {
            write_identity(transaction, maps, (identity, wanted), element(wanted))
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
            for identity in maps.identities()?.into_keys().filter(|found| !known.contains(found)) {
                maps.remove_identity(identity)?;
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
}

/// Writes the element of an identity, and before it the rules that the identity has, unless it is there.
fn write_identity(
    transaction: &Read<'_>,
    maps: &PolicyMaps,
    (identity, wanted): (Identity, &IdentityPolicies),
    element: Element,
) -> Result<(), NodeError> {
    if maps.identity(identity.0)? != Some(element) {
        provide_rules(transaction, maps, wanted)?;
        maps.insert_identity(identity.0, &element)?;
    }
    Ok(())
}

/// What the maps should hold.
pub(super) struct Wanted {
    pub(super) rules: BTreeMap<u32, Rules>,
    pub(super) identities: BTreeMap<u32, IdentityPolicies>,
    pub(super) networks: BTreeMap<IpNet, Network>,
}

/// What the maps hold.
pub(super) struct Found {
    pub(super) identities: BTreeMap<u32, Element>,
    pub(super) networks: BTreeMap<IpNet, Network>,
}

impl Found {
    pub(super) fn read(maps: &PolicyMaps) -> Result<Self, DatapathError> {
        Ok(Self { identities: maps.identities()?, networks: maps.networks()? })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.identities.is_empty() && self.networks.is_empty()
    }

    /// The groups of addresses of a prefix.
    fn groups_of(&self, prefix: &IpNet) -> Words {
        longest(&self.networks, prefix).map(|network| network.groups).unwrap_or_default()
    }
}

impl Wanted {
    pub(super) fn read<T: Access>(transaction: &Transaction<'_, T>) -> Result<Self, StoreError> {
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
}

fn unite(groups: &mut Words, others: &Words) {
    for (word, other) in groups.iter_mut().zip(others) {
        *word |= other;
    }
}
