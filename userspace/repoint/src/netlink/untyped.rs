//! Messages of any netlink family, not interpreted: to see everything that the kernel reports of an
//! object, and to hand an object back to the kernel just as it came.

use std::convert::Infallible;

use netlink_packet_core::{
    NetlinkDeserializable, NetlinkHeader, NetlinkSerializable, NlasIterator,
};

use super::{NetlinkError, Socket};

/// A message: its type, and all behind the netlink header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UntypedMessage {
    /// `nlmsg_type`.
    pub kind: u16,
    /// The family's header and attributes.
    pub payload: Vec<u8>,
}

/// A socket of any netlink family.
pub type UntypedSocket = Socket<UntypedMessage>;

impl UntypedSocket {
    /// Opens a socket of family `protocol` (`NETLINK_…`) in the current network namespace.
    pub fn open_untyped(protocol: isize) -> Result<Self, NetlinkError> {
        Self::with_protocol(protocol)
    }
}

impl UntypedMessage {
    /// A message without attributes, from the family's header.
    #[must_use]
    pub fn new(kind: u16, header: &[u8]) -> Self {
        let mut payload = header.to_vec();
        payload.resize(payload.len().next_multiple_of(4), 0);
        Self { kind, payload }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        // Values are a few bytes: names, numbers and addresses.
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.payload.extend(length.to_ne_bytes());
        self.payload.extend(kind.to_ne_bytes());
        self.payload.extend(value);
        self.payload.resize(self.payload.len().next_multiple_of(4), 0);
        self
    }
}

/// Types and values of the attributes in `bytes`, up to the first that is malformed.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(Result::ok).map(|attribute| {
        // The buffer goes on behind the attribute.
        let (kind, end) = (attribute.kind(), usize::from(attribute.length()));
        (kind, attribute.into_inner().get(4..end).unwrap_or_default())
    })
}

impl NetlinkSerializable for UntypedMessage {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.payload.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer[..self.payload.len()].copy_from_slice(&self.payload);
    }
}

impl NetlinkDeserializable for UntypedMessage {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        Ok(Self { kind: header.message_type, payload: payload.to_vec() })
    }
}
