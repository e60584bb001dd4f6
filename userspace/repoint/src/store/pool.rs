//! The record of a pool: what its slots are built from, and how many of them there should be.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    TemplateOwner,
    codec::{CodecError, Decoder, Encoder},
};
use crate::model::{FunctionKey, IfName, InvalidValue, NetworkName, PoolKey, TemplateName, Tenant};

const VERSION: u8 = 3;

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

/// Who shares a trust domain: whose containers may follow each other in one namespace.
///
/// They are in order: a greater one lets more share one.
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

/// How many slots a pool holds, for whom, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolPolicy {
    /// Slots that should be ready for anybody at any time.
    pub warm: u32,
    /// Most slots in all, those in use included.
    pub max: u32,
    /// Who shares a trust domain.
    pub scope: Scope,
    /// Whether containers without a tenant share a trust domain.
    pub share_without_tenant: bool,
    /// Most slots that a tenant may have, with those in use and namespaces that outlive their slot;
    /// none: as many as there may be.
    pub slots_per_tenant: Option<u32>,
    /// Most slots that wait for one function of one tenant, likewise.
    pub parked_per_function: Option<u32>,
    /// Most slots that wait for functions of one tenant, likewise.
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

/// What is recorded of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// What slots are built from, as a digest: slots of another are not given out.
    pub key: PoolKey,
    /// The same as the JSON text of a configuration, without what is one attachment's alone.
    pub conf: Vec<u8>,
    /// Digest of the stored template that they are made from; zeros: what `conf` says.
    pub template: [u8; 32],
    /// Whose containers alone may use that template; none: all may.
    pub template_owner: Option<TemplateOwner>,
    /// What the namespaces of its slots are like when they are new: digest of a recorded
    /// fingerprint; zeros before the first is built.
    pub fingerprint: [u8; 32],
    /// As configured.
    pub configured: PoolPolicy,
    /// As an operator wants it.
    pub set: PoolOverride,
}

impl Pool {
    /// The policy that counts.
    #[must_use]
    pub fn policy(&self) -> PoolPolicy {
        PoolPolicy {
            warm: self.set.warm.unwrap_or(self.configured.warm),
            max: self.set.max.unwrap_or(self.configured.max),
            ..self.configured
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new(VERSION);
        encoder
            .raw(&self.key.0)
            .long(&self.conf)
            .raw(&self.template)
            .raw(&self.fingerprint)
            .u32(self.configured.warm)
            .u32(self.configured.max)
            .u8(self.configured.scope as u8)
            .u8(self.configured.share_without_tenant.into())
            .number(self.configured.slots_per_tenant)
            .number(self.configured.parked_per_function)
            .number(self.configured.parked_per_tenant)
            .duration(self.configured.idle_ttl)
            .duration(self.configured.cooldown)
            .number(self.set.warm)
            .number(self.set.max)
            .u8(self.template_owner.is_some().into());
        if let Some(TemplateOwner { tenant, function }) = &self.template_owner {
            encoder.option(tenant.as_ref().map(Tenant::as_str));
            encoder.option(function.as_ref().map(FunctionKey::as_str));
        }
        encoder.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut decoder = Decoder::new(bytes, VERSION)?;
        let pool = Self {
            key: PoolKey(decoder.array("key")?),
            conf: decoder.long("configuration")?.to_vec(),
            template: decoder.array("template")?,
            fingerprint: decoder.array("fingerprint")?,
            configured: PoolPolicy {
                warm: decoder.u32("warm")?,
                max: decoder.u32("maximum")?,
                scope: scope(decoder.u8("scope")?)?,
                share_without_tenant: decoder.bool("sharing without a tenant")?,
                slots_per_tenant: decoder.number("slots of a tenant")?,
                parked_per_function: decoder.number("parked slots of a function")?,
                parked_per_tenant: decoder.number("parked slots of a tenant")?,
                idle_ttl: decoder.duration("idle time")?,
                cooldown: decoder.duration("cooldown")?,
            },
            set: PoolOverride { warm: decoder.number(SET)?, max: decoder.number(SET)? },
            template_owner: template_owner(&mut decoder)?,
        };
        decoder.finish()?;
        Ok(pool)
    }
}

const SET: &str = "number set by an operator";

fn template_owner(decoder: &mut Decoder<'_>) -> Result<Option<TemplateOwner>, CodecError> {
    if !decoder.bool("owner of the template")? {
        return Ok(None);
    }
    let tenant = decoder.option("tenant")?.map(str::parse).transpose()?;
    let function = decoder.option("function")?.map(str::parse).transpose()?;
    Ok(Some(TemplateOwner { tenant, function }))
}

fn scope(number: u8) -> Result<Scope, CodecError> {
    Scope::ALL
        .get(usize::from(number))
        .copied()
        .ok_or_else(|| CodecError::Value { field: "scope", value: number.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_read_as_it_was_written_and_an_operator_has_the_last_word() {
        let pool = Pool {
            key: PoolKey([3; 16]),
            conf: vec![b'x'; 70_000],
            template: [5; 32],
            template_owner: Some(TemplateOwner {
                tenant: None,
                function: Some("resize".parse().unwrap()),
            }),
            fingerprint: [4; 32],
            configured: PoolPolicy {
                warm: 8,
                max: 100,
                scope: Scope::Tenant,
                share_without_tenant: true,
                slots_per_tenant: Some(5),
                parked_per_function: Some(3),
                parked_per_tenant: None,
                idle_ttl: Some(Duration::from_millis(1500)),
                cooldown: Some(Duration::from_secs(9)),
            },
            set: PoolOverride { warm: Some(2), max: None },
        };
        assert_eq!(Pool::decode(&pool.encode()).unwrap(), pool);
        assert_eq!(pool.policy(), PoolPolicy { warm: 2, ..pool.configured });
    }
}
