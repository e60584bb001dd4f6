//! A verb is stopped at a point, another one comes for the same container or slot, and the first goes
//! on: both end, well or with a clear error, and nothing is left.

use std::{
    collections::{BTreeSet, VecDeque},
    fs,
    io::{Read as _, Write as _},
    process::{Child, Stdio},
    sync::Mutex,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use repoint::store::SlotState;
use repoint_tests::{Node, wait};
use serde_json::{Value, json};

use crate::{
    containers,
    fixture::{Case, Fixture, Verb, cli},
    matrix::{THREADS, is_wanted, lock, next, trace},
    play::Runner,
    pools,
    scenario::{Scenario, add, del, gc},
    state::{ensure_empty, ensure_single_owners, ensure_talks, slot_of},
};

/// How long a process may take to come to its point, or to its end.
const LIMIT: Duration = Duration::from_secs(30);
/// How long a competitor has before the other goes on: it may wait for a lock that that one holds.
const HEAD_START: Duration = Duration::from_millis(400);

/// Makes the verb that competes.
type Compete = fn(&Fixture<'_>, &Case) -> Verb;

/// Who comes while a verb is stopped.
const COMPETITORS: [(&str, Compete); 4] =
    [("ADD", add), ("DEL", del), ("GC", gc), ("sweep", |_, _| cli(&["sweep", "--grace", "0s"]))];

/// The scenarios that are stopped.
const STOPPED: [&str; 7] = ["add", "del", "hit", "builds", "parks", "parks-for-nobody", "gc-parks"];

/// A scenario, where it is stopped, and who comes then.
struct Interleaving {
    scenario: &'static Scenario,
    point: String,
    who: &'static str,
    compete: Compete,
}

#[test]
fn a_call_that_comes_while_a_verb_is_stopped_does_no_harm() -> Result<()> {
    if crate::is_skipped() {
        return Ok(());
    }
    let all = [&containers::ALL[..], &pools::ALL[..]].concat();
    let stopped = all.into_iter().filter(|one| STOPPED.contains(&one.name));
    let mut interleavings = VecDeque::new();
    for scenario in stopped.map(|scenario| &*Box::leak(Box::new(scenario))) {
        interleavings.extend(interleavings_of(scenario)?);
    }
    let number = interleavings.len();
    let (todo, failures) = (Mutex::new(interleavings), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| play_all(&todo, &failures));
        }
    });
    let failures = failures.into_inner().unwrap_or_default();
    println!("stopped: {number} interleavings, {} failed", failures.len());
    ensure!(failures.is_empty(), "{failures:#?}");
    Ok(())
}

/// At each point of the process itself where no lock of the database is held: there, everybody waits.
fn interleavings_of(scenario: &'static Scenario) -> Result<Vec<Interleaving>> {
    let passed: BTreeSet<String> = trace(scenario)?.into_iter().collect();
    let own = |name: &String| !["store:", "remover:"].iter().any(|other| name.starts_with(other));
    let points = passed
        .into_iter()
        .filter(own)
        .filter(|name| is_wanted(&format!("held/{}/{name}", scenario.name)));
    let with_each = |point: String| {
        let interleaving =
            move |(who, compete)| Interleaving { scenario, point: point.clone(), who, compete };
        COMPETITORS.map(interleaving)
    };
    Ok(points.flat_map(with_each).collect())
}

/// Network with one slot, so that the next container gets that of the one before, if it may.
fn single(configuration: &mut Value) {
    configuration["pool"] = json!({ "warm": 1, "maxSlots": 1, "scope": "network" });
}

/// A verb is stopped, the container is deleted all the same, and another one comes, which may get the
/// same slot: what is done then with the container that is gone does not touch it.
#[test]
fn the_next_container_of_a_slot_keeps_it() -> Result<()> {
    if crate::is_skipped() {
        return Ok(());
    }
    let mut number = 0;
    for scenario in pools::ALL.iter().filter(|one| ["hit", "parks"].contains(&one.name)) {
        let scenario = Scenario { network: single, ..*scenario };
        let scenario: &'static Scenario = Box::leak(Box::new(scenario));
        let node = Node::new()?;
        let points: BTreeSet<String> = trace(scenario)?.into_iter().collect();
        node.run(|| {
            let runner = Runner::new(scenario, &node)?;
            let wanted = |name: &&String| {
                !name.starts_with("store:") && is_wanted(&format!("heir/{}/{name}", scenario.name))
            };
            for point in points.iter().filter(wanted) {
                let name = format!("heir/{}/{point}", scenario.name);
                play_with_heir(&runner, &node, point).with_context(|| name)?;
                number += 1;
            }
            runner.unload()
        })?;
    }
    println!("heirs: {number} that kept their slots");
    Ok(())
}

