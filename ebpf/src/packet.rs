//! A packet at a tc hook, of whatever shape the kernel holds it in.

use core::ffi::c_void;

use aya_ebpf::{EbpfContext as _, helpers::bpf_skb_change_tail, programs::TcContext};
use repoint_common::counter::Reason;

/// `PACKET_HOST` of `linux/if_packet.h`.
const PACKET_HOST: u32 = 0;

/// A packet, from its Ethernet header on; offsets count from there.
///
/// It is read and written by `bpf_skb_load_bytes` and `bpf_skb_store_bytes` and never through
/// pointers: these take super-packets, cloned buffers and headers that lie outside the linear part
/// as they are, copy no more than what is written, and cost about 5 ns each.
pub struct Packet {
    context: TcContext,
    direction: u8,
}

impl Packet {
    /// The packet that a program was called for; `direction` is the program, as in events.
    pub const fn new(context: TcContext, direction: u8) -> Self {
        Self { context, direction }
    }

    /// The program, as in events.
    pub const fn direction(&self) -> u8 {
        self.direction
    }

    /// Context of the program, for the log.
    pub const fn context(&self) -> &TcContext {
        &self.context
    }

    /// The context as helpers take it.
    pub fn raw(&self) -> *mut c_void {
        self.context.as_ptr()
    }

    /// Index of the interface whose hook this is.
    pub fn ifindex(&self) -> u32 {
        // SAFETY: the kernel passes the context, and it lives as long as the program runs.
        unsafe { (*self.context.skb.skb).ifindex }
    }

    /// Index of the interface by which the packet came to the node, or 0: the node made it.
    pub fn came_by(&self) -> u32 {
        // SAFETY: as in `ifindex`.
        unsafe { (*self.context.skb.skb).ingress_ifindex }
    }

    /// Bytes, with the Ethernet header.
    pub fn len(&self) -> u32 {
        self.context.len()
    }

    /// Whether a VLAN tag was taken out of the packet and is kept beside it.
    pub fn has_vlan_tag(&self) -> bool {
        // SAFETY: as in `ifindex`.
        unsafe { (*self.context.skb.skb).vlan_present != 0 }
    }

    /// Whether this is a super-packet that is segmented further down (GSO).
    pub fn is_super_packet(&self) -> bool {
        // SAFETY: as in `ifindex`.
        unsafe { (*self.context.skb.skb).gso_size != 0 }
    }

    /// Reads a header; [`Reason::Truncated`] if the packet ends before it does.
    ///
    /// `T` must be valid for any bytes.
    pub fn load<T>(&self, offset: u32) -> Result<T, Reason> {
        self.context.load(offset as usize).map_err(|_| Reason::Truncated)
    }

    /// Writes `value`; `flags` are those of `bpf_skb_store_bytes`.
    pub fn store<T>(&self, offset: u32, value: &T, flags: u32) -> Result<(), Reason> {
        self.context.store(offset as usize, value, u64::from(flags)).map_err(|_| Reason::Unwritable)
    }

    /// Makes the packet `length` bytes long; what is added is zero.
    pub fn resize(&self, length: u32) -> Result<(), Reason> {
        // SAFETY: the context is the kernel's own, and no pointer into the packet is kept anywhere.
        let answer = unsafe { bpf_skb_change_tail(self.context.skb.skb, length, 0) };
        if answer == 0 { Ok(()) } else { Err(Reason::Unwritable) }
    }

    /// Makes the kernel treat the packet as addressed to this station.
    pub fn address_to_host(&self) -> Result<(), Reason> {
        self.context.change_type(PACKET_HOST).map_err(|_| Reason::Unwritable)
    }
}
