//! The record of a pool: what its slots are built from, and how many of them there should be.

use super::{
    TemplateOwner,
    codec::{CodecError, Decoder, Encoder},
    values::numbered,
};
use crate::model::{
    FingerprintDigest, FunctionKey, PoolKey, PoolOverride, PoolPolicy, Scope, TemplateDigest,
    Tenant,
};

const VERSION: u8 = 4;

/// What is recorded of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Digest of what slots are built from.
    ///
    /// No container gets a slot of another key.
    pub key: PoolKey,
    /// JSON text of the configuration, without the keys of one attachment.
    pub conf: Vec<u8>,
    /// Digest of the stored template of the slots; none: `conf` alone describes them.
    pub template: Option<TemplateDigest>,
    /// The owner whose containers alone may use that template; none: all may.
    pub template_owner: Option<TemplateOwner>,
    /// Digest of the recorded fingerprint of the pool's new slots; none until the first is built.
    pub fingerprint: Option<FingerprintDigest>,
    /// The policy of the configuration.
    pub configured: PoolPolicy,
    /// What an operator set in its place.
    pub set: PoolOverride,
}

impl Pool {
    /// The effective policy: the configuration's, with the operator's values.
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
            .digest(self.template.map(|digest| digest.0))
            .digest(self.fingerprint.map(|digest| digest.0))
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
            template: decoder.digest("template")?.map(TemplateDigest),
            fingerprint: decoder.digest("fingerprint")?.map(FingerprintDigest),
            configured: PoolPolicy {
                warm: decoder.u32("warm")?,
                max: decoder.u32("maximum")?,
                scope: numbered(&Scope::ALL, decoder.u8("scope")?, "scope")?,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_pool_is_read_as_it_was_written_and_an_operator_has_the_last_word() {
        let pool = Pool {
            key: PoolKey([3; 16]),
            conf: vec![b'x'; 70_000],
            template: Some(TemplateDigest([5; 32])),
            template_owner: Some(TemplateOwner {
                tenant: None,
                function: Some("resize".parse().unwrap()),
            }),
            fingerprint: Some(FingerprintDigest([4; 32])),
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
