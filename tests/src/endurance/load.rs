//! Containers that come and go.

use std::{
    collections::VecDeque,
    fs, panic,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use fastrand::Rng;
use repoint::template::Operation;
use serde_json::{Value, json};

use crate::{
    Container, Pooled,
    cli::template,
    node::OUTSIDE,
    template::ordinary,
    traffic::{self, Host},
};

/// Threads that start containers.
pub const THREADS: usize = 2;
/// Containers that each of them has at a time.
pub const HELD: usize = 3;
/// Tenants, and functions of each.
pub const TENANTS: usize = 4;
/// See [`TENANTS`].
pub const FUNCTIONS: usize = 3;
/// One in so many containers has neither function nor tenant: its slot is deleted after it.
pub const NOBODYS: usize = 20;
/// One in so many containers talks: with the one before it, and with the outside.
pub const TALKATIVE: usize = 100;
/// Slots of the pool without demand: more than demand asks for.
pub const SLOTS: usize = 32;
/// How long slots wait for their functions, seconds.
pub const IDLE: u32 = 2;
/// How long the node's kernel keeps track of a connection that has ended, seconds.
const TRACKED: &str = "2";
/// A stored template, written again and again.
const TEMPLATE: &str = "endurance";

/// The pool. Some slots wait for their functions, until the agent deletes them and builds others in their
/// place. When no container has come for a while, only slots are left that have had no user.
#[must_use]
pub fn pool() -> Value {
    json!({
        "warm": SLOTS, "maxSlots": 4 * SLOTS, "scope": "tenant", "idleTTL": format!("{IDLE}s"),
        "maxParkedPerFunction": 3, "maxParkedPerTenant": 8,
    })
}

/// Containers of a pool.
#[derive(Debug)]
pub struct Load<'a> {
    pooled: &'a Pooled<'a>,
    outside: Host,
    templates: AtomicUsize,
}

/// What a number of pairs took.
#[derive(Debug, Default)]
pub struct Took {
    /// All of them, from the first to the last.
    pub wall: Duration,
    /// Each ADD.
    pub adds: Vec<Duration>,
    /// Each DEL.
    pub dels: Vec<Duration>,
}

impl<'a> Load<'a> {
    /// Containers on a node with an agent; the calling thread is there.
    pub fn new(pooled: &'a Pooled<'a>) -> Result<Self> {
        let outside = pooled.node().outside_host()?;
        let load = Self { pooled, outside, templates: AtomicUsize::new(0) };
        // The first connection has the kernel's tracking loaded.
        load.pair(&mut Rng::with_seed(0))?.remove()?;
        for kind in ["tcp_timeout_time_wait", "tcp_timeout_close", "udp_timeout"] {
            let path = format!("/proc/sys/net/netfilter/nf_conntrack_{kind}");
            fs::write(&path, TRACKED).with_context(|| format!("write {path}"))?;
        }
        Ok(load)
    }

    /// So many ADDs and DELs; no container is left.
    pub fn run(&self, pairs: usize) -> Result<Took> {
        self.store_template()?;
        let begin = Instant::now();
        let parts: Vec<Took> = thread::scope(|scope| {
            let share = |thread| pairs / THREADS + usize::from(thread < pairs % THREADS);
            let threads: Vec<_> =
                (0..THREADS).map(|thread| scope.spawn(move || self.part(share(thread)))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic)))
                .collect::<Result<_>>()
        })?;
        let mut took = Took { wall: begin.elapsed(), ..Took::default() };
        for part in parts {
            took.adds.extend(part.adds);
            took.dels.extend(part.dels);
        }
        Ok(took)
    }

    /// One thread's containers: each has its DEL when some more have come.
    fn part(&self, pairs: usize) -> Result<Took> {
        let mut random = Rng::new();
        let (mut took, mut held) = (Took::default(), VecDeque::new());
        let end = |container: Container<'_>, took: &mut Took| {
            took.dels.push(container.delete()?);
            container.remove_netns()
        };
        for _ in 0..pairs {
            let container = self.pair(&mut random)?;
            took.adds.push(container.added_in());
            if random.usize(..TALKATIVE) == 0 {
                self.talk(&container, held.back())?;
            }
            held.push_back(container);
            if held.len() == HELD {
                held.pop_front().map_or(Ok(()), |oldest| end(oldest, &mut took))?;
            }
        }
        held.into_iter().try_for_each(|container| end(container, &mut took))?;
        Ok(took)
    }

    /// ADDs a container of some function.
    fn pair(&self, random: &mut Rng) -> Result<Container<'_>> {
        if random.usize(..NOBODYS) == 0 {
            return self.pooled.add();
        }
        let (tenant, function) = (random.usize(..TENANTS), random.usize(..FUNCTIONS));
        self.pooled.add_tenants(&format!("tenant-{tenant}"), &format!("function-{function}"))
    }

    /// Traffic of both protocols to another container, and TCP to the outside, masqueraded.
    fn talk(&self, container: &Container<'_>, other: Option<&Container<'_>>) -> Result<()> {
        let host = container.host()?;
        if let Some(other) = other {
            traffic::all(&host, &other.host()?, &other.addresses()?)?;
        }
        OUTSIDE
            .into_iter()
            .try_for_each(|address| traffic::tcp(&host, &self.outside, address).map(drop))
    }

    /// Stores a template under the same name each time, alternating between two forms.
    fn store_template(&self) -> Result<()> {
        let number = self.templates.fetch_add(1, Ordering::Relaxed);
        let mut stored = ordinary();
        let mtu = (number % 2 == 1).then_some(1400);
        stored.operations[0] = Operation::CreateLink { mtu };
        let json = stored.to_json().context("write a template")?;
        template::import(self.pooled.node(), TEMPLATE, &json).map(drop)
    }
}
