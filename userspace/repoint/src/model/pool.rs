//! Pools: their names, scopes and sizes.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{IfName, InvalidValue, NetworkName, TemplateName};

/// Which pool: the network, the name of the interface in the container, and what its slots are made
/// from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolId {
    /// The network.
    pub network: NetworkName,
    /// The interface in the container.
    pub ifname: IfName,
    /// The stored template; none: what the network's configuration says.
    pub template: Option<TemplateName>,
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.ifname)?;
        self.template.as_ref().map_or(Ok(()), |template| write!(f, "@{template}"))
    }
}

/// How wide a trust domain is.
///
/// The containers of a trust domain may have one namespace, one after the other. Scopes are ordered: a
/// greater scope makes wider domains.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The containers of one function of a tenant.
    #[default]
    Function,
    /// The containers of a tenant.
    Tenant,
    /// All containers of the network, which trust each other.
    Network,
}

impl Scope {
    /// Every scope, in the order of its number in records.
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

impl FromStr for Scope {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let found = Self::ALL.into_iter().find(|scope| scope.name() == text);
        let why = "must be \"function\", \"tenant\" or \"network\"";
        found.ok_or_else(|| InvalidValue::new("scope", text, why))
    }
}

/// The size, the scope and the times of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolPolicy {
    /// Slots to keep ready for any container.
    pub warm: u32,
    /// Most slots in all, those in use included.
    pub max: u32,
    /// How wide a trust domain is.
    pub scope: Scope,
    /// Whether containers without a tenant share a trust domain.
    pub share_without_tenant: bool,
    /// Most slots that a tenant may have; none: no limit of its own.
    ///
    /// Slots in use count, and so do namespaces that outlive their slot.
    pub slots_per_tenant: Option<u32>,
    /// Most slots that wait for one function of one tenant; none: no limit.
    pub parked_per_function: Option<u32>,
    /// Most slots that wait for functions of one tenant; none: no limit.
    pub parked_per_tenant: Option<u32>,
    /// How long a slot waits for its function; none: for ever.
    pub idle_ttl: Option<Duration>,
    /// How long an address rests before another trust domain gets it; none: [`SOFT_COOLDOWN`], or
    /// less where no other address is left.
    pub cooldown: Option<Duration>,
}

/// How long addresses rest where the configuration does not say.
pub const SOFT_COOLDOWN: Duration = Duration::from_secs(10);

impl Default for PoolPolicy {
    /// No ready slots, and otherwise as where the configuration says nothing.
    fn default() -> Self {
        Self {
            warm: 0,
            max: 1024,
            scope: Scope::default(),
            share_without_tenant: false,
            slots_per_tenant: None,
            parked_per_function: None,
            parked_per_tenant: None,
            idle_ttl: Some(Duration::from_mins(10)),
            cooldown: None,
        }
    }
}

/// What an operator set in place of the configuration's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolOverride {
    /// In place of [`PoolPolicy::warm`].
    pub warm: Option<u32>,
    /// In place of [`PoolPolicy::max`].
    pub max: Option<u32>,
}
