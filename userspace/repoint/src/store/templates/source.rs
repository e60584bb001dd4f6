//! The source of a template, which decides which containers may use it.

use std::fmt;

use crate::{
    model::{FunctionKey, NetworkName, Tenant},
    template::{Operation, Template},
};

/// The owner of the container that a template was made from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TemplateOwner {
    /// The container's tenant.
    pub tenant: Option<Tenant>,
    /// Its function; none: no other container is of the same function.
    pub function: Option<FunctionKey>,
}

impl fmt::Display for TemplateOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.function, &self.tenant) {
            (Some(function), Some(tenant)) => write!(f, "function {function} of tenant {tenant}"),
            (Some(function), None) => write!(f, "function {function} without a tenant"),
            (None, Some(tenant)) => write!(f, "tenant {tenant} without a function"),
            (None, None) => f.write_str("no function"),
        }
    }
}

/// The source of a template, which decides which containers may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateSource {
    /// An operator: a network's configuration, an import, or a confirmation. All may use it.
    Confirmed,
    /// A container, whose settings an attacker may have written.
    Container(Box<Captured>),
}

/// A container that a template was made from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Captured {
    /// The container's tenant and function.
    pub owner: TemplateOwner,
    /// Its network; none where an older build stored the template.
    pub network: Option<NetworkName>,
    /// What the network's configuration made at that time, likewise.
    pub base: Option<Template>,
}

impl TemplateSource {
    /// The owner whose containers alone may use the template; none: all may.
    #[must_use]
    pub fn owner(&self) -> Option<&TemplateOwner> {
        match self {
            Self::Confirmed => None,
            Self::Container(captured) => Some(&captured.owner),
        }
    }

    /// The source of a template that an older build stored without one.
    ///
    /// REPLICATE appends a container's settings to the operations of the configuration, and names the
    /// network in the origin.
    pub(super) fn of_older_build(template: &Template) -> Self {
        let rest = template.operations.iter();
        let mut rest =
            rest.skip_while(|operation| **operation != Operation::AttachPrograms).skip(1);
        let is_changed = rest.any(|operation| *operation != Operation::Masquerade);
        if is_changed && template.origin.starts_with("network ") {
            Self::Container(Box::default())
        } else {
            Self::Confirmed
        }
    }
}
