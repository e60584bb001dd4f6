//! A process that was delayed between reading and changing a slot does not disturb its next
//! container. The tests use records alone, without a kernel.

use super::{delete::delete_slots, park::withdraw, release::release, scrub::begin};
use crate::{
    cni::CniArgs,
    conf::{Directories, NetConf},
    model::{AttachmentId, PoolKey, SlotId},
    netns::Netns,
    node::{Node, NodeError, Request, conflict::ensure_unchanged, now},
    store::{Slot, SlotKind, SlotState, Write},
};

const POOLED: SlotKind = SlotKind::Pooled { pool: PoolKey([1; 16]) };

/// A node with one slot, and no data plane.
struct World {
    _folder: tempfile::TempDir,
    node: Node,
    id: SlotId,
}

fn attachment(container: &str) -> AttachmentId {
    let (network, ifname) = ("n".parse().unwrap(), "eth0".parse().unwrap());
    AttachmentId { network, container: container.parse().unwrap(), ifname }
}

impl World {
    /// With a slot that waits.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (run, bpf) = (folder.path().to_owned(), folder.path().join("bpf"));
        let node = Node::open(&Directories { run, bpf, ..Directories::default() }).unwrap();
        let made = node.store.write(|transaction| {
            let id = transaction.next_slot_id()?;
            let AttachmentId { network, ifname, .. } = attachment("nobody");
            let mut slot = Slot::building(id, network, ifname, now());
            slot.kind = POOLED;
            transaction.put_slot(&slot)?;
            transaction.advance(id, SlotState::Warm, now(), |_| ())
        });
        Self { _folder: folder, node, id: made.unwrap().id }
    }

    fn write<T>(&self, work: impl FnOnce(&mut Write<'_>) -> T) -> T {
        self.node.store.write(|transaction| Ok::<_, NodeError>(work(transaction))).unwrap()
    }

    fn slot(&self) -> Slot {
        self.write(|transaction| transaction.slot(self.id).unwrap().unwrap())
    }

    fn advance(&self, state: SlotState) -> Slot {
        self.write(|transaction| transaction.advance(self.id, state, now(), |_| ()).unwrap())
    }

    /// As ADD does; gives the slot as ADD works with it.
    fn claim(&self, container: &str) -> Slot {
        self.write(|transaction| {
            transaction.attach(&attachment(container), self.id).unwrap();
            let claimed = transaction.advance(self.id, SlotState::Claimed, now(), |slot| {
                slot.container = Some(container.parse().unwrap());
            });
            claimed.unwrap()
        })
    }

    fn add(&self, container: &str) -> Slot {
        self.claim(container);
        self.advance(SlotState::Active)
    }

    /// As DEL and the scrub after it do.
    fn del(&self) {
        withdraw(&self.node, &self.slot()).unwrap().unwrap();
        self.advance(SlotState::Scrubbing);
        self.advance(SlotState::Parked);
    }

    /// Fails unless the slot works for a container.
    fn ensure_has(&self, container: &str) {
        let slot = self.slot();
        assert_eq!(slot.state(), SlotState::Active);
        assert_eq!(slot.attachment(), Some(attachment(container)));
        let recorded = self.write(|transaction| transaction.attachment(&attachment(container)));
        assert_eq!(recorded.unwrap(), Some(self.id));
    }
}

#[test]
fn a_late_del_leaves_the_next_container_its_slot() {
    let world = World::new();
    let seen = world.add("a");
    world.del();
    world.add("b");
    assert_eq!(withdraw(&world.node, &seen).unwrap(), None);
    world.ensure_has("b");
    // The late DEL does not take the slot from the same container after a second ADD either.
    world.del();
    world.add("a");
    assert_eq!(withdraw(&world.node, &seen).unwrap(), None);
    world.ensure_has("a");
}

