//! Which numbers functions, containers and tenants have, and for how long.

use super::*;
use crate::{
    model::SlotId,
    store::{SlotState, Store},
};

fn subject(tenant: &str, function: &str, share: bool, slot: u64) -> Subject {
    let (tenant, function) = (tenant.parse().ok(), function.parse().ok());
    let network = "net".parse().unwrap();
    Subject::of(&network, tenant.as_ref(), function.as_ref(), share, SlotId(slot))
}

fn assign(store: &Store, subject: &Subject, share: bool) -> (u32, u32) {
    let assigned = store.write(|transaction| transaction.assign_identity(subject, share));
    let (identity, tenant) = assigned.unwrap();
    (identity.0, tenant.0)
}

fn use_it(store: &Store, number: u64, subject: &Subject) -> Slot {
    let (network, ifname) = ("net".parse().unwrap(), "eth0".parse().unwrap());
    let mut slot = Slot::building(SlotId(number), network, ifname, 1);
    (slot.tenant, slot.function) = (subject.tenant().cloned(), subject.function().cloned());
    slot.used = true;
    slot.become_state(SlotState::Active, 1).unwrap();
    store
        .write(|transaction| {
            let (identity, tenant) = transaction.assign_identity(subject, false)?;
            (slot.identity, slot.tenant_number) = (identity, tenant);
            transaction.put_slot(&slot)
        })
        .unwrap();
    slot
}

#[test]
fn containers_of_a_function_share_an_identity_and_those_of_a_tenant_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let f = assign(&store, &subject("t", "f", false, 1), false);
    assert!(f.0 >= Identity::FIRST.0);
    assert_eq!(assign(&store, &subject("t", "f", false, 2), false), f);
    let g = assign(&store, &subject("t", "g", false, 1), false);
    assert!(g.0 != f.0 && g.1 == f.1, "{g:?} {f:?}");
    let other = assign(&store, &subject("u", "f", false, 1), false);
    assert!(other.0 != f.0 && other.1 != f.1, "{other:?} {f:?}");
    let single = assign(&store, &subject("t", "", false, 1), false);
    let next = assign(&store, &subject("t", "", false, 2), false);
    assert!(single.0 != next.0 && single.1 == f.1 && next.1 == f.1);
    let nobodys = assign(&store, &subject("", "f", false, 3), false);
    assert_eq!(nobodys.1, 0);
    let shared = assign(&store, &subject("", "f", true, 3), true);
    assert!(shared.1 != 0 && shared == assign(&store, &subject("", "f", true, 4), true));
    let listed = store.read(|transaction| transaction.identities()).unwrap();
    let numbers: Vec<_> = listed.iter().map(|record| record.identity.0).collect();
    assert!(numbers.is_sorted() && numbers.len() == 4, "{listed:?}");
}

#[test]
fn a_number_is_kept_for_an_hour_after_its_last_slot() {
    const HOUR: u64 = 3_600_000_000_000;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let function = subject("t", "f", false, 1);
    let slot = use_it(&store, 1, &function);
    let prune = |now| store.write(|transaction| transaction.prune(now)).unwrap();
    let listed = || store.read(|transaction| transaction.identities()).unwrap().len();
    assert_eq!(prune(HOUR), 0);
    store.write(|transaction| transaction.forget(&slot, 0)).unwrap();
    assert_eq!((prune(2 * HOUR), prune(3 * HOUR - 1), listed()), (0, 0, 1));
    // A new slot of the function keeps the number.
    let again = use_it(&store, 2, &function);
    assert_eq!(again.identity, slot.identity);
    assert_eq!((prune(4 * HOUR), listed()), (0, 1));
    store.write(|transaction| transaction.forget(&again, 0)).unwrap();
    // First the function's number, and an hour after it the tenant's, which the function named.
    assert_eq!((prune(5 * HOUR), prune(6 * HOUR), listed()), (0, 1, 0));
    assert_eq!((prune(7 * HOUR), prune(8 * HOUR)), (0, 1));
    let next = use_it(&store, 3, &function);
    assert_ne!(next.identity, again.identity, "a number is not given again at once");
}

#[test]
fn a_tenant_that_is_made_again_has_other_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (of_t, of_u) = (subject("t", "f", false, 1), subject("u", "f", false, 1));
    let (t, u) = (assign(&store, &of_t, false), assign(&store, &of_u, false));
    store.write(|transaction| transaction.renumber_tenant(of_t.tenant().unwrap())).unwrap();
    let again = assign(&store, &of_t, false);
    assert!(again.0 != t.0 && again.1 != t.1, "{again:?} {t:?}");
    assert_eq!(assign(&store, &of_u, false), u);
}

/// Containers of a lost database may still run.
#[test]
fn another_database_begins_with_other_numbers() {
    let begun: HashSet<_> = (0..4)
        .map(|_| {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(folder.path()).unwrap();
            assign(&store, &subject("t", "f", false, 1), false)
        })
        .collect();
    assert!(begun.len() > 1, "{begun:?}");
    let [one, other] = [0x0001_0000_0001, 0x0002_0000_0001].map(SlotId);
    assert_ne!(Identity::of_container(one), Identity::of_container(other));
}

#[test]
fn a_single_container_has_an_identity_of_its_slot() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let slot = use_it(&store, 1, &subject("", "f", false, 1));
    assert_eq!((slot.identity, slot.tenant_number.0), (Identity::of_container(slot.id), 0));
    assert!(slot.identity > Identity::LAST);
    assert_eq!(store.read(|transaction| transaction.identities()).unwrap(), []);
}

/// The identity has fewer bits than the slot's number.
#[test]
fn no_two_slots_on_record_have_the_same_identity() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let next = || store.write(|transaction| transaction.next_slot_id()).unwrap();
    let first = next();
    use_it(&store, first.0, &subject("", "", false, first.0));
    let twin = first.0 ^ 1 << 31;
    store
        .write(|transaction| transaction.put_number(meta::LAST_SLOT, (twin & 0xffff_ffff) - 1))
        .unwrap();
    let second = next();
    assert_eq!(second.0, twin + 1, "the slot {twin:x} would have the identity of {first}");
    assert_ne!(Identity::of_container(first), Identity::of_container(second));
}

#[test]
fn numbers_that_are_taken_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let function = |name| assign(&store, &subject("t", name, false, 1), false);
    store.write(|transaction| transaction.put_number(meta::LAST_IDENTITY, 0)).unwrap();
    // The tenant has the first number.
    let (first, tenant) = function("f");
    assert_eq!((tenant, first), (Identity::FIRST.0, Identity::FIRST.0 + 1));
    store
        .write(|transaction| {
            transaction.put_number(meta::LAST_IDENTITY, u64::from(Identity::LAST.0) - 1)
        })
        .unwrap();
    assert_eq!(function("g").0, Identity::LAST.0);
    assert_eq!(function("h").0, first + 1);
}
