//! What is read at one moment.

use serde::Serialize;

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reading {
    /// What it is of, in a few words.
    pub name: String,
    /// What is drawn together.
    pub group: Group,
    /// In what; empty for a number of things.
    pub unit: &'static str,
    /// How flat it has to stay.
    pub bound: Bound,
    /// The figure.
    pub value: f64,
}

/// Readings of one kind of thing: a plot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// The agent's process.
    Agent,
    /// Both LMDB environments.
    Database,
    /// Pinned maps.
    Maps,
    /// What an operator can count on the node.
    Node,
    /// The kernel's memory, of the whole machine.
    Kernel,
    /// What the calls took.
    Calls,
}

impl Group {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Agent, Self::Database, Self::Maps, Self::Node, Self::Kernel, Self::Calls];

    /// Its name, of files as well.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Database => "database",
            Self::Maps => "maps",
            Self::Node => "node",
            Self::Kernel => "kernel",
            Self::Calls => "calls",
        }
    }
}

/// How far a series may change and be flat.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Bound {
    /// Not at all: every reading is the same.
    Exact,
    /// The line through the second half may rise by this part of the level, in percent.
    Percent(f64),
    /// It is reported, and not judged: what it depends on is not ours.
    Reported,
}

impl Reading {
    /// A number of things that has to be the same each time.
    pub(super) fn exact(group: Group, name: impl Into<String>, count: usize) -> Self {
        Self { name: name.into(), group, unit: "", bound: Bound::Exact, value: float(count) }
    }

    /// A level that may rise by some percent.
    pub(super) fn level(
        group: Group,
        name: impl Into<String>,
        (value, unit): (f64, &'static str),
        percent: f64,
    ) -> Self {
        Self { name: name.into(), group, unit, bound: Bound::Percent(percent), value }
    }

    /// A figure that is not judged.
    pub(super) fn reported(
        group: Group,
        name: impl Into<String>,
        (value, unit): (f64, &'static str),
    ) -> Self {
        Self { name: name.into(), group, unit, bound: Bound::Reported, value }
    }
}

/// A number of things as a figure.
#[expect(clippy::cast_precision_loss, reason = "things on a machine, not 2^52")]
pub(super) fn float(count: usize) -> f64 {
    count as f64
}
