//! How many slots each tenant has.
//!
//! Each tenant of a network has a counter, which every change of a slot updates, so that no ADD counts
//! slots. A slot counts from its first use until it is deleted. A slot with a namespace of its own
//! counts for as long as a process keeps the namespace alive.

use super::{
    CodecError, Slot, StoreError,
    keys::{number, slot_key, slot_number},
    transaction::{Transaction, Write},
};
use crate::model::{NetworkName, SlotId, Tenant};

/// A namespace that may have outlived its slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lingering {
    /// The slot that was deleted.
    pub slot: SlotId,
    /// Its network.
    pub network: NetworkName,
    /// The tenant that had it last.
    pub tenant: Tenant,
    /// Number of the namespace in the node's.
    pub nsid: i32,
}

/// Key of the counter to which a slot is charged.
///
/// None for a slot that was never used, or has no tenant.
pub(super) fn charge(slot: &Slot) -> Option<Vec<u8>> {
    slot.tenant.as_ref().filter(|_| slot.used).map(|tenant| tenant_key(&slot.network, tenant))
}

/// Network and tenant, apart by a byte that neither holds. At most 507 bytes of LMDB's 511.
fn tenant_key(network: &NetworkName, tenant: &Tenant) -> Vec<u8> {
    [network.as_str(), tenant.as_str()].join("\0").into_bytes()
}

fn parse_tenant(key: &[u8]) -> Result<(NetworkName, Tenant), StoreError> {
    let damaged = |source| StoreError::Record { what: "tenant", source };
    let text = String::from_utf8_lossy(key);
    let (network, tenant) =
        text.split_once('\0').ok_or(damaged(CodecError::Truncated { field: "key" }))?;
    let name = |error| damaged(CodecError::Name(error));
    Ok((network.parse().map_err(name)?, tenant.parse().map_err(name)?))
}

/// The number of a lingering namespace, and the key of the counter that it is charged to.
fn parse_lingering(value: &[u8]) -> Result<(i32, &[u8]), StoreError> {
    let what = "lingering namespace";
    let (nsid, key) = value
        .split_at_checked(4)
        .ok_or(StoreError::Record { what, source: CodecError::Truncated { field: "number" } })?;
    Ok((number(what, nsid).map(i32::from_le_bytes)?, key))
}

impl<T: lmdb::Transaction> Transaction<'_, T> {
    /// How many slots a tenant has in a network, with namespaces that outlive theirs.
    pub fn slots_of(&self, network: &NetworkName, tenant: &Tenant) -> Result<u32, StoreError> {
        self.count_of(&tenant_key(network, tenant))
    }

    fn count_of(&self, key: &[u8]) -> Result<u32, StoreError> {
        let found = self.get(self.tables.tenants, key, "read a tenant's counter")?;
        found.map_or(Ok(0), |bytes| number("tenant's counter", bytes).map(u32::from_le_bytes))
    }

    /// Every tenant that has slots, with how many.
    pub fn tenants(&self) -> Result<Vec<(NetworkName, Tenant, u32)>, StoreError> {
        self.entries(self.tables.tenants, "list tenants")?
            .map(|entry| {
                let (key, value) = entry?;
                let (network, tenant) = parse_tenant(key)?;
                let count = number("tenant's counter", value).map(u32::from_le_bytes)?;
                Ok((network, tenant, count))
            })
            .collect()
    }

    /// Deleted slots whose namespaces may still exist.
    pub fn lingering(&self) -> Result<Vec<Lingering>, StoreError> {
        self.entries(self.tables.lingering, "list lingering namespaces")?
            .map(|entry| {
                let (key, value) = entry?;
                let slot = slot_number("lingering namespace", key)?;
                let (nsid, key) = parse_lingering(value)?;
                let (network, tenant) = parse_tenant(key)?;
                Ok(Lingering { slot, network, tenant, nsid })
            })
            .collect()
    }
}

