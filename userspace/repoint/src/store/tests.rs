use proptest::prelude::*;

use super::*;
use crate::model::{
    AttachmentId, ContainerId, FingerprintDigest, Hook, Identity, Isolation, LinkLocal, LocalPath,
    PoolKey, SlotId, TemplateDigest, TenantNumber,
};

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

fn slot(store: &Store, container: &str, address: &str) -> Result<Slot, StoreError> {
    store.write(|transaction| {
        let id = transaction.next_slot_id()?;
        let mut slot = Slot::building(id, "net".parse().unwrap(), "eth0".parse().unwrap(), 1);
        let container: ContainerId = container.parse().unwrap();
        slot.container = Some(container.clone());
        slot.addresses = vec![address.parse().unwrap()];
        slot.identity = Identity(7);
        let attachment =
            AttachmentId { network: slot.network.clone(), container, ifname: slot.ifname.clone() };
        transaction.attach(&attachment, id)?;
        transaction.take_address(slot.addresses[0].addr(), id)?;
        transaction.put_slot(&slot)?;
        Ok(slot)
    })
}

fn records(store: &Store) -> (usize, usize, usize) {
    store
        .read(|t| {
            Ok::<_, StoreError>((t.slots()?.len(), t.attachments()?.len(), t.addresses()?.len()))
        })
        .unwrap()
}

#[test]
fn what_is_recorded_is_read_and_forgotten() {
    let (_folder, store) = store();
    let written = slot(&store, "one", "10.0.0.5/24").unwrap();
    let read = store.read(|t| t.slot(written.id)).unwrap().unwrap();
    assert_eq!(read, written);
    assert_eq!(records(&store), (1, 1, 1));
    store.write(|t| t.forget(&written, 0)).unwrap();
    assert_eq!(records(&store), (0, 0, 0));
}

#[test]
fn attachments_and_addresses_are_unique_and_a_failed_transaction_leaves_nothing() {
    let (_folder, store) = store();
    slot(&store, "one", "10.0.0.5/24").unwrap();
    let taken = slot(&store, "one", "10.0.0.6/24").unwrap_err();
    assert!(matches!(taken, StoreError::AttachmentTaken { .. }), "{taken}");
    let taken = slot(&store, "two", "10.0.0.5/24").unwrap_err();
    assert!(matches!(taken, StoreError::AddressTaken { .. }), "{taken}");
    assert_eq!(records(&store), (1, 1, 1));
}

#[test]
fn slots_move_along_their_life_only() {
    let (_folder, store) = store();
    let id = slot(&store, "one", "10.0.0.5/24").unwrap().id;
    let advance = |next| store.write(|t| t.advance(id, next, 2, |_| ())).map(|slot| slot.state());
    assert_eq!(advance(SlotState::Active).unwrap(), SlotState::Active);
    assert!(matches!(advance(SlotState::Warm), Err(StoreError::Transition { .. })));
    assert_eq!(advance(SlotState::Deleting).unwrap(), SlotState::Deleting);
    assert_eq!(advance(SlotState::Deleting).unwrap(), SlotState::Deleting);
}

#[test]
fn another_schema_is_refused() {
    let (folder, store) = store();
    store.write(|t| t.put_schema_for_test(SCHEMA + 1)).unwrap();
    drop(store);
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::Schema { found, .. } if found == SCHEMA + 1), "{error}");
}

/// After a reboot all slots are forgotten in one transaction.
#[test]
fn four_thousand_slots_are_forgotten_in_a_moment() {
    let (_folder, store) = store();
    for batch in 0..40_u32 {
        let fill = |t: &mut Write<'_>| {
            (0..100).try_for_each(|number| {
                let id = t.next_slot_id()?;
                let address = std::net::Ipv4Addr::from(0x0a00_0000 + batch * 100 + number);
                let mut slot =
                    Slot::building(id, "net".parse().unwrap(), "eth0".parse().unwrap(), 1);
                slot.addresses = vec![ipnet::Ipv4Net::from(address).into()];
                t.take_address(address.into(), id)?;
                t.put_slot(&slot)
            })
        };
        store.grow(fill).unwrap();
    }
    assert_eq!(records(&store), (4000, 0, 4000));
    let begun = std::time::Instant::now();
    store.write(|t| t.forget_all_slots()).unwrap();
    let took = begun.elapsed();
    println!("forgetting 4,000 slots took {took:?}");
    assert_eq!(records(&store), (0, 0, 0));
    assert!(took < std::time::Duration::from_millis(100), "{took:?}");
}

