//! The plugin under limits of its process, each stepwise downwards: at every step each verb succeeds, or
//! prints a CNI error with a code, and after DEL nothing is left.
//!
//! A limit under which the kernel does not execute the plugin at all is no matter of the plugin's: that it
//! was so is seen by its system calls.
#![cfg(test)]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context as _, Result, bail, ensure};
use repoint_tests::{
    Netns, Pooled, Snapshot, command,
    plugin::{Attachment, Call, CniError},
    pooled::user,
    with_pool,
};
use serde_json::{Value, json};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// How often a call that gave no answer is made again, until it gives none with its system calls seen.
const TRIES: u32 = 20;

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    /// It succeeded.
    Done,
    /// It printed an error.
    Refused,
    /// The kernel did not execute it.
    NotExecuted,
}

/// How often each happened.
#[derive(Debug, Default)]
struct Count {
    done: u32,
    refused: u32,
    not_executed: u32,
}

impl Count {
    fn note(&mut self, came: Came) {
        match came {
            Came::Done => self.done += 1,
            Came::Refused => self.refused += 1,
            Came::NotExecuted => self.not_executed += 1,
        }
    }
}

/// A call under a limit, an option of `prlimit(1)`.
fn limited(call: &Call, limit: &str, value: u64) -> Command {
    let plugin = call.command();
    // Without random addresses: a stack that begins elsewhere holds more or less.
    let mut command = Command::new("setarch");
    command.args(["--addr-no-randomize", "prlimit"]);
    command.arg(format!("--{limit}={value}:{value}")).arg("--").arg(plugin.get_program());
    command.envs(plugin.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

fn run(call: &Call, limit: &str, value: u64) -> Result<(Came, Option<Value>)> {
    let output = command::output_with_input(&mut limited(call, limit, value), call.input())?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        let result = (!said.is_empty()).then(|| serde_json::from_str(&said)).transpose()?;
        return Ok((Came::Done, result));
    }
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if let Ok(error) = serde_json::from_str::<CniError>(&said) {
        ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
        ensure!(error.code > 0 && !error.msg.is_empty(), "{said}");
        return Ok((Came::Refused, None));
    }
    ensure!(
        said.is_empty() && !has_begun(call, limit, value, &output)?,
        "{limit}={value}: no answer: {}: {said:?}: {errors}",
        output.status
    );
    Ok((Came::NotExecuted, None))
}

/// Whether the plugin's `main` runs under a limit: its first act is to ignore SIGXFSZ.
fn has_begun(call: &Call, limit: &str, value: u64, output: &Output) -> Result<bool> {
    // What `prlimit` says that could not set the limit, or execute anything.
    if output.status.code().is_some_and(|code| code != 1 && code < 128) {
        return Ok(false);
    }
    let trace = "/run/trace";
    let plain = limited(call, limit, value);
    let mut traced = Command::new("strace");
    traced.args(["-f", "-o", trace]).arg(plain.get_program()).args(plain.get_args());
    traced.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    for _ in 0..TRIES {
        let again = command::output_with_input(&mut traced, call.input())?;
        if !again.status.success() && again.stdout.is_empty() {
            let calls = fs::read_to_string(trace).with_context(|| format!("read {trace}"))?;
            return Ok(calls.contains("SIGXFSZ"));
        }
    }
    bail!("{limit}={value}: it answers now")
}

/// Every verb under one limit of one value.
fn every_verb(
    pooled: &Pooled<'_>,
    before: &Snapshot,
    limit: &str,
    value: u64,
    count: &mut Count,
) -> Result<()> {
    for mode in ["reuse", "none"] {
        let name = pooled.name();
        let netns = Netns::create(&name)?;
        let args = format!("{};repoint.dev/mode={mode}", user("acme", "resize"));
        let attachment = Attachment::new(&name, netns.path()).args(&args);
        let network = pooled.network();
        let call = |verb: &str, result: Option<&Value>| network.single(verb, &attachment, result);
        let (came, result) = run(&call("ADD", None)?, limit, value)?;
        count.note(came);
        if let Some(result) = &result {
            count.note(run(&call("CHECK", Some(result))?, limit, value)?.0);
        }
        count.note(run(&call("STATUS", None)?, limit, value)?.0);
        count.note(run(&call("DEL", result.as_ref())?, limit, value)?.0);
        // As runtimes do after what failed, and not in want of anything.
        network.del(&attachment, result.as_ref())?;
        let (came, _) =
            run(&network.with_valid([]).single("GC", &attachment, None)?, limit, value)?;
        count.note(came);
        let links = netns.run(|| command::run("ip", ["-brief", "link"]))?;
        ensure!(links.lines().count() == 1, "the runtime's namespace holds:\n{links}");
        netns.remove()?;
    }
    let version = Call::new(repoint_tests::dist::plugin(), "VERSION", &json!({}));
    count.note(run(&version, limit, value)?.0);
    // A slot of the pool that was half-way is no container's: the agent ends it, or a sweep.
    pooled.repoint(&["sweep", "--grace", "0s"])?;
    // Slots of the pool may be others now: they are not compared.
    pooled.repoint(&["pool", "drain", "functions"])?;
    before
        .wait_until_restored(pooled.node().dirs())
        .with_context(|| format!("after {limit}={value}"))?;
    pooled.fill()
}

/// All verbs under a limit of these values, downwards; `must_refuse`: the limit is one that the plugin
/// reaches.
fn downwards(limit: &str, values: &[u64], must_refuse: bool) -> Result<()> {
    if ["prlimit", "setarch", "strace"].iter().any(|tool| !is_there(tool)) {
        println!("skipped: prlimit, setarch or strace is not there");
        return Ok(());
    }
    with_pool(&json!({ "warm": 1, "maxSlots": 4, "cooldown": "0s" }), |pooled| {
        // What the first call of all makes stays.
        pooled.fill()?;
        pooled.add()?.remove()?;
        pooled.repoint(&["pool", "drain", "functions"])?;
        let before = Snapshot::take(pooled.node().dirs())?;
        pooled.fill()?;
        let mut all = Count::default();
        for value in values {
            let mut count = Count::default();
            every_verb(pooled, &before, limit, *value, &mut count)?;
            let Count { done, refused, not_executed } = count;
            println!(
                "{limit}={value}: {done} done, {refused} refused, {not_executed} not executed"
            );
            all.done += done;
            all.refused += refused;
            all.not_executed += not_executed;
        }
        println!("{limit}: {all:?}");
        ensure!(all.done > 0, "nothing succeeded");
        if must_refuse {
            ensure!(all.refused > 0, "the limit was never reached");
        }
        Ok(())
    })
}

fn is_there(tool: &str) -> bool {
    ["/usr/bin", "/bin"].iter().any(|folder| Path::new(folder).join(tool).exists())
}

/// From the first value to the last, in steps of a share of what is left.
fn shrinking(first: u64, last: u64, numerator: u64, denominator: u64) -> Result<Vec<u64>> {
    let mut values = vec![first];
    let mut value = first;
    while value > last {
        let next = value * numerator / denominator;
        if next >= value {
            bail!("steps of {numerator}/{denominator} do not end");
        }
        value = next;
        values.push(value);
    }
    Ok(values)
}

#[test]
fn little_address_space_is_an_error() -> Result<()> {
    // Below the first steps the databases find no room, then threads, then the plugin itself.
    downwards("as", &shrinking(512 * MIB, MIB, 7, 8)?, true)
}

#[test]
fn little_data_is_an_error() -> Result<()> {
    downwards("data", &shrinking(64 * MIB, 4 * KIB, 3, 4)?, true)
}

#[test]
fn a_small_stack_is_an_error() -> Result<()> {
    downwards("stack", &shrinking(2 * MIB, 4 * KIB, 3, 4)?, true)
}

#[test]
fn few_open_files_are_an_error() -> Result<()> {
    let values: Vec<u64> = (3..=40).rev().collect();
    downwards("nofile", &values, true)
}

#[test]
fn small_files_are_an_error() -> Result<()> {
    let values = [MIB, 256 * KIB, 64 * KIB, 16 * KIB, 8 * KIB, 4 * KIB, KIB, 100, 1, 0];
    downwards("fsize", &values, true)
}

/// The kernel accounts BPF's memory to the cgroup since 5.11.
#[test]
fn little_locked_memory_is_no_hindrance() -> Result<()> {
    downwards("memlock", &[64 * KIB, 4 * KIB, 0], false)
}

/// The kernel exempts root.
#[test]
fn few_processes_are_no_hindrance() -> Result<()> {
    downwards("nproc", &[10, 1, 0], false)
}