impl Write<'_> {
    /// Moves a slot from one tenant's counter to another's.
    pub(super) fn recharge(
        &mut self,
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        if old == new {
            return Ok(());
        }
        if let Some(old) = old {
            self.discharge(old)?;
        }
        match new {
            Some(new) => self.put_count(new, self.count_of(new)? + 1),
            None => Ok(()),
        }
    }

    fn discharge(&mut self, key: &[u8]) -> Result<(), StoreError> {
        match self.count_of(key)?.saturating_sub(1) {
            0 => self.delete(self.tables.tenants, key, "forget a tenant's counter"),
            left => self.put_count(key, left),
        }
    }

    fn put_count(&mut self, key: &[u8], count: u32) -> Result<(), StoreError> {
        self.put(self.tables.tenants, key, &count.to_le_bytes(), "record a tenant's counter")
    }

    /// Charges the namespace of a slot that ends to its tenant.
    ///
    /// The charge lasts until [`Write::end_lingering`]. A slot without a namespace of its own is
    /// discharged at once.
    pub(super) fn charge_lingering(&mut self, slot: &Slot) -> Result<(), StoreError> {
        match charge(slot) {
            Some(key) => match slot.built.and_then(|built| built.nsid) {
                Some(nsid) => {
                    let value = [nsid.to_le_bytes().as_slice(), &key].concat();
                    let table = self.tables.lingering;
                    self.put(table, &slot_key(slot.id), &value, "record a lingering namespace")
                }
                None => self.discharge(&key),
            },
            None => Ok(()),
        }
    }

    /// Records that the namespace of a deleted slot is gone.
    ///
    /// Returns whether the namespace was on record.
    pub fn end_lingering(&mut self, slot: SlotId) -> Result<bool, StoreError> {
        let table = self.tables.lingering;
        let found = self.get(table, &slot_key(slot), "read a lingering namespace")?;
        let Some(value) = found.map(<[u8]>::to_vec) else { return Ok(false) };
        self.discharge(parse_lingering(&value)?.1)?;
        self.delete(table, &slot_key(slot), "forget a lingering namespace")?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    use crate::{
        model::{FingerprintDigest, PoolKey},
        store::{Built, SlotKind, SlotState, Store},
    };

    fn slot(number: u64, nsid: Option<i32>) -> Slot {
        let (network, ifname) = ("net".parse().unwrap(), "eth0".parse().unwrap());
        let mut slot = Slot::building(SlotId(number), network, ifname, 1);
        if nsid.is_some() {
            slot.kind = SlotKind::Pooled { pool: PoolKey([7; 16]) };
        }
        slot.built = Some(Built {
            host_ifindex: NonZeroU32::MIN,
            mtu: 1500,
            nsid,
            fingerprint: nsid.map(|_| FingerprintDigest([1; 32])),
            source_routed: false,
        });
        slot
    }

    #[test]
    fn a_slot_counts_from_its_first_use_until_its_namespace_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (network, tenant): (NetworkName, Tenant) =
            ("net".parse().unwrap(), "t".parse().unwrap());
        let count = || store.read(|t| t.slots_of(&network, &tenant)).unwrap();
        let (kept, direct) = (slot(1, Some(7)), slot(2, None));
        store.write(|t| t.put_slot(&kept).and_then(|()| t.put_slot(&direct))).unwrap();
        assert_eq!(count(), 0);
        let used = |id| {
            let used = store.write(|t| {
                t.advance(id, SlotState::Active, 2, |slot| {
                    (slot.used, slot.tenant) = (true, Some(tenant.clone()));
                })
            });
            used.unwrap()
        };
        let (kept, direct) = (used(kept.id), used(direct.id));
        assert_eq!(count(), 2);
        // Another change of the same slot counts nothing.
        store.write(|t| t.advance(kept.id, SlotState::Dirty, 3, |_| ())).unwrap();
        assert_eq!(count(), 2);
        store.write(|t| t.forget(&direct, 0)).unwrap();
        assert_eq!(count(), 1);
        store.write(|t| t.forget(&kept, 0)).unwrap();
        assert_eq!(count(), 1, "a process may hold the namespace");
        let lingering = store.read(|t| t.lingering()).unwrap();
        assert_eq!(
            lingering,
            [Lingering {
                slot: kept.id,
                network: network.clone(),
                tenant: tenant.clone(),
                nsid: 7
            }]
        );
        assert!(store.write(|t| t.end_lingering(kept.id)).unwrap());
        assert!(!store.write(|t| t.end_lingering(kept.id)).unwrap());
        assert_eq!(count(), 0);
        assert_eq!(store.read(|t| t.tenants()).unwrap(), []);
    }
}
