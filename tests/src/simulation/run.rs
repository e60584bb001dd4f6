//! The model of a node, and the events that drive it.
//!
//! Functions start as the trace says and stop when their time is over. The pool controller is one thread, as
//! in the agent: it scrubs what came back, reconciles the pool, takes down, builds, and rests until
//! it is notified or its time has come. Slots are built one at a time, by the pool controller and for
//! containers that wait, in the order of requests: building is work under one lock of the kernel's.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use repoint::{
    model::{PoolPolicy, Scope},
    pool::{MOST_BUILT, MOST_SCRUBBED},
};

use super::{
    Moment, Scenario, costs,
    measure::{Measure, Measured, Served},
    nanoseconds,
    pool_controller::{PoolController, Work},
    slots::{Claim, Dirty, Number, Slots, User},
    trace::Start,
};

/// What happens at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A function stops, and its container's network is deleted.
    Stop(Number, User),
    /// The pool controller begins a round. It does not if it has begun one since this one was planned.
    Wake { round: u64 },
    /// The pool controller has deleted some slots that no container may have again.
    Deleted(usize),
    /// The pool controller has scrubbed a slot.
    Scrubbed,
    /// The pool controller has scrubbed what it took, and reconciles the pool.
    Look,
    /// The pool controller has finished deleting.
    Destroyed,
    /// The pool controller has built one slot more.
    Built,
}

/// A node while it runs.
struct Run<'a> {
    policy: &'a PoolPolicy,
    now: Moment,
    slots: Slots,
    measure: Measure,
    /// Planned events, the earliest first. Events of one moment are in the order in which they were
    /// planned.
    events: BinaryHeap<Reverse<(Moment, u64, Event)>>,
    planned: u64,
    /// When the builder has built all slots that were asked for.
    builder: Moment,
    controller: PoolController,
    /// Rounds that the pool controller has begun.
    round: u64,
    /// Whether it rests.
    resting: bool,
    /// Whether it was notified since it began its round.
    rung: bool,
    scrubbing: VecDeque<Dirty>,
    work: Work,
    building: Vec<Number>,
    /// How many of these are built, and when the first was begun.
    built: usize,
    began: Moment,
}

/// Runs a scenario to its end.
pub(super) fn run(scenario: &Scenario) -> Measured {
    let Scenario { trace, policy } = scenario;
    let mut run = Run::new(policy, Measure::new(trace, policy));
    let until = nanoseconds(trace.until);
    let mut starts = trace.starts.iter().peekable();
    run.plan(0, Event::Wake { round: 0 });
    loop {
        let event = run.events.peek().map_or(Moment::MAX, |Reverse((at, ..))| *at);
        let start = starts.peek().map_or(Moment::MAX, |start| nanoseconds(start.at));
        if event.min(start) >= until {
            return run.measure.end();
        }
        run.now = event.min(start);
        if start < event {
            starts.next().into_iter().for_each(|start| run.start(start));
        } else if let Some(Reverse((_, _, event))) = run.events.pop() {
            run.happen(event);
        }
        run.measure.happened(&run.slots, run.now);
    }
}

impl<'a> Run<'a> {
    fn new(policy: &'a PoolPolicy, measure: Measure) -> Self {
        Self {
            policy,
            now: 0,
            slots: Slots::default(),
            measure,
            events: BinaryHeap::new(),
            planned: 0,
            builder: 0,
            controller: PoolController::default(),
            round: 0,
            resting: true,
            rung: false,
            scrubbing: VecDeque::new(),
            work: Work::default(),
            building: Vec::new(),
            built: 0,
            began: 0,
        }
    }

    fn plan(&mut self, at: Moment, event: Event) {
        self.planned += 1;
        self.events.push(Reverse((at, self.planned, event)));
    }

    fn plan_in(&mut self, time: Duration, event: Event) {
        self.plan(self.now + nanoseconds(time), event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Stop(slot, user) => {
                self.slots.dirty.push_back(Dirty { slot, user });
                self.notify();
            }
            Event::Wake { round } if round == self.round => self.wake(),
            Event::Wake { .. } => {}
            Event::Deleted(count) => (0..count).for_each(|_| self.slots.forget()),
            Event::Scrubbed => {
                if let Some(Dirty { slot, user }) = self.scrubbing.pop_front() {
                    self.slots.park(slot, user, self.now);
                }
            }
            Event::Look => self.look(),
            Event::Destroyed => self.destroyed(),
            Event::Built => self.one_more(),
        }
    }

