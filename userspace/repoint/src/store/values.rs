//! Values of the model as records have them.

use super::codec::{CodecError, Decoder, Encoder};
use crate::model::{Decision, Domain, Served, Tenant};

/// The value with a number in records, of all values in the order of their numbers.
pub(super) fn numbered<T: Copy>(
    all: &[T],
    number: u8,
    field: &'static str,
) -> Result<T, CodecError> {
    let found = all.get(usize::from(number)).copied();
    found.ok_or_else(|| CodecError::Value { field, value: number.to_string() })
}

impl Domain {
    pub(in crate::store) fn encode(&self, encoder: &mut Encoder) {
        match self {
            Self::Container => encoder.u8(0),
            Self::Function(tenant, function) => encoder
                .u8(1)
                .option(tenant.as_ref().map(Tenant::as_str))
                .text(function.as_str().as_bytes()),
            Self::Tenant(tenant) => encoder.u8(2).option(tenant.as_ref().map(Tenant::as_str)),
            Self::Network => encoder.u8(3),
        };
    }

    pub(in crate::store) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, CodecError> {
        let tenant = |decoder: &mut Decoder<'_>| {
            Ok::<_, CodecError>(
                decoder.option("tenant of the domain")?.map(str::parse).transpose()?,
            )
        };
        match decoder.u8("domain")? {
            0 => Ok(Self::Container),
            1 => Ok(Self::Function(tenant(decoder)?, decoder.name("function of the domain")?)),
            2 => Ok(Self::Tenant(tenant(decoder)?)),
            3 => Ok(Self::Network),
            other => Err(CodecError::Value { field: "domain", value: other.to_string() }),
        }
    }
}

impl Decision {
    pub(in crate::store) fn encode(&self, encoder: &mut Encoder) {
        encoder.u8(self.served as u8).text(self.reason.as_bytes());
    }

    pub(in crate::store) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            served: numbered(&Served::ALL, decoder.u8("decision")?, "decision")?,
            reason: decoder.text("reason of the decision")?.to_owned(),
        })
    }
}