#[test]
fn a_del_that_saw_the_slot_before_it_was_whole_leaves_it_to_the_one_that_has_it_then() {
    let conf = NetConf::parse(
        br#"{"cniVersion": "1.1.0", "name": "n", "type": "repoint-cni",
             "ipam": {"ranges": [[{"subnet": "10.1.0.0/16"}]]}}"#,
    );
    let request = Request {
        conf: conf.unwrap(),
        attachment: attachment("a"),
        netns: None,
        args: CniArgs::default(),
        cni_path: Vec::new(),
        input: Vec::new(),
        remover: None,
    };
    let world = World::new();
    let seen = world.claim("a");
    world.advance(SlotState::Active);
    assert!(!release(&world.node, &seen, &request).unwrap());
    world.ensure_has("a");
    world.del();
    world.add("b");
    assert!(!release(&world.node, &seen, &request).unwrap());
    world.ensure_has("b");
}

#[test]
fn a_late_add_does_not_take_the_slot_that_was_taken_back() {
    let world = World::new();
    let claimed = world.claim("a");
    let check = |claimed| world.write(|transaction| ensure_unchanged(transaction, claimed));
    check(&claimed).unwrap();
    world.del();
    world.claim("b");
    assert!(matches!(check(&claimed), Err(NodeError::Conflict { .. })));
}

#[test]
fn what_is_deleted_late_is_left_to_those_who_have_it() {
    let world = World::new();
    world.add("a");
    let dirty = withdraw(&world.node, &world.slot()).unwrap().unwrap();
    world.advance(SlotState::Scrubbing);
    world.advance(SlotState::Parked);
    world.add("b");
    delete_slots(&world.node, &[dirty]).unwrap();
    world.ensure_has("b");
}

/// The proof that no process uses a slot covers its previous container, and not a later one.
#[test]
fn a_late_scrub_does_not_begin_on_a_slot_that_was_used_since() {
    let world = World::new();
    world.add("a");
    let seen = withdraw(&world.node, &world.slot()).unwrap().unwrap();
    world.advance(SlotState::Scrubbing);
    world.advance(SlotState::Parked);
    world.add("b");
    let now = withdraw(&world.node, &world.slot()).unwrap().unwrap();
    assert!(!begin(&world.node, &seen).unwrap());
    assert!(begin(&world.node, &now).unwrap());
}

#[test]
fn what_cannot_be_removed_of_one_slot_keeps_no_other_on_record() {
    let world = World::new();
    let stubborn = world.write(|transaction| {
        let changed = |slot: &mut Slot| {
            slot.netns = Some(Netns::current().unwrap().inode());
            // Nothing can be opened behind what is no folder.
            slot.netns_path = Some("/dev/null/path".into());
        };
        transaction.advance(world.id, SlotState::Deleting, now(), changed).unwrap()
    });
    let removable = world.write(|transaction| {
        let id = transaction.next_slot_id().unwrap();
        let AttachmentId { network, ifname, .. } = attachment("nobody");
        let mut slot = Slot::building(id, network, ifname, now());
        slot.kind = POOLED;
        transaction.put_slot(&slot).unwrap();
        slot
    });
    let error = delete_slots(&world.node, &[stubborn.clone(), removable.clone()]).unwrap_err();
    assert!(error.to_string().contains("/dev/null/path"), "{error}");
    let is_on_record = |id| world.write(|transaction| transaction.slot(id).unwrap().is_some());
    assert!(is_on_record(stubborn.id));
    assert!(!is_on_record(removable.id));
}

#[test]
fn a_slot_whose_building_was_cut_short_is_deleted_by_park() {
    let world = World::new();
    let building = world.write(|transaction| {
        let id = transaction.next_slot_id().unwrap();
        let AttachmentId { network, ifname, .. } = attachment("a");
        let mut slot = Slot::building(id, network, ifname, now());
        (slot.kind, slot.container) = (POOLED, Some("a".parse().unwrap()));
        transaction.attach(&attachment("a"), id).unwrap();
        transaction.put_slot(&slot).unwrap();
        slot
    });
    world.node.park(&attachment("a")).unwrap();
    let left = world.write(|transaction| {
        (transaction.slot(building.id).unwrap(), transaction.attachment(&attachment("a")).unwrap())
    });
    assert_eq!(left, (None, None));
}
