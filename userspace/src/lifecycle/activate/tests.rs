//! Who gets whose slot, on records alone: whatever is asked for and in whatever order.

use std::{collections::HashMap, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    lifecycle::scrub::{destination, record_ready},
    store::{Pool, PoolPolicy, Store},
    types::{PoolKey, SlotId},
};

/// Who asks, and for what.
#[derive(Debug, Clone)]
struct Asker {
    tenant: Option<&'static str>,
    function: Option<&'static str>,
    mode: Mode,
    scope: Scope,
}

/// What happens.
#[derive(Debug, Clone)]
enum Event {
    Start(Asker),
    /// The one that has run longest stops, and its slot is scrubbed.
    Stop,
}

fn asker(most: Scope) -> impl Strategy<Value = Asker> {
    let tenant = prop_oneof![Just(None), Just(Some("a")), Just(Some("b"))];
    let function = prop_oneof![Just(None), Just(Some("f")), Just(Some("g"))];
    let mode = prop_oneof![3 => Just(Mode::Reuse), 1 => Just(Mode::Replicate)];
    let scope = prop_oneof![Just(Scope::Function), Just(Scope::Tenant), Just(Scope::Network)];
    (tenant, function, mode, scope).prop_map(move |(tenant, function, mode, scope)| Asker {
        tenant,
        function,
        mode,
        scope: scope.min(most),
    })
}

fn event(most: Scope) -> impl Strategy<Value = Event> {
    prop_oneof![3 => asker(most).prop_map(Event::Start), 2 => Just(Event::Stop)]
}

/// A pool on record, and who had which slot.
struct World {
    _folder: tempfile::TempDir,
    store: Store,
    pool: PoolInForce,
    record: Pool,
    running: Vec<(AttachmentId, SlotId)>,
    /// The askers that had a slot, in order.
    history: HashMap<SlotId, Vec<Asker>>,
    started: u32,
}

impl World {
    fn new(scope: Scope, warm: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let id = PoolId {
            network: "net".parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
            template: None,
        };
        let policy = PoolPolicy { scope, ..PoolPolicy::default() };
        let key = PoolKey([7; 16]);
        let pool =
            PoolInForce { id: id.clone(), key, policy, template: None, template_owner: None };
        let record = Pool {
            key,
            conf: Vec::new(),
            template: [0; 32],
            template_owner: None,
            fingerprint: [0; 32],
            configured: policy,
            set: crate::store::PoolOverride::default(),
        };
        let world = Self {
            _folder: folder,
            store,
            pool,
            record,
            running: Vec::new(),
            history: HashMap::new(),
            started: 0,
        };
        (0..warm).for_each(|_| world.build(SlotState::Warm, |_| ()));
        world
    }

    fn build(&self, state: SlotState, change: impl Fn(&mut Slot)) {
        self.store
            .write(|transaction| {
                let id = transaction.next_slot_id()?;
                let PoolId { network, ifname, .. } = self.pool.id.clone();
                let mut slot = Slot::building(id, network, ifname, now());
                slot.pool = self.pool.key;
                slot.owns_netns = true;
                transaction.put_slot(&slot)?;
                transaction.advance(id, state, now(), |slot| change(slot))
            })
            .unwrap();
    }

    /// A claim, and the slot that it came to.
    fn start(&mut self, asker: &Asker, cooldown: Duration) -> Option<(Slot, Outcome)> {
        self.started += 1;
        let PoolId { network, ifname, .. } = self.pool.id.clone();
        let container = format!("c{}", self.started).parse().unwrap();
        let attachment = AttachmentId { network, container, ifname };
        let user = User {
            function: asker.function.map(|name| name.parse().unwrap()),
            tenant: asker.tenant.map(|name| name.parse().unwrap()),
            ..User::default()
        };
        let terms = Terms { mode: asker.mode, scope: asker.scope, idle_ttl: None, cooldown };
        let wanted = Wanted {
            attachment: &attachment,
            pool: &self.pool,
            terms,
            user: &user,
            path: None,
            sysctls: None,
        };
        let claimed = self.store.write(|transaction| claim(transaction, &wanted)).unwrap();
        let Claim::Slot(slot, outcome) = claimed else { return None };
        self.store
            .write(|transaction| transaction.advance(slot.id, SlotState::Active, now(), |_| ()))
            .unwrap();
        self.running.push((attachment, slot.id));
        self.history.entry(slot.id).or_default().push(asker.clone());
        Some((*slot, outcome))
    }

