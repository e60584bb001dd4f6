//! Identities of functions, and the numbers of tenants.
//!
//! The maps name a function by its identity, and its tenant by a number. Both are taken from one sequence of
//! 24 bits, so that a number is free for long before it is given again. A number stays with its function for
//! as long as a slot has it, and an hour longer: connections that the function had open may name it. A
//! container without a function has an identity of its slot, which needs no record.

use std::{collections::HashSet, time::Duration};

use sha2::{Digest as _, Sha256};

use super::{
    CodecError, Slot, StoreError,
    codec::{Decoder, Encoder},
    transaction::{Transaction, Write, meta},
};
use crate::model::{FunctionKey, Identity, NetworkName, Subject, Tenant, TenantNumber};

/// Version of the records.
const VERSION: u8 = 1;
/// How long a number is kept for a function or tenant without slots.
const KEPT: Duration = Duration::from_hours(1);

/// A function's identity on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityRecord {
    /// Its number.
    pub identity: Identity,
    /// The number of its tenant.
    pub tenant_number: TenantNumber,
    /// The function's network.
    pub network: NetworkName,
    /// Its tenant; none: the network's containers without a tenant trust each other.
    pub tenant: Option<Tenant>,
    /// Its name.
    pub function: FunctionKey,
}

/// What has a number.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holder {
    /// A function, and the number of its tenant.
    Function(Function, TenantNumber),
    /// A tenant.
    Tenant(Tenant),
    /// The containers without a tenant of a network that says that they trust each other.
    Tenantless(NetworkName),
}

/// A function's names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Function {
    network: NetworkName,
    tenant: Option<Tenant>,
    name: FunctionKey,
}

/// A number, and what has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Numbered {
    number: u32,
    holder: Holder,
    /// Since when no slot has it, nanoseconds since the boot; 0: a slot has it, or no sweep has looked.
    unused_since: u64,
}

impl Holder {
    /// The key of its record. Names may be longer together than a key of LMDB.
    fn key(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut parts = |parts: &[&[u8]]| {
            for part in parts {
                // No name holds a zero.
                hash.update(part);
                hash.update([0]);
            }
        };
        match self {
            Self::Function(Function { network, tenant, name }, _) => {
                let tenant = tenant.as_ref().map_or("", Tenant::as_str);
                let names = [network.as_str(), tenant, name.as_str()].map(str::as_bytes);
                parts(&[b"function", names[0], names[1], names[2]]);
            }
            Self::Tenant(tenant) => parts(&[b"tenant", tenant.as_str().as_bytes()]),
            Self::Tenantless(network) => parts(&[b"tenantless", network.as_str().as_bytes()]),
        }
        hash.finalize().into()
    }
}

impl Numbered {
    fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new(VERSION);
        encoder.u32(self.number).u64(self.unused_since);
        match &self.holder {
            Holder::Function(Function { network, tenant, name }, number) => {
                encoder
                    .u8(0)
                    .u32(number.0)
                    .text(network.as_str().as_bytes())
                    .option(tenant.as_ref().map(Tenant::as_str))
                    .text(name.as_str().as_bytes());
            }
            Holder::Tenant(tenant) => {
                encoder.u8(1).text(tenant.as_str().as_bytes());
            }
            Holder::Tenantless(network) => {
                encoder.u8(2).text(network.as_str().as_bytes());
            }
        }
        encoder.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let decoded = Self::decode_fields(bytes);
        decoded.map_err(|source| StoreError::Record { what: "identity", source })
    }

    fn decode_fields(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut decoder = Decoder::new(bytes, VERSION)?;
        let (number, unused_since) = (decoder.u32("number")?, decoder.u64("time of last use")?);
        let holder = match decoder.u8("kind")? {
            0 => {
                let of_tenant = TenantNumber(decoder.u32("tenant's number")?);
                let network = decoder.name("network")?;
                let tenant = decoder.option("tenant")?.map(str::parse).transpose()?;
                let name = decoder.name("function")?;
                Holder::Function(Function { network, tenant, name }, of_tenant)
            }
            1 => Holder::Tenant(decoder.name("tenant")?),
            2 => Holder::Tenantless(decoder.name("network")?),
            other => {
                return Err(CodecError::Value { field: "kind", value: other.to_string() });
            }
        };
        decoder.finish()?;
        Ok(Self { number, holder, unused_since })
    }

    /// Whether a slot has the number, or a function whose number is kept.
    fn is_used(&self, used: &Used) -> bool {
        match &self.holder {
            Holder::Function(..) => used.identities.contains(&self.number),
            Holder::Tenant(_) | Holder::Tenantless(_) => used.tenants.contains(&self.number),
        }
    }
}

