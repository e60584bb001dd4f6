//! What is played: a verb or a background step, from a state in which it has something to do.

use anyhow::Result;
use repoint_tests::plugin::Attachment;
use serde_json::{Value, json};

use crate::fixture::{Case, Fixture, Verb};

/// A verb, and how a node comes to where it begins.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    /// What the network has beside the ordinary.
    pub network: fn(&mut Value),
    pub start: Start,
    /// Brings the node to where the verb begins. The container's namespace is there.
    pub before: fn(&Fixture<'_>, &Case) -> Result<()>,
    /// What is killed.
    pub verb: fn(&Fixture<'_>, &Case) -> Verb,
    pub about: About,
    /// What the verb may say when it is played again and refuses.
    pub refusals: &'static [&'static str],
    /// Kinds of findings that DEL may leave to a sweep: what was damaged before the verb began.
    pub damage: &'static [&'static str],
    /// How the container is detached, in the words of who attached it.
    pub detach: fn(&Fixture<'_>, &Case) -> Verb,
    /// Puts back what the verb changed of pools and templates: they are no leaks.
    pub after: fn(&Fixture<'_>) -> Result<()>,
}

impl Scenario {
    /// ADD in an ordinary network of a used node: what scenarios differ from.
    pub const ADD: Self = Self {
        name: "add",
        network: |_| (),
        start: Start::Used,
        before: |_, _| Ok(()),
        verb: add,
        about: About::Attaches,
        refusals: &["is attached already"],
        damage: &[],
        detach: del,
        after: |_| Ok(()),
    };
    /// DEL of what [`Self::ADD`] attaches.
    pub const DEL: Self = Self {
        name: "del",
        before: attach,
        verb: del,
        about: About::Detaches,
        refusals: &[],
        ..Self::ADD
    };
}

/// Attaches the container.
pub fn attach(fixture: &Fixture<'_>, case: &Case) -> Result<()> {
    fixture.network.add(&case.attachment).map(drop)
}

pub fn add(fixture: &Fixture<'_>, case: &Case) -> Verb {
    Verb::cni(fixture.network.clone(), "ADD", case.attachment.clone())
}

pub fn del(fixture: &Fixture<'_>, case: &Case) -> Verb {
    Verb::cni(fixture.network.clone(), "DEL", case.attachment.clone())
}

/// GC for a runtime that has no container any more.
pub fn gc(fixture: &Fixture<'_>, _: &Case) -> Verb {
    let network = fixture.network_with(|conf| conf["cni.dev/valid-attachments"] = json!([]));
    Verb::cni(network, "GC", Attachment::new("", "".as_ref()))
}

/// On what node it is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// One on which repoint has been: the data plane is loaded.
    Used,
    /// One on which it has never been.
    Fresh,
}

/// What the verb is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// It attaches the container. Played again it may be refused, since it is attached.
    Attaches,
    /// It detaches the container. DEL is due after it, as always.
    Detaches,
    /// The node, a pool or a template: it is played again.
    Node,
}

/// What is done about a process that was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// DEL of the container.
    Del,
    /// `repoint sweep --grace 0s`.
    Sweep,
    /// The same verb once more.
    Again,
}

impl Recovery {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Del => "del",
            Self::Sweep => "sweep",
            Self::Again => "again",
        }
    }
}

impl About {
    /// What makes sense after it.
    pub const fn recoveries(self) -> &'static [Recovery] {
        match self {
            Self::Attaches | Self::Detaches => &[Recovery::Del, Recovery::Sweep, Recovery::Again],
            Self::Node => &[Recovery::Sweep, Recovery::Again],
        }
    }
}