    fn stop(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let (_, id) = self.running.remove(0);
        self.store
            .write(|transaction| {
                let mut slot = transaction.slot(id)?.unwrap();
                transaction.detach(&mut slot)?;
                slot.become_state(SlotState::Dirty, now())?;
                transaction.put_slot(&slot)?;
                transaction.advance(id, SlotState::Scrubbing, now(), |_| ())?;
                match destination(&slot, &self.record) {
                    Some(state) => record_ready(transaction, id, state, now()),
                    None => transaction.forget(&slot, None),
                }
            })
            .unwrap();
    }
}

/// Whether `second` may have what `first` had.
fn may_follow(first: &Asker, second: &Asker) -> bool {
    let scope = first.scope.min(second.scope);
    let tenants = first.tenant == second.tenant;
    let functions = tenants && first.function.is_some() && first.function == second.function;
    // Who wants a new instance gets one, and leaves nothing for himself alone.
    second.mode == Mode::Reuse
        && match scope {
            Scope::Function => functions && first.mode == Mode::Reuse,
            Scope::Tenant => tenants,
            Scope::Network => true,
        }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Of all that had a slot before, the second may follow each: nothing passes by way of a third.
    #[test]
    fn a_slot_passes_only_as_the_scopes_of_both_allow(
        (scope, events) in prop_oneof![
            Just(Scope::Function), Just(Scope::Tenant), Just(Scope::Network)
        ].prop_flat_map(|scope| (Just(scope), prop::collection::vec(event(scope), 1..40)))
    ) {
        let mut world = World::new(scope, 6);
        for event in &events {
            match event {
                Event::Stop => world.stop(),
                Event::Start(asker) => {
                    let Some((slot, _)) = world.start(asker, Duration::ZERO) else { continue };
                    let had = &world.history[&slot.id];
                    let (last, before) = had.split_last().unwrap();
                    for first in before {
                        prop_assert!(may_follow(first, last), "{last:?} after {first:?}: {had:?}");
                    }
                }
            }
        }
    }
}

const RESIZE: Asker =
    Asker { tenant: Some("a"), function: Some("f"), mode: Mode::Reuse, scope: Scope::Network };

#[test]
fn its_own_comes_first_then_one_that_another_left_then_a_new_one() {
    let mut world = World::new(Scope::Network, 3);
    let nobody = Asker { tenant: None, function: None, ..RESIZE };
    let (own, outcome) = world.start(&RESIZE, Duration::ZERO).unwrap();
    assert_eq!(outcome, Outcome::Warm);
    assert_eq!(
        own.decision.unwrap().to_string(),
        "replicated (no slot waits for function f: a ready instance)"
    );
    world.stop();
    let (left, _) = world.start(&nobody, Duration::ZERO).unwrap();
    assert_ne!(left.id, own.id);
    world.stop();
    let (again, outcome) = world.start(&RESIZE, Duration::ZERO).unwrap();
    assert_eq!((again.id, outcome), (own.id, Outcome::Reused));
    assert_eq!(again.decision.unwrap().to_string(), "reused (function f had it before)");
    let (second, _) = world.start(&RESIZE, Duration::ZERO).unwrap();
    assert_eq!(second.id, left.id);
    let told = second.decision.unwrap().to_string();
    assert_eq!(told, "reused (no slot waits for function f: one that another left)");
    let replicate = Asker { mode: Mode::Replicate, ..RESIZE };
    let (new, _) = world.start(&replicate, Duration::ZERO).unwrap();
    assert!(new.id != own.id && new.id != left.id);
    let told = new.decision.unwrap().to_string();
    assert_eq!(told, "replicated (mode replicate: a ready instance)");
    assert!(world.start(&replicate, Duration::ZERO).is_none());
}

#[test]
fn another_functions_slot_rests_before_it_is_given_on() {
    let mut world = World::new(Scope::Network, 1);
    let other = Asker { function: Some("g"), ..RESIZE };
    world.start(&RESIZE, Duration::ZERO).unwrap();
    world.stop();
    assert!(world.start(&other, Duration::from_mins(1)).is_none());
    let (own, _) = world.start(&RESIZE, Duration::from_mins(1)).unwrap();
    world.stop();
    let (given, _) = world.start(&other, Duration::ZERO).unwrap();
    assert_eq!(given.id, own.id);
}

#[test]
fn what_is_prepared_for_a_function_is_its_own() {
    let mut world = World::new(Scope::Function, 0);
    world.build(SlotState::Parked, |slot| {
        slot.function = Some("f".parse().unwrap());
        slot.tenant = Some("a".parse().unwrap());
    });
    let other = Asker { tenant: Some("b"), scope: Scope::Function, ..RESIZE };
    assert!(world.start(&other, Duration::ZERO).is_none());
    let (slot, outcome) = world.start(&RESIZE, Duration::ZERO).unwrap();
    assert_eq!(outcome, Outcome::Reused);
    assert_eq!(slot.decision.unwrap().to_string(), "reused (it was prepared for function f)");
}
