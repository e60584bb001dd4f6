//! Arbitrary sequences of starts and stops, modes, scopes, evictions, sweeps and kills on one node: no
//! namespace, by the kernel's cookie, ever has users of two trust domains.

use std::{collections::BTreeMap, env, process::Command};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use repoint_tests::{
    Agent, Netns, Pooled, command, dist, missing,
    plugin::{Attachment, Network, Outcome},
    pooled::NAME,
    trust::{Domain, History, Scope},
    with_pool,
};
use serde_json::json;

/// Seeds that are played unless `REPOINT_DOMAINS_SEEDS` says how many, or `REPOINT_DOMAINS_SEED` which.
const SEEDS: u64 = 3;
/// Steps of a sequence.
const STEPS: usize = 240;
/// Containers that run at a time.
const MOST: usize = 5;
/// Of so many calls one is killed.
const KILLED: u32 = 3;
/// How often a DEL is tried that is killed.
const TRIES: usize = 20;
const TENANTS: [Option<&str>; 4] = [Some("a"), Some("a"), Some("b"), None];
const FUNCTIONS: [Option<&str>; 4] = [Some("f"), Some("f"), Some("g"), None];
const MODES: [Option<&str>; 8] = [
    None,
    None,
    None,
    Some("reuse"),
    Some("reuse"),
    Some("reuse"),
    Some("replicate"),
    Some("none"),
];

/// Where calls are killed, beside at any of their transactions.
const IN_ADD: [&str; 17] = [
    "assign:claimed",
    "activate:bound",
    "activate:entries",
    "activate:active",
    "assign:recorded",
    "keep:file",
    "prepare:kept",
    "build:link",
    "build:entries",
    "assign:bound",
    "assign:active",
    "reclaim:deleting",
    "scrub:begun",
    "scrub:recorded",
    "delete:deleting",
    "delete:links",
    "delete:namespaces",
];
const IN_DEL: [&str; 12] = [
    "park:unbound",
    "park:pointed",
    "park:dirty",
    "scrub:begun",
    "scrub:done",
    "scrub:recorded",
    "scrub:unwanted",
    "delete:deleting",
    "delete:unbound",
    "delete:links",
    "delete:namespaces",
    "release:deleting",
];
const IN_BACKGROUND: [&str; 14] = [
    "agent:resumed",
    "controller:scrubbed",
    "controller:built",
    "controller:deleted-unused",
    "controller:lingering",
    "prepare:recorded",
    "prepare:kept",
    "prepare:ready",
    "scrub:begun",
    "scrub:recorded",
    "scrub:unwanted",
    "delete:deleting",
    "delete:namespaces",
    "evict:recorded",
];

/// A container that its runtime knows.
struct Known {
    netns: Netns,
    attachment: Attachment,
}

/// A sequence.
struct Play<'a> {
    pooled: &'a Pooled<'a>,
    rng: Rng,
    network: Network,
    scope: Scope,
    shares: bool,
    /// How often each tenant was evicted: what it has since is another domain's.
    evicted: BTreeMap<&'static str, usize>,
    running: Vec<Known>,
    /// Containers whose ADD or DEL was killed, for GC, or for the end.
    lost: Vec<Known>,
    agent: Option<Agent>,
    history: History,
    containers: usize,
    kills: usize,
}

impl<'a> Play<'a> {
    fn new(pooled: &'a Pooled<'a>, rng: Rng) -> Result<Self> {
        let mut play = Self {
            pooled,
            rng,
            network: pooled.network().clone(),
            scope: Scope::Function,
            shares: false,
            evicted: BTreeMap::new(),
            running: Vec::new(),
            lost: Vec::new(),
            agent: None,
            history: History::default(),
            containers: 0,
            kills: 0,
        };
        play.configure()?;
        Ok(play)
    }

    fn step(&mut self) -> Result<()> {
        match self.rng.u32(..100) {
            0..44 if self.running.len() < MOST => self.start(),
            0..80 => self.stop(),
            80..82 => self.configure(),
            82..84 => self.evict(),
            84..90 => self.toggle_agent(),
            90..92 => self.repoint(&["sweep", "--grace", "0s"]).map(drop),
            92..94 => self.repoint(&["pool", "fill", NAME]).map(drop),
            94..95 => self.repoint(&["pool", "drain", NAME]).map(drop),
            95..97 => self.prepare(),
            _ => self.collect(),
        }
    }

