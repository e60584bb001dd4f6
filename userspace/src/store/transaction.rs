//! What can be read and written in one transaction.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    net::IpAddr,
};

use lmdb::{Cursor as _, Database, RoCursor, RoTransaction, RwTransaction, WriteFlags};

use super::{
    CodecError, Decision, Entry, Network, Parked, Pool, PoolId, Shelf, Slot, StoreError, Tables,
    index, journal, record::SlotState,
};
use crate::types::{
    AttachmentId, ContainerId, Identity, NetworkName, PoolKey, SlotId, TemplateName,
};

/// Keys of the table `meta`.
mod meta {
    pub(super) const SCHEMA: &str = "schema";
    /// Upper 16 of the 48 bits of slot numbers.
    pub(super) const EPOCH: &str = "slot-epoch";
    /// The number given last, lower 32 bits.
    pub(super) const LAST_SLOT: &str = "last-slot";
    pub(super) const LAST_IDENTITY: &str = "last-identity";
    pub(super) const LAST_DECISION: &str = "last-decision";
}

/// A transaction over LMDB's own.
pub struct Transaction<'env, T> {
    inner: T,
    tables: &'env Tables,
}

/// A key and its value.
type Pair<'txn> = Result<(&'txn [u8], &'txn [u8]), StoreError>;

/// A transaction that reads.
pub type Read<'env> = Transaction<'env, RoTransaction<'env>>;
/// A transaction that reads and writes.
pub type Write<'env> = Transaction<'env, RwTransaction<'env>>;

impl<'env, T: lmdb::Transaction> Transaction<'env, T> {
    pub(super) fn new(inner: T, tables: &'env Tables) -> Self {
        Self { inner, tables }
    }

    pub(super) fn commit(self) -> Result<(), StoreError> {
        self.inner.commit().map_err(|source| StoreError::Lmdb { what: "commit", source })
    }

    /// Version of the schema; none: the database is new.
    pub(super) fn schema(&self) -> Result<Option<u32>, StoreError> {
        let value = self.get(self.tables.meta, meta::SCHEMA.as_bytes(), "read the schema")?;
        value.map(|bytes| number("schema", bytes).map(u32::from_le_bytes)).transpose()
    }

    /// The slot of this number.
    pub fn slot(&self, id: SlotId) -> Result<Option<Slot>, StoreError> {
        self.get(self.tables.slots, &slot_key(id), "read a slot")?
            .map(|bytes| decode_slot(id, bytes))
            .transpose()
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

    /// Whether any slot satisfies `wanted`; looks no further than the first that does.
    pub fn any_slot(&self, wanted: impl Fn(&Slot) -> bool) -> Result<bool, StoreError> {
        for entry in self.entries(self.tables.slots, "list slots")? {
            let (key, value) = entry?;
            if wanted(&decode_slot(slot_number("slot", key)?, value)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The numbers of the slots on a shelf. Where it is a function's, or of those for anybody, the
    /// one that changed longest ago comes first.
    pub fn on_shelf(
        &self,
        place: Shelf<'_>,
    ) -> Result<impl Iterator<Item = Result<SlotId, StoreError>>, StoreError> {
        let prefix = place.prefix();
        let entries = Entries::open(&self.inner, self.tables.index, &prefix, "look for slots")?;
        Ok(entries
            .take_while(move |entry| {
                entry.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix))
            })
            .map(|entry| slot_of_index(entry?.0)))
    }

    /// The slots on a shelf, each with the time when its state changed last, in nanoseconds since
    /// the Unix epoch; 0 for slots in use.
    pub fn since(
        &self,
        place: Shelf<'_>,
    ) -> Result<impl Iterator<Item = Result<(SlotId, u64), StoreError>>, StoreError> {
        let prefix = place.prefix();
        let entries = Entries::open(&self.inner, self.tables.index, &prefix, "look for slots")?;
        Ok(entries
            .take_while(move |entry| {
                entry.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix))
            })
            .map(|entry| {
                let found = index::parked(entry?.0, &[]).ok_or_else(damaged_index)?;
                Ok((found.slot, found.since))
            }))
    }