#[test]
fn a_database_that_was_removed_or_replaced_is_found_out() {
    let (folder, store) = store();
    store.ensure_current().unwrap();
    std::fs::remove_file(folder.path().join("data.mdb")).unwrap();
    assert!(matches!(store.ensure_current(), Err(StoreError::Gone { .. })));
    let next = Store::open(folder.path()).unwrap();
    assert!(matches!(store.ensure_current(), Err(StoreError::Gone { .. })));
    next.ensure_current().unwrap();
}

#[test]
fn rests_end_with_their_boot() {
    let (_folder, store) = store();
    let mut used = slot(&store, "one", "10.0.0.5/24").unwrap();
    used.used = true;
    store.write(|t| t.forget(&used, u64::MAX)).unwrap();
    let address = used.addresses[0].addr();
    let rests = || store.read(|t| t.cooldown_end(address, 1)).unwrap().is_some();
    assert!(rests());
    store.write(|t| t.forget_all_slots()).unwrap();
    assert!(!rests());
}

#[test]
fn an_address_is_remembered_until_it_has_rested_and_its_connections_are_forgotten() {
    let (_folder, store) = store();
    let unused = slot(&store, "one", "10.0.0.5/24").unwrap();
    let mut used = slot(&store, "two", "10.0.0.6/24").unwrap();
    used.used = true;
    store.write(|t| t.forget(&unused, 9).and_then(|()| t.forget(&used, 9))).unwrap();
    let tracked = || store.read(|t| t.all_tracked()).unwrap();
    let mark = |until| Tracked { address: used.addresses[0].addr(), until };
    let end_cooldowns = |now| store.write(|t| t.end_cooldowns(now)).unwrap();
    assert_eq!(tracked(), [mark(9)]);
    assert_eq!(end_cooldowns(10), 0, "the node may have connections of it");
    store.write(|t| t.untrack(&[mark(8)])).unwrap();
    assert_eq!(tracked(), [mark(9)], "it was in use again since");
    store.write(|t| t.untrack(&[mark(9)])).unwrap();
    assert_eq!(tracked(), []);
    assert_eq!((end_cooldowns(8), end_cooldowns(10)), (0, 1));
    store.write(|t| t.untrack(&[mark(9)])).unwrap();
    assert_eq!(end_cooldowns(10), 0);
}

#[test]
fn many_threads_get_numbers_of_their_own() {
    let (_folder, store) = store();
    let ids: Vec<SlotId> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let next = || store.write(|t| t.next_slot_id()).unwrap();
                    (0..50).map(|_| next()).collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let unique: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), 400);
}

