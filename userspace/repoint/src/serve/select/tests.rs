//! Which container gets which slot, on records alone, for any sequence of requests.

use std::collections::HashMap;

use proptest::prelude::*;
use repoint_policy::Groups;

use super::*;
use crate::{
    model::{Domain, FunctionKey, Isolation, PoolId, PoolKey, PoolPolicy, Scope, SlotId, Tenant},
    pool::terms::domain,
    retire::scrub::{park, waits_for_its_domain},
    store::{Pool, SlotKind, Store, StoredPolicies},
};

/// A container that asks for a slot.
#[derive(Debug, Clone)]
struct Asker {
    tenant: Option<&'static str>,
    function: Option<&'static str>,
    mode: Mode,
    scope: Option<Scope>,
}

/// What happens.
#[derive(Debug, Clone)]
enum Event {
    Start(Asker),
    /// The container that has run longest stops, and its slot is scrubbed or deleted.
    Stop,
    /// The network's configuration changes.
    Rescope(Scope),
}

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![Just(Scope::Function), Just(Scope::Tenant), Just(Scope::Network)]
}

fn event() -> impl Strategy<Value = Event> {
    let tenant = prop_oneof![Just(None), Just(Some("a")), Just(Some("b"))];
    let function = prop_oneof![Just(None), Just(Some("f")), Just(Some("g"))];
    let mode = prop_oneof![3 => Just(Mode::Reuse), 1 => Just(Mode::Replicate)];
    let asker = (tenant, function, mode, prop::option::of(scope()))
        .prop_map(|(tenant, function, mode, scope)| Asker { tenant, function, mode, scope });
    prop_oneof![
        9 => asker.prop_map(Event::Start),
        6 => Just(Event::Stop),
        1 => scope().prop_map(Event::Rescope),
    ]
}

/// A pool on record, and which containers had which slot.
struct World {
    _folder: tempfile::TempDir,
    store: Store,
    pool: EffectivePool,
    record: Pool,
    running: Vec<(AttachmentId, SlotId)>,
    /// The trust domains of each slot's containers, in order.
    history: HashMap<SlotId, Vec<Domain>>,
    started: u32,
}

impl World {
    fn new(scope: Scope, warm: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (stored, groups) = (StoredPolicies::default(), Groups::default());
        store.write(|transaction| transaction.copy_policies(&stored, &groups, &[])).unwrap();
        let id = PoolId {
            network: "net".parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
            template: None,
        };
        let policy = PoolPolicy { scope, ..PoolPolicy::default() };
        let key = PoolKey([7; 16]);
        let pool =
            EffectivePool { id: id.clone(), key, policy, template: None, template_owner: None };
        let record = Pool {
            key,
            conf: Vec::new(),
            template: None,
            template_owner: None,
            fingerprint: None,
            configured: policy,
            set: crate::model::PoolOverride::default(),
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
                slot.kind = SlotKind::Pooled { pool: self.pool.key };
                transaction.put_slot(&slot)?;
                transaction.advance(id, state, now(), |slot| change(slot))
            })
            .unwrap();
    }

    fn start(&mut self, asker: &Asker) -> Option<(Slot, Outcome)> {
        self.try_start(asker).unwrap()
    }

    /// A claim, and the slot that it came to.
    fn try_start(&mut self, asker: &Asker) -> Result<Option<(Slot, Outcome)>, NodeError> {
        self.started += 1;
        let PoolId { network, ifname, .. } = self.pool.id.clone();
        let container = format!("c{}", self.started).parse().unwrap();
        let attachment = AttachmentId { network, container, ifname };
        let user = User {
            function: asker.function.map(|name| name.parse().unwrap()),
            tenant: asker.tenant.map(|name| name.parse().unwrap()),
            scope: asker.scope,
            ..User::default()
        };
        let domain = domain(&self.pool.policy, &user);
        let terms = EffectiveTerms {
            mode: asker.mode,
            domain: domain.clone(),
            idle_ttl: None,
            isolation: Isolation::Tenant,
            share_without_tenant: self.pool.policy.share_without_tenant,
        };
        let wanted = SlotRequest {
            attachment: &attachment,
            pool: &self.pool,
            terms,
            user: &user,
            path: None,
            sysctls: None,
            opener: NetnsOpener::Directory,
        };
        let claimed = self.store.write(|transaction| claim(transaction, &wanted))?;
        let Some((slot, outcome)) = claimed else { return Ok(None) };
        self.store
            .write(|transaction| transaction.advance(slot.id, SlotState::Active, now(), |_| ()))
            .unwrap();
        self.running.push((attachment, slot.id));
        self.history.entry(slot.id).or_default().push(domain);
        Ok(Some((slot, outcome)))
    }

    fn stop(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let (_, id) = self.running.remove(0);
        let record = Pool { configured: self.pool.policy, ..self.record.clone() };
        self.store
            .write(|transaction| {
                let mut slot = transaction.slot(id)?.unwrap();
                transaction.detach(&mut slot)?;
                slot.become_state(SlotState::Dirty, now())?;
                transaction.put_slot(&slot)?;
                transaction.advance(id, SlotState::Scrubbing, now(), |_| ())?;
                if waits_for_its_domain(&slot, &record) {
                    park(transaction, id, now())
                } else {
                    transaction.forget(&slot, 0)
                }
            })
            .unwrap();
    }

    /// The network's scope is another from now on.
    fn rescope(&mut self, scope: Scope) {
        self.pool.policy.scope = scope;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Holds for any sequence of requests and any changes of the network's scope.
    #[test]
    fn a_slot_has_users_of_one_trust_domain_in_its_life(
        scope in scope(), events in prop::collection::vec(event(), 1..40)
    ) {
        let mut world = World::new(scope, 12);
        for event in &events {
            match event {
                Event::Stop => world.stop(),
                Event::Rescope(scope) => world.rescope(*scope),
                Event::Start(asker) => {
                    let Some((slot, _)) = world.start(asker) else { continue };
                    let had = &world.history[&slot.id];
                    prop_assert!(had.iter().all(|domain| *domain == had[0]), "{had:?}");
                    prop_assert!(had.len() == 1 || had[0].is_shared(), "{had:?}");
                    prop_assert!(asker.mode == Mode::Reuse || had.len() == 1, "{had:?}");
                }
            }
        }
    }
}

