//! What an identity stands for.

use super::{FunctionKey, NetworkName, SlotId, Tenant};

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

    /// Its network.
    #[must_use]
    pub const fn network(&self) -> &NetworkName {
        let (Self::Function { network, .. } | Self::Container { network, .. }) = self;
        network
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
