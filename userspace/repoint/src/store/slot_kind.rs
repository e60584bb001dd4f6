//! What kind of slot a record is of, and what is known once the slot is built.

use std::num::NonZeroU32;

use super::codec::{CodecError, Decoder, Encoder};
use crate::model::{FingerprintDigest, PoolKey};

/// Whether a slot is of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotKind {
    /// Built for a pool, in a network namespace of its own.
    Pooled {
        /// Key of the pool.
        pool: PoolKey,
    },
    /// Built for one attachment, in the container's own network namespace.
    Direct,
}

impl SlotKind {
    /// Whether the network namespace is the slot's own, rather than the container's.
    #[must_use]
    pub fn owns_netns(self) -> bool {
        matches!(self, Self::Pooled { .. })
    }

    /// Key of the slot's pool.
    #[must_use]
    pub fn pool(self) -> Option<PoolKey> {
        match self {
            Self::Pooled { pool } => Some(pool),
            Self::Direct => None,
        }
    }

    pub(super) fn encode(self, encoder: &mut Encoder) {
        match self {
            Self::Pooled { pool } => encoder.u8(1).raw(&pool.0),
            Self::Direct => encoder.u8(0),
        };
    }

    pub(super) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, CodecError> {
        Ok(if decoder.bool("kind")? {
            Self::Pooled { pool: PoolKey(decoder.array("pool")?) }
        } else {
            Self::Direct
        })
    }
}

/// What is known of a slot since it was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Built {
    /// Interface index of the host's end.
    pub host_ifindex: NonZeroU32,
    /// MTU of both ends, bytes.
    pub mtu: u32,
    /// Number of the slot's own namespace in the node's; none: the slot is direct.
    pub nsid: Option<i32>,
    /// Digest of the recorded fingerprint of its own namespace; none: the slot is direct.
    pub fingerprint: Option<FingerprintDigest>,
    /// Whether its packets are routed by their source address, as others are in the container's
    /// namespace. Never in a namespace of the slot's own.
    pub source_routed: bool,
}

impl Built {
    pub(super) fn encode(&self, encoder: &mut Encoder) {
        encoder
            .u32(self.host_ifindex.get())
            .u32(self.mtu)
            .number(self.nsid.and_then(|nsid| u32::try_from(nsid).ok()))
            .digest(self.fingerprint.map(|digest| digest.0))
            .u8(self.source_routed.into());
    }

    /// Reads what was built of a slot of this kind.
    pub(super) fn decode(kind: SlotKind, decoder: &mut Decoder<'_>) -> Result<Self, CodecError> {
        let invalid =
            |field, value: &dyn ToString| CodecError::Value { field, value: value.to_string() };
        let ifindex = decoder.u32("interface index")?;
        let mtu = decoder.u32("MTU")?;
        let nsid = decoder.number("namespace number")?;
        let nsid =
            nsid.map(|nsid| i32::try_from(nsid).map_err(|_| invalid("namespace number", &nsid)));
        let built = Self {
            host_ifindex: NonZeroU32::new(ifindex)
                .ok_or_else(|| invalid("interface index", &ifindex))?,
            mtu,
            nsid: nsid.transpose()?,
            fingerprint: decoder.digest("fingerprint")?.map(FingerprintDigest),
            source_routed: decoder.bool("routing by source")?,
        };
        if built.fits(kind) {
            Ok(built)
        } else {
            Err(invalid("kind", &"not that of what was built"))
        }
    }

    /// Whether it has what a slot of this kind has, and nothing else.
    fn fits(&self, kind: SlotKind) -> bool {
        let own = kind.owns_netns();
        self.nsid.is_some() == own
            && self.fingerprint.is_some() == own
            && !(own && self.source_routed)
    }
}
