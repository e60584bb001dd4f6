//! Playing one combination: a scenario is killed at a point and recovered, and nothing is left.

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{Netns, Node, Snapshot, command};

use crate::{
    ground::{Case, Ground, NAME, Point},
    scenario::{About, Recovery, Scenario, Start},
    state::{
        due, ensure_empty, ensure_nothing_due, ensure_single_owners, ensure_talks,
        ensure_works_or_is_empty, slot_of,
    },
};

/// What came of playing a scenario.
pub struct Played {
    /// The points that were passed.
    pub trace: Vec<String>,
    /// Whether the one was among them at which it was to be killed.
    pub met: bool,
}

/// A node on which combinations of one scenario are played one after the other.
pub struct Stage<'a> {
    scenario: &'a Scenario,
    ground: Ground<'a>,
    /// The node before repoint was on it.
    empty: Snapshot,
    /// The node between combinations, once repoint has been on it.
    between: Option<Snapshot>,
}

impl<'a> Stage<'a> {
    /// Sets a node up, in whose namespaces the calling thread is.
    pub fn new(scenario: &'a Scenario, node: &'a Node) -> Result<Self> {
        let empty = Snapshot::take_whole(node.dirs())?;
        let ground = Ground::new(node, scenario.network)?;
        let mut stage = Self { scenario, ground, between: None, empty };
        if scenario.start == Start::Used {
            stage.play(None, None).context("without a kill")?;
            stage.between = Some(Snapshot::take_whole(node.dirs())?);
        }
        Ok(stage)
    }

    /// The scenario, the node with its network, and a container before the verb begins.
    pub fn set(&self) -> Result<(&Scenario, &Ground<'a>, Case)> {
        let case = Case::new("container")?;
        (self.scenario.before)(&self.ground, &case).context("before")?;
        Ok((self.scenario, &self.ground, case))
    }

    /// Plays the scenario, killed at `point` and recovered, or else to its end; fails if anything is
    /// left.
    pub fn play(&self, point: Option<&Point>, recovery: Option<Recovery>) -> Result<Played> {
        let (scenario, ground, case) = self.set()?;
        let verb = (scenario.verb)(ground, &case);
        let ended = verb.run(ground.node, point)?;
        let met = point.is_some_and(|point| ended.met(point));
        if !met && scenario.about == About::Node {
            ensure!(ended.status.success(), "{}", ended.said());
        }
        ensure_single_owners(ground.node).context("after the kill")?;
        if let Some(recovery) = recovery {
            self.recover(recovery, &case)
                .with_context(|| format!("recovery by {}", recovery.name()))?;
        }
        self.end(case).context("at the end")?;
        Ok(Played { trace: ended.trace, met })
    }

    fn recover(&self, recovery: Recovery, case: &Case) -> Result<()> {
        let Self { scenario, ground, .. } = self;
        match recovery {
            Recovery::Del => {
                let ended = (scenario.detach)(ground, case).run(ground.node, None)?;
                // `repoint park` reports that there is nothing to park.
                if !ended.said().contains("has no slot") {
                    ended.success()?;
                }
                ensure_empty(case)?;
                // Another slot of a pool may be half-way in a scrub, or on its way out, and with the last
                // one the rule, which is for the agent or a sweep to end; and what is not the
                // container's, for the next load.
                let left = due(ground)?;
                let of_pools: &[_] = if ground.has_pool() { &["stuck", "masquerade"] } else { &[] };
                let is_meant = |line: &String| {
                    let mut kinds =
                        [&["pin partial folder"], of_pools, scenario.damage].into_iter().flatten();
                    kinds.any(|kind| line.starts_with(kind))
                };
                ensure!(left.iter().all(is_meant), "DEL left {left:?}");
                Ok(())
            }
            Recovery::Sweep => {
                let swept = ground.repoint(&["sweep", "--grace", "0s"])?;
                ensure_works_or_is_empty(ground, case)?;
                ensure_nothing_due(ground).with_context(|| format!("the sweep said:\n{swept}"))
            }
            Recovery::Again => {
                let verb = (scenario.verb)(ground, case);
                let ended = verb.run(ground.node, None)?;
                if !ended.status.success() {
                    let said = ended.said();
                    let is_meant = scenario.refusals.iter().any(|one| said.contains(one));
                    ensure!(is_meant, "{said}");
                } else if scenario.about == About::Attaches {
                    let slot = slot_of(ground.node, case)?.context("it has no slot")?;
                    ensure_talks(case, &slot)?;
                }
                Ok(())
            }
        }
    }

    /// The container goes, a sweep finds what was half-way, a new container works, and then the node
    /// is as it was.
    pub fn end(&self, case: Case) -> Result<()> {
        let Self { ground, scenario, .. } = self;
        ground.network.del(&case.attachment, None)?;
        ensure_empty(&case)?;
        case.netns.remove()?;
        ensure_single_owners(ground.node)?;
        (scenario.after)(ground).context("after")?;
        if !due(ground)?.is_empty() {
            ground.repoint(&["sweep", "--grace", "0s"])?;
            ensure_nothing_due(ground).context("after a sweep")?;
        }
        self.newcomer().context("a new container")?;
        ensure_single_owners(ground.node)?;
        if scenario.start == Start::Fresh {
            return self.unload();
        }
        if ground.has_pool() {
            ground.repoint(&["pool", "drain", NAME])?;
        }
        match &self.between {
            Some(between) => between.wait_until_whole(ground.node.dirs()),
            None => Ok(()),
        }
    }

    /// A new container is attached, talks, and goes.
    fn newcomer(&self) -> Result<()> {
        let new = Case::new("newcomer")?;
        self.ground.network.add(&new.attachment)?;
        let slot = slot_of(self.ground.node, &new)?.context("it has no slot")?;
        ensure_talks(&new, &slot)?;
        self.ground.network.del(&new.attachment, None)?;
        ensure_empty(&new)?;
        Netns::remove(new.netns)
    }

    /// Takes repoint off the node, which is as it was before then.
    pub fn unload(&self) -> Result<()> {
        let Self { ground, empty, .. } = self;
        ground.repoint(&["unload"])?;
        // Templates outlive it, and so does forwarding.
        let dirs = ground.node.dirs();
        std::fs::remove_dir_all(&dirs.state).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        command::run("sysctl", ["-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0"])?;
        empty.wait_until_whole(dirs)
    }
}
