//! The watcher: hears from the kernel what other programs change on the node, repairs it at once, and
//! vouches for the slots, so that an ADD from a pool need not look.

mod changes;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_gettime};
use repoint::{
    failpoint,
    model::SlotId,
    netlink::{Monitor, NetlinkError},
    node::{HalfFate, Node, NodeError, now, repair_halves, restore_node, waiting_for_looks},
    retire::delete_slots,
    slot::{NodeLack, Part, parts_in_words},
    store::{Slot, StoreError},
};
use tokio::{io::Interest, io::unix::AsyncFd, sync::Notify, time::sleep_until};
use tracing::{debug, info, warn};

use crate::{
    AgentError,
    backoff::{Backoff, Undone},
    housekeeping::UplinkChange,
    worker::log_failure,
};
use changes::Changes;

/// How long the agent vouches for slots, and how often it renews that. If the agent has not renewed
/// it for this long, a plugin takes the agent for dead.
const VOUCHED: Duration = Duration::from_secs(3);
const BEAT: Duration = Duration::from_secs(1);
/// How long notifications are gathered after a round that had something to do.
const GATHER: Duration = Duration::from_millis(50);
/// The watcher rests this many times the CPU time of its last round. This bounds the cost of a
/// storm of notifications.
const REST: u32 = 9;
/// Notifications read in a round.
const MOST_READ: usize = 20_000;
/// Slots looked at together.
const BATCH: usize = 256;
/// Repairs of a round that are logged by name.
const NAMED: usize = 5;

/// What the watcher remembers from round to round.
#[derive(Debug)]
pub(crate) struct Watcher {
    node: Arc<Node>,
    routes: Monitor,
    nftables: Option<Monitor>,
    changes: Changes,
    /// Slots that are to be looked at later: the repair was undone too often, or failed.
    later: HashMap<SlotId, Instant>,
    slots: Backoff<SlotId>,
    needs: Backoff<NodeLack>,
    /// When the watcher looks at the node's part again, after it could not restore it.
    node_later: Option<Instant>,
    /// When the agent vouched last; none: it does not.
    beat: Option<Instant>,
    /// How long the last round took of the CPU.
    took: Duration,
}

/// What a round came to.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// When the next one is due at the latest, and at the earliest.
    latest: Option<Instant>,
    earliest: Option<Instant>,
    /// Whether the uplink, or what leads there, may have changed.
    uplink: bool,
    /// Whether a slot's interface is gone or another's, which a sweep handles.
    sweep: bool,
}

impl Watcher {
    /// A watcher of all changes from now on. It begins with a look at everything.
    pub(crate) fn new(node: Arc<Node>) -> Result<Self, NetlinkError> {
        Ok(Self {
            node,
            routes: Monitor::of_routes()?,
            nftables: Monitor::of_nftables()?,
            changes: Changes::of_everything(),
            later: HashMap::new(),
            slots: Backoff::default(),
            needs: Backoff::default(),
            node_later: None,
            beat: None,
            took: Duration::ZERO,
        })
    }

    /// Reads what the kernel reports, and repairs what that concerns. What fails is logged and tried
    /// again.
    fn round(&mut self) -> Round {
        let begun = cpu_time();
        let heard = self.hear();
        let more = log_failure("hear of changes on the node", heard).unwrap_or(false);
        let mut round = Round { uplink: self.changes.take_uplink(), ..Round::default() };
        let worked = log_failure("repair slots", self.repair(&mut round)).unwrap_or(true);
        log_failure("vouch for slots", self.vouch().map_err(Into::into));
        self.took = cpu_time().saturating_sub(begun);
        let now = Instant::now();
        round.earliest = worked.then(|| now + GATHER.max(self.took * REST));
        let waits = self.later.values().chain(&self.node_later).copied();
        let unsettled = self.changes.has_any().then_some(now + GATHER);
        let next = more.then_some(now);
        round.latest = waits.chain(unsettled).chain(next).chain([now + BEAT]).min();
        round
    }

    fn hear(&mut self) -> Result<bool, NodeError> {
        let changes = &mut self.changes;
        let mut more = self.routes.drain(MOST_READ, |notice| changes.hear(notice))?;
        if let Some(nftables) = &mut self.nftables {
            more |= nftables.drain(MOST_READ, |notice| changes.hear(notice))?;
        }
        Ok(more)
    }

