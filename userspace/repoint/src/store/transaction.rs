//! What can be read and written in one transaction.

use lmdb::{Cursor as _, Database, RoCursor, RoTransaction, RwTransaction, WriteFlags};

use super::{StoreError, Tables, environment::commit, keys::number};

/// Keys of the table `meta`.
pub(super) mod meta {
    pub(in crate::store) const SCHEMA: &str = "schema";
    /// Upper 16 of the 48 bits of slot numbers.
    pub(in crate::store) const EPOCH: &str = "slot-epoch";
    /// The number given last, lower 32 bits.
    pub(in crate::store) const LAST_SLOT: &str = "last-slot";
    /// Four times the revision of the policies that were copied, 2 if the maps may not have them whole, 1 if there
    /// are any.
    pub(in crate::store) const POLICIES: &str = "policies";
    /// The number that a policy got last.
    pub(in crate::store) const LAST_POLICY: &str = "last-policy";
    pub(in crate::store) const LAST_IDENTITY: &str = "last-identity";
    /// The network namespace in which the host's ends of slots are.
    pub(in crate::store) const HOST_NETNS: &str = "home";
    /// The boot that the database is of.
    pub(in crate::store) const BOOT: &str = "boot";
    /// Until when the agent vouches for the halves of slots on the node.
    pub(in crate::store) const WATCHED: &str = "watched-until";
}

/// A transaction over LMDB's own.
pub struct Transaction<'env, T> {
    pub(super) inner: T,
    pub(super) tables: &'env Tables,
}

/// What a transaction can do with the database: read, or read and write.
pub trait Access: lmdb::Transaction {}

impl<T: lmdb::Transaction> Access for T {}

/// A key and its value.
pub(super) type Pair<'txn> = Result<(&'txn [u8], &'txn [u8]), StoreError>;

/// A transaction that reads.
pub type Read<'env> = Transaction<'env, RoTransaction<'env>>;
/// A transaction that reads and writes.
pub type Write<'env> = Transaction<'env, RwTransaction<'env>>;

impl<'env, T: lmdb::Transaction> Transaction<'env, T> {
    pub(super) fn new(inner: T, tables: &'env Tables) -> Self {
        Self { inner, tables }
    }

    pub(super) fn commit(self) -> Result<(), StoreError> {
        commit(self.inner).map_err(|source| StoreError::Lmdb { what: "commit", source })
    }

    /// Version of the schema; none: the database is new.
    pub(super) fn schema(&self) -> Result<Option<u32>, StoreError> {
        let value = self.get(self.tables.meta, meta::SCHEMA.as_bytes(), "read the schema")?;
        value.map(|bytes| number("schema", bytes).map(u32::from_le_bytes)).transpose()
    }

    pub(super) fn number(&self, key: &'static str) -> Result<u64, StoreError> {
        self.number_in(self.tables.meta, key.as_bytes())
    }

    /// A number of a table; 0 where it has none.
    pub(super) fn number_in(&self, table: Database, key: &[u8]) -> Result<u64, StoreError> {
        let bytes = self.get(table, key, "read a counter")?;
        bytes.map_or(Ok(0), |bytes| number("counter", bytes).map(u64::from_le_bytes))
    }

    pub(super) fn get(
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

    pub(super) fn entries(
        &self,
        table: Database,
        what: &'static str,
    ) -> Result<impl Iterator<Item = Pair<'_>>, StoreError> {
        Entries::open(&self.inner, table, &[], what)
    }
}

/// The entries of a table from a key on. LMDB's own iterator does not keep its cursor open.
pub(super) struct Entries<'txn> {
    iterator: lmdb::Iter<'txn>,
    _cursor: RoCursor<'txn>,
    what: &'static str,
}

impl<'txn> Entries<'txn> {
    pub(super) fn open(
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
    pub(super) fn put_number(&mut self, key: &'static str, value: u64) -> Result<(), StoreError> {
        self.put(self.tables.meta, key.as_bytes(), &value.to_le_bytes(), "record a counter")
    }

    pub(super) fn put(
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

    pub(super) fn delete(
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

    /// Deletes all entries of a table.
    pub(super) fn clear(&mut self, table: Database, what: &'static str) -> Result<(), StoreError> {
        self.inner.clear_db(table).map_err(|source| StoreError::Lmdb { what, source })
    }
}
