//! The agent as a verb: it runs until it is killed, or has nothing left to do.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use repoint_tests::{Node, wait};

use crate::fixture::executable;

/// How long the agent may take.
const LIMIT: Duration = Duration::from_secs(20);
const LOG: &str = "/run/agent.log";

/// Runs an agent that sweeps when it starts and not again. It is asked to end when it has kept house
/// and rested twice since.
pub fn run(
    node: &Node,
    environment: Vec<(&'static str, String)>,
    trace: &Path,
) -> Result<(ExitStatus, String, String)> {
    let log = File::create(LOG).with_context(|| format!("create {LOG}"))?;
    let mut agent = Guard(
        Command::new(executable("repoint-agent"))
            .args(node.dirs().arguments())
            .args(["--sweep-interval", "1h"])
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("duplicate the log's descriptor")?)
            .stderr(log)
            .spawn()
            .context("start repoint-agent")?,
    );
    let mut quiet = Quiet { points: 0, looks: 0 };
    let status = wait::until(LIMIT, "the agent ends", || {
        let status = agent.0.try_wait().context("ask for the agent's status")?;
        if status.is_none() && quiet.is_over(trace)? {
            let pid = Pid::from_raw(agent.0.id().try_into().context("a process id")?);
            kill(pid, Signal::SIGTERM).context("ask the agent to end")?;
        }
        status.context("it runs")
    });
    let said = fs::read_to_string(LOG).unwrap_or_default();
    match status {
        Ok(status) => Ok((status, String::new(), said)),
        Err(error) => bail!("{error:#}: {said}"),
    }
}

/// Looks in a row in which an agent that has kept house passed nothing but what each round passes.
struct Quiet {
    points: usize,
    looks: usize,
}

impl Quiet {
    /// Whether the agent had nothing to do for a while.
    fn is_over(&mut self, trace: &Path) -> Result<bool> {
        let text =
            fs::read_to_string(trace).with_context(|| format!("read {}", trace.display()))?;
        let points = text.lines().filter(|name| !name.starts_with("store:")).count();
        self.looks = if points == self.points { self.looks + 1 } else { 0 };
        self.points = points;
        Ok(self.looks >= 12 && text.lines().any(|name| name == "controller:lingering"))
    }
}

struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