    /// The slots of a pool that wait for a function.
    pub fn parked(&self, pool: PoolKey) -> Result<Vec<Parked>, StoreError> {
        let prefix = Shelf::Pool(SlotState::Parked, pool).prefix();
        let entries = Entries::open(&self.inner, self.tables.index, &prefix, "look for slots")?;
        entries
            .take_while(|entry| entry.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix)))
            .map(|entry| {
                let (key, value) = entry?;
                index::parked(key, value).ok_or_else(damaged_index)
            })
            .collect()
    }

    /// How many slots are on a shelf.
    pub fn count(&self, place: Shelf<'_>) -> Result<u32, StoreError> {
        let mut count = 0;
        for slot in self.on_shelf(place)? {
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

    /// What was counted of a pool.
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
    pub fn fingerprint(&self, digest: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.get(self.tables.fingerprints, digest, "read a fingerprint")?;
        Ok(found.map(<[u8]>::to_vec))
    }

    /// The JSON text of a template that slots were made from.
    pub fn template(&self, digest: &[u8; 32]) -> Result<Option<String>, StoreError> {
        let found = self.get(self.tables.templates, digest, "read a template")?;
        Ok(found.map(|text| String::from_utf8_lossy(text).into_owned()))
    }

    /// Whether an address cannot be given at the time `now`, nanoseconds since the Unix epoch: it is
    /// a slot's, or rests after its last use.
    pub fn is_taken(&self, address: IpAddr, now: u64) -> Result<bool, StoreError> {
        Ok(self.address_owner(address)?.is_some() || self.is_resting(address, now)?)
    }

    fn is_resting(&self, address: IpAddr, now: u64) -> Result<bool, StoreError> {
        let found = self.get(self.tables.resting, &address_key(address), "read a rest")?;
        let until = found.map(|bytes| number("rest", bytes).map(u64::from_le_bytes)).transpose()?;
        Ok(until.is_some_and(|until| until > now))
    }

    /// The number of the last decision; 0 where there was none.
    pub fn last_decision(&self) -> Result<u64, StoreError> {
        self.number(meta::LAST_DECISION)
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

    fn number(&self, key: &'static str) -> Result<u64, StoreError> {
        let bytes = self.get(self.tables.meta, key.as_bytes(), "read a counter")?;
        bytes.map_or(Ok(0), |bytes| number("counter", bytes).map(u64::from_le_bytes))
    }

    fn get(
        &self,
        table: Database,
        key: &[u8],
        what: &'static str,
    ) -> Result<Option<&[u8]>, StoreError> {
        match self.inner.get(table, &key) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(lmdb::Error::NotFound) => Ok(None),
            Err(source) => Err(StoreError::Lmdb { what, source }),
        }
    }

    fn entries(
        &self,
        table: Database,
        what: &'static str,
    ) -> Result<impl Iterator<Item = Pair<'_>>, StoreError> {
        Entries::open(&self.inner, table, &[], what)
    }
}

/// The entries of a table from a key on. LMDB's own iterator does not keep its cursor open.
struct Entries<'txn> {
    iterator: lmdb::Iter<'txn>,
    _cursor: RoCursor<'txn>,
    what: &'static str,
}

impl<'txn> Entries<'txn> {
    fn open(
        transaction: &'txn impl lmdb::Transaction,
        table: Database,
        from: &[u8],
        what: &'static str,
    ) -> Result<Self, StoreError> {
        let cursor = transaction.open_ro_cursor(table);
        let mut cursor = cursor.map_err(|source| StoreError::Lmdb { what, source })?;
        // LMDB knows no empty key.
        let iterator = if from.is_empty() { cursor.iter_start() } else { cursor.iter_from(from) };
        Ok(Self { iterator, _cursor: cursor, what })
    }
}

impl<'txn> Iterator for Entries<'txn> {
    type Item = Pair<'txn>;

    fn next(&mut self) -> Option<Pair<'txn>> {
        let entry = self.iterator.next()?;
        Some(entry.map_err(|source| StoreError::Lmdb { what: self.what, source }))
    }
}

