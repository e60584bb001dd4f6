//! Key `isolation` of a network's configuration.

use std::str::FromStr;

use serde::Serialize;

use super::InvalidValue;

/// Which containers of the node do not reach each other.
///
/// The network of either container may keep the two apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// All reach each other.
    #[default]
    None,
    /// Those of other tenants. A container without a tenant reaches no other container.
    Tenant,
    /// Those of other functions. A container without a function reaches no other container.
    Function,
}

impl Isolation {
    /// All, in the order of their number in records.
    pub const ALL: [Self; 3] = [Self::None, Self::Tenant, Self::Function];

    /// As configurations have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Tenant => "tenant",
            Self::Function => "function",
        }
    }
}

impl FromStr for Isolation {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let found = Self::ALL.into_iter().find(|known| known.name() == text);
        let why = "must be \"none\", \"tenant\" or \"function\"";
        found.ok_or_else(|| InvalidValue::new("isolation", text, why))
    }
}
