//! Reads records.

use std::net::IpAddr;

use super::{
    Entry, Network, Parked, Pool, Prefix, Slot, StoreError, index, journal,
    keys::{
        LAST_DECISION, address_key, attachment_key, counter_key, damaged_index, decode_pool,
        decode_slot, number, parse_address, parse_attachment, parse_pool, pool_key, slot_key,
        slot_number, slot_of_index,
    },
    record::SlotState,
    transaction::{Entries, Transaction},
};
use crate::model::{
    AttachmentId, FingerprintDigest, NetworkName, PoolId, PoolKey, SlotId, TemplateDigest,
};

impl<T: lmdb::Transaction> Transaction<'_, T> {
    /// The slot of this number.
    pub fn slot(&self, id: SlotId) -> Result<Option<Slot>, StoreError> {
        self.get(self.tables.slots, &slot_key(id), "read a slot")?
            .map(|bytes| decode_slot(id, bytes))
            .transpose()
    }

    /// The slot, if it has not changed since `seen` was read.
    ///
    /// An unchanged slot has the same container, and the same time of the last change of its state.
    pub fn unchanged(&self, seen: &Slot) -> Result<Option<Slot>, StoreError> {
        let same = |slot: &Slot| slot.changed == seen.changed && slot.container == seen.container;
        Ok(self.slot(seen.id)?.filter(same))
    }

    /// The slot of an attachment.
    pub fn attachment(&self, id: &AttachmentId) -> Result<Option<SlotId>, StoreError> {
        self.get(self.tables.attachments, &attachment_key(id), "read an attachment")?
            .map(|bytes| slot_number("attachment", bytes))
            .transpose()
    }

    /// The slot that has this address.
    pub fn address_owner(&self, address: IpAddr) -> Result<Option<SlotId>, StoreError> {
        self.get(self.tables.ips, &address_key(address), "read an address")?
            .map(|bytes| slot_number("address", bytes))
            .transpose()
    }

    /// What is recorded of a network; the default where nothing is.
    pub fn network(&self, name: &NetworkName) -> Result<Network, StoreError> {
        let bytes = self.get(self.tables.networks, name.as_str().as_bytes(), "read a network")?;
        bytes.map_or(Ok(Network::default()), |bytes| {
            Network::decode(bytes).map_err(|source| StoreError::Record { what: "network", source })
        })
    }

    /// Every slot, in the order of their numbers.
    pub fn slots(&self) -> Result<Vec<Slot>, StoreError> {
        self.entries(self.tables.slots, "list slots")?
            .map(|entry| {
                let (key, value) = entry?;
                decode_slot(slot_number("slot", key)?, value)
            })
            .collect()
    }

    /// Every attachment with its slot.
    pub fn attachments(&self) -> Result<Vec<(AttachmentId, SlotId)>, StoreError> {
        self.entries(self.tables.attachments, "list attachments")?
            .map(|entry| {
                let (key, value) = entry?;
                Ok((parse_attachment(key)?, slot_number("attachment", value)?))
            })
            .collect()
    }

    /// Every address in use, with its slot.
    pub fn addresses(&self) -> Result<Vec<(IpAddr, SlotId)>, StoreError> {
        self.entries(self.tables.ips, "list addresses")?
            .map(|entry| {
                let (key, value) = entry?;
                Ok((parse_address(key)?, slot_number("address", value)?))
            })
            .collect()
    }

    /// Whether any slot satisfies `wanted`; stops at the first.
    pub fn any_slot(&self, wanted: impl Fn(&Slot) -> bool) -> Result<bool, StoreError> {
        for entry in self.entries(self.tables.slots, "list slots")? {
            let (key, value) = entry?;
            if wanted(&decode_slot(slot_number("slot", key)?, value)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The numbers of the slots whose index keys begin with a prefix.
    ///
    /// Among a function's slots, or warm slots, the slot that changed longest ago comes first.
    pub fn indexed(
        &self,
        place: Prefix<'_>,
    ) -> Result<impl Iterator<Item = Result<SlotId, StoreError>>, StoreError> {
        let prefix = place.prefix();
        let entries = Entries::open(&self.inner, self.tables.index, &prefix, "look for slots")?;
        Ok(entries
            .take_while(move |entry| {
                entry.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix))
            })
            .map(|entry| slot_of_index(entry?.0)))
    }

    /// The slots of a prefix, with the times of their last change.
    ///
    /// Times are in nanoseconds since the boot, and 0 for slots in use.
    pub fn since(
        &self,
        place: Prefix<'_>,
    ) -> Result<impl Iterator<Item = Result<(SlotId, u64), StoreError>>, StoreError> {
        let prefix = place.prefix();
        let entries = Entries::open(&self.inner, self.tables.index, &prefix, "look for slots")?;
        Ok(entries
            .take_while(move |entry| {
                entry.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix))
            })
            .map(|entry| index::since(entry?.0).ok_or_else(damaged_index)))
    }

    /// The parked slots of a pool, ordered by tenant and function.
    ///
    /// Among a function's slots, the slot that has waited longest comes first.
    pub fn parked(&self, pool: PoolKey) -> Result<Vec<Parked>, StoreError> {
        let prefix = Prefix::Pool(SlotState::Parked, pool).prefix();
        let entries = Entries::open(&self.inner, self.tables.index, &prefix, "look for slots")?;
        let parked = entries
            .take_while(|entry| entry.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix)))
            .map(|entry| {
                let (key, value) = entry?;
                index::parked(key, value).ok_or_else(damaged_index)
            });
        let mut parked: Vec<_> = parked.collect::<Result<_, _>>()?;
        parked.sort_unstable_by_key(|one| (one.tenant, one.function, one.since, one.slot));
        Ok(parked)
    }

    /// How many index keys begin with a prefix.
    pub fn count(&self, place: Prefix<'_>) -> Result<u32, StoreError> {
        let mut count = 0;
        for slot in self.indexed(place)? {
            slot?;
            count += 1;
        }
        Ok(count)
    }

    /// What is recorded of a pool.
    pub fn pool(&self, id: &PoolId) -> Result<Option<Pool>, StoreError> {
        self.get(self.tables.pools, &pool_key(id), "read a pool")?.map(decode_pool).transpose()
    }

    /// Every pool.
    pub fn pools(&self) -> Result<Vec<(PoolId, Pool)>, StoreError> {
        self.entries(self.tables.pools, "list pools")?
            .map(|entry| {
                let (key, value) = entry?;
                Ok((parse_pool(key)?, decode_pool(value)?))
            })
            .collect()
    }

    /// The counters of a pool.
    pub fn counters(&self, id: &PoolId) -> Result<Vec<(String, u64)>, StoreError> {
        let prefix = counter_key(id, "");
        let mut counters = Vec::new();
        for entry in self.entries(self.tables.counters, "list counters")? {
            let (key, value) = entry?;
            if let Some(name) = key.strip_prefix(prefix.as_slice()) {
                let count = number("counter", value).map(u64::from_le_bytes)?;
                counters.push((String::from_utf8_lossy(name).into_owned(), count));
            }
        }
        Ok(counters)
    }

    /// A fingerprint as it was recorded.
    pub fn fingerprint(&self, digest: &FingerprintDigest) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.get(self.tables.fingerprints, &digest.0, "read a fingerprint")?;
        Ok(found.map(<[u8]>::to_vec))
    }

    /// The JSON text of a template that slots were made from.
    pub fn template(&self, digest: &TemplateDigest) -> Result<Option<String>, StoreError> {
        let found = self.get(self.tables.templates, &digest.0, "read a template")?;
        Ok(found.map(|text| String::from_utf8_lossy(text).into_owned()))
    }

    /// The number of the last decision; 0 where there was none.
    pub fn last_decision(&self) -> Result<u64, StoreError> {
        self.number_in(self.tables.counters, LAST_DECISION)
    }

    /// The decisions after the one of this number, as far as they are kept; oldest first.
    pub fn decisions(&self, after: u64) -> Result<Vec<Entry>, StoreError> {
        let last = self.last_decision()?;
        let first = after.max(last.saturating_sub(journal::LENGTH));
        let entry = |number: u64| {
            let key = (number % journal::LENGTH).to_be_bytes();
            let found = self.get(self.tables.journal, &key, "read a decision")?;
            let damaged = |source| StoreError::Record { what: "decision", source };
            found.map(|bytes| Entry::decode(bytes).map_err(damaged)).transpose()
        };
        (first + 1..=last).filter_map(|number| entry(number).transpose()).collect()
    }
}