/// Numbers that slots have, and numbers of the tenants of functions on record.
#[derive(Debug, Default)]
struct Used {
    identities: HashSet<u32>,
    tenants: HashSet<u32>,
}

/// What is to be done about the numbers that no slot has.
#[derive(Debug, Default)]
pub(super) struct Unused {
    /// Those to mark as unused.
    found: Vec<Numbered>,
    /// Those to forget.
    due: Vec<Numbered>,
}

impl Unused {
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty() && self.due.is_empty()
    }
}

impl<T: lmdb::Transaction> Transaction<'_, T> {
    /// Every identity on record, in the order of their numbers.
    pub fn identities(&self) -> Result<Vec<IdentityRecord>, StoreError> {
        let mut identities: Vec<_> = self
            .numbered()?
            .into_iter()
            .filter_map(|Numbered { number, holder, .. }| match holder {
                Holder::Function(Function { network, tenant, name }, tenant_number) => {
                    let identity = Identity(number);
                    Some(IdentityRecord {
                        identity,
                        tenant_number,
                        network,
                        tenant,
                        function: name,
                    })
                }
                Holder::Tenant(_) | Holder::Tenantless(_) => None,
            })
            .collect();
        identities.sort_unstable_by_key(|record| record.identity);
        Ok(identities)
    }

    /// The identity of a function, if it is on record.
    pub fn function_identity(
        &self,
        network: &NetworkName,
        tenant: Option<&Tenant>,
        function: &FunctionKey,
    ) -> Result<Option<Identity>, StoreError> {
        let (network, tenant) = (network.clone(), tenant.cloned());
        let function = Function { network, tenant, name: function.clone() };
        let found = self.find_number(&Holder::Function(function, TenantNumber::NONE))?;
        Ok(found.map(|found| Identity(found.number)))
    }

    fn numbered(&self) -> Result<Vec<Numbered>, StoreError> {
        self.entries(self.tables.identities, "list identities")?
            .map(|entry| Numbered::decode(entry?.1))
            .collect()
    }

    fn find_number(&self, holder: &Holder) -> Result<Option<Numbered>, StoreError> {
        let found = self.get(self.tables.identities, &holder.key(), "read an identity")?;
        found.map(Numbered::decode).transpose()
    }

    /// The numbers that none of these slots has; `now` is in nanoseconds since the boot.
    pub(super) fn unused_numbers(&self, slots: &[Slot], now: u64) -> Result<Unused, StoreError> {
        let numbered = self.numbered()?;
        let mut used = Used::default();
        for slot in slots {
            used.identities.insert(slot.identity.0);
            used.tenants.insert(slot.tenant_number.0);
        }
        for one in &numbered {
            if let Holder::Function(_, tenant) = &one.holder {
                used.tenants.insert(tenant.0);
            }
        }
        let mut unused = Unused::default();
        for one in numbered.into_iter().filter(|one| !one.is_used(&used)) {
            if one.unused_since == 0 {
                unused.found.push(one);
            } else if u128::from(now.saturating_sub(one.unused_since)) >= KEPT.as_nanos() {
                unused.due.push(one);
            }
        }
        Ok(unused)
    }
}