proptest! {
    #[test]
    fn a_slot_survives_its_encoding(
        id in 0_u64..1 << 48,
        mac in any::<[u8; 6]>(),
        v4 in any::<[u8; 4]>(),
        v6 in any::<[u8; 16]>(),
        prefix in 0_u8..=32,
        identity in any::<u32>(),
        flags in any::<(bool, bool, bool, bool)>(),
        link_local in proptest::sample::select(LinkLocal::ALL.to_vec()),
        local_path in proptest::sample::select(LocalPath::ALL.to_vec()),
        hook in proptest::sample::select(Hook::ALL.to_vec()),
        isolation in proptest::sample::select(Isolation::ALL.to_vec()),
        function in proptest::option::of("[a-z]{1,80}"),
        path in proptest::option::of("/[a-z/]{1,200}"),
        times in any::<(u64, u64)>(),
        host_ifindex in any::<std::num::NonZeroU32>(),
        nsid in 0..i32::MAX,
    ) {
        let id = SlotId(id);
        let mut slot = Slot::building(id, "net".parse().unwrap(), "eth0".parse().unwrap(), times.0);
        slot.mac = crate::model::Mac(mac);
        slot.addresses = vec![
            ipnet::IpNet::new(v4.into(), prefix).unwrap(),
            ipnet::IpNet::new(v6.into(), prefix).unwrap(),
        ];
        (slot.identity, slot.tenant_number) = (Identity(identity), TenantNumber(!identity));
        slot.isolation = isolation;
        slot.enforces = flags.3;
        let (own, is_built, flag, _) = flags;
        slot.masquerade = flag;
        slot.template = flag.then_some(TemplateDigest([0; 32]));
        slot.kind = if own { SlotKind::Pooled { pool: PoolKey([0; 16]) } } else { SlotKind::Direct };
        slot.built = is_built.then_some(Built {
            host_ifindex,
            mtu: identity,
            nsid: own.then_some(nsid),
            fingerprint: own.then_some(FingerprintDigest([0; 32])),
            source_routed: flag && !own,
        });
        slot.link_local = link_local;
        (slot.local_path, slot.hook) = (local_path, hook);
        slot.function = function.map(|name| name.parse().unwrap());
        slot.netns_path = path.map(Into::into);
        slot.changed = times.1;
        let bytes = slot.encode();
        prop_assert_eq!(Slot::decode(id, &bytes).unwrap(), slot);
        for length in 0..bytes.len() {
            prop_assert!(Slot::decode(id, &bytes[..length]).is_err());
        }
    }

    #[test]
    fn arbitrary_bytes_are_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(Slot::decode(SlotId(1), &bytes));
        drop(Network::decode(&bytes));
    }
}

#[test]
fn what_was_built_must_be_of_the_kind_that_the_record_says() {
    let id = SlotId(1);
    let mut slot = Slot::building(id, "net".parse().unwrap(), "eth0".parse().unwrap(), 1);
    let pooled = SlotKind::Pooled { pool: PoolKey([1; 16]) };
    let direct = Built {
        host_ifindex: std::num::NonZeroU32::MIN,
        mtu: 1500,
        nsid: None,
        fingerprint: None,
        source_routed: true,
    };
    let fingerprint = Some(FingerprintDigest([1; 32]));
    let own = Built { nsid: Some(0), fingerprint, source_routed: false, ..direct };
    for (kind, built, is_read) in [
        (SlotKind::Direct, direct, true),
        (SlotKind::Direct, own, false),
        (pooled, own, true),
        (pooled, direct, false),
        (pooled, Built { nsid: None, ..own }, false),
        (pooled, Built { fingerprint: None, ..own }, false),
        (pooled, Built { source_routed: true, ..own }, false),
    ] {
        (slot.kind, slot.built) = (kind, Some(built));
        assert_eq!(Slot::decode(id, &slot.encode()).is_ok(), is_read, "{kind:?} {built:?}");
    }
}

/// On a disk: a tmpfs holds no file of another boot.
#[test]
fn slots_of_another_boot_are_forgotten_by_the_first_to_open_and_left_by_who_looks() {
    let (folder, store) = store();
    slot(&store, "one", "10.0.0.5/24").unwrap();
    store.write(|transaction| transaction.put_boot("another")).unwrap();
    drop(store);
    let looked = Store::look(folder.path()).unwrap().unwrap();
    assert_eq!(records(&looked), (1, 1, 1));
    drop(looked);
    if !may_be_of_another(&std::fs::File::open(folder.path()).unwrap()) {
        println!("skipped: {} is on a tmpfs", folder.path().display());
        return;
    }
    let opened = Store::open(folder.path()).unwrap();
    assert_eq!(records(&opened), (0, 0, 0));
    assert_eq!(opened.read(|transaction| transaction.boot()).unwrap(), boot_id());
    slot(&opened, "one", "10.0.0.5/24").unwrap();
    drop(opened);
    assert_eq!(records(&Store::open(folder.path()).unwrap()), (1, 1, 1));
}