fn play_with_heir(runner: &Runner<'_>, node: &Node, point: &str) -> Result<()> {
    let (scenario, fixture, case) = runner.set()?;
    let held = Running::start(&(scenario.verb)(fixture, &case), node, Some(point))?;
    held.wait_until_stopped()?;
    // Who holds the lock on the slot's namespace keeps it from being anybody's.
    Running::start(&del(fixture, &case), node, None)?.wait_until_ended(HEAD_START).ok();
    let heir = Case::new("heir")?;
    let mut add = Running::start(&add(fixture, &heir), node, None)?;
    add.wait_until_ended(HEAD_START).ok();
    held.go_on()?;
    held.end().context("the call that was stopped")?;
    add.end().context("ADD of the next")?;
    ensure_single_owners(node)?;
    let slot = slot_of(node, &heir)?.context("the next has no slot")?;
    ensure!(slot.state() == SlotState::Active, "the next one's slot is {}", slot.state());
    ensure_talks(&heir, &slot).context("the next")?;
    fixture.network.del(&heir.attachment, None)?;
    ensure_empty(&heir)?;
    heir.netns.remove()?;
    runner.end(case)
}

/// Plays interleavings as long as there are any, on a node for as long as nothing is left on it.
fn play_all(todo: &Mutex<VecDeque<Interleaving>>, failures: &Mutex<Vec<String>>) {
    let mut current = next(todo);
    while let Some(scenario) = current.as_ref().map(|one| one.scenario) {
        if let Err(error) = play_on_one_node(scenario, &mut current, todo) {
            let name = current.as_ref().map_or_else(String::new, Interleaving::name);
            println!("{name}: {error:#}");
            lock(failures).push(format!("{name}: {error:#}"));
            current = next(todo);
        }
    }
}

/// Plays interleavings of a scenario; fails with the one at hand.
fn play_on_one_node(
    scenario: &'static Scenario,
    current: &mut Option<Interleaving>,
    todo: &Mutex<VecDeque<Interleaving>>,
) -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let runner = Runner::new(scenario, &node)?;
        while let Some(one) = current.as_ref().filter(|one| one.scenario.name == scenario.name) {
            one.play(&runner, &node)?;
            *current = next(todo);
        }
        runner.unload()
    })
}

impl Interleaving {
    fn name(&self) -> String {
        format!("held/{}/{}/{}", self.scenario.name, self.point, self.who)
    }

    fn play(&self, runner: &Runner<'_>, node: &Node) -> Result<()> {
        let (scenario, fixture, case) = runner.set()?;
        let held = Running::start(&(scenario.verb)(fixture, &case), node, Some(&self.point))?;
        held.wait_until_stopped()?;
        let mut other = Running::start(&(self.compete)(fixture, &case), node, None)?;
        other.wait_until_ended(HEAD_START).ok();
        held.go_on()?;
        held.end().context("the call that was stopped")?;
        other.end().with_context(|| format!("{} that came", self.who))?;
        ensure_single_owners(node)?;
        runner.end(case)
    }
}

/// A process of a verb. Dropping it kills it.
struct Running(Child);

impl Running {
    fn start(verb: &Verb, node: &Node, stop_at: Option<&str>) -> Result<Self> {
        let (mut command, input) = verb.process(node)?.context("it is the agent")?;
        if let Some(point) = stop_at {
            command.env("REPOINT_FAILPOINT", format!("{point}=stop"));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("start {command:?}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(&input).context("write standard input")?;
        }
        Ok(Self(child))
    }

    fn wait_until_stopped(&self) -> Result<()> {
        wait::until(LIMIT, "it is stopped", || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
            let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            ensure!(state == Some('T'), "it is in state {state:?}");
            Ok(())
        })
    }

    fn go_on(&self) -> Result<()> {
        let pid = Pid::from_raw(self.0.id().try_into().context("a process id")?);
        kill(pid, Signal::SIGCONT).context("have it go on")
    }

    fn wait_until_ended(&mut self, limit: Duration) -> Result<()> {
        wait::until(limit, "it ends", || self.0.try_wait()?.context("it runs")).map(drop)
    }

    /// Waits for its end, which is well or an error that says what is wrong.
    fn end(mut self) -> Result<()> {
        self.wait_until_ended(LIMIT)?;
        let (mut out, mut err) = (String::new(), String::new());
        self.0.stdout.take().map(|mut pipe| pipe.read_to_string(&mut out)).transpose()?;
        self.0.stderr.take().map(|mut pipe| pipe.read_to_string(&mut err)).transpose()?;
        let status = self.0.wait()?;
        let says_why = || {
            let error = serde_json::from_str::<Value>(&out).is_ok_and(|error| {
                error["code"].is_u64() && error["msg"].as_str().is_some_and(|msg| !msg.is_empty())
            });
            error || !err.trim().is_empty()
        };
        if status.success() || status.code().is_some() && says_why() {
            return Ok(());
        }
        bail!("{status}: {out} {err}")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
