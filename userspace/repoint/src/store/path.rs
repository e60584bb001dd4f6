//! Keys `localPath` and `hook` of a network's configuration.

use std::str::FromStr;

use serde::Serialize;

use super::codec::CodecError;
use crate::model::InvalidValue;

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

    pub(super) fn from_number(number: u8) -> Result<Self, CodecError> {
        numbered(&Self::ALL, number, "local path")
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

    pub(super) fn from_number(number: u8) -> Result<Self, CodecError> {
        numbered(&Self::ALL, number, "hook")
    }
}

fn numbered<T: Copy>(all: &[T], number: u8, field: &'static str) -> Result<T, CodecError> {
    let found = all.get(usize::from(number)).copied();
    found.ok_or_else(|| CodecError::Value { field, value: number.to_string() })
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
