//! How a container is to be served, and how it was.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::InvalidValue;

/// How a container is to be served: annotation `repoint.dev/mode` (patent claim 1: reused or
/// replicated).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// With an existing configuration, first its function's own; or else as [`Mode::Replicate`].
    #[default]
    Reuse,
    /// With a new instance of the template, which no container has used.
    Replicate,
    /// In the container's own namespace.
    None,
}

impl Mode {
    /// Every mode, in the order of its number in records.
    pub const ALL: [Self; 3] = [Self::Reuse, Self::Replicate, Self::None];

    /// As annotations and configurations have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reuse => "reuse",
            Self::Replicate => "replicate",
            Self::None => "none",
        }
    }
}

impl FromStr for Mode {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let found = Self::ALL.into_iter().find(|mode| mode.name() == text);
        let why = "must be \"reuse\", \"replicate\" or \"none\"";
        found.ok_or_else(|| InvalidValue::new("mode", text, why))
    }
}

/// How a container was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Served {
    /// With a parked slot: of its function, of its trust domain, or prepared for it.
    Reused,
    /// With a new instance of the template.
    Replicated,
    /// In its own namespace.
    None,
}

impl Served {
    /// Every one, in the order of its number in records.
    pub const ALL: [Self; 3] = [Self::Reused, Self::Replicated, Self::None];

    /// As lists and logs have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reused => "reused",
            Self::Replicated => "replicated",
            Self::None => "none",
        }
    }
}

/// What was decided about a container, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// How it was served.
    pub served: Served,
    /// Why so, in a few words.
    pub reason: String,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.served.name(), self.reason)
    }
}
