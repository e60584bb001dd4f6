//! The last decisions about containers: a ring buffer, which does not grow when no agent reads it.

use super::{
    CodecError,
    codec::{Decoder, Encoder},
};
use crate::model::{AttachmentId, Decision};

/// Most decisions that the journal holds.
pub(super) const LENGTH: u64 = 1024;
const VERSION: u8 = 1;

/// A decision that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number, counted from 1.
    pub number: u64,
    /// When, in nanoseconds since the boot.
    pub time: u64,
    /// The attachment that the decision is about.
    pub attachment: AttachmentId,
    /// What was decided.
    pub decision: Decision,
}

/// The record of an [`Entry`].
pub(super) fn encode(
    number: u64,
    time: u64,
    attachment: &AttachmentId,
    decision: &Decision,
) -> Vec<u8> {
    let AttachmentId { network, container, ifname } = attachment;
    let mut encoder = Encoder::new(VERSION);
    encoder.u64(number).u64(time);
    for name in [network.as_str(), container.as_str(), ifname.as_str()] {
        encoder.text(name.as_bytes());
    }
    decision.encode(&mut encoder);
    encoder.finish()
}

impl Entry {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut decoder = Decoder::new(bytes, VERSION)?;
        let entry = Self {
            number: decoder.u64("number")?,
            time: decoder.u64("time")?,
            attachment: AttachmentId {
                network: decoder.name("network")?,
                container: decoder.name("container")?,
                ifname: decoder.name("interface name")?,
            },
            decision: Decision::decode(&mut decoder)?,
        };
        decoder.finish()?;
        Ok(entry)
    }
}
