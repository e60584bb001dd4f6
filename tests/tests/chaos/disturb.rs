//! What comes in between: an agent that is killed and started again, and an operator.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::ExitStatusExt as _,
    process::Command,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

use anyhow::Result;
use fastrand::Rng;
use nix::sys::signal::Signal;
use repoint_tests::{Agent, command, dist};

use crate::Field;

/// How long an agent lives, and how long there is none, in ms at most.
const LIFE: u64 = 5000;
const DEATH: u64 = 1500;
/// How long until the operator's next command, in ms at most.
const PAUSE: u64 = 600;
/// About how long a sweep takes, in ms, and how long any command may.
const SWEEP: u64 = 1200;
const LIMIT: Duration = Duration::from_mins(1);
/// What he asks for.
const COMMANDS: [&[&str]; 5] =
    [&["sweep"], &["sweep", "--dry-run"], &["pool"], &["slots"], &["status"]];

/// Runs an agent, kills it and starts another, until `over`. Now and then it may end by itself.
pub fn agents(field: &Field<'_>, mut rng: Rng, over: &Receiver<()>) -> Result<()> {
    loop {
        let agent = Agent::start(field.node)?;
        let ended = is_over(over, rng.u64(..LIFE));
        if rng.u32(..5) == 0 {
            agent.stop()?;
            field.ledger.count("agent", false);
        } else {
            agent.kill()?;
            field.ledger.count("agent", true);
        }
        if ended || is_over(over, rng.u64(..DEATH)) {
            return Ok(());
        }
    }
}

/// Sweeps, and looks at this and that, until `over`.
pub fn operator(field: &Field<'_>, mut rng: Rng, over: &Receiver<()>) -> Result<()> {
    while !is_over(over, rng.u64(..PAUSE)) {
        let words = COMMANDS[rng.usize(..COMMANDS.len())];
        let mut command = Command::new(dist::cli());
        command.args(field.node.dirs().arguments()).args(words);
        let is_killed = words == ["sweep"] && rng.bool();
        let limit = if is_killed { Duration::from_millis(rng.u64(..SWEEP)) } else { LIMIT };
        let output = command::output_signalled(&mut command, &[], &[(limit, Signal::SIGKILL)])?;
        let was_killed = output.status.signal() == Some(Signal::SIGKILL as i32);
        field.ledger.count(words[0], was_killed);
        // A dry run that finds what is due says so by 2.
        if !was_killed && !matches!(output.status.code(), Some(0 | 2)) {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            field.ledger.find(format!("repoint {words:?}: {}: {said}", output.status));
        }
    }
    Ok(())
}

/// Waits so many ms; says whether it is over before.
fn is_over(over: &Receiver<()>, ms: u64) -> bool {
    over.recv_timeout(Duration::from_millis(ms)) != Err(RecvTimeoutError::Timeout)
}

/// What agents warned of, without the times.
pub fn warnings() -> BTreeSet<String> {
    let logs =
        (0..).map_while(|number| fs::read_to_string(format!("/run/agent-{number}.log")).ok());
    let warned = |log: String| {
        let lines = log.lines().filter_map(|line| line.split_once("WARN ")?.1.to_owned().into());
        lines.collect::<Vec<String>>()
    };
    logs.flat_map(warned).collect()
}
