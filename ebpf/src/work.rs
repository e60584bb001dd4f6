//! What the programs keep of a packet in memory: more than the 512 bytes of their stack.

use aya_ebpf::{
    btf_maps::{PerCpuArray, lpm_trie::Key},
    macros::btf_map,
};
use repoint_common::{
    conntrack::{Connection, ConnectionKey, Fragment, FragmentKey},
    interface::Interface,
};

use crate::{
    fib::Query, interfaces, judge::Answer, policies::Opening, segment::Piece, subject::Subject,
};

/// One CPU's memory for the packet that it looks at.
#[repr(C)]
pub struct Work {
    /// The slot behind the interface.
    pub interface: Interface,
    /// The slot behind the interface by which the packet came to the node.
    pub sender: Interface,
    /// The packet.
    pub subject: Subject,
    /// The packet that it holds, if it is an ICMP error.
    pub about: Subject,
    /// Its flow's key and element.
    pub key: ConnectionKey,
    pub connection: Connection,
    /// Key and element of its fragments.
    pub fragment_key: FragmentKey,
    pub fragment: Fragment,
    /// A look into the node's routes.
    pub query: Query,
    /// An address, to look for its prefix.
    pub network_v4: Key<[u8; 4]>,
    pub network_v6: Key<[u8; 16]>,
    /// What a policy's rules are asked.
    pub opening: Opening,
    /// Identity whose policy is asked.
    pub asked: u32,
    /// Policy and rule that denied it, for the event; 0: none.
    pub policy: u32,
    pub rule: u32,
    /// Why a policy in audit mode would drop it, whose, and which policy and rule.
    pub audited: Answer,
    pub audited_identity: u32,
    pub audited_policy: u32,
    pub audited_rule: u32,
    /// Which part of a packet it is.
    pub piece: Piece,
}

#[btf_map(name = "work")]
static WORK: PerCpuArray<Work, 1> = PerCpuArray::new();

/// This CPU's memory, from one function to the next.
///
/// A global function gets the memory by [`Handle::find`], not as an argument: kernel 6.1 wants to know that a map's
/// key is in a map or on the stack. So nobody keeps a reference across a call of one.
pub struct Handle(*mut Work);

impl Handle {
    /// This CPU's memory.
    #[inline(always)]
    pub fn find() -> Option<Self> {
        WORK.get_ptr_mut(0).map(Self)
    }

    /// The memory.
    #[inline(always)]
    pub fn get(&mut self) -> &mut Work {
        // SAFETY: the element is this CPU's own, and a tc program is not interrupted by another one: both hooks run
        // with bottom halves off. No other reference is in use, as the type says.
        unsafe { &mut *self.0 }
    }
}

/// This CPU's memory, with the slot behind an interface; none: there is no such slot.
#[inline(always)]
pub fn begin(ifindex: u32) -> Option<Handle> {
    let mut work = Handle::find()?;
    (work.get().policy, work.get().rule) = (0, 0);
    if interfaces::copy(ifindex, &mut work.get().interface) { Some(work) } else { None }
}