const RESIZE: Asker =
    Asker { tenant: Some("a"), function: Some("f"), mode: Mode::Reuse, scope: None };

#[test]
fn its_own_comes_first_then_what_no_function_left_then_a_new_one_then_anothers() {
    let mut world = World::new(Scope::Tenant, 3);
    let nobody = Asker { function: None, ..RESIZE };
    let other = Asker { function: Some("g"), ..RESIZE };
    let reason = |slot: Slot| slot.decision.unwrap().to_string();
    let (own, outcome) = world.start(&RESIZE).unwrap();
    assert_eq!(outcome, Outcome::Warm);
    assert_eq!(reason(own.clone()), "replicated (no slot waits for function f: a ready instance)");
    let (left, _) = world.start(&nobody).unwrap();
    assert_ne!(left.id, own.id);
    world.stop();
    world.stop();
    let (again, outcome) = world.start(&RESIZE).unwrap();
    assert_eq!((again.id, outcome), (own.id, Outcome::Reused));
    assert_eq!(reason(again), "reused (function f had it before)");
    let (second, outcome) = world.start(&RESIZE).unwrap();
    assert_eq!((second.id, outcome), (left.id, Outcome::Reused));
    assert_eq!(
        reason(second),
        "reused (no slot waits for function f: another of its trust domain had it before)"
    );
    world.stop();
    let (new, outcome) = world.start(&other).unwrap();
    assert!(new.id != own.id && outcome == Outcome::Warm, "{new:?}");
    let (last, outcome) = world.start(&other).unwrap();
    assert_eq!((last.id, outcome), (own.id, Outcome::Reused));
    assert!(world.start(&other).is_none());
}

#[test]
fn mode_replicate_gets_what_nobody_had_and_leaves_nothing() {
    let mut world = World::new(Scope::Function, 2);
    world.start(&RESIZE).unwrap();
    world.stop();
    let replicate = Asker { mode: Mode::Replicate, ..RESIZE };
    let (new, outcome) = world.start(&replicate).unwrap();
    assert!(!world.history[&new.id].is_empty() && outcome == Outcome::Warm);
    assert_eq!(new.decision.unwrap().to_string(), "replicated (mode replicate: a ready instance)");
    assert!(world.start(&replicate).is_none());
}

#[test]
fn a_container_without_a_tenant_shares_only_where_the_network_says_so() {
    for share in [false, true] {
        let mut world = World::new(Scope::Function, 2);
        world.pool.policy.share_without_tenant = share;
        let nobodys = Asker { tenant: None, ..RESIZE };
        let (first, _) = world.start(&nobodys).unwrap();
        world.stop();
        let (second, _) = world.start(&nobodys).unwrap();
        assert_eq!(first.id == second.id, share);
    }
}

#[test]
fn what_is_prepared_for_a_function_is_its_own() {
    let mut world = World::new(Scope::Function, 0);
    let (tenant, function): (Tenant, FunctionKey) = ("a".parse().unwrap(), "f".parse().unwrap());
    world.build(SlotState::Parked, |slot| {
        slot.function = Some(function.clone());
        slot.tenant = Some(tenant.clone());
        slot.domain = Some(Domain::Function(Some(tenant.clone()), function.clone()));
        slot.retain = true;
    });
    let other = Asker { tenant: Some("b"), ..RESIZE };
    assert!(world.start(&other).is_none());
    let (slot, outcome) = world.start(&RESIZE).unwrap();
    assert_eq!(outcome, Outcome::Reused);
    assert_eq!(slot.decision.unwrap().to_string(), "reused (it was prepared for function f)");
}

#[test]
fn a_tenant_has_no_more_slots_than_it_may_have_parked_ones_included() {
    let mut world = World::new(Scope::Function, 3);
    world.pool.policy.slots_per_tenant = Some(1);
    world.start(&RESIZE).unwrap();
    world.stop();
    let refused = world.try_start(&Asker { function: Some("g"), ..RESIZE }).unwrap_err();
    assert!(
        matches!(refused, NodeError::Pool(PoolError::TenantLimit { limit: 1, .. })),
        "{refused}"
    );
    assert!(world.start(&Asker { tenant: Some("b"), ..RESIZE }).is_some());
    assert!(world.start(&RESIZE).is_some(), "its own is counted already");
}