    /// Repairs what has changed. Reports whether there was something to look at.
    fn repair(&mut self, round: &mut Round) -> Result<bool, NodeError> {
        let now = Instant::now();
        let due_again = self.node_later.is_some_and(|at| at <= now);
        let of_node = self.changes.take_node() || due_again;
        if of_node {
            match NodeLack::ALL.iter().filter_map(|lack| self.needs.until(lack, now)).max() {
                Some(until) => self.node_later = Some(until),
                None => self.restore_node(now)?,
            }
        }
        let everything = self.changes.is_everything();
        if everything {
            // The agent does not know what is damaged, and looking takes a while.
            self.withdraw()?;
        }
        let mut ids = self.changes.candidates(&self.node)?;
        ids.extend(self.later.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id));
        self.later.retain(|id, at| *at > now && !ids.contains(id));
        let waiting = waiting_for_looks(&self.node, ids.iter().copied())?;
        self.changes.keep(&waiting.unsettled);
        for some in waiting.settled.chunks(BATCH) {
            if let Err(error) = self.repair_some(some, round) {
                // The state of these slots is unknown: the watcher looks again, and does not vouch
                // until then.
                self.later.extend(some.iter().map(|slot| (slot.id, now + BEAT)));
                return Err(error);
            }
        }
        Ok(of_node || everything || !ids.is_empty())
    }

    /// Restores what slots need of the node. While that fails, ADDs look themselves.
    fn restore_node(&mut self, now: Instant) -> Result<(), NodeError> {
        self.node_later = None;
        let restored = restore_node(&self.node).inspect_err(|_| {
            self.node_later = Some(now + BEAT);
        })?;
        failpoint::hit("watcher:node");
        for lack in restored {
            let who = self.changes.who_changed(lack);
            if let Some(undone) = self.needs.repaired(lack, now) {
                warn!("{lack}: restored it, {}; {who}", often(&undone));
            } else {
                warn!("{lack}: restored it; {who}");
            }
        }
        Ok(())
    }

    fn repair_some(&mut self, slots: &[Slot], round: &mut Round) -> Result<(), NodeError> {
        let now = Instant::now();
        let (mut due, mut repaired) = (Vec::with_capacity(slots.len()), Repaired::default());
        for slot in slots {
            match self.slots.until(&slot.id, now) {
                Some(until) => drop(self.later.insert(slot.id, until)),
                None => due.push(slot.clone()),
            }
        }
        for (slot, outcome) in due.iter().zip(repair_halves(&self.node, &due)?) {
            debug!("slot {}, {}: {outcome:?}", slot.id, slot.state());
            match outcome {
                HalfFate::Whole | HalfFate::Contested => {}
                HalfFate::Changed => self.changes.keep(&[slot.id]),
                HalfFate::Restored(parts) => self.note(slot, &parts, None, now, &mut repaired),
                HalfFate::Differs(parts, error) => {
                    self.note(slot, &parts, error.as_ref(), now, &mut repaired);
                    let until = self.slots.until(&slot.id, now);
                    self.later.insert(slot.id, until.unwrap_or(now + BEAT));
                }
                HalfFate::Gone if slot.container.is_none() => {
                    info!("slot {} is deleted: its interface is gone", slot.id);
                    delete_slots(&self.node, std::slice::from_ref(slot))?;
                }
                HalfFate::Gone | HalfFate::Strange => round.sweep = true,
            }
        }
        failpoint::hit("watcher:repaired");
        repaired.log();
        Ok(())
    }

    /// Counts a repair, and reports which program undoes it, where it was made too often.
    fn note(
        &mut self,
        slot: &Slot,
        parts: &[Part],
        error: Option<&NodeError>,
        now: Instant,
        repaired: &mut Repaired,
    ) {
        let (name, parts) = (slot.id.host_ifname(), parts_in_words(parts));
        let who = self.changes.who_changed_slot(slot.id);
        if let Some(undone) = self.slots.repaired(slot.id, now) {
            warn!("interface {name}: {parts}: repaired it, {}; {who}", often(&undone));
        } else if let Some(error) = error {
            warn!("interface {name}: {parts}: cannot repair it: {error}; {who}");
        } else {
            repaired.add(&name, parts, &who);
        }
    }

    /// Vouches for the slots, if all are as they should be, for a while.
    fn vouch(&mut self) -> Result<(), StoreError> {
        if !self.later.is_empty() || self.node_later.is_some() || self.changes.is_everything() {
            return self.withdraw();
        }
        if self.beat.is_some_and(|beat| beat.elapsed() < BEAT) {
            return Ok(());
        }
        let until = now().saturating_add(u64::try_from(VOUCHED.as_nanos()).unwrap_or_default());
        self.node.vouch_until(until)?;
        self.beat = Some(Instant::now());
        failpoint::hit("watcher:beat");
        Ok(())
    }

    /// Vouches for nothing: ADDs look themselves.
    fn withdraw(&mut self) -> Result<(), StoreError> {
        if self.beat.take().is_some() {
            withdraw(&self.node)?;
        }
        Ok(())
    }

    /// Descriptors that become readable with a notification.
    fn descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        let nftables = self.nftables.as_ref().map(|monitor| monitor.as_fd());
        let all = [self.routes.as_fd()].into_iter().chain(nftables);
        all.map(|descriptor| descriptor.try_clone_to_owned()).collect()
    }
}

