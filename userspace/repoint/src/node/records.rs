//! What is on record, for programs that show or change it: each call is one transaction.

use std::{collections::BTreeSet, net::IpAddr};

use repoint_policy::{Labels, Party, PolicySet};

use super::Node;
use crate::{
    model::{AttachmentId, Identity, NetworkName, PoolId, PoolPolicy, SlotId, Tenant},
    slot::Fingerprint,
    store::{Entry, IdentityRecord, Lingering, PartyNames, Pool, Slot, StoreError},
};

impl Node {
    /// All slots.
    pub fn slots(&self) -> Result<Vec<Slot>, StoreError> {
        self.store.read(|transaction| transaction.slots())
    }

    /// The identities on record, in the order of their numbers.
    pub fn identities(&self) -> Result<Vec<IdentityRecord>, StoreError> {
        self.store.read(|transaction| transaction.identities())
    }

    /// The policies in force.
    pub fn policy_set(&self) -> Result<PolicySet, StoreError> {
        self.store.read(|transaction| transaction.policy_set())
    }

    /// The labels that a start gave to an identity.
    pub fn given_labels(&self, identity: Identity) -> Result<Labels, StoreError> {
        self.store.read(|transaction| transaction.given_labels(identity))
    }

    /// A function or container as policies see it.
    pub fn party(&self, names: &PartyNames<'_>) -> Result<Party, StoreError> {
        self.store.read(|transaction| transaction.party(names))
    }

    /// Those of the slots that are on record, and those that have one of the addresses.
    pub fn find_slots(
        &self,
        slots: impl IntoIterator<Item = SlotId>,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<Vec<Slot>, StoreError> {
        self.store.read(|transaction| {
            let mut found: BTreeSet<SlotId> = slots.into_iter().collect();
            for address in addresses {
                found.extend(transaction.address_owner(address)?);
            }
            let slots = found.into_iter().map(|id| transaction.slot(id));
            slots.filter_map(Result::transpose).collect()
        })
    }

    /// A slot.
    pub fn slot(&self, id: SlotId) -> Result<Option<Slot>, StoreError> {
        self.store.read(|transaction| transaction.slot(id))
    }

    /// The fingerprint of a slot's namespace when it was built; none: it is not on record, or of a form
    /// that this program does not know.
    pub(crate) fn fingerprint(&self, slot: &Slot) -> Result<Option<Fingerprint>, StoreError> {
        let Some(digest) = slot.built.and_then(|built| built.fingerprint) else { return Ok(None) };
        let encoded = self.store.read(|transaction| transaction.fingerprint(&digest))?;
        Ok(encoded.and_then(|encoded| Fingerprint::decode(&encoded).ok()))
    }

    /// The slot of an attachment.
    pub fn slot_of(&self, attachment: &AttachmentId) -> Result<Option<SlotId>, StoreError> {
        self.store.read(|transaction| transaction.attachment(attachment))
    }

    /// Forgets a slot that was taken down, without a cooldown of its addresses.
    pub fn forget_slot(&self, slot: &Slot) -> Result<(), StoreError> {
        self.store.write(|transaction| transaction.forget(slot, 0))
    }

    /// All pools.
    pub fn pools(&self) -> Result<Vec<(PoolId, Pool)>, StoreError> {
        self.store.read(|transaction| transaction.pools())
    }

    /// A pool.
    pub fn pool(&self, id: &PoolId) -> Result<Option<Pool>, StoreError> {
        self.store.read(|transaction| transaction.pool(id))
    }

    /// Counters of a pool by label: how its ADDs were served.
    pub fn pool_counters(&self, id: &PoolId) -> Result<Vec<(String, u64)>, StoreError> {
        self.store.read(|transaction| transaction.counters(id))
    }

    /// Changes a pool, and returns its policy then; none: there is no such pool. Nothing changes where
    /// `change` fails.
    pub fn change_pool<E: From<StoreError>>(
        &self,
        id: &PoolId,
        change: impl Fn(&mut Pool) -> Result<(), E>,
    ) -> Result<Option<PoolPolicy>, E> {
        self.store.write(|transaction| {
            let Some(mut pool) = transaction.pool(id)? else { return Ok(None) };
            change(&mut pool)?;
            transaction.put_pool(id, &pool)?;
            Ok(Some(pool.policy()))
        })
    }

    /// Forgets a pool. Its slots stay on record.
    pub fn forget_pool(&self, id: &PoolId) -> Result<(), StoreError> {
        self.store.write(|transaction| transaction.forget_pool(id))
    }

    /// Tenants by network, each with its number of slots. A deleted slot counts while its namespace lives on.
    pub fn tenants(&self) -> Result<Vec<(NetworkName, Tenant, u32)>, StoreError> {
        self.store.read(|transaction| transaction.tenants())
    }

    /// Namespaces that outlive their slots.
    pub fn lingering(&self) -> Result<Vec<Lingering>, StoreError> {
        self.store.read(|transaction| transaction.lingering())
    }

    /// The number of the last decision about a container.
    pub fn last_decision(&self) -> Result<u64, StoreError> {
        self.store.read(|transaction| transaction.last_decision())
    }

    /// Decisions about containers after this number.
    pub fn decisions_after(&self, number: u64) -> Result<Vec<Entry>, StoreError> {
        self.store.read(|transaction| transaction.decisions(number))
    }

    /// Vouches for the host's half of every slot until this time, nanoseconds since the boot; 0
    /// ends it. Until then ADD does not check the half itself.
    pub fn vouch_until(&self, until: u64) -> Result<(), StoreError> {
        self.store.write(|transaction| transaction.put_watched_until(until))
    }
}
