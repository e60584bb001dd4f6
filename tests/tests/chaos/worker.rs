//! One of the runtime's threads: it starts containers, looks at them, and stops them.

use std::{
    collections::BTreeSet, net::IpAddr, panic, path::Path, sync::atomic::Ordering, thread,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use repoint_tests::{
    Netns,
    plugin::{Attachment, Call},
    pooled::user,
    traffic::{self, Host},
    trust::Domain,
};
use serde_json::Value;

use crate::{Field, THREADS, ledger::Belongings, networks::Kind};

/// Containers that a thread has at a time.
const MOST: usize = 6;
/// How often a DEL is tried again that was killed.
const TRIES: usize = 50;
/// Names that GC is given beyond those that are there: containers that are added meanwhile.
const AHEAD: usize = 400;
/// Of so many ADDs one is cancelled.
const CANCELLED: u32 = 16;
/// Of so many DELs one is sent twice.
const TWICE: u32 = 10;
/// The spec's code for what may be done again.
const TRY_AGAIN_LATER: u32 = 11;
/// Tenants, and functions of each.
const TENANTS: usize = 2;
const FUNCTIONS: usize = 3;

/// A thread of the runtime.
pub struct Worker<'a> {
    field: &'a Field<'a>,
    number: usize,
    rng: Rng,
    /// Containers that it has named so far.
    named: usize,
    running: Vec<Running<'a>>,
    /// What was added and forgotten, or not removed: the runtime keeps the namespaces.
    left: Vec<Started<'a>>,
}

/// A container of a network.
pub struct Started<'a> {
    kind: &'a Kind,
    attachment: Attachment,
    netns: Netns,
    /// The trust domain that it is in.
    domain: Domain,
}

/// A container that works.
struct Running<'a> {
    started: Started<'a>,
    result: Value,
    belongings: Belongings,
}

impl<'a> Worker<'a> {
    pub fn new(field: &'a Field<'a>, number: usize, rng: Rng) -> Self {
        Self { field, number, rng, named: 0, running: Vec::new(), left: Vec::new() }
    }