    /// A function starts: ADD.
    fn start(&mut self, start: &Start) {
        let user = (start.tenant, start.function);
        let (slot, served) = match self.slots.claim(user, self.policy) {
            Some(Claim::Reused(slot)) => (slot, Served::Reused),
            Some(Claim::Warm(slot)) => (slot, Served::Warm),
            None => return self.start_cold(start),
        };
        if served == Served::Warm {
            self.controller.demanded += 1;
        }
        self.measure.served(self.now, served);
        self.plan_in(start.lasts, Event::Stop(slot, user));
    }

    /// ADD that finds no slot builds one, in the place of one that waits for another if the pool is
    /// full.
    fn start_cold(&mut self, start: &Start) {
        self.notify();
        let mut room = self.now;
        if self.slots.total() >= self.policy.max {
            if self.slots.evict().is_none() {
                return self.measure.served(self.now, Served::Declined);
            }
            self.slots.forget();
            room += nanoseconds(costs::of(costs::DESTROY, costs::DESTROY_EACH, 1));
        }
        self.controller.demanded += 1;
        self.measure.served(self.now, Served::Built);
        let begun = self.turn_to_build(room);
        let ready = begun + nanoseconds(costs::BUILD_COLD);
        self.measure.waited(Duration::from_nanos(ready - self.now));
        for slot in self.slots.begin(1) {
            let stop = ready + nanoseconds(start.lasts);
            self.plan(stop, Event::Stop(slot, (start.tenant, start.function)));
        }
    }

    /// When the build of a slot can begin, if requested at a moment.
    fn turn_to_build(&mut self, asked: Moment) -> Moment {
        let begun = self.builder.max(asked);
        self.builder = begun + nanoseconds(costs::BUILD_EACH);
        begun
    }

    /// Notifies the pool controller that there is something to do.
    fn notify(&mut self) {
        if self.resting {
            self.next_round(Duration::ZERO);
        }
        self.rung = true;
    }

    /// Plans the pool controller's next round in place of the one that was planned.
    fn next_round(&mut self, rest: Duration) {
        self.resting = !rest.is_zero();
        self.round += 1;
        self.plan_in(rest, Event::Wake { round: self.round });
    }

    /// A round begins: what came back is scrubbed, as much as is done at a time.
    fn wake(&mut self) {
        (self.resting, self.rung) = (false, false);
        let count = self.slots.dirty.len().min(MOST_SCRUBBED);
        let alone = |one: &Dirty| one.user.1.is_none() && self.policy.scope == Scope::Function;
        let (unwanted, wanted): (Vec<_>, Vec<_>) = self.slots.dirty.drain(..count).partition(alone);
        self.scrubbing = wanted.into();
        let some = |first, each, count| {
            if count > 0 { costs::of(first, each, count) } else { Duration::ZERO }
        };
        let deleted = some(costs::DESTROY, costs::DESTROY_EACH, unwanted.len());
        self.plan_in(deleted, Event::Deleted(unwanted.len()));
        let after = |slots| deleted + some(costs::SCRUB, costs::SCRUB_EACH, slots);
        for slots in 1..=self.scrubbing.len() {
            self.plan_in(after(slots), Event::Scrubbed);
        }
        self.plan_in(after(self.scrubbing.len()) + costs::LOOK, Event::Look);
    }

    fn look(&mut self) {
        self.work = self.controller.look(&mut self.slots, self.policy, self.now, &mut self.measure);
        self.work.more |= !self.slots.dirty.is_empty();
        let time = match self.work.delete_slots {
            0 => Duration::ZERO,
            count => costs::of(costs::DESTROY, costs::DESTROY_EACH, count),
        };
        self.plan_in(time, Event::Destroyed);
    }

    fn destroyed(&mut self) {
        (0..self.work.delete_slots).for_each(|_| self.slots.forget());
        let build = self.work.build(self.policy.max.saturating_sub(self.slots.total()));
        if build == 0 {
            return self.end_round();
        }
        self.work.more |= build == MOST_BUILT;
        self.building = self.slots.begin(build);
        (self.built, self.began) = (0, self.now);
        self.build_next(self.now + nanoseconds(costs::BUILD));
    }

    fn build_next(&mut self, asked: Moment) {
        self.turn_to_build(asked);
        self.plan(self.builder, Event::Built);
    }

    /// The pool controller has built a slot. All of a chunk are ready together.
    fn one_more(&mut self) {
        self.built += 1;
        if self.built < self.building.len() {
            return self.build_next(self.now);
        }
        let took = Duration::from_nanos(self.now - self.began);
        self.controller.built(u32::try_from(self.built).unwrap_or(u32::MAX), took);
        for slot in std::mem::take(&mut self.building) {
            self.slots.built(slot, self.now);
        }
        self.end_round();
    }

    fn end_round(&mut self) {
        let at_once = self.work.more || self.rung;
        self.next_round(if at_once { Duration::ZERO } else { costs::REST });
    }
}