impl Write<'_> {
    /// The identity of a subject and the number of its tenant, which are assigned at the first use.
    ///
    /// Containers without a tenant have the number of one if `share_without_tenant`.
    pub fn assign_identity(
        &mut self,
        subject: &Subject,
        share_without_tenant: bool,
    ) -> Result<(Identity, TenantNumber), StoreError> {
        let (network, tenant, name) = match subject {
            Subject::Function { network, tenant, function } => (network, tenant, function.clone()),
            Subject::Container { network, tenant, slot } => {
                let tenant = self.assign_tenant(network, tenant.as_ref(), share_without_tenant)?;
                return Ok((Identity::of_container(*slot), tenant));
            }
        };
        let function = Function { network: network.clone(), tenant: tenant.clone(), name };
        let holder = Holder::Function(function.clone(), TenantNumber::NONE);
        let known = self.find_number(&holder)?;
        // Its tenant's number is kept for as long as the function's.
        if let Some(Numbered { number, holder: Holder::Function(_, tenant), unused_since: 0 }) =
            known
        {
            return Ok((Identity(number), tenant));
        }
        let tenant = self.assign_tenant(network, tenant.as_ref(), share_without_tenant)?;
        let identity = self.assign_number(Holder::Function(function, tenant))?;
        Ok((Identity(identity), tenant))
    }

    /// The number of a tenant.
    fn assign_tenant(
        &mut self,
        network: &NetworkName,
        tenant: Option<&Tenant>,
        share_without_tenant: bool,
    ) -> Result<TenantNumber, StoreError> {
        let holder = match tenant {
            Some(tenant) => Holder::Tenant(tenant.clone()),
            None if share_without_tenant => Holder::Tenantless(network.clone()),
            None => return Ok(TenantNumber::NONE),
        };
        self.assign_number(holder).map(TenantNumber)
    }

    fn assign_number(&mut self, holder: Holder) -> Result<u32, StoreError> {
        match self.find_number(&holder)? {
            Some(found) if found.holder == holder && found.unused_since == 0 => Ok(found.number),
            Some(found) => {
                let number = found.number;
                self.put_numbered(&Numbered { number, holder, unused_since: 0 })?;
                Ok(number)
            }
            None => {
                let number = self.next_number()?;
                let numbered = Numbered { number, holder, unused_since: 0 };
                self.put_numbered(&numbered)?;
                let table = self.tables.identity_numbers;
                let (at, key) = (number.to_be_bytes(), numbered.holder.key());
                self.put(table, &at, &key, "record an identity's number")?;
                Ok(number)
            }
        }
    }

    /// The next number that nothing has.
    fn next_number(&mut self) -> Result<u32, StoreError> {
        let (first, last) = (Identity::FIRST.0, Identity::LAST.0);
        let mut next = u32::try_from(self.number(meta::LAST_IDENTITY)?).unwrap_or(last);
        for _ in first..=last {
            next = if (first..last).contains(&next) { next + 1 } else { first };
            let table = self.tables.identity_numbers;
            if self.get(table, &next.to_be_bytes(), "look for a number")?.is_none() {
                self.put_number(meta::LAST_IDENTITY, next.into())?;
                return Ok(next);
            }
        }
        Err(StoreError::NoIdentity)
    }

    fn put_numbered(&mut self, numbered: &Numbered) -> Result<(), StoreError> {
        let table = self.tables.identities;
        self.put(table, &numbered.holder.key(), &numbered.encode(), "record an identity")
    }

    fn forget_numbered(&mut self, numbered: &Numbered) -> Result<(), StoreError> {
        let tables = self.tables;
        self.delete(tables.identities, &numbered.holder.key(), "forget an identity")?;
        let key = numbered.number.to_be_bytes();
        self.delete(tables.identity_numbers, &key, "forget an identity's number")
    }

    /// Forgets the numbers of a tenant and its functions. Its containers that run keep theirs, and those that
    /// start get others.
    pub fn renumber_tenant(&mut self, tenant: &Tenant) -> Result<(), StoreError> {
        for one in self.numbered()? {
            let of_tenant = match &one.holder {
                Holder::Function(function, _) => function.tenant.as_ref(),
                Holder::Tenant(tenant) => Some(tenant),
                Holder::Tenantless(_) => None,
            };
            if of_tenant == Some(tenant) {
                self.forget_numbered(&one)?;
            }
        }
        Ok(())
    }

    /// Marks the numbers that no slot has, and forgets those that had none for an hour; returns how many it
    /// forgot.
    pub(super) fn prune_numbers(&mut self, unused: &Unused, now: u64) -> Result<usize, StoreError> {
        for one in &unused.found {
            self.put_numbered(&Numbered { unused_since: now.max(1), ..one.clone() })?;
        }
        for one in &unused.due {
            self.forget_numbered(one)?;
        }
        Ok(unused.due.len())
    }

    /// Forgets all identities: no map names them any more.
    pub(super) fn forget_identities(&mut self) -> Result<(), StoreError> {
        let tables = self.tables;
        self.clear(tables.identities, "forget all identities")?;
        self.clear(tables.identity_policies, "forget all identities")?;
        self.clear(tables.given_labels, "forget all identities")?;
        self.clear(tables.identity_numbers, "forget all identities")
    }
}

#[cfg(test)]
mod tests;
