//! A network's pool, as an operator sees and sets it.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::contestant::Contestant;
use crate::{
    Node,
    cli::{self, Pool as Status, repoint},
    dist, wait,
};

/// How long an agent may take to fill a pool, or to bring back what was used.
const PATIENCE: Duration = Duration::from_mins(1);

/// The pool of a contestant's network. Everything is done by the CLI, in the calling thread's
/// namespaces.
pub struct Pool<'a> {
    node: &'a Node,
    network: String,
    configuration: String,
}

impl<'a> Pool<'a> {
    /// The pool of a contestant's network on a node; none where the network has none.
    pub fn of(contestant: &Contestant, node: &'a Node) -> Option<Self> {
        let configuration = contestant.configuration.as_ref().filter(|_| contestant.has_pool())?;
        let network = configuration["name"].as_str()?.to_owned();
        Some(Self { node, network, configuration: configuration.to_string() })
    }

    /// Puts the pool on record before any ADD asks for it.
    pub fn record(&self) -> Result<()> {
        let file = format!("/run/{}.json", self.network);
        fs::write(&file, &self.configuration).with_context(|| format!("write {file}"))?;
        self.command("set", &["--config", &file])
    }

    /// Has the pool keep so many slots, all that it may have: none is built while they are in use.
    pub fn resize(&self, slots: usize) -> Result<()> {
        let slots = slots.to_string();
        self.command("set", &["--warm", &slots, "--max", &slots])
    }

    /// Builds so many slots.
    pub fn fill(&self, slots: usize) -> Result<()> {
        self.at_length(&["fill", &self.network, "--count", &slots.to_string()])
    }

    /// Does what an agent would: deletes what no container may have again, and builds what is lacking.
    pub fn bring_back(&self) -> Result<()> {
        repoint(self.node, &["sweep", "--grace", "0s"])?;
        self.at_length(&["fill", &self.network])?;
        self.until_full()
    }

    /// Deletes all slots.
    pub fn drain(&self) -> Result<()> {
        self.at_length(&["drain", &self.network])
    }

    /// Deletes all slots of a stored template.
    pub fn drain_template(&self, template: &str) -> Result<()> {
        self.at_length(&["drain", &self.network, "--template", template])
    }

    /// The network.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// Waits until the pool has the slots that it is to keep ready.
    pub fn until_full(&self) -> Result<()> {
        wait::until(PATIENCE, "filling a pool", || {
            let status = self.status()?;
            ensure!(status.warm >= status.target && is_at_rest(&status), "{status:?}");
            Ok(())
        })
    }

    /// Waits until every slot waits for its next user, and deleted ones were built anew.
    pub fn until_at_rest(&self) -> Result<()> {
        wait::until(PATIENCE, "bringing slots back", || {
            let status = self.status()?;
            ensure!(is_at_rest(&status), "{status:?}");
            Ok(())
        })
    }

    /// What the CLI reports of it.
    pub fn status(&self) -> Result<Status> {
        cli::pool(self.node, &self.network)
    }

    /// Fails where one of the ADDs since `before` was not served from the pool: its time would be
    /// another thing's. Gives what the CLI reports now.
    pub fn require_hits(&self, before: &Status, adds: usize) -> Result<Status> {
        let now = self.status()?;
        let count = |status: &Status| (status.hits, status.adds.values().sum::<u64>());
        let ((hits, served), (hits_before, served_before)) = (count(&now), count(before));
        let (hits, served) = (hits - hits_before, served - served_before);
        let adds = u64::try_from(adds)?;
        ensure!(hits == adds && served == adds, "{adds} ADDs, {hits} hits: {now:?}");
        Ok(now)
    }

    /// Runs a command that may take minutes, however long that is: the time is what is measured.
    fn at_length(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(dist::cli());
        command.args(self.node.dirs().arguments()).arg("pool").args(arguments);
        let output = command.output().with_context(|| format!("run {command:?}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?}: {}: {}", output.status, said.trim());
        Ok(())
    }

    fn command(&self, verb: &str, more: &[&str]) -> Result<()> {
        repoint(self.node, &[&["pool", verb, &self.network], more].concat()).map(drop)
    }
}

fn is_at_rest(status: &Status) -> bool {
    status.warm + status.parked == status.total && status.total >= status.target
}
