//! Everything that is on record about slots, as of one moment.
//!
//! A survey copies the tables while no process writes, and decodes the copy afterwards. An ADD waits only
//! for the copying.

use std::{
    collections::{HashMap, HashSet},
    iter,
    net::IpAddr,
};

use lmdb::Database;

use super::{
    Pool, Slot, StoreError, index,
    keys::{decode_pool, decode_slot, parse_address, parse_attachment, parse_pool, slot_number},
    transaction::{Transaction, meta},
};
use crate::model::{AttachmentId, PoolId, SlotId};

/// The copy of a table.
///
/// One buffer holds all keys and values, so that copying allocates next to nothing.
#[derive(Debug, Default)]
struct Copied {
    bytes: Vec<u8>,
    /// Where each key, and each value, ends.
    ends: Vec<(usize, usize)>,
}

impl Copied {
    fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((end, self.bytes.len()));
    }

    /// Every key and its value.
    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let begins = iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        begins
            .zip(&self.ends)
            .map(|(begin, (key, end))| (&self.bytes[begin..*key], &self.bytes[*key..*end]))
    }
}

/// A copy of the tables that are about slots.
#[derive(Debug)]
pub struct RawSurvey {
    boot: Option<String>,
    slots: Copied,
    attachments: Copied,
    addresses: Copied,
    index: Copied,
    pools: Copied,
}

/// A copy of the slots' records, to find later which of them have changed.
#[derive(Debug, Default)]
pub struct SlotImages(Copied);

/// What is on record about slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// The boot that the database is of, where that is on record.
    pub boot: Option<String>,
    /// Every slot.
    pub slots: Vec<Slot>,
    /// Every attachment with its slot.
    pub attachments: Vec<(AttachmentId, SlotId)>,
    /// Every address in use with its slot.
    pub addresses: Vec<(IpAddr, SlotId)>,
    /// Every pool.
    pub pools: Vec<(PoolId, Pool)>,
    /// What is wrong with the index.
    pub index_faults: Vec<IndexFault>,
    /// What cannot be read, in words.
    pub unreadable: Vec<String>,
    /// Slots whose records cannot be read: their addresses and attachments are unknown.
    pub damaged: HashSet<SlotId>,
    /// Slots that are new, or changed since an earlier time.
    pub fresh: HashSet<SlotId>,
}

/// What is wrong with the index of slots.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum IndexFault {
    /// An entry whose slot is not on record, or has another key.
    Stray {
        /// Its key.
        key: Vec<u8>,
        /// The slot that it names, if it names one.
        slot: Option<SlotId>,
    },
    /// A slot without an entry in its place.
    Missing {
        /// The slot.
        slot: SlotId,
    },
}

impl<T: lmdb::Transaction> Transaction<'_, T> {
    /// Copies everything that is on record about slots.
    pub fn survey(&self) -> Result<RawSurvey, StoreError> {
        let tables = self.tables;
        Ok(RawSurvey {
            boot: self.boot()?,
            slots: self.copy(tables.slots, "list slots")?,
            attachments: self.copy(tables.attachments, "list attachments")?,
            addresses: self.copy(tables.ips, "list addresses")?,
            index: self.copy(tables.index, "list the index")?,
            pools: self.copy(tables.pools, "list pools")?,
        })
    }

    /// Copies the slots' records.
    pub fn slot_images(&self) -> Result<SlotImages, StoreError> {
        self.copy(self.tables.slots, "list slots").map(SlotImages)
    }

    /// The boot that the database is of, where that is on record.
    pub fn boot(&self) -> Result<Option<String>, StoreError> {
        let found = self.get(self.tables.meta, meta::BOOT.as_bytes(), "read the boot")?;
        Ok(found.map(|text| String::from_utf8_lossy(text).into_owned()))
    }

    fn copy(&self, table: Database, what: &'static str) -> Result<Copied, StoreError> {
        let mut copied = Copied::default();
        for entry in self.entries(table, what)? {
            let (key, value) = entry?;
            copied.push(key, value);
        }
        Ok(copied)
    }
}

