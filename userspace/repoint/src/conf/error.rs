//! Why a configuration cannot be used.

use crate::cni::{CniError, ErrorCode, json::KeyError, version::UnsupportedVersion};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfError {
    /// Standard input was empty.
    #[error("no network configuration was given on standard input")]
    Empty,
    /// It is not JSON.
    #[error("the network configuration {what}")]
    NotJson {
        /// What it is.
        what: String,
        /// Where the JSON is wrong, and why.
        source: serde_json::Error,
    },
    /// It is another document.
    #[error("the network configuration {what}")]
    Other {
        /// What it is.
        what: String,
    },
    /// Its version of the protocol is unknown.
    #[error("cniVersion cannot be served")]
    Version(#[from] UnsupportedVersion),
    /// One of its keys is wrong.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl ConfError {
    /// The error to print.
    #[must_use]
    pub fn to_cni(&self) -> CniError {
        let code = match self {
            Self::Empty | Self::NotJson { .. } => ErrorCode::DECODING_FAILURE,
            Self::Version(_) => ErrorCode::INCOMPATIBLE_VERSION,
            Self::Other { .. } | Self::Key(_) => ErrorCode::INVALID_CONFIGURATION,
        };
        CniError::from_error(code, self)
    }
}
