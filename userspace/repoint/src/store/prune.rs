//! Removes template texts, fingerprints and identities that no record names any more.
//!
//! A slot or a pool records them, and many slots share them, so they stay when one slot is deleted.
//! Without pruning, repeated REPLICATE calls would fill the database.

use std::collections::HashSet;

use lmdb::Database;

use super::{Pool, Slot, SlotState, StoreError, Transaction, Write};
use crate::model::{FingerprintDigest, PoolId, TemplateDigest};

/// What slots and pools on record name.
#[derive(Debug, Default)]
struct Named {
    templates: HashSet<TemplateDigest>,
    fingerprints: HashSet<FingerprintDigest>,
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
            named.templates.extend(slot.template);
            named.fingerprints.extend(slot.built.and_then(|built| built.fingerprint));
            named.building |= slot.state() == SlotState::Building;
        }
        for (_, pool) in pools {
            named.templates.extend(pool.template);
            named.fingerprints.extend(pool.fingerprint);
        }
        named
    }
}

impl<T: lmdb::Transaction> Transaction<'_, T> {
    /// Whether these slots and pools leave any template or fingerprint unnamed, or an identity unused.
    ///
    /// `now` is in nanoseconds since the boot.
    pub fn has_unnamed(
        &self,
        slots: &[Slot],
        pools: &[(PoolId, Pool)],
        now: u64,
    ) -> Result<bool, StoreError> {
        let named = Named::of(slots, pools);
        Ok(!self.unnamed_templates(&named)?.is_empty()
            || !self.unnamed_fingerprints(&named)?.is_empty()
            || !self.unused_numbers(slots, now)?.is_empty())
    }

    fn unnamed_templates(&self, named: &Named) -> Result<Vec<Vec<u8>>, StoreError> {
        let is_named = |digest| named.templates.contains(&TemplateDigest(digest));
        self.others(self.tables.templates, is_named, "list templates")
    }

    fn unnamed_fingerprints(&self, named: &Named) -> Result<Vec<Vec<u8>>, StoreError> {
        if named.building {
            return Ok(Vec::new());
        }
        let is_named = |digest| named.fingerprints.contains(&FingerprintDigest(digest));
        self.others(self.tables.fingerprints, is_named, "list fingerprints")
    }

    /// The keys of a table that no record names.
    fn others(
        &self,
        table: Database,
        is_named: impl Fn([u8; 32]) -> bool,
        what: &'static str,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut others = Vec::new();
        for entry in self.entries(table, what)? {
            let (key, _) = entry?;
            if !key.try_into().is_ok_and(&is_named) {
                others.push(key.to_vec());
            }
        }
        Ok(others)
    }
}

impl Write<'_> {
    /// Removes template texts and fingerprints that no record names, and identities that no slot has had
    /// for an hour; returns how many. `now` is in nanoseconds since the boot.
    pub fn prune(&mut self, now: u64) -> Result<usize, StoreError> {
        let slots = self.slots()?;
        let unused = self.unused_numbers(&slots, now)?;
        let named = Named::of(&slots, &self.pools()?);
        let templates = self.unnamed_templates(&named)?;
        let fingerprints = self.unnamed_fingerprints(&named)?;
        let tables = self.tables;
        for key in &templates {
            self.delete(tables.templates, key, "forget a template")?;
        }
        for key in &fingerprints {
            self.delete(tables.fingerprints, key, "forget a fingerprint")?;
        }
        Ok(templates.len() + fingerprints.len() + self.prune_numbers(&unused, now)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    use crate::{
        model::{PoolKey, SlotId},
        store::{Built, SlotKind, Store},
    };

    fn digests(octet: u8) -> (TemplateDigest, FingerprintDigest) {
        (TemplateDigest([octet; 32]), FingerprintDigest([octet; 32]))
    }

    fn put(store: &Store, number: u64, digest: u8, state: Option<SlotState>) -> SlotId {
        let (network, ifname) = ("net".parse().unwrap(), "eth0".parse().unwrap());
        let mut slot = Slot::building(SlotId(number), network, ifname, 1);
        let (template, fingerprint) = digests(digest);
        slot.template = Some(template);
        slot.kind = SlotKind::Pooled { pool: PoolKey([7; 16]) };
        let host_ifindex = NonZeroU32::MIN;
        slot.built = Some(Built {
            host_ifindex,
            mtu: 1500,
            nsid: Some(1),
            fingerprint: Some(fingerprint),
            source_routed: false,
        });
        if let Some(state) = state {
            slot.become_state(state, 1).unwrap();
        }
        store
            .write(|transaction| {
                transaction.put_template(&template, "{}")?;
                transaction.put_fingerprint(&fingerprint, b"-")?;
                transaction.put_slot(&slot)
            })
            .unwrap();
        slot.id
    }

    #[test]
    fn what_nobody_names_is_forgotten_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let prune = || store.write(|transaction| transaction.prune(1)).unwrap();
        let unnamed = || {
            store.read(|transaction| {
                transaction.has_unnamed(&transaction.slots()?, &transaction.pools()?, 1)
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
                    let (template, fingerprint) = digests(digest);
                    Ok::<_, StoreError>((
                        transaction.template(&template)?.is_some(),
                        transaction.fingerprint(&fingerprint)?.is_some(),
                    ))
                })
                .unwrap()
        };
        assert_eq!((left(1), left(2)), ((true, true), (false, false)));
        assert!(!unnamed().unwrap());
    }
}
