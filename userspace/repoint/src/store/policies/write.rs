//! Records what functions are for policies.

use std::collections::HashMap;

use repoint_common::policy::MAX_ENTRIES;
use repoint_policy::{Compiled, Groups, Labels, Numbered, Rules};
use sha2::{Digest as _, Sha256};

use super::{
    IdentityPolicies, PartyNames, PoliciesState, encode_json, key_of, record::encode_rules,
};
use crate::{
    model::Identity,
    store::{
        Slot, StoreError, StoredPolicies,
        keys::number,
        transaction::{Write, meta},
    },
};

impl Write<'_> {
    /// Records the labels that a start gives to an identity. Where that changes what the identity is for the policies in
    /// force, its other slots and its flows are due for them as well.
    ///
    /// None: a function keeps those that it has, and a container is another one and has none. Returns whether the
    /// policies that the identity had are forgotten.
    pub fn give_labels(
        &mut self,
        identity: Identity,
        labels: Option<&Labels>,
    ) -> Result<bool, StoreError> {
        let none = Labels::new();
        let labels = match labels {
            Some(labels) => labels,
            None if identity.is_of_container() => &none,
            None => return Ok(false),
        };
        if self.given_labels(identity)? == *labels {
            return Ok(false);
        }
        let (tables, key) = (self.tables, identity.0.to_be_bytes());
        if labels.is_empty() {
            self.delete(tables.given_labels, &key, "forget an identity's labels")?;
        } else {
            let record = encode_json(identity.0, labels)?;
            self.put(tables.given_labels, &key, &record, "record an identity's labels")?;
        }
        if identity.is_of_container() || self.identity_policies(identity)?.is_none() {
            return Ok(false);
        }
        self.delete(tables.identity_policies, &key, "forget an identity's policies")?;
        let PoliciesState { revision, in_use, .. } = self.policies_state()?;
        self.put_policies_state(revision, in_use, in_use)?;
        Ok(true)
    }

    /// Records what an identity is for the policies in force, if there are any, and returns it.
    ///
    /// An identity of a single container is another container's from time to time, so it is always made anew.
    pub fn assign_policies(
        &mut self,
        identity: Identity,
        names: &PartyNames<'_>,
    ) -> Result<Option<IdentityPolicies>, StoreError> {
        match self.policies_state()? {
            PoliciesState { revision: 0, .. } => return Err(StoreError::PoliciesUnknown),
            PoliciesState { in_use: false, .. } => return Ok(None),
            PoliciesState { in_use: true, .. } => {}
        }
        if !identity.is_of_container()
            && let Some(known) = self.identity_policies(identity)?
        {
            return Ok(Some(known));
        }
        let set = self.policy_set_of(names.tenant)?;
        let compiled = set.compile(&self.party(names)?, &names.in_words())?;
        self.put_identity_policies(identity, &compiled).map(Some)
    }

    /// Records what an identity is for policies, with numbers for its policies.
    pub fn put_identity_policies(
        &mut self,
        identity: Identity,
        compiled: &Compiled,
    ) -> Result<IdentityPolicies, StoreError> {
        let mut number =
            |rules: &Option<Rules>| rules.as_ref().map_or(Ok(0), |rules| self.policy_number(rules));
        let (egress, ingress) = (number(&compiled.egress)?, number(&compiled.ingress)?);
        let policies = IdentityPolicies { egress, ingress, groups: compiled.groups };
        let (table, key) = (self.tables.identity_policies, identity.0.to_be_bytes());
        self.put(table, &key, &policies.encode(), "record an identity's policies")?;
        Ok(policies)
    }

    /// The number of the policy that has these rules.
    fn policy_number(&mut self, rules: &Rules) -> Result<u32, StoreError> {
        let tables = self.tables;
        let record = encode_rules(rules);
        let digest: [u8; 32] = Sha256::digest(&record).into();
        if let Some(found) = self.get(tables.policy_digests, &digest, "look for a policy")? {
            return number("policy", found).map(u32::from_be_bytes);
        }
        let next = self.next_policy()?;
        self.put(tables.policies, &next.to_be_bytes(), &record, "record a policy")?;
        self.put(tables.policy_digests, &digest, &next.to_be_bytes(), "record a policy")?;
        Ok(next)
    }

    /// The next number that no policy has. A number that was free a moment ago comes last.
    fn next_policy(&mut self) -> Result<u32, StoreError> {
        let last = u32::try_from(MAX_ENTRIES - 1).unwrap_or(u32::MAX);
        let mut next = u32::try_from(self.number(meta::LAST_POLICY)?).unwrap_or(last);
        for _ in 1..=last {
            next = if next < last { next + 1 } else { 1 };
            let found = self.get(self.tables.policies, &next.to_be_bytes(), "look for a number")?;
            if found.is_none() {
                self.put_number(meta::LAST_POLICY, next.into())?;
                return Ok(next);
            }
        }
        Err(StoreError::NoPolicyNumber { most: last })
    }

    /// Replaces the copy of the stored policies. `parties` are what the identities on record are for the new ones.
    pub fn copy_policies(
        &mut self,
        stored: &StoredPolicies,
        groups: &Groups,
        parties: &[(Identity, Compiled)],
    ) -> Result<(), StoreError> {
        let tables = self.tables;
        for table in
            [tables.policy_objects, tables.policy_groups, tables.declared, tables.identity_policies]
        {
            self.clear(table, "forget the former policies")?;
        }
        for Numbered { number, object } in &stored.objects {
            let key = StoredPolicies::object_key(&object.id);
            self.put(tables.policy_objects, &key, &encode_json(*number, object)?, "copy a policy")?;
        }
        for (set, number) in groups.iter() {
            let record = encode_json(number, set)?;
            let key = key_of(set.tenant(), &Sha256::digest(&record));
            self.put(tables.policy_groups, &key, &record, "record a group")?;
        }
        for (target, declared) in &stored.declared {
            self.put(tables.declared, &target.key(), &encode_json(0, declared)?, "copy labels")?;
        }
        let in_use = !stored.objects.is_empty();
        if in_use {
            for (identity, compiled) in parties {
                self.put_identity_policies(*identity, compiled)?;
            }
        }
        let was_in_use = self.policies_state()?;
        let was_in_use = was_in_use.in_use || was_in_use.is_pending;
        self.put_policies_state(stored.revision + 1, in_use, in_use || was_in_use)
    }

    /// Records that the maps have the policies of a revision whole, if these are still the copied ones.
    pub fn record_policies_installed(&mut self, revision: u64) -> Result<(), StoreError> {
        let state = self.policies_state()?;
        if state.revision == revision && state.is_pending {
            self.put_policies_state(revision, state.in_use, false)?;
        }
        Ok(())
    }

    fn put_policies_state(
        &mut self,
        revision: u64,
        in_use: bool,
        is_pending: bool,
    ) -> Result<(), StoreError> {
        let state = revision << 2 | u64::from(is_pending) << 1 | u64::from(in_use);
        self.put_number(meta::POLICIES, state)
    }

    /// Makes the slots on record enforce what their identities are for policies, or nothing.
    pub fn enforce_on_slots(&mut self) -> Result<(), StoreError> {
        let policies: HashMap<_, _> = self.all_identity_policies()?.into_iter().collect();
        // The next container of a slot that waits has policies of its own.
        for mut slot in self.slots()?.into_iter().filter(|slot| slot.container.is_some()) {
            let found = policies.get(&slot.identity);
            let enforces = found.is_some_and(IdentityPolicies::is_enforced);
            if slot.enforces != enforces {
                slot.enforces = enforces;
                self.put_slot(&slot)?;
            }
        }
        Ok(())
    }

    /// Forgets policies that no identity has, and what identities were that nothing has any more; returns the
    /// numbers of both.
    pub fn prune_policies(
        &mut self,
        slots: &[Slot],
    ) -> Result<(Vec<u32>, Vec<Identity>), StoreError> {
        let (policies, identities) = self.unused_policies(slots)?;
        let tables = self.tables;
        for identity in &identities {
            let key = identity.0.to_be_bytes();
            self.delete(tables.identity_policies, &key, "forget an identity's policies")?;
            self.delete(tables.given_labels, &key, "forget an identity's labels")?;
        }
        for policy in &policies {
            let key = policy.to_be_bytes();
            let record = self.get(tables.policies, &key, "read a policy")?.map(Sha256::digest);
            if let Some(digest) = record {
                self.delete(tables.policy_digests, &digest, "forget a policy")?;
            }
            self.delete(tables.policies, &key, "forget a policy")?;
        }
        Ok((policies, identities))
    }
}
