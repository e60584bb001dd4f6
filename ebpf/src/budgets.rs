//! Map `flow_budgets`: how many flows a slot, and a tenant's slots, may still open.
//!
//! Flows that are opened push out others that have had no packet for long. A slot that opens as many as it can
//! must not end its neighbours' flows.

use aya_ebpf::{bindings::BPF_ANY, btf_maps::LruHashMap, macros::btf_map};
use repoint_common::{
    conntrack::{
        BUDGET_FRAGMENTS, BUDGET_RECEIVED, BUDGET_SLOT, BUDGET_TENANT, BURST, BudgetKey,
        FRAGMENTS_PER_SECOND, MAX_BUDGETS, SLOT_PER_SECOND, TENANT_PER_SECOND,
    },
    policy::HOST,
};

use crate::{conntrack::SECOND, subject::End};

#[btf_map(name = "flow_budgets")]
static BUDGETS: LruHashMap<BudgetKey, u64, MAX_BUDGETS> = LruHashMap::new();

/// Time in which a slot earns a flow, a tenant, and a slot a fragmented packet, in nanoseconds.
const SLOT_COST: u64 = SECOND / SLOT_PER_SECOND;
const TENANT_COST: u64 = SECOND / TENANT_PER_SECOND;
const FRAGMENT_COST: u64 = SECOND / FRAGMENTS_PER_SECOND;

/// Whether the first end may open a flow to the second now. It then has one less.
///
/// What others open to a slot must not keep it from opening its own, so these are counted apart. Flows that the
/// node opens are free.
#[inline(always)]
pub fn spend(opener: &End, other: &End, now: u64) -> bool {
    if opener.identity == HOST {
        return true;
    }
    if !opener.is_local() {
        let received = BudgetKey { kind: BUDGET_RECEIVED, number: other.ifindex };
        return take(&received, SLOT_COST, BURST, now);
    }
    let slot = BudgetKey { kind: BUDGET_SLOT, number: opener.ifindex };
    if !take(&slot, SLOT_COST, BURST, now) {
        return false;
    }
    let tenant = BudgetKey { kind: BUDGET_TENANT, number: opener.tenant };
    opener.tenant == 0 || take(&tenant, TENANT_COST, BURST, now)
}

/// Gives a flow back that has ended: its element makes room for another.
#[inline(always)]
pub fn give_back(opener: &End, other: &End, now: u64) {
    if opener.identity == HOST {
        return;
    }
    if !opener.is_local() {
        return add(&BudgetKey { kind: BUDGET_RECEIVED, number: other.ifindex }, SLOT_COST, now);
    }
    add(&BudgetKey { kind: BUDGET_SLOT, number: opener.ifindex }, SLOT_COST, now);
    if opener.tenant != 0 {
        add(&BudgetKey { kind: BUDGET_TENANT, number: opener.tenant }, TENANT_COST, now);
    }
}

/// Whether the ports of a slot's fragmented packet may be kept.
#[inline(always)]
pub fn spend_fragment(sender: &End, receiver: &End, now: u64) -> bool {
    let slot = if sender.is_local() { sender } else { receiver };
    let key = BudgetKey { kind: BUDGET_FRAGMENTS, number: slot.ifindex };
    take(&key, FRAGMENT_COST, FRAGMENTS_PER_SECOND, now)
}

fn add(key: &BudgetKey, cost: u64, now: u64) {
    let Some(element) = BUDGETS.get_ptr_mut(key) else { return };
    // SAFETY: the element is one aligned word, and stays in memory.
    let paid = unsafe { element.read_volatile() };
    if paid > now + cost {
        // SAFETY: as above.
        unsafe { element.write_volatile(paid - cost) };
    }
}

/// Takes one that costs this much time. CPUs that do so at the same time may both pay with the same.
fn take(key: &BudgetKey, cost: u64, burst: u64, now: u64) -> bool {
    let Some(element) = BUDGETS.get_ptr_mut(key) else {
        // Without room for the element it is free: the map has room for all slots.
        let _ = BUDGETS.insert(key, now + cost, u64::from(BPF_ANY));
        return true;
    };
    // SAFETY: the element is one aligned word, and stays in memory.
    let paid = unsafe { element.read_volatile() };
    let paid = if paid > now { paid } else { now } + cost;
    if paid > now + cost * burst {
        return false;
    }
    // SAFETY: as above.
    unsafe { element.write_volatile(paid) };
    true
}
