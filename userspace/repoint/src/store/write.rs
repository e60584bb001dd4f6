//! Writes records.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    net::IpAddr,
};

use super::{
    Network, Pool, Slot, StoreError, index, journal,
    keys::{
        LAST_DECISION, address_key, attachment_key, attachment_of, counter_key, pool_key, slot_key,
    },
    record::SlotState,
    tenants::charge,
    transaction::{Write, meta},
};
use crate::{
    boot::boot_id,
    model::{
        AttachmentId, Decision, FingerprintDigest, Identity, NetworkName, PoolId, SlotId,
        TemplateDigest,
    },
};

impl Write<'_> {
    /// Records schema and boot, and draws the epoch of slot numbers and the first identity. Containers of a
    /// lost database may still run, with other numbers.
    ///
    /// Returns the schema's version, which another process may have recorded first.
    pub(super) fn initialise(&mut self, schema: u32) -> Result<u32, StoreError> {
        if let Some(found) = self.schema()? {
            return Ok(found);
        }
        // The only randomness of the standard library: the keys of a hash map, from the kernel.
        let drawn = RandomState::new().build_hasher().finish();
        self.put_number(meta::EPOCH, drawn & 0xffff)?;
        self.put_number(meta::LAST_IDENTITY, (drawn >> 16) & u64::from(Identity::LAST.0))?;
        if let Some(boot) = boot_id() {
            self.put_boot(&boot)?;
        }
        self.put(
            self.tables.meta,
            meta::SCHEMA.as_bytes(),
            &schema.to_le_bytes(),
            "record the schema",
        )?;
        Ok(schema)
    }

    /// A number that no slot of this database has.
    pub fn next_slot_id(&mut self) -> Result<SlotId, StoreError> {
        let epoch = self.number(meta::EPOCH)?;
        loop {
            let counter = self.number(meta::LAST_SLOT)?.wrapping_add(1) & 0xffff_ffff;
            self.put_number(meta::LAST_SLOT, counter)?;
            let id = SlotId((epoch << 32) | counter);
            // Of these two, single containers would have the same identity.
            let twin = SlotId(id.0 ^ 1 << 31);
            if self.slot(id)?.is_none() && self.slot(twin)?.is_none() {
                return Ok(id);
            }
        }
    }

    /// Records a new or changed slot, its index entry and tenant's counter.
    pub fn put_slot(&mut self, slot: &Slot) -> Result<(), StoreError> {
        let old = self.slot(slot.id)?.as_ref().map(Place::of);
        self.replace_slot(old, slot)
    }

    fn replace_slot(&mut self, old: Option<Place>, slot: &Slot) -> Result<(), StoreError> {
        let new = Place::of(slot);
        let old_charge = old.as_ref().and_then(|old| old.charge.as_deref());
        self.recharge(old_charge, new.charge.as_deref())?;
        let old = old.map(|old| old.index);
        if old.as_ref() != Some(&new.index) {
            if let Some(old) = old {
                self.delete(self.tables.index, &old, "remove a slot from the index")?;
            }
            self.put(self.tables.index, &new.index, &index::value(slot), "index a slot")?;
        }
        self.put(self.tables.slots, &slot_key(slot.id), &slot.encode(), "record a slot")
    }

    /// Moves a slot to state `next`, applies `change`, and returns the slot.
    pub fn advance(
        &mut self,
        id: SlotId,
        next: SlotState,
        now: u64,
        change: impl FnOnce(&mut Slot),
    ) -> Result<Slot, StoreError> {
        let slot = self.slot(id)?.ok_or(StoreError::SlotGone { slot: id })?;
        self.advance_read(slot, next, now, change)
    }

    /// As [`Self::advance`], of a slot that this transaction has read and not written since.
    pub fn advance_read(
        &mut self,
        mut slot: Slot,
        next: SlotState,
        now: u64,
        change: impl FnOnce(&mut Slot),
    ) -> Result<Slot, StoreError> {
        let old = Place::of(&slot);
        slot.become_state(next, now)?;
        change(&mut slot);
        self.replace_slot(Some(old), &slot)?;
        Ok(slot)
    }

    /// Forgets the attachment of a slot; the slot keeps its addresses.
    pub fn detach(&mut self, slot: &mut Slot) -> Result<(), StoreError> {
        if let Some(container) = slot.container.take() {
            let id = attachment_of(slot, &container);
            if self.attachment(&id)? == Some(slot.id) {
                let key = attachment_key(&id);
                self.delete(self.tables.attachments, &key, "forget an attachment")?;
            }
        }
        slot.netns_path = None;
        Ok(())
    }

    /// Forgets a slot's attachment, moves the slot to state `next`, and returns it.
    ///
    /// `slot` must be as this transaction has read it, and not written since: it tells where the index has
    /// the slot.
    pub fn detach_read(
        &mut self,
        mut slot: Slot,
        next: SlotState,
        now: u64,
    ) -> Result<Slot, StoreError> {
        let old = Place::of(&slot);
        self.detach(&mut slot)?;
        if slot.state() != next {
            slot.become_state(next, now)?;
        }
        self.replace_slot(Some(old), &slot)?;
        Ok(slot)
    }

    /// Records a pool.
    pub fn put_pool(&mut self, id: &PoolId, pool: &Pool) -> Result<(), StoreError> {
        self.put(self.tables.pools, &pool_key(id), &pool.encode(), "record a pool")
    }

    /// Forgets a pool and its counters.
    pub fn forget_pool(&mut self, id: &PoolId) -> Result<(), StoreError> {
        for (name, _) in self.counters(id)? {
            let key = counter_key(id, &name);
            self.delete(self.tables.counters, &key, "forget a counter")?;
        }
        self.delete(self.tables.pools, &pool_key(id), "forget a pool")
    }

    /// Increments the counter `name` of a pool.
    pub fn count_up(&mut self, id: &PoolId, name: &str) -> Result<(), StoreError> {
        let key = counter_key(id, name);
        let table = self.tables.counters;
        let count = self.number_in(table, &key)?;
        self.put(table, &key, &(count + 1).to_le_bytes(), "record a counter")
    }

    /// Records a fingerprint under its digest.
    pub fn put_fingerprint(
        &mut self,
        digest: &FingerprintDigest,
        encoded: &[u8],
    ) -> Result<(), StoreError> {
        if self.get(self.tables.fingerprints, &digest.0, "read a fingerprint")?.is_some() {
            return Ok(());
        }
        self.put(self.tables.fingerprints, &digest.0, encoded, "record a fingerprint")
    }

    /// Keeps the JSON text of a template that slots are made from.
    pub fn put_template(&mut self, digest: &TemplateDigest, text: &str) -> Result<(), StoreError> {
        if self.get(self.tables.templates, &digest.0, "read a template")?.is_some() {
            return Ok(());
        }
        self.put(self.tables.templates, &digest.0, text.as_bytes(), "record a template")
    }

    /// Adds a decision to the journal; a full journal loses the oldest.
    pub fn note(
        &mut self,
        attachment: &AttachmentId,
        decision: &Decision,
        now: u64,
    ) -> Result<(), StoreError> {
        let number = self.last_decision()? + 1;
        let value = number.to_le_bytes();
        self.put(self.tables.counters, LAST_DECISION, &value, "record a counter")?;
        let key = (number % journal::LENGTH).to_be_bytes();
        let entry = journal::encode(number, now, attachment, decision);
        self.put(self.tables.journal, &key, &entry, "note a decision")
    }

    /// Records an attachment, unless it exists.
    pub fn attach(&mut self, id: &AttachmentId, slot: SlotId) -> Result<(), StoreError> {
        if let Some(taken) = self.attachment(id)? {
            return Err(StoreError::AttachmentTaken { attachment: id.clone(), slot: taken });
        }
        let (table, key) = (self.tables.attachments, attachment_key(id));
        self.put(table, &key, &slot_key(slot), "record an attachment")
    }

    /// Records that an address is a slot's, unless it is another's.
    pub fn take_address(&mut self, address: IpAddr, slot: SlotId) -> Result<(), StoreError> {
        match self.address_owner(address)? {
            Some(owner) if owner == slot => Ok(()),
            Some(owner) => Err(StoreError::AddressTaken { address, slot: owner }),
            None => {
                let (table, key) = (self.tables.ips, address_key(address));
                self.put(table, &key, &slot_key(slot), "record an address")
            }
        }
    }

    /// Forgets the addresses of a slot, which were in use until `now`, nanoseconds since the boot.
    pub fn release_addresses(&mut self, id: SlotId, now: u64) -> Result<(), StoreError> {
        let Some(mut slot) = self.slot(id)? else { return Ok(()) };
        for address in std::mem::take(&mut slot.addresses) {
            if self.address_owner(address.addr())? == Some(id) {
                let key = address_key(address.addr());
                self.delete(self.tables.ips, &key, "release an address")?;
                self.put_cooldown(address.addr(), now)?;
            }
        }
        self.put_slot(&slot)
    }

    /// Records a network.
    pub fn put_network(&mut self, name: &NetworkName, network: &Network) -> Result<(), StoreError> {
        let key = name.as_str().as_bytes();
        self.put(self.tables.networks, key, &network.encode(), "record a network")
    }

    /// Forgets a slot, its addresses and its attachment. If the slot was used, its addresses rest
    /// until `rest`, nanoseconds since the boot, and its tenant is charged until the namespace is gone.
    pub fn forget(&mut self, slot: &Slot, rest: u64) -> Result<(), StoreError> {
        for address in &slot.addresses {
            if self.address_owner(address.addr())? == Some(slot.id) {
                let key = address_key(address.addr());
                self.delete(self.tables.ips, &key, "release an address")?;
                if slot.used {
                    self.put_cooldown(address.addr(), rest)?;
                }
            }
        }
        self.detach(&mut slot.clone())?;
        if let Some(recorded) = self.slot(slot.id)? {
            self.charge_lingering(&recorded)?;
            let key = index::key(&recorded);
            self.delete(self.tables.index, &key, "remove a slot from the index")?;
        }
        self.delete(self.tables.slots, &slot_key(slot.id), "forget a slot")
    }
}

/// The entries of a slot in other tables.
struct Place {
    /// Its key in the index.
    index: Vec<u8>,
    /// The counter of its tenant.
    charge: Option<Vec<u8>>,
}

impl Place {
    fn of(slot: &Slot) -> Self {
        Self { index: index::key(slot), charge: charge(slot) }
    }
}

#[cfg(test)]
impl Write<'_> {
    /// Makes the database one of another version.
    pub(super) fn put_schema_for_test(&mut self, schema: u32) -> Result<(), StoreError> {
        self.put(self.tables.meta, meta::SCHEMA.as_bytes(), &schema.to_le_bytes(), "record")
    }
}
