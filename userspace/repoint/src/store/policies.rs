//! Policies in the database of the node: the copy of the stored objects, and what functions are for them.
//!
//! ADD reads no other database. A copy is made whenever the stored objects change, and where a database is new.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use repoint_common::policy::{GROUP_WORDS, MAX_ENTRIES, MAX_RULES, Rule};
use repoint_policy::{
    Compiled, Declared, Groups, Labels, Numbered, Object, Party, PolicySet, Rules, Set, Words,
};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use super::{
    CodecError, Slot, StoreError,
    codec::{Decoder, Encoder},
    keys::number,
    policy_objects::StoredPolicies,
    transaction::{Entries, Transaction, Write, meta},
};
use crate::model::{FunctionKey, Identity, NetworkName, Tenant};

/// Version of the records.
const VERSION: u8 = 1;
/// What a record is called in errors.
const WHAT: &str = "policy";

/// What the database knows of the stored policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoliciesState {
    /// Revision of the stored objects that were copied, plus one; 0: none were.
    pub revision: u64,
    /// Whether there is any object.
    pub in_use: bool,
    /// Whether the maps may not have them whole yet.
    pub is_pending: bool,
    /// Number of the database, by which its copies are distinguished from those of another one.
    pub epoch: u64,
}

impl PoliciesState {
    /// What map `settings` holds where the maps have these policies whole: the number of the database, and the lower
    /// half of the revision.
    #[must_use]
    pub fn mark(&self) -> u32 {
        let half = |number: u64| u32::try_from(number & 0xffff).unwrap_or_default();
        (half(self.epoch) << 16 | half(self.revision)).max(1)
    }
}

/// What an identity is for policies, as in map `identities`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IdentityPolicies {
    /// Number of the policy for what it opens; 0: none.
    pub egress: u32,
    /// Number of the policy for what others open to it; 0: none.
    pub ingress: u32,
    /// The groups that it is in.
    pub groups: Words,
}

impl IdentityPolicies {
    /// Whether slots of the identity enforce policies.
    #[must_use]
    pub const fn is_enforced(&self) -> bool {
        self.egress != 0 || self.ingress != 0
    }

    fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new(VERSION);
        encoder.u32(self.egress).u32(self.ingress);
        for word in self.groups {
            encoder.u32(word);
        }
        encoder.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut decoder = Decoder::new(bytes, VERSION)?;
        let (egress, ingress) = (decoder.u32("egress")?, decoder.u32("ingress")?);
        let mut groups = [0; GROUP_WORDS];
        for word in &mut groups {
            *word = decoder.u32("groups")?;
        }
        decoder.finish()?;
        Ok(Self { egress, ingress, groups })
    }
}

/// The names of what policies are compiled for.
#[derive(Debug, Clone, Copy)]
pub struct PartyNames<'a> {
    /// The network.
    pub network: &'a NetworkName,
    /// The tenant, if it has one.
    pub tenant: Option<&'a Tenant>,
    /// The function; none: a container without one.
    pub function: Option<&'a FunctionKey>,
}

impl PartyNames<'_> {
    /// For messages: `function f of tenant t`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let of_tenant = self.tenant.map(|tenant| format!(" of tenant {tenant}"));
        let what = match self.function {
            Some(function) => format!("function {function}"),
            None => "a container without function".to_owned(),
        };
        format!("{what}{} in network {}", of_tenant.unwrap_or_default(), self.network)
    }
}

/// Key of an object, a group or declared labels: first the tenant, so that what one tenant has stands together.
pub(super) fn key_of(tenant: Option<&str>, rest: &[u8]) -> Vec<u8> {
    [tenant.unwrap_or_default().as_bytes(), &[0], rest].concat()
}

pub(super) fn damaged(source: CodecError) -> StoreError {
    StoreError::Record { what: WHAT, source }
}

/// A record of JSON behind a number.
pub(super) fn encode_json<T: Serialize>(number: u32, value: &T) -> Result<Vec<u8>, StoreError> {
    let text = serde_json::to_vec(value).map_err(|error| damaged(value_error(&error)))?;
    let mut encoder = Encoder::new(VERSION);
    encoder.u32(number).long(&text);
    Ok(encoder.finish())
}

pub(super) fn decode_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<(u32, T), StoreError> {
    let read = |bytes| {
        let mut decoder = Decoder::new(bytes, VERSION)?;
        let (number, text) = (decoder.u32("number")?, decoder.long("JSON")?);
        decoder.finish()?;
        let value = serde_json::from_slice(text).map_err(|error| value_error(&error))?;
        Ok((number, value))
    };
    read(bytes).map_err(damaged)
}

fn value_error(error: &serde_json::Error) -> CodecError {
    CodecError::Value { field: "JSON", value: error.to_string() }
}

fn encode_rules(rules: &Rules) -> Vec<u8> {
    let mut encoder = Encoder::new(VERSION);
    encoder.u8(rules.default).u8(u8::try_from(rules.rules.len()).unwrap_or(u8::MAX));
    for rule in &rules.rules {
        let Rule { peer, port_low, port_high, protocol, peer_kind, action, next, number } = *rule;
        let ports = u32::from(port_low) << 16 | u32::from(port_high);
        encoder.u32(peer).u32(ports).u8(protocol).u8(peer_kind).u8(action).u8(next).u32(number);
    }
    encoder.finish()
}

fn decode_rules(bytes: &[u8]) -> Result<Rules, CodecError> {
    let mut decoder = Decoder::new(bytes, VERSION)?;
    let (default, count) = (decoder.u8("default")?, decoder.u8("count")?);
    if usize::from(count) > MAX_RULES {
        return Err(CodecError::Value { field: "count", value: count.to_string() });
    }
    let mut rules = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let (peer, ports) = (decoder.u32("peer")?, decoder.u32("ports")?);
        let half = |half: u32| u16::try_from(half & 0xffff).unwrap_or_default();
        rules.push(Rule {
            peer,
            port_low: half(ports >> 16),
            port_high: half(ports),
            protocol: decoder.u8("protocol")?,
            peer_kind: decoder.u8("kind of peer")?,
            action: decoder.u8("action")?,
            next: decoder.u8("next")?,
            number: decoder.u32("number")?,
        });
    }
    decoder.finish()?;
    Ok(Rules { rules, default })
}

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
    fn policy_set_of(&self, tenant: Option<&Tenant>) -> Result<PolicySet, StoreError> {
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
        let declared = match names.function {
            Some(function) => self.declared(tenant, function.as_str())?,
            None => Declared::default(),
        };
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
    fn unused_policies(&self, slots: &[Slot]) -> Result<(Vec<u32>, Vec<Identity>), StoreError> {
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

impl Write<'_> {
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