impl RawSurvey {
    /// Decodes the copy; `before` holds the slots' records at an earlier time.
    #[must_use]
    pub fn read(self, before: &SlotImages) -> Survey {
        let fresh = fresh(&self.slots, &before.0);
        let mut unreadable = Vec::new();
        let mut damaged = HashSet::new();
        let slots = read(&self.slots, &mut unreadable, |key, value| {
            let id = slot_number("slot", key)?;
            decode_slot(id, value).inspect_err(|_| {
                damaged.insert(id);
            })
        });
        let attachments = read(&self.attachments, &mut unreadable, |key, value| {
            Ok((parse_attachment(key)?, slot_number("attachment", value)?))
        });
        let addresses = read(&self.addresses, &mut unreadable, |key, value| {
            Ok((parse_address(key)?, slot_number("address", value)?))
        });
        let pools = read(&self.pools, &mut unreadable, |key, value| {
            Ok((parse_pool(key)?, decode_pool(value)?))
        });
        let index_faults = index_faults(&slots, &damaged, &self.index);
        Survey {
            boot: self.boot,
            slots,
            attachments,
            addresses,
            pools,
            index_faults,
            unreadable,
            damaged,
            fresh,
        }
    }
}

/// The slots that are new or changed since `before`.
fn fresh(slots: &Copied, before: &Copied) -> HashSet<SlotId> {
    let before: HashMap<_, _> = before.iter().collect();
    let changed = slots.iter().filter(|(key, value)| before.get(key) != Some(value));
    changed.filter_map(|(key, _)| slot_number("slot", key).ok()).collect()
}

/// The readable entries of a table; `unreadable` gets the errors of others.
fn read<T>(
    table: &Copied,
    unreadable: &mut Vec<String>,
    mut parse: impl FnMut(&[u8], &[u8]) -> Result<T, StoreError>,
) -> Vec<T> {
    let mut found = Vec::with_capacity(table.ends.len());
    for (key, value) in table.iter() {
        match parse(key, value) {
            Ok(entry) => found.push(entry),
            Err(error) => unreadable.push(error.to_string()),
        }
    }
    found
}

/// Compares the index with the slots' records.
///
/// The right key of a `damaged` slot is unknown, so its entries are no faults.
fn index_faults(slots: &[Slot], damaged: &HashSet<SlotId>, index: &Copied) -> Vec<IndexFault> {
    let mut expected: HashMap<Vec<u8>, (SlotId, Vec<u8>)> =
        slots.iter().map(|slot| (index::key(slot), (slot.id, index::value(slot)))).collect();
    let mut faults = Vec::new();
    for (key, value) in index.iter() {
        match expected.remove(key) {
            Some((_, right)) if right == value => {}
            // The repair overwrites the value.
            Some((slot, _)) => faults.push(IndexFault::Missing { slot }),
            None => {
                let slot = index::slot(key);
                if slot.is_none_or(|slot| !damaged.contains(&slot)) {
                    faults.push(IndexFault::Stray { key: key.to_vec(), slot });
                }
            }
        }
    }
    faults.extend(expected.into_values().map(|(slot, _)| IndexFault::Missing { slot }));
    faults
}

