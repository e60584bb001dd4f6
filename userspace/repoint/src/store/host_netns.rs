//! The host netns, which holds the host-side interfaces of slots.
//!
//! A process in another namespace finds none of these interfaces, and would take every slot for lost.

use super::{StoreError, Transaction, Write, transaction::meta};
use crate::netns::NetnsInode;

impl<T: lmdb::Transaction> Transaction<'_, T> {
    /// Refuses a namespace other than that of the slots on record.
    pub fn check_host_netns(&self, here: NetnsInode) -> Result<(), StoreError> {
        match self.host_netns()? {
            Some(host) if host != encode(here) && self.any_slot(|_| true)? => {
                Err(StoreError::WrongNetns { host, here: encode(here) })
            }
            _ => Ok(()),
        }
    }

    fn host_netns(&self) -> Result<Option<String>, StoreError> {
        let found =
            self.get(self.tables.meta, meta::HOST_NETNS.as_bytes(), "read the host netns")?;
        Ok(found.map(|text| String::from_utf8_lossy(text).into_owned()))
    }
}

impl Write<'_> {
    /// Records the namespace in which a slot is about to be built.
    ///
    /// Refuses a namespace other than that of the slots on record.
    pub fn record_host_netns(&mut self, here: NetnsInode) -> Result<(), StoreError> {
        self.check_host_netns(here)?;
        let (recorded, here) = (self.host_netns()?, encode(here));
        if recorded.as_ref() == Some(&here) {
            return Ok(());
        }
        let table = self.tables.meta;
        self.put(table, meta::HOST_NETNS.as_bytes(), here.as_bytes(), "record the host netns")
    }
}

fn encode(namespace: NetnsInode) -> String {
    format!("{}:{}", namespace.device, namespace.inode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Slot, Store};

    #[test]
    fn the_first_slot_sets_the_host_netns_of_all() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let [one, other] = [1, 2].map(|inode| NetnsInode { device: 4, inode });
        let settle = |here| store.write(|transaction| transaction.record_host_netns(here));
        // Without a slot on record any namespace will do.
        settle(one).unwrap();
        settle(other).unwrap();
        let slot: Result<Slot, StoreError> = store.write(|transaction| {
            let id = transaction.next_slot_id()?;
            let slot = Slot::building(id, "net".parse().unwrap(), "eth0".parse().unwrap(), 1);
            transaction.put_slot(&slot)?;
            Ok(slot)
        });
        settle(other).unwrap();
        assert!(matches!(settle(one), Err(StoreError::WrongNetns { .. })));
        let check = |here| store.read(|transaction| transaction.check_host_netns(here));
        assert!(check(one).is_err() && check(other).is_ok());
        store.write(|transaction| transaction.forget(slot.as_ref().unwrap(), 0)).unwrap();
        check(one).unwrap();
    }
}
