//! Trust domains: the containers that may have one namespace, one after the other.

use std::fmt;

use super::{FunctionKey, PoolPolicy, Scope, Tenant};

/// The containers that may have one namespace, one after the other.
///
/// A slot's domain is recorded at its first use and never changes. A container of another domain gets
/// another namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Domain {
    /// One container: no other container gets its namespace.
    Container,
    /// One function of a tenant.
    Function(Option<Tenant>, FunctionKey),
    /// All containers of a tenant.
    Tenant(Option<Tenant>),
    /// All containers of the network.
    Network,
}

impl Domain {
    /// The domain of a container that is served under `scope`.
    ///
    /// Containers without a tenant share a domain only if `share_without_tenant`, and those without
    /// a function none under [`Scope::Function`].
    #[must_use]
    pub fn of(
        scope: Scope,
        tenant: Option<&Tenant>,
        function: Option<&FunctionKey>,
        share_without_tenant: bool,
    ) -> Self {
        let is_known = tenant.is_some() || share_without_tenant;
        match (scope, function) {
            (Scope::Network, _) => Self::Network,
            (Scope::Tenant, _) if is_known => Self::Tenant(tenant.cloned()),
            (Scope::Function, Some(function)) if is_known => {
                Self::Function(tenant.cloned(), function.clone())
            }
            _ => Self::Container,
        }
    }

    /// Whether a container of `next` may have a slot of this domain.
    #[must_use]
    pub fn admits(&self, next: &Self) -> bool {
        self.is_shared() && self == next
    }

    /// Whether the domain can have a second user.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        *self != Self::Container
    }

    /// Whether a pool of this policy can have this domain.
    ///
    /// A pool of a narrower scope cannot.
    #[must_use]
    pub fn is_within(&self, policy: &PoolPolicy) -> bool {
        let is_known = |tenant: &Option<Tenant>| tenant.is_some() || policy.share_without_tenant;
        match self {
            Self::Container => true,
            Self::Function(tenant, _) => is_known(tenant),
            Self::Tenant(tenant) => policy.scope >= Scope::Tenant && is_known(tenant),
            Self::Network => policy.scope >= Scope::Network,
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |tenant: &Option<Tenant>| match tenant {
            Some(tenant) => format!("tenant {tenant}"),
            None => "no tenant".to_owned(),
        };
        match self {
            Self::Container => f.write_str("one container"),
            Self::Function(tenant, function) => write!(f, "function {function} of {}", of(tenant)),
            Self::Tenant(tenant) => f.write_str(&of(tenant)),
            Self::Network => f.write_str("the network"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(scope: Scope, tenant: &str, function: &str, share: bool) -> Domain {
        let tenant: Option<Tenant> = tenant.parse().ok();
        let function: Option<FunctionKey> = function.parse().ok();
        Domain::of(scope, tenant.as_ref(), function.as_ref(), share)
    }

    #[test]
    fn a_scope_says_what_a_container_shares_with_whom() {
        use Scope::{Function, Network, Tenant};
        for (scope, tenant, function, share, expected) in [
            (Function, "t", "f", false, "function f of tenant t"),
            (Function, "t", "", false, "one container"),
            (Function, "", "f", false, "one container"),
            (Function, "", "f", true, "function f of no tenant"),
            (Function, "", "", true, "one container"),
            (Tenant, "t", "f", false, "tenant t"),
            (Tenant, "t", "", false, "tenant t"),
            (Tenant, "", "f", false, "one container"),
            (Tenant, "", "", true, "no tenant"),
            (Network, "t", "f", false, "the network"),
            (Network, "", "", false, "the network"),
        ] {
            let found = domain(scope, tenant, function, share).to_string();
            assert_eq!(found, expected, "{scope:?} {tenant:?} {function:?} {share}");
        }
    }

    #[test]
    fn nobody_follows_a_container_of_no_domain() {
        let [one, other] = ["a", "b"].map(|tenant| domain(Scope::Function, tenant, "f", false));
        assert!(one.admits(&one) && !one.admits(&other));
        assert!(!Domain::Container.admits(&Domain::Container));
    }

    #[test]
    fn a_narrower_scope_has_no_wider_domains() {
        let function = domain(Scope::Function, "t", "f", false);
        let tenant = domain(Scope::Tenant, "t", "f", false);
        let policy = |scope| PoolPolicy { scope, ..PoolPolicy::default() };
        let within = |domain: &Domain| Scope::ALL.map(|scope| domain.is_within(&policy(scope)));
        assert_eq!(within(&function), [true, true, true]);
        assert_eq!(within(&tenant), [false, true, true]);
        assert_eq!(within(&Domain::Network), [false, false, true]);
        let nobodys = domain(Scope::Function, "", "f", true);
        assert_eq!(within(&nobodys), [false; 3], "what has no tenant is not shared any more");
    }
}