    /// Where the next call is killed; none: nowhere.
    fn point(&mut self, points: &[&'static str]) -> Option<String> {
        if self.rng.u32(..KILLED) > 0 {
            return None;
        }
        if self.rng.u32(..3) == 0 {
            let point = self.rng.choice(["store:begun", "store:written", "store:committed"])?;
            return Some(format!("{point}#{}", self.rng.usize(1..8)));
        }
        Some((*self.rng.choice(points)?).to_owned())
    }

    /// A call of the plugin, which may be killed.
    fn call(
        &mut self,
        verb: &str,
        attachment: &Attachment,
        points: &[&'static str],
    ) -> Result<Outcome> {
        let call = self.network.single(verb, attachment, None)?;
        let call = match self.point(points) {
            Some(point) => call.variable("REPOINT_FAILPOINT", point),
            None => call,
        };
        let outcome = call.run()?;
        self.kills += usize::from(outcome.was_killed());
        Ok(outcome)
    }

    /// A command of the CLI, which may be killed; says whether it was.
    fn repoint(&mut self, arguments: &[&str]) -> Result<bool> {
        let mut command = Command::new(dist::failpoints().join("repoint"));
        command.args(self.pooled.node().dirs().arguments()).args(arguments);
        if let Some(point) = self.point(&IN_BACKGROUND) {
            command.env("REPOINT_FAILPOINT", point);
        }
        let output = command::output_with_input(&mut command, &[])?;
        let said = String::from_utf8_lossy(&output.stderr);
        let was_killed = output.status.code().is_none();
        self.kills += usize::from(was_killed);
        // A tenant that has no slot is none to evict.
        let is_done = output.status.success() || said.contains("no slot is of tenant");
        ensure!(was_killed || is_done, "repoint {arguments:?}: {said}");
        Ok(was_killed)
    }

    /// A user who may be in the network, by `CNI_ARGS`, and its trust domain.
    fn user(&mut self) -> (String, Domain) {
        let mut choose = |some: &[Option<&'static str>]| some[self.rng.usize(..some.len())];
        let (tenant, function, mode) = (choose(&TENANTS), choose(&FUNCTIONS), choose(&MODES));
        let narrower: Vec<_> = Scope::ALL.into_iter().filter(|one| *one <= self.scope).collect();
        let asked = if self.rng.u32(..4) == 0 { self.rng.choice(narrower) } else { None };
        let keys = [
            ("tenant", tenant),
            ("function", function),
            ("mode", mode),
            ("scope", asked.map(Scope::name)),
        ];
        let args: Vec<_> = keys
            .into_iter()
            .filter_map(|(key, value)| Some(format!("repoint.dev/{key}={}", value?)))
            .collect();
        // As it has been since it was evicted last.
        let times = tenant.and_then(|tenant| self.evicted.get(tenant)).copied().unwrap_or_default();
        let tenant = tenant.map(|tenant| format!("{tenant} {times}"));
        let scope = asked.unwrap_or(self.scope);
        let domain = Domain::of(scope, tenant.as_deref(), function, self.shares, self.containers);
        (args.join(";"), domain)
    }

    fn start(&mut self) -> Result<()> {
        self.containers += 1;
        let (args, domain) = self.user();
        let name = self.pooled.name();
        let netns = Netns::create(&name)?;
        let attachment = Attachment::new(&name, netns.path()).args(&args);
        let outcome = self.call("ADD", &attachment, &IN_ADD)?;
        // What an ADD that was killed has mounted may have been used.
        self.history.note(netns.cookie()?, domain);
        let known = Known { netns, attachment };
        if outcome.was_killed() {
            if self.rng.bool() {
                return self.end(known);
            }
            self.lose(known);
            return Ok(());
        }
        outcome.success().with_context(|| args)?;
        self.running.push(known);
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        if self.running.is_empty() {
            return Ok(());
        }
        let known = self.running.swap_remove(self.rng.usize(..self.running.len()));
        self.end(known)
    }

    /// DELs a container, again where that is killed, and removes its namespace; or loses it.
    fn end(&mut self, known: Known) -> Result<()> {
        for _ in 0..TRIES {
            let outcome = self.call("DEL", &known.attachment, &IN_DEL)?;
            if !outcome.was_killed() {
                outcome.success()?;
                return known.netns.remove();
            }
            if self.rng.u32(..4) == 0 {
                break;
            }
        }
        self.lose(known);
        Ok(())
    }

    /// The runtime forgets a container.
    fn lose(&mut self, known: Known) {
        self.lost.push(known);
    }

    /// The network's configuration changes, on record at once or with the next ADD.
    fn configure(&mut self) -> Result<()> {
        self.scope = self.rng.choice(Scope::ALL).unwrap_or(Scope::Function);
        self.shares = self.rng.u32(..3) == 0;
        let (scope, shares) = (self.scope.name(), self.shares);
        let (file, _) = self.pooled.reconfigured(|configuration| {
            configuration["pool"]["scope"] = json!(scope);
            configuration["pool"]["shareWithoutTenant"] = json!(shares);
        })?;
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
        let path = dist::failpoints().to_string_lossy().into_owned();
        self.network = Network::new(&serde_json::from_str(&text)?, path)?;
        if self.rng.bool() {
            self.repoint(&["pool", "set", NAME, "--config", &file])?;
        }
        Ok(())
    }

    /// A tenant is deleted, and made again under its name. An eviction that is killed is repeated.
    fn evict(&mut self) -> Result<()> {
        let Some(tenant) = self.rng.choice(TENANTS).flatten() else {
            return Ok(());
        };
        while self.repoint(&["evict", "--tenant", tenant])? {}
        *self.evicted.entry(tenant).or_default() += 1;
        Ok(())
    }

    /// An agent ends, or is killed, or another one starts, which may be killed at a point.
    fn toggle_agent(&mut self) -> Result<()> {
        let node = self.pooled.node();
        match self.agent.take() {
            Some(agent) => agent.kill()?,
            None => {
                self.agent = Some(match self.point(&IN_BACKGROUND) {
                    Some(point) => {
                        self.kills += 1;
                        Agent::start_until(node, &point)?
                    }
                    None => Agent::start(node)?,
                });
            }
        }
        Ok(())
    }

    /// PREPARE of a slot, for a function or for any container.
    fn prepare(&mut self) -> Result<()> {
        let args = if self.rng.bool() {
            "repoint.dev/tenant=a;repoint.dev/function=f"
        } else {
            "repoint.dev/count=1"
        };
        let nobody = Attachment::new("", "".as_ref()).args(args);
        // There may be no room.
        self.call("PREPARE", &nobody, &IN_ADD).map(drop)
    }

    /// GC for a runtime that knows what runs and nothing else.
    fn collect(&mut self) -> Result<()> {
        let running = self.running.iter().map(|known| known.attachment.container_id.as_str());
        let network = self.network.with_valid(running);
        let outcome = network.call_single("GC", &Attachment::new("", "".as_ref()), None)?;
        outcome.success().map(drop)
    }

    /// Ends everything; gives how often namespaces were used again, and how many calls were killed.
    fn finish(mut self) -> Result<(History, usize)> {
        if let Some(agent) = self.agent.take() {
            agent.kill()?;
        }
        for known in self.running.drain(..).chain(self.lost.drain(..)) {
            self.network.del(&known.attachment, None)?;
            known.netns.remove()?;
        }
        self.pooled.repoint(&["sweep", "--grace", "0s"])?;
        Ok((self.history, self.kills))
    }
}

fn play(seed: u64) -> Result<BTreeMap<&'static str, usize>> {
    let mut rng = Rng::with_seed(seed);
    let pool = json!({ "warm": rng.u32(..4), "maxSlots": rng.u32(6..12) });
    let mut again = BTreeMap::new();
    with_pool(&pool, |pooled| {
        let mut play = Play::new(pooled, rng)?;
        for step in 0..STEPS {
            play.step().with_context(|| format!("step {step}"))?;
        }
        let (history, kills) = play.finish()?;
        println!("{} namespaces were used, {kills} calls killed", history.len());
        again = history.ensure_one_domain_each()?;
        Ok(())
    })?;
    Ok(again)
}

fn number(name: &str) -> Result<Option<u64>> {
    let text = env::var(name).ok();
    text.map(|text| text.parse().with_context(|| format!("{name}={text}"))).transpose()
}

#[test]
fn no_namespace_has_users_of_two_domains_whatever_happens() -> Result<()> {
    if missing(
        ["repoint-cni", "repoint", "repoint-agent"].map(|name| dist::failpoints().join(name)),
    ) {
        return Ok(());
    }
    let seeds = if let Some(seed) = number("REPOINT_DOMAINS_SEED")? {
        vec![seed]
    } else {
        let seeds = number("REPOINT_DOMAINS_SEEDS")?.unwrap_or(SEEDS);
        (0..seeds).map(|_| fastrand::u64(..)).collect()
    };
    let mut all: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in seeds {
        println!("REPOINT_DOMAINS_SEED={seed}");
        let again = play(seed).with_context(|| format!("REPOINT_DOMAINS_SEED={seed}"))?;
        println!("used again: {again:?}");
        for (kind, times) in again {
            *all.entry(kind).or_default() += times;
        }
    }
    // Otherwise nothing was seen.
    ensure!(all.values().sum::<usize>() > 0, "no namespace had a second user");
    Ok(())
}
