//! Key `linkLocal` of a network's configuration.

use std::str::FromStr;

use serde::Serialize;

use super::codec::CodecError;
use crate::model::InvalidValue;

/// Whether a container's packets to link-local addresses may leave the node.
///
/// Those to an address of the node itself reach it either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkLocal {
    /// They are dropped. A cloud's metadata service has a link-local address, and gives credentials of
    /// the node to whatever asks.
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

    pub(super) fn from_number(number: u8) -> Result<Self, CodecError> {
        Self::ALL
            .get(usize::from(number))
            .copied()
            .ok_or_else(|| CodecError::Value { field: "link-local", value: number.to_string() })
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
