//! Map `flow_budgets`: how many flows a slot, and a tenant's slots, may still open.
//!
//! Flows that are opened push out others that have had no packet for long. A slot that opens as many as it can
//! must not end its neighbours' flows.

use aya_ebpf::{bindings::BPF_ANY, btf_maps::LruHashMap, macros::btf_map};
use repoint_common::conntrack::{
    BUDGET_SLOT, BUDGET_TENANT, BURST, BudgetKey, MAX_BUDGETS, SLOT_PER_SECOND, TENANT_PER_SECOND,
};

use crate::{conntrack::SECOND, subject::End};

#[btf_map(name = "flow_budgets")]
static BUDGETS: LruHashMap<BudgetKey, u64, MAX_BUDGETS> = LruHashMap::new();

/// Time in which a slot earns a flow, and a tenant, in nanoseconds.
const SLOT_COST: u64 = SECOND / SLOT_PER_SECOND;
const TENANT_COST: u64 = SECOND / TENANT_PER_SECOND;

/// Whether a slot may open a flow now. It then has one less.
#[inline(always)]
pub fn spend(end: &End, now: u64) -> bool {
    let slot = BudgetKey { kind: BUDGET_SLOT, number: end.ifindex };
    if !take(&slot, SLOT_COST, now) {
        return false;
    }
    let tenant = BudgetKey { kind: BUDGET_TENANT, number: end.tenant };
    end.tenant == 0 || take(&tenant, TENANT_COST, now)
}

/// Gives a flow back that has ended: its element makes room for another.
#[inline(always)]
pub fn give_back(end: &End, now: u64) {
    add(&BudgetKey { kind: BUDGET_SLOT, number: end.ifindex }, SLOT_COST, now);
    if end.tenant != 0 {
        add(&BudgetKey { kind: BUDGET_TENANT, number: end.tenant }, TENANT_COST, now);
    }
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

/// Takes a flow that costs this much time. CPUs that do so at the same time may both pay with the same.
fn take(key: &BudgetKey, cost: u64, now: u64) -> bool {
    let Some(element) = BUDGETS.get_ptr_mut(key) else {
        // Without room for the element, the flow is free: the map has room for all slots.
        let _ = BUDGETS.insert(key, now + cost, u64::from(BPF_ANY));
        return true;
    };
    // SAFETY: the element is one aligned word, and stays in memory.
    let paid = unsafe { element.read_volatile() };
    let paid = if paid > now { paid } else { now } + cost;
    if paid > now + cost * BURST {
        return false;
    }
    // SAFETY: as above.
    unsafe { element.write_volatile(paid) };
    true
}
