//! Playing one combination: a scenario is killed at a point and recovered, and nothing is left.

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{Netns, Node, Snapshot, command};

use crate::{
    fixture::{Case, Fixture, NAME, Point, wait_for_processes},
    scenario::{About, Recovery, Scenario, Start},
    state::{
        due, ensure_empty, ensure_judged_right, ensure_nothing_due, ensure_single_owners,
        ensure_talks, ensure_works_or_is_empty, slot_of,
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
pub struct Runner<'a> {
    scenario: &'a Scenario,
    fixture: Fixture<'a>,
    /// The node before repoint was on it.
    empty: Snapshot,
    /// The node between combinations, once repoint has been on it.
    between: Option<Snapshot>,
}

impl<'a> Runner<'a> {
    /// Sets a node up, in whose namespaces the calling thread is.
    pub fn new(scenario: &'a Scenario, node: &'a Node) -> Result<Self> {
        let empty = Snapshot::take_whole(node.dirs())?;
        let fixture = Fixture::new(node, scenario.network)?;
        let mut runner = Self { scenario, fixture, between: None, empty };
        if scenario.start == Start::Used {
            runner.play(None, None).context("without a kill")?;
            wait_for_processes(node)?;
            runner.between = Some(Snapshot::take_whole(node.dirs())?);
        }
        Ok(runner)
    }

    /// The scenario, the node with its network, and a container before the verb begins.
    pub fn set(&self) -> Result<(&Scenario, &Fixture<'a>, Case)> {
        let case = Case::new("container")?;
        (self.scenario.before)(&self.fixture, &case).context("before")?;
        Ok((self.scenario, &self.fixture, case))
    }

    /// Plays the scenario, killed at `point` and recovered, or else to its end; fails if anything is
    /// left.
    pub fn play(&self, point: Option<&Point>, recovery: Option<Recovery>) -> Result<Played> {
        let (scenario, fixture, case) = self.set()?;
        // Some scenarios begin with map entries that a sweep has to find, and a killed change of isolation
        // or policies has changed them for some containers only.
        let changes = scenario.name == "isolate" || scenario.name.starts_with("policy-");
        let is_judged = ensure_judged_right(fixture.node).is_ok() && !changes;
        let verb = (scenario.verb)(fixture, &case);
        let ended = verb.run(fixture.node, point)?;
        let met = point.is_some_and(|point| ended.met(point));
        if !met && scenario.about == About::Node {
            ensure!(ended.status.success(), "{}", ended.said());
        }
        ensure_single_owners(fixture.node).context("after the kill")?;
        if is_judged {
            ensure_judged_right(fixture.node).context("after the kill")?;
        }
        if let Some(recovery) = recovery {
            self.recover(recovery, &case)
                .with_context(|| format!("recovery by {}", recovery.name()))?;
        }
        self.end(case).context("at the end")?;
        Ok(Played { trace: ended.trace, met })
    }

    fn recover(&self, recovery: Recovery, case: &Case) -> Result<()> {
        let Self { scenario, fixture, .. } = self;
        match recovery {
            Recovery::Del => {
                let ended = (scenario.detach)(fixture, case).run(fixture.node, None)?;
                // `repoint park` reports that there is nothing to park.
                if !ended.said().contains("has no slot") {
                    ended.success()?;
                }
                ensure_empty(case)?;
                // DEL leaves what is not the container's. The agent or a sweep finishes the scrub or the
                // deletion of other slots of a pool, and removes the masquerade rule with the last one.
                // The next load removes the folder of a load that was killed.
                let left = due(fixture)?;
                let of_pools: &[_] =
                    if fixture.has_pool() { &["stuck", "masquerade"] } else { &[] };
                let is_meant = |line: &String| {
                    let mut kinds =
                        [&["pin partial folder"], of_pools, scenario.damage].into_iter().flatten();
                    kinds.any(|kind| line.starts_with(kind))
                };
                ensure!(left.iter().all(is_meant), "DEL left {left:?}");
                Ok(())
            }
            Recovery::Sweep => {
                let swept = fixture.repoint(&["sweep", "--grace", "0s"])?;
                ensure_works_or_is_empty(fixture, case)?;
                ensure_nothing_due(fixture).with_context(|| format!("the sweep said:\n{swept}"))
            }
            Recovery::Again => {
                let verb = (scenario.verb)(fixture, case);
                let ended = verb.run(fixture.node, None)?;
                if !ended.status.success() {
                    let said = ended.said();
                    let is_meant = scenario.refusals.iter().any(|one| said.contains(one));
                    ensure!(is_meant, "{said}");
                } else if scenario.about == About::Attaches {
                    let slot = slot_of(fixture.node, case)?.context("it has no slot")?;
                    ensure_talks(case, &slot)?;
                }
                Ok(())
            }
        }
    }

    /// The container goes, a sweep finds what was half-way, a new container works, and then the node
    /// is as it was.
    pub fn end(&self, case: Case) -> Result<()> {
        let Self { fixture, scenario, .. } = self;
        fixture.network.del(&case.attachment, None)?;
        ensure_empty(&case)?;
        case.netns.remove()?;
        ensure_single_owners(fixture.node)?;
        (scenario.after)(fixture).context("after")?;
        if !due(fixture)?.is_empty() {
            fixture.repoint(&["sweep", "--grace", "0s"])?;
            ensure_nothing_due(fixture).context("after a sweep")?;
        }
        self.newcomer().context("a new container")?;
        ensure_single_owners(fixture.node)?;
        ensure_judged_right(fixture.node)?;
        if scenario.start == Start::Fresh {
            return self.unload();
        }
        if fixture.has_pool() {
            fixture.repoint(&["pool", "drain", NAME])?;
        }
        match &self.between {
            Some(between) => between.wait_until_whole(fixture.node.dirs()),
            None => Ok(()),
        }
    }

    /// A new container is attached, talks, and goes.
    fn newcomer(&self) -> Result<()> {
        let new = Case::new("newcomer")?;
        self.fixture.network.add(&new.attachment)?;
        let slot = slot_of(self.fixture.node, &new)?.context("it has no slot")?;
        ensure_talks(&new, &slot)?;
        self.fixture.network.del(&new.attachment, None)?;
        ensure_empty(&new)?;
        Netns::remove(new.netns)
    }

    /// Takes repoint off the node, which is as it was before then.
    pub fn unload(&self) -> Result<()> {
        let Self { fixture, empty, .. } = self;
        fixture.repoint(&["unload"])?;
        // Templates outlive it, and so does forwarding.
        let dirs = fixture.node.dirs();
        std::fs::remove_dir_all(&dirs.state).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        command::run("sysctl", ["-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0"])?;
        empty.wait_until_whole(dirs)
    }
}