    /// Does this and that until it is time; gives what has to be removed then.
    pub fn run(mut self, deadline: Instant) -> Result<Vec<Started<'a>>> {
        while Instant::now() < deadline && !self.field.is_over() {
            self.step()?;
        }
        let running = self.running.into_iter().map(|running| running.started);
        Ok(running.chain(self.left).collect())
    }

    fn step(&mut self) -> Result<()> {
        match self.rng.u32(..100) {
            0..44 if self.running.len() < MOST => self.add(),
            0..60 => self.check(),
            60..68 => {
                self.talk();
                Ok(())
            }
            68..70 => self.collect(),
            70..72 => {
                self.forget();
                Ok(())
            }
            _ => self.delete(),
        }
    }

    fn name(&mut self) -> String {
        self.named += 1;
        let name = name(self.number, self.named);
        self.field.ledger.know(&name);
        self.field.named[self.number].store(self.named, Ordering::SeqCst);
        name
    }

    /// A container of some network, with nothing in its namespace.
    fn start(&mut self) -> Result<Started<'a>> {
        let name = self.name();
        let kind = &self.field.kinds[self.rng.usize(..self.field.kinds.len())];
        let netns = Netns::create(&name)?;
        let mut attachment = Attachment::new(&name, netns.path());
        let mut domain = Domain::Container(self.named * THREADS + self.number);
        if kind.is_shared {
            let (args, shared) = self.user();
            (attachment, domain) = (attachment.args(&args), shared);
        }
        Ok(Started { kind, attachment, netns, domain })
    }

    fn add(&mut self) -> Result<()> {
        let started = self.start()?;
        let name = started.attachment.container_id.clone();
        let call = started.kind.network.single("ADD", &started.attachment, None)?;
        if self.rng.u32(..CANCELLED) == 0 {
            return self.cancel(started, &call);
        }
        let outcome = self.field.killer.call("ADD", &call, &mut self.rng, &self.field.ledger)?;
        if let Some(outcome) = &outcome
            && outcome.status.success()
        {
            let result = outcome.clone().json()?;
            let belongings = Belongings::of(&result, &started.netns)?;
            self.field.ledger.own(&name, &belongings);
            self.field.ledger.note(started.netns.cookie()?, started.domain.clone());
            self.running.push(Running { started, result, belongings });
            return Ok(());
        }
        if let Some(outcome) = outcome {
            self.field.failed(&name, &outcome);
        }
        // Runtimes send DEL after an ADD that failed, or leave it to GC.
        if self.rng.bool() {
            return self.remove(started, None);
        }
        self.leave(started);
        Ok(())
    }

    /// The runtime forgets a container, and keeps its namespace.
    fn leave(&mut self, started: Started<'a>) {
        self.field.ledger.forget(&started.attachment.container_id);
        self.left.push(started);
    }

    /// The runtime's patience ends while an ADD is delayed: DEL comes at the same time.
    fn cancel(&mut self, started: Started<'a>, add: &Call) -> Result<()> {
        let Field { killer, ledger, .. } = self.field;
        let name = started.attachment.container_id.clone();
        let del = started.kind.network.single("DEL", &started.attachment, None)?;
        let (mut one, mut other) = (self.rng.fork(), self.rng.fork());
        let added = thread::scope(|scope| {
            let added = scope.spawn(|| killer.hold_up("ADD", add, &mut one, ledger));
            let deleted = if started.kind.is_delegated() {
                // Killed, it would leave its delegate to go on alone, which may take back the address
                // that this ADD's delegate gives meanwhile: no plugin could know.
                Some(killer.hold_up("DEL", &del, &mut other, ledger)?)
            } else {
                killer.call("DEL", &del, &mut other, ledger)?
            };
            if let Some(outcome) = deleted.filter(|outcome| !outcome.status.success()) {
                self.field.failed(&name, &outcome);
            }
            added.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
        })?;
        if !added.status.success() && added.clone().error()?.code != TRY_AGAIN_LATER {
            self.field.failed(&name, &added);
        }
        self.remove(started, None)
    }

    /// Whose function a container is, in a network of scope `tenant`, and its trust domain.
    fn user(&mut self) -> (String, Domain) {
        let (tenant, function) = (self.rng.usize(..TENANTS), self.rng.usize(..FUNCTIONS));
        let (tenant, function) = (format!("t{tenant}"), format!("f{function}"));
        let mut args = user(&tenant, &function);
        if self.rng.u32(..4) > 0 {
            return (args, Domain::Tenant(Some(tenant)));
        }
        args.push_str(";repoint.dev/scope=function");
        (args, Domain::Function(Some(tenant), function))
    }

    fn check(&mut self) -> Result<()> {
        let Some(index) = self.any() else { return Ok(()) };
        let Running { started, result, belongings } = &self.running[index];
        let name = &started.attachment.container_id;
        let found = started.netns.inode()?;
        if found != belongings.namespace {
            self.field.ledger.find(format!("{name}: another namespace is at its path"));
        }
        let call = started.kind.network.single("CHECK", &started.attachment, Some(result))?;
        let outcome = self.field.killer.call("CHECK", &call, &mut self.rng, &self.field.ledger)?;
        if let Some(outcome) = outcome.filter(|outcome| !outcome.status.success()) {
            self.field.failed(name, &outcome);
        }
        Ok(())
    }

    /// Traffic between two containers that run.
    fn talk(&mut self) {
        let (Some(one), Some(other)) = (self.any(), self.any()) else { return };
        if one == other {
            return;
        }
        let (client, server) = (&self.running[one], &self.running[other]);
        self.field.ledger.count("traffic", false);
        if let Err(error) = talk(client, server) {
            let names = [client, server].map(|one| one.started.attachment.container_id.as_str());
            let again =
                talk(client, server).map_or_else(|error| format!("{error:#}"), |()| "well".into());
            let reported = self.field.describe(&server.belongings);
            self.field.ledger.find(format!(
                "traffic of {names:?}: {error:#}; again: {again}; the server: {reported}"
            ));
        }
    }

    /// GC of a network, with all containers on the list that are not forgotten.
    fn collect(&mut self) -> Result<()> {
        let kinds: Vec<&Kind> = self.field.kinds.iter().filter(|kind| kind.has_gc()).collect();
        let Some(kind) = self.rng.choice(kinds) else { return Ok(()) };
        let valid = self.valid();
        let valid = valid.iter().map(String::as_str);
        let nobody = Attachment::new("", Path::new(""));
        let call = kind.network.with_valid(valid).single("GC", &nobody, None)?;
        let outcome = self.field.killer.call("GC", &call, &mut self.rng, &self.field.ledger)?;
        if let Some(outcome) = outcome.filter(|outcome| !outcome.status.success()) {
            self.field.failed("the network", &outcome);
        }
        Ok(())
    }

    /// What the runtime knows: the containers that it has, and those that it adds meanwhile. (The spec
    /// has it wait with those. A list that is old already comes to the same.)
    fn valid(&self) -> BTreeSet<String> {
        let mut valid = BTreeSet::new();
        // The numbers first: what is named between these two looks is known, or among those ahead.
        for (worker, named) in self.field.named.iter().enumerate() {
            let named = named.load(Ordering::SeqCst);
            valid.extend((named..=named + AHEAD).map(|number| name(worker, number)));
        }
        valid.append(&mut self.field.ledger.known());
        valid
    }

    /// The runtime loses a container.
    fn forget(&mut self) {
        let Some(index) = self.any() else { return };
        let running = self.running.swap_remove(index);
        self.leave(running.started);
    }

    fn delete(&mut self) -> Result<()> {
        let Some(index) = self.any() else { return Ok(()) };
        let Running { started, result, .. } = self.running.swap_remove(index);
        self.field.ledger.disown(&started.attachment.container_id);
        self.remove(started, Some(&result))
    }

    /// DELs a container, again where it is killed, and removes its namespace; or leaves it to GC.
    fn remove(&mut self, started: Started<'a>, result: Option<&Value>) -> Result<()> {
        let name = started.attachment.container_id.clone();
        let call = started.kind.network.single("DEL", &started.attachment, result)?;
        if self.rng.u32(..TWICE) == 0 {
            self.twice(&name, &call)?;
        }
        for _ in 0..TRIES {
            let outcome =
                self.field.killer.call("DEL", &call, &mut self.rng, &self.field.ledger)?;
            match outcome {
                Some(outcome) if outcome.status.success() => {
                    self.field.ledger.forget(&name);
                    return started.netns.remove().with_context(|| format!("after DEL {name}"));
                }
                Some(outcome) => {
                    self.field.failed(&name, &outcome);
                    break;
                }
                None if self.rng.u32(..4) == 0 => break,
                None => {}
            }
        }
        self.leave(started);
        Ok(())
    }

    /// A runtime's patience ends while a DEL is delayed: it sends another one.
    fn twice(&mut self, name: &str, call: &Call) -> Result<()> {
        let Field { killer, ledger, .. } = self.field;
        let (mut one, mut other) = (self.rng.fork(), self.rng.fork());
        let ended = thread::scope(|scope| {
            let first = scope.spawn(|| killer.hold_up("DEL", call, &mut one, ledger));
            let second = killer.call("DEL", call, &mut other, ledger);
            let first = first.join().unwrap_or_else(|payload| panic::resume_unwind(payload));
            Ok::<_, anyhow::Error>([Some(first?), second?])
        })?;
        for outcome in ended.into_iter().flatten().filter(|outcome| !outcome.status.success()) {
            self.field.failed(name, &outcome);
        }
        Ok(())
    }

    fn any(&mut self) -> Option<usize> {
        (!self.running.is_empty()).then(|| self.rng.usize(..self.running.len()))
    }
}

impl Started<'_> {
    /// DELs it, and removes its namespace, with nobody in the way.
    pub fn end(self) -> Result<()> {
        let name = &self.attachment.container_id;
        self.kind.network.del(&self.attachment, None).with_context(|| format!("DEL {name}"))?;
        let name = name.clone();
        self.netns.remove().with_context(|| format!("after DEL {name}"))
    }
}

/// UDP from one container to another, at an address of a family that both have: it must be that one
/// that gets it, and see the right sender.
fn talk(client: &Running<'_>, server: &Running<'_>) -> Result<()> {
    let source = |to: &IpAddr| {
        let own = client.belongings.addresses.iter();
        own.copied().find(|own| own.is_ipv4() == to.is_ipv4())
    };
    for to in &server.belongings.addresses {
        let Some(from) = source(to) else { continue };
        let parties = [client, server].map(|one| Host::container(&one.started.netns));
        let [client, server] = parties;
        let seen = traffic::udp(&client?, &server?, *to)?;
        ensure!(seen == from, "{to} sees {seen}, not {from}");
    }
    Ok(())
}

/// The name of a thread's container.
fn name(worker: usize, number: usize) -> String {
    format!("w{worker}-{number}")
}
