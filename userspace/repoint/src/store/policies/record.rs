//! What is recorded of policies, and its form.

use repoint_common::policy::{GROUP_WORDS, MAX_RULES, Rule};
use repoint_policy::{Rules, Words};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    model::{FunctionKey, Identity, NetworkName, Tenant},
    store::{
        CodecError, IdentityRecord, Slot, StoreError,
        codec::{Decoder, Encoder},
    },
};

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

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new(VERSION);
        encoder.u32(self.egress).u32(self.ingress);
        for word in self.groups {
            encoder.u32(word);
        }
        encoder.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
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
    /// Its identity, which has the labels that a start gave; none: it has no number.
    pub identity: Option<Identity>,
    /// The network.
    pub network: &'a NetworkName,
    /// The tenant, if it has one.
    pub tenant: Option<&'a Tenant>,
    /// The function; none: a container without one.
    pub function: Option<&'a FunctionKey>,
}

impl<'a> PartyNames<'a> {
    /// Those of a function on record.
    #[must_use]
    pub fn of_function(record: &'a IdentityRecord) -> Self {
        let IdentityRecord { identity, network, tenant, function, .. } = record;
        let (identity, tenant) = (Some(*identity), tenant.as_ref());
        Self { identity, network, tenant, function: Some(function) }
    }

    /// Those of a slot's user.
    #[must_use]
    pub fn of_slot(slot: &'a Slot) -> Self {
        let Slot { identity, network, tenant, function, .. } = slot;
        let function = function.as_ref().filter(|_| !identity.is_of_container());
        Self { identity: Some(*identity), network, tenant: tenant.as_ref(), function }
    }

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
pub(in crate::store) fn key_of(tenant: Option<&str>, rest: &[u8]) -> Vec<u8> {
    [tenant.unwrap_or_default().as_bytes(), &[0], rest].concat()
}

pub(in crate::store) fn damaged(source: CodecError) -> StoreError {
    StoreError::Record { what: WHAT, source }
}

/// A record of JSON behind a number.
pub(in crate::store) fn encode_json<T: Serialize>(
    number: u32,
    value: &T,
) -> Result<Vec<u8>, StoreError> {
    let text = serde_json::to_vec(value).map_err(|error| damaged(value_error(&error)))?;
    let mut encoder = Encoder::new(VERSION);
    encoder.u32(number).long(&text);
    Ok(encoder.finish())
}

pub(in crate::store) fn decode_json<T: DeserializeOwned>(
    bytes: &[u8],
) -> Result<(u32, T), StoreError> {
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

pub(super) fn encode_rules(rules: &Rules) -> Vec<u8> {
    let mut encoder = Encoder::new(VERSION);
    encoder.u8(rules.default).u8(u8::try_from(rules.rules.len()).unwrap_or(u8::MAX));
    for rule in &rules.rules {
        let Rule { peer, port_low, port_high, protocol, peer_kind, action, next, number } = *rule;
        let ports = u32::from(port_low) << 16 | u32::from(port_high);
        encoder.u32(peer).u32(ports).u8(protocol).u8(peer_kind).u8(action).u8(next).u32(number);
    }
    encoder.finish()
}

pub(super) fn decode_rules(bytes: &[u8]) -> Result<Rules, CodecError> {
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
