//! Trust domains as the documentation describes them, and their containers' namespaces.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use anyhow::{Result, ensure};

/// Which containers share a trust domain, from the narrowest on: key `pool.scope`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Those of one function of a tenant.
    Function,
    /// Those of a tenant.
    Tenant,
    /// Those of the network.
    Network,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Function, Self::Tenant, Self::Network];

    /// As in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Tenant => "tenant",
            Self::Network => "network",
        }
    }
}

/// A trust domain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Domain {
    /// One container's own, by a number that no other container has.
    Container(usize),
    /// A function of a tenant.
    Function(Option<String>, String),
    /// A tenant.
    Tenant(Option<String>),
    /// The network.
    Network,
}

impl Domain {
    /// The domain of a container, which has this number; `shares` is what key
    /// `pool.shareWithoutTenant` says.
    #[must_use]
    pub fn of(
        scope: Scope,
        tenant: Option<&str>,
        function: Option<&str>,
        shares: bool,
        container: usize,
    ) -> Self {
        let is_known = tenant.is_some() || shares;
        let tenant = tenant.map(str::to_owned);
        match (scope, function) {
            (Scope::Network, _) => Self::Network,
            (Scope::Tenant, _) if is_known => Self::Tenant(tenant),
            (Scope::Function, Some(function)) if is_known => {
                Self::Function(tenant, function.to_owned())
            }
            _ => Self::Container(container),
        }
    }

    /// What it is a domain of, in one word.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Container(_) => "container",
            Self::Function(..) => Scope::Function.name(),
            Self::Tenant(_) => Scope::Tenant.name(),
            Self::Network => Scope::Network.name(),
        }
    }
}

/// As `repoint slots` shows it.
impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |tenant: &Option<String>| match tenant {
            Some(tenant) => format!("tenant {tenant}"),
            None => "no tenant".to_owned(),
        };
        match self {
            Self::Container(_) => f.write_str("one container"),
            Self::Function(tenant, function) => write!(f, "function {function} of {}", of(tenant)),
            Self::Tenant(tenant) => f.write_str(&of(tenant)),
            Self::Network => f.write_str("the network"),
        }
    }
}

/// The trust domains of the users of each namespace, in turn, by the namespace's
/// [cookie](crate::netns::cookie).
#[derive(Debug, Clone, Default)]
pub struct History(BTreeMap<u64, Vec<Domain>>);

impl History {
    /// A container of this domain was in the namespace.
    pub fn note(&mut self, cookie: u64, domain: Domain) {
        self.0.entry(cookie).or_default().push(domain);
    }

    /// Namespaces that were used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Fails if a namespace had users of two domains. Returns how often a namespace had another user of
    /// its domain, by the kind of domain.
    pub fn ensure_one_domain_each(&self) -> Result<BTreeMap<&'static str, usize>> {
        let mut again = BTreeMap::new();
        for (cookie, users) in &self.0 {
            let domains: BTreeSet<_> = users.iter().collect();
            ensure!(domains.len() == 1, "namespace {cookie} had users of {users:?}");
            let is_shared = !matches!(users[0], Domain::Container(_));
            ensure!(is_shared || users.len() == 1, "namespace {cookie} was used again: {users:?}");
            *again.entry(users[0].kind()).or_default() += users.len() - 1;
        }
        Ok(again)
    }
}