/// Records that no agent vouches for slots any more.
fn withdraw(node: &Node) -> Result<(), StoreError> {
    node.vouch_until(0)
}

/// Withdraws what the agent vouched for when it ends.
#[derive(Debug)]
struct Vouched(Arc<Node>);

impl Drop for Vouched {
    fn drop(&mut self) {
        // If this fails, the vouching ends by itself after `VOUCHED`.
        drop(withdraw(&self.0));
    }
}

/// What was repaired in a round.
#[derive(Debug, Default)]
struct Repaired(BTreeMap<(String, String), Vec<String>>);

impl Repaired {
    fn add(&mut self, name: &str, parts: String, who: &str) {
        self.0.entry((parts, who.to_owned())).or_default().push(name.to_owned());
    }

    /// Logs the first by name, and the rest by number.
    fn log(self) {
        let number: usize = self.0.values().map(Vec::len).sum();
        for ((parts, who), names) in self.0.into_iter().take(NAMED) {
            warn!("interface {}: {parts}: repaired it; {who}", names[0]);
        }
        if number > 1 {
            warn!("repaired {number} interfaces in all");
        }
    }
}

fn often(undone: &Undone) -> String {
    let Undone { repairs, within, wait } = undone;
    let undone = format!("{repairs} repairs within {within:.1?}: another program undoes it");
    if wait.is_zero() { undone } else { format!("{undone}; the next repair waits {wait:?}") }
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

/// Watches the node; returns on failure, or when the database is another one. Notifies the pool
/// controller where the uplink may have changed, and the sweeper where a sweep is due.
pub(crate) async fn watch(
    mut watcher: Watcher,
    node: &Arc<Node>,
    [controller, sweeper]: [&Notify; 2],
    uplink: &UplinkChange,
) -> Result<StoreError, AgentError> {
    let _vouched = Vouched(Arc::clone(node));
    let descriptors = watcher.descriptors().map_err(AgentError::Watch)?;
    loop {
        let round = tokio::task::spawn_blocking(move || {
            // A thread of its own, because it deletes slots.
            let round = thread::scope(|scope| scope.spawn(|| watcher.round()).join());
            (watcher, round)
        });
        let round = round.await.map_err(|_| AgentError::Worker("watcher"))?;
        watcher = round.0;
        let round = round.1.map_err(|_| AgentError::Worker("watcher"))?;
        if let Err(gone) = node.store.ensure_current() {
            return Ok(gone);
        }
        if round.uplink {
            debug!("the uplink may have changed");
            uplink.report();
            controller.notify_one();
        }
        if round.sweep {
            sweeper.notify_one();
        }
        if let Some(earliest) = round.earliest {
            sleep_until(earliest.into()).await;
        }
        let latest = round.latest.unwrap_or_else(|| Instant::now() + BEAT);
        tokio::select! {
            ready = readable(&descriptors) => ready.map_err(AgentError::Watch)?,
            () = sleep_until(latest.into()) => {}
        }
    }
}

/// Waits until one of the descriptors is readable. A round reads all that there is.
///
/// The descriptors are registered only while this waits: the kernel wakes epoll, and with it the runtime, for
/// each notification that arrives on a registered one.
async fn readable(descriptors: &[OwnedFd]) -> io::Result<()> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe: the descriptor must stay the same and open, which a borrowed \
                  one does"
    )]
    let register =
        |descriptor: &OwnedFd| AsyncFd::with_interest(descriptor.as_raw_fd(), Interest::READABLE);
    let first = descriptors.first().map(register).transpose()?;
    let second = descriptors.get(1).map(register).transpose()?;
    tokio::select! {
        ready = wait(first.as_ref()) => ready,
        ready = wait(second.as_ref()) => ready,
    }
}

async fn wait(descriptor: Option<&AsyncFd<RawFd>>) -> io::Result<()> {
    match descriptor {
        Some(descriptor) => descriptor.readable().await.map(|mut ready| ready.clear_ready()),
        None => std::future::pending().await,
    }
}