impl Write<'_> {
    /// Records the schema and draws the epoch of slot numbers; returns the schema's version, which
    /// another process may have recorded first.
    pub(super) fn initialise(&mut self, schema: u32) -> Result<u32, StoreError> {
        if let Some(found) = self.schema()? {
            return Ok(found);
        }
        // The only randomness of the standard library: the keys of a hash map, from the kernel.
        let epoch = RandomState::new().build_hasher().finish() & 0xffff;
        self.put_number(meta::EPOCH, epoch)?;
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
            if self.slot(id)?.is_none() {
                return Ok(id);
            }
        }
    }

    /// The identity that stands for `label`, given once and kept.
    pub fn identity(&mut self, label: &str) -> Result<Identity, StoreError> {
        let known = self.get(self.tables.identities, label.as_bytes(), "read an identity")?;
        if let Some(bytes) = known {
            return number("identity", bytes).map(|bytes| Identity(u32::from_le_bytes(bytes)));
        }
        let next = self.number(meta::LAST_IDENTITY)? + 1;
        self.put_number(meta::LAST_IDENTITY, next)?;
        let identity = u32::try_from(next).map_err(|_| StoreError::Lmdb {
            what: "give an identity: all are taken",
            source: lmdb::Error::MapFull,
        })?;
        let table = self.tables.identities;
        self.put(table, label.as_bytes(), &identity.to_le_bytes(), "record an identity")?;
        Ok(Identity(identity))
    }

    /// Records a slot, new or changed, and where it is found.
    pub fn put_slot(&mut self, slot: &Slot) -> Result<(), StoreError> {
        let old = self.slot(slot.id)?.map(|old| index::key(&old));
        self.replace_slot(old.as_deref(), slot)
    }

    fn replace_slot(&mut self, old: Option<&[u8]>, slot: &Slot) -> Result<(), StoreError> {
        let new = index::key(slot);
        if old != Some(new.as_slice()) {
            if let Some(old) = old {
                self.delete(self.tables.index, old, "unshelve a slot")?;
            }
            self.put(self.tables.index, &new, &index::value(slot), "shelve a slot")?;
        }
        self.put(self.tables.slots, &slot_key(slot.id), &slot.encode(), "record a slot")
    }

    /// Moves a slot on, changes what `change` says, and returns it.
    pub fn advance(
        &mut self,
        id: SlotId,
        next: SlotState,
        now: u64,
        change: impl FnOnce(&mut Slot),
    ) -> Result<Slot, StoreError> {
        let mut slot = self.slot(id)?.ok_or(StoreError::SlotGone { slot: id })?;
        let old = index::key(&slot);
        slot.become_state(next, now)?;
        change(&mut slot);
        self.replace_slot(Some(&old), &slot)?;
        Ok(slot)
    }

    /// Forgets the attachment of a slot, which keeps its addresses.
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

    /// Records a pool.
    pub fn put_pool(&mut self, id: &PoolId, pool: &Pool) -> Result<(), StoreError> {
        self.put(self.tables.pools, &pool_key(id), &pool.encode(), "record a pool")
    }

    /// Forgets a pool, and what was counted of it.
    pub fn forget_pool(&mut self, id: &PoolId) -> Result<(), StoreError> {
        for (name, _) in self.counters(id)? {
            let key = counter_key(id, &name);
            self.delete(self.tables.counters, &key, "forget a counter")?;
        }
        self.delete(self.tables.pools, &pool_key(id), "forget a pool")
    }

    /// Counts one more of `name` for a pool.
    pub fn count_up(&mut self, id: &PoolId, name: &str) -> Result<(), StoreError> {
        let key = counter_key(id, name);
        let table = self.tables.counters;
        let count = match self.get(table, &key, "read a counter")? {
            Some(bytes) => u64::from_le_bytes(number("counter", bytes)?),
            None => 0,
        };
        self.put(table, &key, &(count + 1).to_le_bytes(), "record a counter")
    }

    /// Records a fingerprint under its digest.
    pub fn put_fingerprint(&mut self, digest: &[u8; 32], encoded: &[u8]) -> Result<(), StoreError> {
        if self.get(self.tables.fingerprints, digest, "read a fingerprint")?.is_some() {
            return Ok(());
        }
        self.put(self.tables.fingerprints, digest, encoded, "record a fingerprint")
    }

    /// Keeps the JSON text of a template that slots are made from.
    pub fn put_template(&mut self, digest: &[u8; 32], text: &str) -> Result<(), StoreError> {
        if self.get(self.tables.templates, digest, "read a template")?.is_some() {
            return Ok(());
        }
        self.put(self.tables.templates, digest, text.as_bytes(), "record a template")
    }

    /// Notes a decision, in the place of the oldest where there are many.
    pub fn note(
        &mut self,
        attachment: &AttachmentId,
        decision: &Decision,
        now: u64,
    ) -> Result<(), StoreError> {
        let number = self.number(meta::LAST_DECISION)? + 1;
        self.put_number(meta::LAST_DECISION, number)?;
        let (attachment, decision) = (attachment.clone(), decision.clone());
        let entry = Entry { number, time: now, attachment, decision };
        let key = (number % journal::LENGTH).to_be_bytes();
        self.put(self.tables.journal, &key, &entry.encode(), "note a decision")
    }

    /// Forgets rests that are over; says how many.
    pub fn end_rests(&mut self, now: u64) -> Result<usize, StoreError> {
        let mut over = Vec::new();
        for entry in self.entries(self.tables.resting, "list rests")? {
            let (key, value) = entry?;
            if u64::from_le_bytes(number("rest", value)?) <= now {
                over.push(key.to_vec());
            }
        }
        for key in &over {
            self.delete(self.tables.resting, key, "end a rest")?;
        }
        Ok(over.len())
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

    /// Records a network.
    pub fn put_network(&mut self, name: &NetworkName, network: &Network) -> Result<(), StoreError> {
        let key = name.as_str().as_bytes();
        self.put(self.tables.networks, key, &network.encode(), "record a network")
    }

    /// Forgets a slot, its addresses and its attachment. Its addresses rest until `rest`,
    /// nanoseconds since the Unix epoch, if that is given.
    pub fn forget(&mut self, slot: &Slot, rest: Option<u64>) -> Result<(), StoreError> {
        for address in &slot.addresses {
            let key = address_key(address.addr());
            if self.address_owner(address.addr())? == Some(slot.id) {
                self.delete(self.tables.ips, &key, "release an address")?;
                if let Some(until) = rest {
                    let until = until.to_le_bytes();
                    self.put(self.tables.resting, &key, &until, "record a rest")?;
                }
            }
        }
        self.detach(&mut slot.clone())?;
        if let Some(recorded) = self.slot(slot.id)? {
            self.delete(self.tables.index, &index::key(&recorded), "unshelve a slot")?;
        }
        self.delete(self.tables.slots, &slot_key(slot.id), "forget a slot")
    }

    fn put_number(&mut self, key: &'static str, value: u64) -> Result<(), StoreError> {
        self.put(self.tables.meta, key.as_bytes(), &value.to_le_bytes(), "record a counter")
    }

    fn put(
        &mut self,
        table: Database,
        key: &[u8],
        value: &[u8],
        what: &'static str,
    ) -> Result<(), StoreError> {
        self.inner
            .put(table, &key, &value, WriteFlags::empty())
            .map_err(|source| StoreError::Lmdb { what, source })
    }

    fn delete(
        &mut self,
        table: Database,
        key: &[u8],
        what: &'static str,
    ) -> Result<(), StoreError> {
        match self.inner.del(table, &key, None) {
            Ok(()) | Err(lmdb::Error::NotFound) => Ok(()),
            Err(source) => Err(StoreError::Lmdb { what, source }),
        }
    }
}

