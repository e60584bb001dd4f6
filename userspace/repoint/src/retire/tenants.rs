//! How many slots a tenant may have: key `pool.maxSlotsPerTenant`.

use crate::{
    conf::User,
    failpoint,
    model::{NetworkName, PoolPolicy, Tenant},
    netlink::{RouteSocket, namespaces_alive},
    node::{Node, NodeError, PoolError},
    store::{Access, Lingering, SlotState, Transaction},
};

/// Fails if the tenant has as many slots as it may have.
pub(crate) fn ensure_tenant_room<T: Access>(
    transaction: &Transaction<'_, T>,
    network: &NetworkName,
    user: &User,
    policy: &PoolPolicy,
) -> Result<(), NodeError> {
    let (Some(limit), Some(tenant)) = (policy.slots_per_tenant, &user.tenant) else {
        return Ok(());
    };
    if transaction.slots_of(network, tenant)? < limit {
        return Ok(());
    }
    let is_its = |one: &Lingering| (&one.network, &one.tenant) == (network, tenant);
    let lingering = transaction.lingering()?.iter().filter(|one| is_its(one)).count();
    let (network, tenant) = (network.clone(), tenant.clone());
    Err(PoolError::TenantLimit { network, tenant, limit, lingering }.into())
}

/// Stops counting namespaces of deleted slots for their tenants once they are gone. Returns how
/// many were gone.
pub fn end_lingering(node: &Node) -> Result<usize, NodeError> {
    let lingering = node.store.read(|transaction| transaction.lingering())?;
    if lingering.is_empty() {
        return Ok(0);
    }
    let numbers: Vec<_> = lingering.iter().map(|one| one.nsid).collect();
    let alive = namespaces_alive(&mut RouteSocket::open()?, &numbers)?;
    let gone = lingering.iter().filter(|one| !alive.contains(&one.nsid)).map(|one| one.slot);
    let gone: Vec<_> = gone.collect();
    failpoint::hit("lingering:looked");
    if !gone.is_empty() {
        node.store.write(|transaction| {
            gone.iter().try_for_each(|slot| transaction.end_lingering(*slot).map(drop))
        })?;
    }
    Ok(gone.len())
}

/// What [`Node::evict`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Slots that waited and were deleted.
    pub deleted: usize,
    /// Slots in use, which are deleted when they come back.
    pub in_use: usize,
}

impl Node {
    /// Deletes a tenant's waiting slots now, and its slots in use when they come back. No container
    /// gets them again. This is for a tenant that was deleted and created again under the same name.
    pub fn evict(&self, tenant: &Tenant) -> Result<Evicted, NodeError> {
        let slots = self.store.write(|transaction| {
            let mut slots = transaction.slots()?;
            slots.retain(|slot| slot.owns_netns() && slot.tenant.as_ref() == Some(tenant));
            for slot in slots.iter().filter(|slot| slot.retain) {
                let mut slot = slot.clone();
                slot.retain = false;
                transaction.put_slot(&slot)?;
            }
            // For `isolation`, containers that run are another tenant's than those that start.
            transaction.renumber_tenant(tenant)?;
            Ok::<_, NodeError>(slots)
        })?;
        failpoint::hit("evict:recorded");
        let (parked, others): (Vec<_>, Vec<_>) =
            slots.into_iter().partition(|slot| slot.state() == SlotState::Parked);
        super::delete_slots(self, &parked)?;
        let in_use = others.iter().filter(|slot| slot.container.is_some()).count();
        Ok(Evicted { deleted: parked.len(), in_use })
    }
}