impl super::Write<'_> {
    /// Forgets the slots of an earlier boot; returns whether the boot changed.
    pub fn begin_boot(&mut self, boot: &str) -> Result<bool, StoreError> {
        if self.boot()?.is_some_and(|recorded| recorded == boot) {
            return Ok(false);
        }
        self.forget_all_slots()?;
        // The clock counts from the boot.
        self.put_watched_until(0)?;
        // The stored policies may have changed with the copy out of reach.
        self.put_number(meta::POLICIES, 0)?;
        self.put_boot(boot)?;
        Ok(true)
    }

    /// Records the boot that the database is of.
    pub fn put_boot(&mut self, boot: &str) -> Result<(), StoreError> {
        let table = self.tables.meta;
        self.put(table, meta::BOOT.as_bytes(), boot.as_bytes(), "record the boot")
    }

    /// Repairs a fault of the index, if it still exists.
    pub fn repair_index(&mut self, fault: &IndexFault) -> Result<(), StoreError> {
        let table = self.tables.index;
        match fault {
            IndexFault::Stray { key, slot } => {
                let slot = slot.map(|slot| self.slot(slot)).transpose()?.flatten();
                if slot.is_none_or(|slot| index::key(&slot) != *key) {
                    self.delete(table, key, "remove a slot from the index")?;
                }
            }
            IndexFault::Missing { slot } => {
                if let Some(slot) = self.slot(*slot)? {
                    let (key, value) = (index::key(&slot), index::value(&slot));
                    self.put(table, &key, &value, "index a slot")?;
                }
            }
        }
        Ok(())
    }

    /// Forgets an attachment of a slot that no longer has it.
    ///
    /// The slot is not on record, or has another container. Returns whether the attachment is
    /// forgotten.
    pub fn repair_attachment(
        &mut self,
        id: &AttachmentId,
        slot: SlotId,
    ) -> Result<bool, StoreError> {
        if self.attachment(id)? != Some(slot) || self.slot(slot)?.is_some_and(|slot| slot.has(id)) {
            return Ok(false);
        }
        let key = super::keys::attachment_key(id);
        self.delete(self.tables.attachments, &key, "forget an attachment")?;
        Ok(true)
    }

    /// Forgets an address of a slot that no longer has it.
    ///
    /// The slot is not on record, or its record lacks the address. Returns whether the address is
    /// forgotten.
    pub fn repair_address(&mut self, address: IpAddr, slot: SlotId) -> Result<bool, StoreError> {
        let is_its = |slot: Slot| slot.addresses.iter().any(|own| own.addr() == address);
        if self.address_owner(address)? != Some(slot) || self.slot(slot)?.is_some_and(is_its) {
            return Ok(false);
        }
        let key = super::keys::address_key(address);
        self.delete(self.tables.ips, &key, "release an address")?;
        Ok(true)
    }

    /// Forgets all slots, attachments, addresses and cooldowns.
    ///
    /// They ended with their boot, from which their times count. Pools, networks and identities stay.
    pub fn forget_all_slots(&mut self) -> Result<(), StoreError> {
        let Self { tables, .. } = self;
        for table in [
            tables.slots,
            tables.attachments,
            tables.ips,
            tables.index,
            tables.resting,
            tables.tenants,
            tables.lingering,
        ] {
            self.clear(table, "forget all slots")?;
        }
        self.forget_identities()
    }
}

impl Slot {
    /// Whether an attachment is this slot's.
    #[must_use]
    pub fn has(&self, id: &AttachmentId) -> bool {
        self.network == id.network
            && self.ifname == id.ifname
            && self.container.as_ref() == Some(&id.container)
    }

    /// The attachment that has the slot, if there is one.
    #[must_use]
    pub fn attachment(&self) -> Option<AttachmentId> {
        self.container.as_ref().map(|container| super::keys::attachment_of(self, container))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{SlotState, Store, keys::slot_key};

    fn slot(transaction: &mut super::super::Write<'_>, address: &str) -> Slot {
        let id = transaction.next_slot_id().unwrap();
        let mut slot = Slot::building(id, "n".parse().unwrap(), "eth0".parse().unwrap(), 5);
        slot.container = Some("c".parse().unwrap());
        slot.addresses = vec![address.parse().unwrap()];
        transaction.put_slot(&slot).unwrap();
        slot
    }

    fn survey(store: &Store) -> Survey {
        store
            .read(|transaction| {
                Ok::<_, StoreError>((transaction.slot_images()?, transaction.survey()?))
            })
            .map(|(before, survey)| survey.read(&before))
            .unwrap()
    }

    #[test]
    fn a_new_database_is_of_this_boot_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let found = survey(&store);
        assert_eq!(found, Survey { boot: crate::boot::boot_id(), ..Survey::default() });
        assert!(found.boot.is_some());
    }

