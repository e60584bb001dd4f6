//! Removes template texts and fingerprints that no record names any more.
//!
//! A slot or a pool records them, and many slots share them, so they stay when one slot is deleted.
//! Without pruning, repeated REPLICATE calls would fill the database.

use std::collections::HashSet;

use lmdb::Database;

use super::{Pool, Slot, SlotState, StoreError, Transaction, Write};
use crate::model::PoolId;

/// The digest that stands for none.
const NONE: [u8; 32] = [0; 32];

/// What slots and pools on record name.
#[derive(Debug, Default)]
struct Named {
    templates: HashSet<[u8; 32]>,
    fingerprints: HashSet<[u8; 32]>,
    /// Whether a slot is being built.
    ///
    /// A build records its fingerprint before a slot or a pool names that.
    building: bool,
}

impl Named {
    fn of<'a>(
        slots: impl IntoIterator<Item = &'a Slot>,
        pools: impl IntoIterator<Item = &'a (PoolId, Pool)>,
    ) -> Self {
        let mut named = Self::default();
        for slot in slots {
            named.templates.insert(slot.template);
            named.fingerprints.insert(slot.fingerprint);
            named.building |= slot.state() == SlotState::Building;
        }
        for (_, pool) in pools {
            named.templates.insert(pool.template);
            named.fingerprints.insert(pool.fingerprint);
        }
        named
    }
}

impl<T: lmdb::Transaction> Transaction<'_, T> {
    /// Whether these slots and pools leave any template or fingerprint unnamed.
    pub fn has_unnamed(
        &self,
        slots: &[Slot],
        pools: &[(PoolId, Pool)],
    ) -> Result<bool, StoreError> {
        let named = Named::of(slots, pools);
        Ok(!self.unnamed_templates(&named)?.is_empty()
            || !self.unnamed_fingerprints(&named)?.is_empty())
    }

    fn unnamed_templates(&self, named: &Named) -> Result<Vec<Vec<u8>>, StoreError> {
        self.others(self.tables.templates, &named.templates, "list templates")
    }

    fn unnamed_fingerprints(&self, named: &Named) -> Result<Vec<Vec<u8>>, StoreError> {
        if named.building {
            return Ok(Vec::new());
        }
        self.others(self.tables.fingerprints, &named.fingerprints, "list fingerprints")
    }

    /// The keys of a table that `named` does not hold.
    fn others(
        &self,
        table: Database,
        named: &HashSet<[u8; 32]>,
        what: &'static str,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut others = Vec::new();
        for entry in self.entries(table, what)? {
            let (key, _) = entry?;
            let digest = <[u8; 32]>::try_from(key).unwrap_or(NONE);
            if !named.contains(&digest) {
                others.push(key.to_vec());
            }
        }
        Ok(others)
    }
}

impl Write<'_> {
    /// Removes template texts and fingerprints that no record names; returns how many.
    pub fn prune(&mut self) -> Result<usize, StoreError> {
        let named = Named::of(&self.slots()?, &self.pools()?);
        let templates = self.unnamed_templates(&named)?;
        let fingerprints = self.unnamed_fingerprints(&named)?;
        let tables = self.tables;
        for key in &templates {
            self.delete(tables.templates, key, "forget a template")?;
        }
        for key in &fingerprints {
            self.delete(tables.fingerprints, key, "forget a fingerprint")?;
        }
        Ok(templates.len() + fingerprints.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::SlotId, store::Store};

    fn put(store: &Store, number: u64, digest: u8, state: Option<SlotState>) -> SlotId {
        let (network, ifname) = ("net".parse().unwrap(), "eth0".parse().unwrap());
        let mut slot = Slot::building(SlotId(number), network, ifname, 1);
        (slot.template, slot.fingerprint) = ([digest; 32], [digest; 32]);
        if let Some(state) = state {
            slot.become_state(state, 1).unwrap();
        }
        store
            .write(|transaction| {
                transaction.put_template(&slot.template, "{}")?;
                transaction.put_fingerprint(&slot.fingerprint, b"-")?;
                transaction.put_slot(&slot)
            })
            .unwrap();
        slot.id
    }

    #[test]
    fn what_nobody_names_is_forgotten_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let prune = || store.write(|transaction| transaction.prune()).unwrap();
        let unnamed = || {
            store.read(|transaction| {
                transaction.has_unnamed(&transaction.slots()?, &transaction.pools()?)
            })
        };
        put(&store, 1, 1, Some(SlotState::Warm));
        let gone = put(&store, 2, 2, Some(SlotState::Warm));
        put(&store, 3, 1, Some(SlotState::Warm));
        assert!(!unnamed().unwrap());
        assert_eq!(prune(), 0);
        store
            .write(|transaction| {
                let slot = transaction.slot(gone)?.unwrap();
                transaction.forget(&slot, 0)
            })
            .unwrap();
        assert!(unnamed().unwrap());
        // A fingerprint may be that of a slot that is being built.
        let building = put(&store, 4, 1, None);
        assert_eq!(prune(), 1);
        store
            .write(|transaction| {
                let mut slot = transaction.slot(building)?.unwrap();
                slot.become_state(SlotState::Warm, 1)?;
                transaction.put_slot(&slot)
            })
            .unwrap();
        assert_eq!(prune(), 1);
        let left = |digest: u8| {
            store
                .read(|transaction| {
                    let digest = [digest; 32];
                    Ok::<_, StoreError>((
                        transaction.template(&digest)?.is_some(),
                        transaction.fingerprint(&digest)?.is_some(),
                    ))
                })
                .unwrap()
        };
        assert_eq!((left(1), left(2)), ((true, true), (false, false)));
        assert!(!unnamed().unwrap());
    }
}
