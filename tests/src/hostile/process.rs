//! A hostile process, as the test that started it sees it.

use std::{
    os::fd::AsFd as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sched::{CloneFlags, unshare};

use super::{Channel, Rights};
use crate::traffic::Host;

/// How long an order may take.
const LIMIT: Duration = Duration::from_mins(3);

/// A running attacker. Dropping it kills it and all that it has started.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    control: Channel,
}

/// What an attacker answers to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It was done; with what there is to report.
    Done(String),
    /// The kernel refused, or there was nothing to do it to.
    Failed(String),
    /// The kernel lacks what it takes.
    Unsupported(String),
}

impl Reply {
    /// Reads an answer.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
        match kind {
            "done" => Self::Done(rest.to_owned()),
            "unsupported" => Self::Unsupported(rest.to_owned()),
            _ => Self::Failed(rest.to_owned()),
        }
    }

    /// The answer as it is sent.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::Done(text) => format!("done {text}"),
            Self::Failed(text) => format!("failed {text}"),
            Self::Unsupported(text) => format!("unsupported {text}"),
        }
    }
}

impl Process {
    /// Starts the executable `attacker` in a party's network namespace, and in the calling thread's
    /// mount namespace, with these rights.
    pub fn start(executable: &Path, host: &Host, rights: &Rights) -> Result<Self> {
        let (control, theirs) = Channel::pair()?;
        let name = format!("the attacker in {}", host.name());
        let child = host.run(|| {
            // This thread only starts the process: it can start no thread any more.
            unshare(CloneFlags::CLONE_NEWPID).context("unshare(CLONE_NEWPID)")?;
            Command::new(executable)
                .arg(rights.argument())
                .stdin(Stdio::from(theirs.into_descriptor()))
                .stdout(Stdio::null())
                .current_dir("/")
                .spawn()
                .with_context(|| format!("start {}", executable.display()))
        })?;
        let process = Self { name, child, control };
        match process.receive()? {
            Reply::Done(_) => Ok(process),
            other => bail!("{}: {other:?}", process.name),
        }
    }

    /// Its process id, as the test sees it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Name of the party that the process belongs to.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends an order; returns the reply, whatever it is.
    pub fn order(&self, order: &str) -> Result<Reply> {
        self.control.send(order, &[]).with_context(|| format!("{}: {order}", self.name))?;
        self.receive()
    }

    /// Sends an order that must succeed; returns what there is to report.
    pub fn must(&self, order: &str) -> Result<String> {
        match self.order(order)? {
            Reply::Done(text) => Ok(text),
            other => bail!("{}: {order}: {other:?}", self.name),
        }
    }

    /// Connects two attackers, so that they can give each other descriptors.
    pub fn introduce(&self, other: &Self) -> Result<()> {
        let (one, two) = Channel::pair()?;
        for (process, end) in [(self, one), (other, two)] {
            process.control.send("peer", &[end.as_fd()])?;
            let reply = process.receive()?;
            ensure!(matches!(reply, Reply::Done(_)), "{}: {reply:?}", process.name);
        }
        Ok(())
    }

    fn receive(&self) -> Result<Reply> {
        let message = self.control.receive(LIMIT).with_context(|| self.name.clone())?;
        let message = message.with_context(|| format!("{} has ended", self.name))?;
        Ok(Reply::read(&message.text))
    }

    /// Kills it, and waits until it has ended with all that it started.
    pub fn kill(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("kill {}", self.name))?;
        self.child.wait().with_context(|| format!("wait for {}", self.name)).map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // After `kill` it has been waited for, and this does nothing.
        if let Err(error) = self.end() {
            eprintln!("a hostile process is left: {error:#}");
        }
    }
}