    #[test]
    fn faults_of_the_index_are_found_and_mended() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let made = store.write(|transaction| {
            let slot = slot(transaction, "10.0.0.2/24");
            let (right, mut strange) = (index::key(&slot), index::key(&slot));
            strange[0] = SlotState::Warm.number();
            let table = transaction.tables.index;
            transaction.delete(table, &right, "test")?;
            transaction.put(table, &strange, &[], "test")?;
            transaction.put(table, b"no key of ours", &[], "test")?;
            Ok::<_, StoreError>(slot)
        });
        let made = made.unwrap();
        let faults = survey(&store).index_faults;
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults.contains(&IndexFault::Missing { slot: made.id }));
        let repair = |transaction: &mut super::super::Write<'_>| {
            faults.iter().try_for_each(|fault| transaction.repair_index(fault))
        };
        store.write(repair).unwrap();
        let after = survey(&store);
        assert_eq!((after.index_faults, after.slots), (Vec::new(), vec![made]));
    }

    #[test]
    fn only_what_is_wrong_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store
            .write(|transaction| {
                let slot = slot(transaction, "10.0.0.2/24");
                let (own, other) = (slot.attachment().unwrap(), SlotId(7));
                let stray = AttachmentId { container: "d".parse().unwrap(), ..own.clone() };
                transaction.attach(&own, slot.id)?;
                transaction.attach(&stray, slot.id)?;
                let (mine, lost) = ("10.0.0.2".parse().unwrap(), "10.0.0.3".parse().unwrap());
                transaction.take_address(mine, slot.id)?;
                transaction.take_address(lost, other)?;
                assert!(!transaction.repair_attachment(&own, slot.id)?);
                assert!(transaction.repair_attachment(&stray, slot.id)?);
                assert!(!transaction.repair_address(mine, slot.id)?);
                assert!(!transaction.repair_address(lost, slot.id)?);
                assert!(transaction.repair_address(lost, other)?);
                Ok::<_, StoreError>(())
            })
            .unwrap();
        let left = survey(&store);
        assert_eq!((left.attachments.len(), left.addresses.len()), (1, 1));
    }

    #[test]
    fn what_cannot_be_read_is_reported_and_left() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store
            .write(|transaction| {
                let slot = slot(transaction, "10.0.0.2/24");
                let table = transaction.tables.slots;
                transaction.put(table, &slot_key(slot.id), b"\xffnonsense", "test")
            })
            .unwrap();
        let found = survey(&store);
        assert!(found.slots.is_empty() && found.index_faults.is_empty(), "{found:?}");
        assert!(found.unreadable[0].contains("version"), "{found:?}");
    }

    #[test]
    fn slots_that_changed_meanwhile_are_fresh() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (same, moved) = store
            .write(|transaction| {
                Ok::<_, StoreError>((
                    slot(transaction, "10.0.0.2/24"),
                    slot(transaction, "10.0.0.3/24"),
                ))
            })
            .unwrap();
        let before = store.read(|transaction| transaction.slot_images()).unwrap();
        let new = store.write(|transaction| {
            transaction.advance(moved.id, SlotState::Warm, 6, |_| ())?;
            Ok::<_, StoreError>(slot(transaction, "10.0.0.4/24"))
        });
        let found = store.read(|transaction| transaction.survey()).unwrap().read(&before);
        assert_eq!(found.fresh, HashSet::from([moved.id, new.unwrap().id]));
        assert!(found.slots.contains(&same));
    }

    #[test]
    fn a_new_boot_has_no_slots() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store
            .write(|transaction| {
                let slot = slot(transaction, "10.0.0.2/24");
                transaction.attach(&slot.attachment().unwrap(), slot.id)?;
                transaction.forget_all_slots()?;
                transaction.put_boot("another")
            })
            .unwrap();
        let expected = Survey { boot: Some("another".to_owned()), ..Survey::default() };
        assert_eq!(survey(&store), expected);
    }
}
