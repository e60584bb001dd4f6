//! Ethernet addresses.

/// An Ethernet address, in transmission order.
pub type Mac = [u8; 6];

/// The address of every host-side interface, and so of every container's gateway.
///
/// Each of these interfaces is the only neighbour of its peer, so one address serves all of them
/// and a container's gateway entry is the same in every slot. Locally administered, unicast.
pub const GATEWAY_MAC: Mac = [0x02, 0x72, 0x70, 0x00, 0x00, 0x01];
