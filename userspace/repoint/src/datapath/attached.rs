//! Programs that others attached to interfaces and namespaces.
#![expect(unsafe_code, reason = "the system call has no safe form for these points")]

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

/// `BPF_TCX_INGRESS`
pub(super) const TCX_INGRESS: u32 = 46;
/// `BPF_TCX_EGRESS`
pub(super) const TCX_EGRESS: u32 = 47;
/// `BPF_PROG_QUERY`
const PROG_QUERY: libc::c_long = 16;

/// Where programs are attached to an interface or a namespace, beside its queueing disciplines.
#[derive(Debug, Clone, Copy)]
pub enum AttachPoint<'a> {
    /// Packets that the interface of this index received (`BPF_TCX_INGRESS`).
    TcxIngress(u32),
    /// Packets that it is to send (`BPF_TCX_EGRESS`).
    TcxEgress(u32),
    /// A namespace's flow dissector (`BPF_FLOW_DISSECTOR`).
    FlowDissector(BorrowedFd<'a>),
    /// A namespace's lookups of sockets (`BPF_SK_LOOKUP`).
    SocketLookup(BorrowedFd<'a>),
}

/// `union bpf_attr` of `BPF_PROG_QUERY`, as far as it is needed.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    attach_type: u32,
    flags: u32,
    attach_flags: u32,
    program_ids: u64,
    programs: u32,
    padding: u32,
    program_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// How many programs are attached at a point of the network namespace that the calling thread is in;
/// none where the kernel has no such point.
pub fn attached_count(point: AttachPoint<'_>) -> io::Result<u32> {
    // Descriptors are never negative.
    let number = |fd: BorrowedFd<'_>| fd.as_raw_fd().unsigned_abs();
    let (target, attach_type) = match point {
        AttachPoint::TcxIngress(ifindex) => (ifindex, TCX_INGRESS),
        AttachPoint::TcxEgress(ifindex) => (ifindex, TCX_EGRESS),
        AttachPoint::FlowDissector(netns) => (number(netns), 17),
        AttachPoint::SocketLookup(netns) => (number(netns), 36),
    };
    match query(target, attach_type) {
        // Before 6.6, 4.20 and 5.9: there is no such attachment.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(0),
        other => other,
    }
}

fn query(target: u32, attach_type: u32) -> io::Result<u32> {
    let mut query = Query { target, attach_type, ..Query::default() };
    // SAFETY: the kernel reads and writes `query`, of the size given, and no other memory: it is asked
    // for no numbers of programs.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, &raw mut query, size_of::<Query>()) };
    if done == 0 { Ok(query.programs) } else { Err(io::Error::last_os_error()) }
}

/// The types of attachment (`enum bpf_attach_type`) whose target is a network namespace, of those that
/// this kernel knows. For tests: each must be an [`AttachPoint`].
#[must_use]
pub fn namespace_attach_types(netns: BorrowedFd<'_>) -> Vec<u32> {
    const MORE_THAN_ANY: u32 = 256;
    let target = netns.as_raw_fd().unsigned_abs();
    // Of the rest the kernel says that the target is no cgroup, map or interface.
    (0..MORE_THAN_ANY).filter(|kind| query(target, *kind).is_ok()).collect()
}
