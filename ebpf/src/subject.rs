//! A packet as policies see it.

use repoint_common::{
    endpoint::{self, AddressV6, Endpoint},
    interface::{FLAG_ENFORCE, Interface},
    policy::HOST,
};

use crate::segment::Segment;

const _: () = assert!(endpoint::FLAG_ENFORCE as u32 == FLAG_ENFORCE);

/// [`End::flags`]: the policies of the slot are enforced.
pub const ENFORCED: u32 = 1;
/// [`End::flags`]: the end is a slot of this node.
pub const LOCAL: u32 = 2;
/// [`End::flags`]: the packet shows another address than the slot's: the host stack translates it.
pub const TRANSLATED: u32 = 4;
/// [`End::flags`]: the end is the node, if its routes say so.
pub const ASK_ROUTES: u32 = 8;

/// One end of a packet.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct End {
    /// Epoch of the slot that has the address; 0: none has.
    pub epoch: u64,
    /// Identity of the slot, or [`HOST`]; 0: the end's address says what it is.
    pub identity: u32,
    /// Number of the slot's tenant; 0: none.
    pub tenant: u32,
    /// Index of the slot's host-side interface; 0: no slot.
    pub ifindex: u32,
    /// [`ENFORCED`] and the like, or'ed.
    pub flags: u32,
}

/// A packet as policies see it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Subject {
    pub sender: End,
    pub receiver: End,
    /// Source address; IPv4 as an IPv4-mapped address.
    pub source: AddressV6,
    /// Destination address, likewise.
    pub destination: AddressV6,
    pub segment: Segment,
}

/// Ends are written where they stay: a program has no stack for copies.
impl End {
    /// The slot behind an interface.
    #[inline(always)]
    pub fn be_slot(&mut self, interface: &Interface, ifindex: u32) {
        self.epoch = interface.epoch;
        self.identity = interface.identity;
        self.tenant = interface.tenant;
        self.ifindex = ifindex;
        self.flags = LOCAL | if interface.flags & FLAG_ENFORCE == 0 { 0 } else { ENFORCED };
    }

    /// The slot that has an address.
    #[inline(always)]
    pub fn be_endpoint(&mut self, endpoint: &Endpoint) {
        let is_enforced = endpoint.flags & endpoint::FLAG_ENFORCE != 0;
        self.epoch = endpoint.epoch;
        self.identity = endpoint.identity;
        self.tenant = endpoint.tenant;
        self.ifindex = endpoint.ifindex;
        self.flags = LOCAL | if is_enforced { ENFORCED } else { 0 };
    }

    /// The node, with an address that has this epoch.
    #[inline(always)]
    pub fn be_host(&mut self, epoch: u64) {
        self.be_outside();
        self.epoch = epoch;
        self.identity = HOST;
    }

    /// An end outside: its address says what it is.
    #[inline(always)]
    pub fn be_outside(&mut self) {
        self.epoch = 0;
        self.identity = 0;
        self.tenant = 0;
        self.ifindex = 0;
        self.flags = 0;
    }

    /// An end outside, or the node itself: the node's routes say which.
    #[inline(always)]
    pub fn be_beyond(&mut self) {
        self.be_outside();
        self.flags = ASK_ROUTES;
    }

    /// The same slot, with an address that is not its own.
    #[inline(always)]
    pub fn translate(&mut self) {
        self.epoch = 0;
        self.flags |= TRANSLATED;
    }

    /// Whether the slot's policies are enforced.
    pub const fn is_enforced(&self) -> bool {
        self.flags & ENFORCED != 0
    }

    /// Whether the end is a slot of this node.
    pub const fn is_local(&self) -> bool {
        self.flags & LOCAL != 0
    }
}
