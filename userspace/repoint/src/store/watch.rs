//! Until when the agent vouches for the host's halves of slots.
//!
//! An ADD from a pool compares this one number, in a transaction that it has open anyway. The number is a
//! heartbeat and a generation in one. The agent moves the time on while it watches and finds nothing
//! wrong. It takes the time back as soon as the kernel reports a change that it has not examined. If the
//! agent is killed or stopped, the time passes.

use super::{StoreError, Transaction, Write, transaction::meta};

impl<T: lmdb::Transaction> Transaction<'_, T> {
    /// Until when the halves of slots are watched, nanoseconds since the boot; 0: they are not.
    pub fn watched_until(&self) -> Result<u64, StoreError> {
        self.number(meta::WATCHED)
    }
}

impl Write<'_> {
    /// Records until when the halves of slots are watched.
    pub fn put_watched_until(&mut self, until: u64) -> Result<(), StoreError> {
        self.put_number(meta::WATCHED, until)
    }
}

#[cfg(test)]
mod tests {
    use crate::store::Store;

    #[test]
    fn nobody_watches_a_new_database_nor_one_of_an_older_boot() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let until = || store.read(|transaction| transaction.watched_until()).unwrap();
        assert_eq!(until(), 0);
        store.write(|transaction| transaction.put_watched_until(u64::MAX)).unwrap();
        assert_eq!(until(), u64::MAX);
        store.write(|transaction| transaction.begin_boot("another")).unwrap();
        assert_eq!(until(), 0);
    }
}
