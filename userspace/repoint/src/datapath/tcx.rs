//! Programs of tcx (kernel 6.6): attached to an interface without a queueing discipline.
//!
//! They are attached without a link (`BPF_PROG_ATTACH`): nothing has to be kept open or pinned, and
//! they go with the interface. Each attachment waits for an RCU grace period under RTNL
//! (`tcx_entry_sync`).
#![expect(unsafe_code, reason = "the system call has no safe form for these commands")]

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use super::AttachPoint;

/// Commands of the system call.
const PROG_ATTACH: libc::c_long = 8;
const PROG_DETACH: libc::c_long = 9;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const PROG_QUERY: libc::c_long = 16;
/// `BPF_F_BEFORE`, and of no program: before all.
const BEFORE: u32 = 1 << 3;
/// Most programs of an interface in one direction (`BPF_MPROG_MAX`).
const MOST: usize = 64;

/// A program of tcx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcxProgram {
    /// Its number.
    pub id: u32,
    /// Its name, of which the kernel keeps 15 bytes.
    pub name: String,
}

/// `union bpf_attr` of `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
#[derive(Default)]
struct Attach {
    ifindex: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
    relative: u32,
    revision: u64,
}

/// `union bpf_attr` of `BPF_PROG_QUERY`.
#[repr(C)]
#[derive(Default)]
struct Query {
    ifindex: u32,
    attach_type: u32,
    flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    padding: u32,
    others: [u64; 4],
}

/// `union bpf_attr` of `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

/// `union bpf_attr` of `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct GetInfo {
    program: u32,
    length: u32,
    info: u64,
}

/// `struct bpf_prog_info`, as far as the name.
#[repr(C)]
struct Info {
    before: [u64; 8],
    name: [u8; 16],
}

impl AttachPoint<'_> {
    /// Interface, and type of attachment; none where it is no point of tcx.
    fn tcx(self) -> Option<(u32, u32)> {
        match self {
            Self::TcxIngress(ifindex) => Some((ifindex, super::attached::TCX_INGRESS)),
            Self::TcxEgress(ifindex) => Some((ifindex, super::attached::TCX_EGRESS)),
            Self::FlowDissector(_) | Self::SocketLookup(_) => None,
        }
    }
}

/// Attaches a program before all that are attached.
///
/// Before kernel 6.6 the error is `EINVAL`.
pub fn attach(point: AttachPoint<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    change(PROG_ATTACH, point, program, BEFORE)
}

/// Detaches a program.
pub fn detach(point: AttachPoint<'_>, id: u32) -> io::Result<()> {
    change(PROG_DETACH, point, open(id)?.as_fd(), 0)
}

/// Programs that are attached, in the order in which they run; none before kernel 6.6.
pub fn tcx_programs(point: AttachPoint<'_>) -> io::Result<Vec<TcxProgram>> {
    let Some((ifindex, attach_type)) = point.tcx() else { return Ok(Vec::new()) };
    let mut numbers = [0_u32; MOST];
    let count = u32::try_from(MOST).unwrap_or_default();
    let programs = numbers.as_mut_ptr().expose_provenance() as u64;
    let mut query = Query { ifindex, attach_type, programs, count, ..Query::default() };
    // SAFETY: the kernel writes `count` numbers at `programs` at most, which `numbers` has room for.
    match unsafe { bpf(PROG_QUERY, &mut query) } {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(Vec::new()),
        other => other?,
    };
    let ids = numbers.into_iter().take(query.count as usize);
    let named = ids.map(|id| match open(id).and_then(|program| name(program.as_fd())) {
        Ok(name) => Ok(Some(TcxProgram { id, name })),
        // It was detached meanwhile.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    });
    named.filter_map(Result::transpose).collect()
}

fn change(
    command: libc::c_long,
    point: AttachPoint<'_>,
    program: BorrowedFd<'_>,
    flags: u32,
) -> io::Result<()> {
    let (ifindex, kind) = point.tcx().ok_or(io::ErrorKind::InvalidInput)?;
    let program = number(program);
    let mut attach = Attach { ifindex, program, kind, flags, ..Attach::default() };
    // SAFETY: the kernel reads the attribute alone.
    unsafe { bpf(command, &mut attach) }.map(drop)
}

fn open(id: u32) -> io::Result<OwnedFd> {
    let mut by_id = ById { id, ..ById::default() };
    // SAFETY: the kernel reads the attribute alone.
    let fd = unsafe { bpf(PROG_GET_FD_BY_ID, &mut by_id) }?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel opened it for this call, and no other code has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn name(program: BorrowedFd<'_>) -> io::Result<String> {
    let mut info = Info { before: [0; 8], name: [0; 16] };
    let length = u32::try_from(size_of::<Info>()).unwrap_or_default();
    let address = (&raw mut info).expose_provenance() as u64;
    let mut get = GetInfo { program: number(program), length, info: address };
    // SAFETY: the kernel reads and writes `length` bytes of `info`, which is there until it returns;
    // its pointers and counts are 0, so that it writes nowhere else.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut get) }?;
    let name = CStr::from_bytes_until_nul(&info.name).unwrap_or_default();
    Ok(name.to_string_lossy().into_owned())
}

/// A descriptor as attributes have it: never negative.
fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

/// # Safety
/// What `attribute` points to must be valid for what the kernel reads and writes there.
unsafe fn bpf<T>(command: libc::c_long, attribute: &mut T) -> io::Result<i64> {
    // SAFETY: the kernel reads and writes the attribute, of the size given; the rest is the caller's.
    let done = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attribute), size_of::<T>())
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done) }
}
