//! The record of a pool: what its slots are built from, and how many of them there should be.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::codec::{CodecError, Decoder, Encoder};
use crate::types::{IfName, NetworkName, PoolKey};

const VERSION: u8 = 1;

/// Which pool: the network and the name of the interface in the container.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolId {
    /// The network.
    pub network: NetworkName,
    /// The interface in the container.
    pub ifname: IfName,
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.ifname)
    }
}

/// Whom a slot may be given to that somebody used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The same function of the same tenant.
    Function,
    /// Any function of the same tenant.
    Tenant,
    /// Anybody in the network.
    #[default]
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

/// How many slots a pool holds, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSize {
    /// Slots that should be ready for anybody at any time.
    pub warm: u32,
    /// Most slots in all, those in use included.
    pub max: u32,
    /// Whom a used slot may be given to.
    pub scope: Scope,
}

/// What an operator set in place of the configuration's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolOverride {
    /// In place of [`PoolSize::warm`].
    pub warm: Option<u32>,
    /// In place of [`PoolSize::max`].
    pub max: Option<u32>,
}

/// What is recorded of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// What slots are built from, as a digest: slots of another are not given out.
    pub key: PoolKey,
    /// The same as the JSON text of a configuration, without what is one attachment's alone.
    pub conf: Vec<u8>,
    /// What the namespaces of its slots are like when they are new: digest of a recorded
    /// fingerprint; zeros before the first is built.
    pub fingerprint: [u8; 32],
    /// As configured.
    pub configured: PoolSize,
    /// As an operator wants it.
    pub set: PoolOverride,
}

impl Pool {
    /// The sizes that count.
    #[must_use]
    pub fn size(&self) -> PoolSize {
        PoolSize {
            warm: self.set.warm.unwrap_or(self.configured.warm),
            max: self.set.max.unwrap_or(self.configured.max),
            scope: self.configured.scope,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new(VERSION);
        encoder
            .raw(&self.key.0)
            .long(&self.conf)
            .raw(&self.fingerprint)
            .u32(self.configured.warm)
            .u32(self.configured.max)
            .u8(self.configured.scope as u8);
        for number in [self.set.warm, self.set.max] {
            match number {
                Some(number) => encoder.u8(1).u32(number),
                None => encoder.u8(0),
            };
        }
        encoder.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut decoder = Decoder::new(bytes, VERSION)?;
        let pool = Self {
            key: PoolKey(decoder.array("key")?),
            conf: decoder.long("configuration")?.to_vec(),
            fingerprint: decoder.array("fingerprint")?,
            configured: PoolSize {
                warm: decoder.u32("warm")?,
                max: decoder.u32("maximum")?,
                scope: scope(decoder.u8("scope")?)?,
            },
            set: PoolOverride { warm: number(&mut decoder)?, max: number(&mut decoder)? },
        };
        decoder.finish()?;
        Ok(pool)
    }
}

fn scope(number: u8) -> Result<Scope, CodecError> {
    Scope::ALL
        .get(usize::from(number))
        .copied()
        .ok_or_else(|| CodecError::Value { field: "scope", value: number.to_string() })
}

fn number(decoder: &mut Decoder<'_>) -> Result<Option<u32>, CodecError> {
    let field = "number set by an operator";
    if decoder.bool(field)? { decoder.u32(field).map(Some) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_read_as_it_was_written_and_an_operator_has_the_last_word() {
        let pool = Pool {
            key: PoolKey([3; 16]),
            conf: vec![b'x'; 70_000],
            fingerprint: [4; 32],
            configured: PoolSize { warm: 8, max: 100, scope: Scope::Tenant },
            set: PoolOverride { warm: Some(2), max: None },
        };
        assert_eq!(Pool::decode(&pool.encode()).unwrap(), pool);
        assert_eq!(pool.size(), PoolSize { warm: 2, max: 100, scope: Scope::Tenant });
    }
}
