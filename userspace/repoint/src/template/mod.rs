//! Templates: network configurations without values of a particular node.
//!
//! A template is a list of operations. Given what is particular to a node ([`NodeContext`]) it
//! yields a [`NetworkConfig`], and the same node context yields the same configuration always.

mod diff;
mod error;
mod instantiate;
mod json;
mod operation;
mod origin;
mod sysctl;
mod validate;

pub use diff::{Change, Diff};
pub use error::TemplateError;
pub use instantiate::{NetworkConfig, NodeContext, gateway, host_net};
pub use operation::{AddressSource, Operation, RouteTarget, RouteVia};
pub use origin::origin;
pub use sysctl::{Sysctl, SysctlKey};
pub use validate::MTU;

use sha2::{Digest as _, Sha256};

use crate::model::TemplateDigest;

/// Version of the form of templates; another version is refused.
pub const VERSION: u32 = 1;

/// A node-independent network configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Version of the form, [`VERSION`].
    pub version: u32,
    /// What it was made from, for people; see [`origin()`].
    pub origin: String,
    /// What to do, in this order.
    pub operations: Vec<Operation>,
}

impl Template {
    /// The digest of version and operations. The origin is not part of it.
    pub fn digest(&self) -> Result<TemplateDigest, TemplateError> {
        let text =
            serde_json::to_vec(&(self.version, &self.operations)).map_err(TemplateError::Encode)?;
        Ok(TemplateDigest(Sha256::digest(&text).into()))
    }

    /// The template with these operations appended.
    ///
    /// A new value of a sysctl replaces the old value.
    #[must_use]
    pub fn extended(mut self, operations: Vec<Operation>) -> Self {
        let key = |operation: &Operation| match operation {
            Operation::SetSysctl { key, .. } => Some(key.clone()),
            _ => None,
        };
        let set: Vec<_> = operations.iter().filter_map(key).collect();
        self.operations.retain(|old| key(old).is_none_or(|key| !set.contains(&key)));
        self.operations.extend(operations);
        self
    }
}

#[cfg(test)]
mod tests;
