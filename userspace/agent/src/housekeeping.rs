//! Periodic housekeeping: deletes slots of outdated configurations, and clears what killed
//! processes left. The sweeper, which looks less often, repairs what else is stale.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use repoint::{
    failpoint,
    model::{PoolKey, PoolPolicy},
    node::{Node, NodeError, mtu_of_pool, mtu_of_uplink, now, restore_node},
    pool::{delete_stale, resume_scrubbing},
    retire::{end_lingering, forget_old_connections},
    store::Slot,
    verbs::follow_templates,
};
use tracing::{info, warn};

use crate::worker::log_failure;

/// Interval of housekeeping.
const INTERVAL: Duration = Duration::from_secs(5);

/// Whether the uplink, or what leads there, may have changed since the pools were compared with it.
#[derive(Debug, Default)]
pub(crate) struct UplinkChange(AtomicBool);

impl UplinkChange {
    /// Reports a change.
    pub(crate) fn report(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// What is remembered from look to look.
#[derive(Debug)]
pub(crate) struct Housekeeping {
    last: Option<Instant>,
    /// Reported by the watcher: the pools are compared with the uplink at once.
    change: Arc<UplinkChange>,
    /// MTU of the uplink at the last look, bytes, if there was one.
    uplink: Option<u32>,
}

impl Housekeeping {
    pub(crate) fn new(change: Arc<UplinkChange>) -> Self {
        Self { last: None, change, uplink: None }
    }

    /// Does the housekeeping, if it is due. A step that fails is logged, and does not stop the others.
    pub(crate) fn look(&mut self, node: &Node) {
        if self.last.is_some_and(|last| last.elapsed() < INTERVAL) {
            if self.change.take() {
                log_failure("delete stale slots", self.delete_stale(node));
            }
            return;
        }
        self.last = Some(Instant::now());
        log_failure("follow templates", follow_templates(node));
        failpoint::hit("controller:followed");
        log_failure("delete stale slots", self.delete_stale(node));
        failpoint::hit("controller:deleted-unused");
        log_failure("resume scrubbing", resume_scrubbing(node));
        failpoint::hit("controller:resumed");
        log_failure("restore what slots need of the node", restore(node));
        failpoint::hit("controller:restored");
        log_failure("forget old connections", forget_old_connections(node, now()));
        failpoint::hit("controller:cooldowns");
        log_failure("look for lingering namespaces", end_lingering(node));
        failpoint::hit("controller:lingering");
    }

    /// Deletes waiting slots that no pool can use. Their pool builds from something else now, or
    /// has another MTU or a narrower scope.
    fn delete_stale(&mut self, node: &Node) -> Result<(), NodeError> {
        let uplink = mtu_of_uplink()?;
        // A route that is gone or different for a moment does not count: two looks must see the same MTU.
        let settled = uplink.filter(|_| self.uplink == uplink);
        if uplink.is_some() && settled.is_none() {
            // The next round looks again.
            self.change.report();
        }
        self.uplink = uplink;
        let mut pools: HashMap<PoolKey, Wants> = HashMap::new();
        for (_, pool) in node.pools()? {
            let mtu = settled.map(|uplink| mtu_of_pool(node, &pool, uplink)).transpose();
            let mtu = log_failure("find the MTU of a pool", mtu).flatten();
            pools.insert(pool.key, Wants { mtu, policy: pool.configured });
        }
        let number = delete_stale(node, |slot| is_stale(slot, &pools))?;
        if number > 0 {
            info!(
                "deleted {number} slots that no container would get any more: their pools are gone, or \
                 build others (configuration, MTU or scope)"
            );
        }
        Ok(())
    }
}

/// What a pool requires of its slots.
struct Wants {
    /// Their MTU, bytes, where it is known.
    mtu: Option<u32>,
    /// The policy that defines the trust domains.
    policy: PoolPolicy,
}

impl Wants {
    fn wants(&self, slot: &Slot) -> bool {
        self.mtu.zip(slot.built).is_none_or(|(mtu, built)| mtu == built.mtu)
            && slot.domain.as_ref().is_none_or(|own| slot.retain && own.is_within(&self.policy))
    }
}

/// Whether no container would get the slot.
fn is_stale(slot: &Slot, pools: &HashMap<PoolKey, Wants>) -> bool {
    let key = slot.kind.pool();
    key.is_some_and(|key| !pools.get(&key).is_some_and(|pool| pool.wants(slot)))
}

/// Restores forwarding and the masquerade rule, if slots need them. The watcher does so as soon as
/// the kernel reports a change. This covers changes that the kernel does not report.
fn restore(node: &Node) -> Result<(), NodeError> {
    for lack in restore_node(node)? {
        warn!("{lack}: restored it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    use repoint::{
        model::{Domain, FingerprintDigest, Scope, SlotId},
        store::{Built, SlotKind},
    };

    #[test]
    fn a_slot_is_stale_where_its_pool_or_its_domain_has_no_use_for_it() {
        let mut slot = Slot::building(SlotId(1), "n".parse().unwrap(), "eth0".parse().unwrap(), 0);
        slot.kind = SlotKind::Pooled { pool: PoolKey([1; 16]) };
        slot.built = Some(Built {
            host_ifindex: NonZeroU32::MIN,
            mtu: 1450,
            nsid: Some(1),
            fingerprint: Some(FingerprintDigest([1; 32])),
            source_routed: false,
        });
        let stale = |slot: &Slot, pool: u8, mtu, scope| {
            let policy = PoolPolicy { scope, share_without_tenant: true, ..PoolPolicy::default() };
            is_stale(slot, &HashMap::from([(PoolKey([pool; 16]), Wants { mtu, policy })]))
        };
        let is_stale = |pool, mtu| stale(&slot, pool, mtu, Scope::Function);
        assert!(!is_stale(1, Some(1450)));
        assert!(!is_stale(1, None));
        assert!(is_stale(1, Some(1500)));
        assert!(is_stale(2, Some(1450)));
        let mut parked = slot.clone();
        (parked.domain, parked.retain) = (Some(Domain::Tenant(None)), true);
        assert!(!stale(&parked, 1, None, Scope::Tenant));
        assert!(stale(&parked, 1, None, Scope::Function), "the scope is narrower now");
        parked.retain = false;
        assert!(stale(&parked, 1, None, Scope::Network), "its tenant was evicted");
    }
}
