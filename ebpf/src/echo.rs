//! Echo requests to the gateway (RFC 792, RFC 4443), which no host has the address of.

use aya_ebpf::bindings::BPF_F_RECOMPUTE_CSUM;
use repoint_common::counter::Reason;

use crate::{
    ethernet,
    packet::Packet,
    verdict::{self, Verdict},
};

/// What every message begins with.
#[repr(C)]
#[derive(Clone, Copy)]
struct Message {
    kind: u8,
    code: u8,
    checksum: [u8; 2],
}

/// Turns the request at `offset` into its reply; the IP header has the reply's addresses already.
///
/// Exchanging source and destination does not change the checksum, which both enter alike.
pub fn answer<const REQUEST: u8, const REPLY: u8>(
    packet: &Packet,
    frame: &ethernet::Header,
    offset: u32,
) -> Verdict {
    let request: Message = packet.load(offset)?;
    let reply = request.turned::<REQUEST, REPLY>();
    packet.store(offset, &reply, BPF_F_RECOMPUTE_CSUM)?;
    ethernet::readdress(packet, frame.source)?;
    verdict::answer(packet)
}

/// Whether the message at `offset` is a request.
pub fn is_request<const REQUEST: u8>(packet: &Packet, offset: u32) -> Result<bool, Reason> {
    let message: Message = packet.load(offset)?;
    Ok(message.kind == REQUEST && message.code == 0)
}

impl Message {
    /// Another type, and the checksum that gains what the sum loses (RFC 1624), or the other way
    /// round.
    fn turned<const REQUEST: u8, const REPLY: u8>(self) -> Self {
        let less = u16::from_be_bytes([REQUEST, 0]);
        let more = u16::from_be_bytes([REPLY, 0]);
        let (sum, carry) = u16::from_be_bytes(self.checksum).overflowing_add(less);
        let (sum, borrow) = (sum + u16::from(carry)).overflowing_sub(more);
        let checksum = (sum - u16::from(borrow)).to_be_bytes();
        Self { kind: REPLY, code: 0, checksum }
    }
}
