//! `repoint-agent` on a node.

use std::{
    fs::{self, File},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{dist, node::Node, wait};

/// How long it may take to start, and to end.
const LIMIT: Duration = Duration::from_secs(10);
/// Lines of its log that are shown when a test fails.
const SHOWN: usize = 40;

/// A running agent. Dropping it kills it, and prints the end of its log: a test that succeeds ends it
/// by [`Self::stop`] or [`Self::kill`].
#[derive(Debug)]
pub struct Agent {
    process: Child,
    log: PathBuf,
    ended: bool,
}

impl Agent {
    /// Starts the agent on the node whose namespaces the calling thread is in, and waits until
    /// plugins can notify it.
    pub fn start(node: &Node) -> Result<Self> {
        Self::await_socket(node, Self::spawn(node, &[], &[])?)
    }

    /// Like [`Self::start`], with the priority that the unit in `docs/install.md` gives it.
    pub fn start_as_a_unit(node: &Node) -> Result<Self> {
        Self::start_by(node, &["nice", "-n", "-5"])
    }

    /// Like [`Self::start`], with `interval` between two sweeps.
    pub fn start_sweeping(node: &Node, interval: Duration) -> Result<Self> {
        let interval = format!("{}ms", interval.as_millis());
        Self::await_socket(node, Self::spawn(node, &["--sweep-interval", &interval], &[])?)
    }

    /// Like [`Self::start`], with another log filter (`RUST_LOG`).
    pub fn start_logging(node: &Node, filter: &str) -> Result<Self> {
        Self::await_socket(node, Self::spawn(node, &[], &[("RUST_LOG", filter)])?)
    }

    /// Starts an agent by another program, which executes it (`unshare` and the like), and waits until
    /// plugins can notify it.
    pub fn start_by(node: &Node, program: &[&str]) -> Result<Self> {
        Self::await_socket(node, Self::spawn_by(node, program)?)
    }

    fn spawn_by(node: &Node, program: &[&str]) -> Result<Self> {
        let (first, rest) = program.split_first().context("a program")?;
        let mut command = Command::new(first);
        command.args(rest).arg(dist::agent());
        Self::spawn_command(command, node, &[], &[])
    }

    /// Starts an agent by another program; returns the agent's log. The agent must end by itself without
    /// success.
    pub fn fail_by(node: &Node, program: &[&str]) -> Result<String> {
        Self::spawn_by(node, program)?.fails()
    }

    /// Starts an agent with failpoints that is killed when it passes `point`, sooner or later.
    pub fn start_until(node: &Node, point: &str) -> Result<Self> {
        let agent = dist::failpoints().join("repoint-agent");
        Self::spawn_at(&agent, node, &[], &[("REPOINT_FAILPOINT", point)])
    }

    fn await_socket(node: &Node, agent: Self) -> Result<Self> {
        let socket = node.dirs().run.join("agent.sock");
        wait::until(LIMIT, "the agent listens", || {
            let client = UnixDatagram::unbound().context("make a socket")?;
            client.connect(&socket).with_context(|| format!("connect to {}", socket.display()))
        })?;
        Ok(agent)
    }

    /// Starts an agent that must end by itself without success; returns its log.
    pub fn fail(node: &Node) -> Result<String> {
        Self::spawn(node, &[], &[])?.fails()
    }

    fn fails(mut self) -> Result<String> {
        let status = wait::until(LIMIT, "the agent ends", || {
            self.process.try_wait().context("ask for the agent's status")?.context("it runs")
        })?;
        self.ended = true;
        ensure!(!status.success(), "the agent ended well");
        self.log()
    }

    /// Starts two agents at once, of which one must fail. Returns the agent that runs, and the log of the
    /// one that ended by itself.
    pub fn race(node: &Node) -> Result<(Self, String)> {
        let (mut one, mut other) = (Self::spawn(node, &[], &[])?, Self::spawn(node, &[], &[])?);
        let status = wait::until(LIMIT, "one of two agents ends", || {
            if let Some(status) = one.process.try_wait().context("ask for an agent's status")? {
                return Ok(status);
            }
            std::mem::swap(&mut one, &mut other);
            bail!("both run")
        })?;
        one.ended = true;
        ensure!(!status.success(), "an agent ended well");
        Ok((Self::await_socket(node, other)?, one.log()?))
    }

    fn spawn(node: &Node, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Self> {
        Self::spawn_at(&dist::agent(), node, arguments, environment)
    }

    fn spawn_at(
        program: &Path,
        node: &Node,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        Self::spawn_command(Command::new(program), node, arguments, environment)
    }

    fn spawn_command(
        mut command: Command,
        node: &Node,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let dirs = node.dirs();
        let log = (0..).map(|number| PathBuf::from(format!("/run/agent-{number}.log")));
        let log = log.into_iter().find(|path| !path.exists()).context("no name for a log")?;
        let file = File::create_new(&log).with_context(|| format!("create {}", log.display()))?;
        let process = command
            .args(dirs.arguments())
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("duplicate the log's descriptor")?)
            .stderr(file)
            .spawn()
            .context("start repoint-agent")?;
        Ok(Self { process, log, ended: false })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it has logged.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(&self.log).with_context(|| format!("read {}", self.log.display()))
    }

    /// Asks it to end, which must be a success.
    pub fn stop(mut self) -> Result<()> {
        let pid = Pid::from_raw(self.process.id().try_into().context("a process id")?);
        kill(pid, Signal::SIGTERM).context("ask the agent to end")?;
        let status = wait::until(LIMIT, "the agent ends", || {
            self.process.try_wait().context("ask for the agent's status")?.context("it runs")
        })?;
        ensure!(status.success(), "the agent ended with {status}:\n{}", self.log()?);
        self.ended = true;
        Ok(())
    }

    /// Kills it as it stands.
    pub fn kill(mut self) -> Result<()> {
        self.ended = true;
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.process.kill().context("kill the agent")?;
        self.process.wait().context("wait for the agent").map(drop)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if let Err(error) = self.end() {
            eprintln!("the agent is left: {error:#}");
        }
        let log = self.log().unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(SHOWN)..];
        eprintln!("the agent's last words:\n{}", last.join("\n"));
    }
}
