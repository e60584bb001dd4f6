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

impl Entry {
    pub(super) fn encode(&self) -> Vec<u8> {
        let AttachmentId { network, container, ifname } = &self.attachment;
        let mut encoder = Encoder::new(VERSION);
        encoder.u64(self.number).u64(self.time);
        for name in [network.as_str(), container.as_str(), ifname.as_str()] {
            encoder.text(name.as_bytes());
        }
        self.decision.encode(&mut encoder);
        encoder.finish()
    }

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
