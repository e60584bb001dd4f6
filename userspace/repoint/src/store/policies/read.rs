//! Reads what is recorded of policies.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use repoint_policy::{Declared, Labels, Numbered, Object, Party, PolicySet, Rules, Set};

use super::{
    IdentityPolicies, PartyNames, PoliciesState, damaged, decode_json, key_of, record::decode_rules,
};
use crate::{
    model::{FunctionKey, Identity, Tenant},
    store::{
        Slot, StoreError,
        keys::number,
        transaction::{Entries, Transaction, meta},
    },
};

impl<T: lmdb::Transaction> Transaction<'_, T> {
    /// What the database knows of the stored policies.
    pub fn policies_state(&self) -> Result<PoliciesState, StoreError> {
        let state = self.number(meta::POLICIES)?;
        Ok(PoliciesState {
            revision: state >> 2,
            in_use: state & 1 != 0,
            is_pending: state & 2 != 0,
            epoch: self.number(meta::EPOCH)?,
        })
    }

    /// All objects and groups.
    pub fn policy_set(&self) -> Result<PolicySet, StoreError> {
        let objects = self.entries(self.tables.policy_objects, "list policies")?;
        let objects = objects.map(|entry| decode_object(entry?.1)).collect::<Result<_, _>>()?;
        let groups = self.entries(self.tables.policy_groups, "list groups")?;
        let groups = groups.map(|entry| decode_group(entry?.1));
        Ok(policy_set(objects, groups.collect::<Result<_, _>>()?))
    }

    /// The objects and groups that concern functions of a tenant.
    pub(super) fn policy_set_of(&self, tenant: Option<&Tenant>) -> Result<PolicySet, StoreError> {
        let (mut objects, mut groups) = (Vec::new(), Vec::new());
        let own = tenant.map(|tenant| key_of(Some(tenant.as_str()), &[]));
        for prefix in [Some(vec![0]), own].into_iter().flatten() {
            let found = self.below(self.tables.policy_objects, &prefix, "list policies")?;
            objects.extend(found.into_iter().map(decode_object).collect::<Result<Vec<_>, _>>()?);
            let found = self.below(self.tables.policy_groups, &prefix, "list groups")?;
            groups.extend(found.into_iter().map(decode_group).collect::<Result<Vec<_>, _>>()?);
        }
        Ok(policy_set(objects, groups))
    }

    /// The values of a table whose keys begin so.
    fn below(
        &self,
        table: lmdb::Database,
        prefix: &[u8],
        what: &'static str,
    ) -> Result<Vec<&[u8]>, StoreError> {
        let mut found = Vec::new();
        for entry in Entries::open(&self.inner, table, prefix, what)? {
            let (key, value) = entry?;
            if !key.starts_with(prefix) {
                break;
            }
            found.push(value);
        }
        Ok(found)
    }

    /// A function or container with its labels.
    pub fn party(&self, names: &PartyNames<'_>) -> Result<Party, StoreError> {
        let tenant = names.tenant.map(Tenant::as_str);
        let mut declared = match names.function {
            Some(function) => self.declared(tenant, function.as_str())?,
            None => Declared::default(),
        };
        if let Some(identity) = names.identity {
            declared.give(self.given_labels(identity)?);
        }
        let of_tenant = match tenant {
            Some(_) => self.declared(tenant, "")?.labels,
            None => Labels::new(),
        };
        let function = names.function.map(FunctionKey::as_str);
        Ok(Party::new(names.network.as_str(), tenant, function, declared, of_tenant))
    }

    fn declared(&self, tenant: Option<&str>, function: &str) -> Result<Declared, StoreError> {
        let key = key_of(tenant, function.as_bytes());
        let found = self.get(self.tables.declared, &key, "read labels")?;
        found.map_or_else(|| Ok(Declared::default()), |bytes| Ok(decode_json(bytes)?.1))
    }

    /// The labels that the last start gave to an identity which gave any.
    pub fn given_labels(&self, identity: Identity) -> Result<Labels, StoreError> {
        let key = identity.0.to_be_bytes();
        let found = self.get(self.tables.given_labels, &key, "read an identity's labels")?;
        found.map_or_else(|| Ok(Labels::new()), |bytes| Ok(decode_json(bytes)?.1))
    }

    /// What an identity is for policies.
    pub fn identity_policies(
        &self,
        identity: Identity,
    ) -> Result<Option<IdentityPolicies>, StoreError> {
        let key = identity.0.to_be_bytes();
        let found = self.get(self.tables.identity_policies, &key, "read an identity's policies")?;
        found.map(|bytes| IdentityPolicies::decode(bytes).map_err(damaged)).transpose()
    }

    /// What all identities are for policies.
    pub fn all_identity_policies(&self) -> Result<Vec<(Identity, IdentityPolicies)>, StoreError> {
        self.entries(self.tables.identity_policies, "list identities' policies")?
            .map(|entry| {
                let (key, value) = entry?;
                let identity = u32::from_be_bytes(number("identity", key)?);
                Ok((Identity(identity), IdentityPolicies::decode(value).map_err(damaged)?))
            })
            .collect()
    }

    /// The rules of a policy.
    pub fn policy_rules(&self, policy: u32) -> Result<Option<Rules>, StoreError> {
        let found = self.get(self.tables.policies, &policy.to_be_bytes(), "read a policy")?;
        found.map(|bytes| decode_rules(bytes).map_err(damaged)).transpose()
    }

    /// All policies by number.
    pub fn all_policy_rules(&self) -> Result<BTreeMap<u32, Rules>, StoreError> {
        self.entries(self.tables.policies, "list policies' rules")?
            .map(|entry| {
                let (key, value) = entry?;
                let policy = u32::from_be_bytes(number("policy", key)?);
                Ok((policy, decode_rules(value).map_err(damaged)?))
            })
            .collect()
    }

    /// Numbers of policies that no identity has, and identities that have policies but neither a slot of `slots`
    /// nor a number on record.
    pub(super) fn unused_policies(
        &self,
        slots: &[Slot],
    ) -> Result<(Vec<u32>, Vec<Identity>), StoreError> {
        let mut identities: HashSet<u32> = slots.iter().map(|slot| slot.identity.0).collect();
        identities.extend(self.identities()?.iter().map(|record| record.identity.0));
        let (mut used, mut gone) = (HashSet::new(), Vec::new());
        for (identity, policies) in self.all_identity_policies()? {
            if identities.contains(&identity.0) {
                used.extend([policies.egress, policies.ingress]);
            } else {
                gone.push(identity);
            }
        }
        for entry in self.entries(self.tables.given_labels, "list identities' labels")? {
            let identity = u32::from_be_bytes(number("identity", entry?.0)?);
            if !identities.contains(&identity) && !gone.contains(&Identity(identity)) {
                gone.push(Identity(identity));
            }
        }
        let all = self.entries(self.tables.policies, "list policies")?;
        let mut unused = Vec::new();
        for entry in all {
            let policy = u32::from_be_bytes(number("policy", entry?.0)?);
            if !used.contains(&policy) {
                unused.push(policy);
            }
        }
        Ok((unused, gone))
    }

    /// Whether [`Write::prune_policies`] would remove anything.
    pub fn has_unused_policies(&self, slots: &[Slot]) -> Result<bool, StoreError> {
        let (policies, identities) = self.unused_policies(slots)?;
        Ok(!policies.is_empty() || !identities.is_empty())
    }
}

fn decode_object(bytes: &[u8]) -> Result<Numbered, StoreError> {
    let (number, object): (u32, Object) = decode_json(bytes)?;
    Ok(Numbered { number, object })
}

fn decode_group(bytes: &[u8]) -> Result<(Set, u32), StoreError> {
    let (number, set) = decode_json(bytes)?;
    Ok((set, number))
}

fn policy_set(objects: Vec<Numbered>, groups: Vec<(Set, u32)>) -> PolicySet {
    let port = |(set, _): &(Set, u32)| match set {
        Set::Pods { port, .. } => port.clone(),
        Set::Block { .. } | Set::Network(_) => None,
    };
    let ports: BTreeSet<_> = groups.iter().filter_map(port).collect();
    PolicySet { objects, groups: groups.into_iter().collect(), ports }
}