/// The attachment of a slot that `container` has.
fn attachment_of(slot: &Slot, container: &ContainerId) -> AttachmentId {
    AttachmentId {
        network: slot.network.clone(),
        container: container.clone(),
        ifname: slot.ifname.clone(),
    }
}

/// Big-endian, so that slots are listed in the order of their numbers.
fn slot_key(id: SlotId) -> [u8; 8] {
    id.0.to_be_bytes()
}

fn address_key(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Network, container and interface name, apart by a byte that none of them holds. At most 417
/// bytes of LMDB's 511.
fn attachment_key(id: &AttachmentId) -> Vec<u8> {
    [id.network.as_str(), id.container.as_str(), id.ifname.as_str()].join("\0").into_bytes()
}

/// Network, interface name and template, apart by a byte that none of them holds. At most 317 bytes
/// of LMDB's 511.
fn pool_key(id: &PoolId) -> Vec<u8> {
    let template = id.template.as_ref().map_or("", TemplateName::as_str);
    [id.network.as_str(), id.ifname.as_str(), template].join("\0").into_bytes()
}

fn counter_key(id: &PoolId, name: &str) -> Vec<u8> {
    let mut key = pool_key(id);
    key.push(0);
    key.extend_from_slice(name.as_bytes());
    key
}

fn parse_pool(key: &[u8]) -> Result<PoolId, StoreError> {
    let damaged = |source| StoreError::Record { what: "pool", source };
    let text = String::from_utf8_lossy(key);
    let mut parts = text.splitn(3, '\0');
    let mut part = || parts.next().ok_or_else(|| damaged(CodecError::Truncated { field: "key" }));
    let name = |error| damaged(CodecError::Name(error));
    let (network, ifname, template) = (part()?, part()?, part()?);
    let template = (!template.is_empty()).then(|| template.parse().map_err(name)).transpose()?;
    Ok(PoolId {
        network: network.parse().map_err(name)?,
        ifname: ifname.parse().map_err(name)?,
        template,
    })
}

fn decode_pool(bytes: &[u8]) -> Result<Pool, StoreError> {
    Pool::decode(bytes).map_err(|source| StoreError::Record { what: "pool", source })
}

fn slot_of_index(key: &[u8]) -> Result<SlotId, StoreError> {
    index::slot(key).ok_or_else(damaged_index)
}

fn damaged_index() -> StoreError {
    StoreError::Record { what: "index", source: CodecError::Truncated { field: "key" } }
}

fn parse_attachment(key: &[u8]) -> Result<AttachmentId, StoreError> {
    let damaged = |source| StoreError::Record { what: "attachment", source };
    let mut parts = key.split(|byte| *byte == 0).map(|part| {
        std::str::from_utf8(part)
            .map_err(|_| damaged(CodecError::Value { field: "key", value: "not UTF-8".to_owned() }))
    });
    let mut part = || parts.next().unwrap_or(Err(damaged(CodecError::Truncated { field: "key" })));
    Ok(AttachmentId {
        network: part()?.parse().map_err(|error| damaged(CodecError::Name(error)))?,
        container: part()?.parse().map_err(|error| damaged(CodecError::Name(error)))?,
        ifname: part()?.parse().map_err(|error| damaged(CodecError::Name(error)))?,
    })
}

fn parse_address(key: &[u8]) -> Result<IpAddr, StoreError> {
    if let Ok(octets) = <[u8; 4]>::try_from(key) {
        return Ok(IpAddr::from(octets));
    }
    number("address", key).map(|octets: [u8; 16]| IpAddr::from(octets))
}

fn decode_slot(id: SlotId, bytes: &[u8]) -> Result<Slot, StoreError> {
    Slot::decode(id, bytes).map_err(|source| StoreError::Record { what: "slot", source })
}

fn slot_number(what: &'static str, bytes: &[u8]) -> Result<SlotId, StoreError> {
    number(what, bytes).map(|bytes| SlotId(u64::from_be_bytes(bytes)))
}

fn number<const N: usize>(what: &'static str, bytes: &[u8]) -> Result<[u8; N], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Record {
        what,
        source: CodecError::Value { field: "value", value: format!("{} bytes long", bytes.len()) },
    })
}

#[cfg(test)]
impl Write<'_> {
    /// What a database of another version looks like.
    pub(super) fn put_schema_for_test(&mut self, schema: u32) -> Result<(), StoreError> {
        self.put(self.tables.meta, meta::SCHEMA.as_bytes(), &schema.to_le_bytes(), "record")
    }
}
