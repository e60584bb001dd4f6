//! Keys `localPath`, `hook` and `linkLocal` of a network's configuration.

use std::str::FromStr;

use serde::Serialize;

use super::InvalidValue;

/// Which way packets between containers of the node take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LocalPath {
    /// From interface to interface, past the host stack.
    #[default]
    Direct,
    /// Through the host stack: its rules apply, and queueing disciplines and filters that others put on
    /// the interfaces see them.
    Stack,
}

/// Where the programs are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// Filters of a clsact queueing discipline.
    #[default]
    Clsact,
    /// Programs of tcx, before all queueing disciplines: the place of `ingress` and `clsact` is free for
    /// others. Kernel 6.6.
    Tcx,
}

impl LocalPath {
    /// Both, in the order of their number in records.
    pub const ALL: [Self; 2] = [Self::Direct, Self::Stack];

    /// As configurations have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Stack => "stack",
        }
    }
}

impl Hook {
    /// Both, in the order of their number in records.
    pub const ALL: [Self; 2] = [Self::Clsact, Self::Tcx];

    /// As configurations have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clsact => "clsact",
            Self::Tcx => "tcx",
        }
    }
}

impl FromStr for LocalPath {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let found = Self::ALL.into_iter().find(|known| known.name() == text);
        let why = "must be \"direct\" or \"stack\"";
        found.ok_or_else(|| InvalidValue::new("localPath", text, why))
    }
}

impl FromStr for Hook {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let found = Self::ALL.into_iter().find(|known| known.name() == text);
        let why = "must be \"clsact\" or \"tcx\"";
        found.ok_or_else(|| InvalidValue::new("hook", text, why))
    }
}

/// Whether a container's packets to link-local addresses may leave the node.
///
/// Those to an address of the node itself reach it either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkLocal {
    /// They are dropped. A cloud's metadata service has a link-local address, and gives credentials of
    /// the node to any client.
    #[default]
    Deny,
    /// They go where the node's routes send them.
    Allow,
}

impl LinkLocal {
    /// Both, in the order of their number in records.
    pub const ALL: [Self; 2] = [Self::Deny, Self::Allow];

    /// As configurations have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Allow => "allow",
        }
    }
}

impl FromStr for LinkLocal {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let found = Self::ALL.into_iter().find(|known| known.name() == text);
        let why = "must be \"deny\" or \"allow\"";
        found.ok_or_else(|| InvalidValue::new("linkLocal", text, why))
    }
}
