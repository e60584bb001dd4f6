//! What an identity stands for, and key `isolation` of a network's configuration.

use std::str::FromStr;

use serde::Serialize;

use super::{FunctionKey, InvalidValue, NetworkName, SlotId, Tenant};

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

/// What an identity stands for: all containers of one function, or one container.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The containers of a function.
    Function {
        /// Its network.
        network: NetworkName,
        /// Its tenant; none: the network's containers without a tenant trust each other.
        tenant: Option<Tenant>,
        /// Its name.
        function: FunctionKey,
    },
    /// A container that has no function, or no tenant.
    Container {
        /// Its network.
        network: NetworkName,
        /// Its tenant.
        tenant: Option<Tenant>,
        /// The slot that it has.
        slot: SlotId,
    },
}

impl Subject {
    /// What a container of `network` in `slot` is.
    ///
    /// A function without a tenant is one only if `share_without_tenant`: otherwise two containers that name
    /// the same function may be strangers.
    #[must_use]
    pub fn of(
        network: &NetworkName,
        tenant: Option<&Tenant>,
        function: Option<&FunctionKey>,
        share_without_tenant: bool,
        slot: SlotId,
    ) -> Self {
        let (network, tenant) = (network.clone(), tenant.cloned());
        match function {
            Some(function) if tenant.is_some() || share_without_tenant => {
                Self::Function { network, tenant, function: function.clone() }
            }
            _ => Self::Container { network, tenant, slot },
        }
    }

    /// Its tenant.
    #[must_use]
    pub fn tenant(&self) -> Option<&Tenant> {
        let (Self::Function { tenant, .. } | Self::Container { tenant, .. }) = self;
        tenant.as_ref()
    }

    /// Its function.
    #[must_use]
    pub fn function(&self) -> Option<&FunctionKey> {
        match self {
            Self::Function { function, .. } => Some(function),
            Self::Container { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_functions_of_a_known_tenant_are_shared() {
        let network: NetworkName = "net".parse().unwrap();
        for (tenant, function, share, is_shared) in [
            ("t", "f", false, true),
            ("", "f", true, true),
            ("", "f", false, false),
            ("t", "", true, false),
            ("", "", true, false),
        ] {
            let (tenant, function) = (tenant.parse().ok(), function.parse().ok());
            let subject = |slot| {
                let slot = SlotId(slot);
                Subject::of(&network, tenant.as_ref(), function.as_ref(), share, slot)
            };
            assert_eq!(subject(7) == subject(8), is_shared, "{:?}", subject(7));
            assert_eq!(subject(7).tenant(), tenant.as_ref());
        }
    }
}
