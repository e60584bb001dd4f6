//! Errors as the protocol prints them.

use std::{error::Error, iter};

use serde_json::json;

use super::{
    CniVersion,
    json::{KeyError, Object},
};

/// A CNI error code (CNI spec, section 5, Error): to 99 the spec's, from 100 this plugin's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// The configuration's version is unknown, or too old for the verb.
    pub const INCOMPATIBLE_VERSION: Self = Self(1);
    /// A key of the configuration asks for what is not supported.
    pub const UNSUPPORTED_FIELD: Self = Self(2);
    /// The container is unknown: the runtime need not call DEL.
    pub const UNKNOWN_CONTAINER: Self = Self(3);
    /// A `CNI_` variable is missing or malformed.
    pub const INVALID_ENVIRONMENT: Self = Self(4);
    /// Reading or writing failed.
    pub const IO_FAILURE: Self = Self(5);
    /// What was read is not of its format.
    pub const DECODING_FAILURE: Self = Self(6);
    /// The network configuration is wrong.
    pub const INVALID_CONFIGURATION: Self = Self(7);
    /// A passing condition: the runtime should try again.
    pub const TRY_AGAIN_LATER: Self = Self(11);
    /// STATUS: ADD cannot be served.
    pub const NOT_AVAILABLE: Self = Self(50);
    /// STATUS: ADD cannot be served, and existing containers may have lost connectivity.
    pub const LIMITED_CONNECTIVITY: Self = Self(51);

    /// The kernel, the eBPF data plane or the database refused.
    pub const NODE_FAILURE: Self = Self(100);
    /// What ADD was to make exists already.
    pub const ALREADY_EXISTS: Self = Self(101);
    /// No address is left, or the one asked for cannot be had.
    pub const NO_ADDRESS: Self = Self(102);
    /// A delegated plugin could not be run, or ended without an error of its own.
    pub const DELEGATE_FAILURE: Self = Self(103);
    /// CHECK found the attachment changed.
    pub const CHECK_FAILED: Self = Self(104);
    /// ACTIVATE found no prepared slot.
    pub const NONE_PREPARED: Self = Self(105);
    /// PREPARE or REPLICATE would make more slots than the pool may have.
    pub const POOL_FULL: Self = Self(106);
    /// The tenant has as many slots as it may have.
    pub const TENANT_FULL: Self = Self(107);
}

/// An error as it is printed on standard output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{msg}{}{details} (CNI error code {})", if details.is_empty() { "" } else { "; " }, code.0)]
pub struct CniError {
    /// Its kind.
    pub code: ErrorCode,
    /// What went wrong, in one sentence.
    pub msg: String,
    /// More about it, or nothing.
    pub details: String,
}

impl CniError {
    /// An error without details.
    #[must_use]
    pub fn new(code: ErrorCode, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: String::new() }
    }

    /// An error with the texts of its sources as details.
    ///
    /// The details leave out a source that the error's own text includes.
    #[must_use]
    pub fn from_error(code: ErrorCode, error: &dyn Error) -> Self {
        let msg = error.to_string();
        let sources = iter::successors(error.source(), |&error| error.source());
        let unreported = sources.map(ToString::to_string).filter(|source| !msg.contains(source));
        let details = unreported.collect::<Vec<_>>().join(": ");
        Self { code, msg, details }
    }

    /// The JSON object to print, in the given version of the protocol.
    #[must_use]
    pub fn to_json(&self, version: CniVersion) -> String {
        let mut document = json!({
            "cniVersion": version.as_str(),
            "code": self.code.0,
            "msg": self.msg,
        });
        if !self.details.is_empty() {
            document["details"] = json!(self.details);
        }
        document.to_string()
    }

    /// Reads an error that another plugin printed.
    pub fn read(error: &Object<'_>) -> Result<Self, KeyError> {
        let text = |key| {
            let node = error.get(key);
            node.map_or(Ok(""), |node| node.string("a text")).map(str::to_owned)
        };
        Ok(Self {
            code: ErrorCode(error.require("code", "a positive number")?.integer(1..=u32::MAX)?),
            msg: text("msg")?,
            details: text("details")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn printed_with_the_version_in_use() {
        let error = CniError::new(ErrorCode::INVALID_CONFIGURATION, "mtu is \"big\"");
        let printed: Value = serde_json::from_str(&error.to_json(CniVersion::V0_4_0)).unwrap();
        assert_eq!(printed, json!({"cniVersion": "0.4.0", "code": 7, "msg": "mtu is \"big\""}));
    }

    #[test]
    fn sources_become_details() {
        let source = serde_json::from_str::<Value>("{").unwrap_err();
        let error = crate::conf::ConfError::NotJson { what: "is not JSON".to_owned(), source };
        let printed = CniError::from_error(ErrorCode::DECODING_FAILURE, &error);
        assert!(printed.details.contains("EOF"), "{printed:?}");
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let mut error = CniError::new(ErrorCode(999), "no");
        error.details = "at all".to_owned();
        let printed = serde_json::from_str(&error.to_json(CniVersion::LATEST)).unwrap();
        assert_eq!(CniError::read(&Object::root(&printed, "the error").unwrap()).unwrap(), error);
    }

    #[test]
    fn an_error_of_code_zero_is_none() {
        let printed = json!({"code": 0, "msg": "fine"});
        let read = CniError::read(&Object::root(&printed, "the error").unwrap());
        assert!(read.unwrap_err().to_string().starts_with("code is 0"));
    }
}
