//! Attaching programs: the `clsact` queueing discipline and its filters.
//!
//! Attached this way in 60 to 80 µs. The newer tcx links wait for an RCU grace period under RTNL
//! for each attachment (16 ms on 6.18 with HZ=250), which nothing amortises.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcOption},
};

use super::{NetlinkError, Request, RouteSocket};

/// Priority of our filters. Others may add theirs before and after.
const PRIORITY: u32 = 0x7270;
/// `ETH_P_ALL`, in network byte order as `tcm_info` wants it.
const ALL_PROTOCOLS: u32 = 0x0003_u16.to_be() as u32;

/// Which packets of an interface a filter sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Those that the interface received.
    Ingress,
    /// Those that the interface is to send.
    Egress,
}

impl Direction {
    fn parent(self) -> TcHandle {
        let minor = match self {
            Self::Ingress => TcHandle::MIN_INGRESS,
            Self::Egress => TcHandle::MIN_EGRESS,
        };
        TcHandle { major: u16::MAX, minor }
    }
}

/// Gives an interface the queueing discipline that holds filters in both directions.
#[must_use]
pub fn add_clsact(ifindex: u32) -> Request<RouteNetlinkMessage> {
    let mut message = message(ifindex, TcHandle::CLSACT);
    message.header.handle = TcHandle { major: u16::MAX, minor: 0 };
    message.attributes = vec![TcAttribute::Kind("clsact".to_owned())];
    let request = RouteNetlinkMessage::NewQueueDiscipline(message);
    Request::new("add the clsact queueing discipline", request, NLM_F_CREATE | NLM_F_EXCL)
}

/// Attaches a loaded program to an interface, its return value deciding over the packet.
#[must_use]
pub fn add_filter(
    ifindex: u32,
    direction: Direction,
    program: BorrowedFd<'_>,
    name: &str,
) -> Request<RouteNetlinkMessage> {
    put_filter(ifindex, direction, program, name, NLM_F_EXCL)
}

/// Attaches a loaded program, and replaces the attached one, if any. No packet passes without a program
/// meanwhile.
#[must_use]
pub fn replace_filter(
    ifindex: u32,
    direction: Direction,
    program: BorrowedFd<'_>,
    name: &str,
) -> Request<RouteNetlinkMessage> {
    put_filter(ifindex, direction, program, name, NLM_F_REPLACE)
}

fn put_filter(
    ifindex: u32,
    direction: Direction,
    program: BorrowedFd<'_>,
    name: &str,
    flags: u16,
) -> Request<RouteNetlinkMessage> {
    let mut message = our_filter(ifindex, direction);
    // A file descriptor is never negative.
    let fd = program.as_raw_fd().unsigned_abs();
    message.attributes = vec![
        TcAttribute::Kind(TcFilterBpf::KIND.to_owned()),
        TcAttribute::Options(vec![
            TcOption::Bpf(TcFilterBpfOption::ProgFd(fd)),
            TcOption::Bpf(TcFilterBpfOption::ProgName(name.to_owned())),
            TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
        ]),
    ];
    let request = RouteNetlinkMessage::NewTrafficFilter(message);
    Request::new(format!("attach program {name}"), request, NLM_F_CREATE | flags)
}

/// Requests that are made at once: as many as their answers fit into a socket's buffer.
const AT_ONCE: usize = 64;

/// Number of the program at our filter of each interface and direction. None if there is no such program,
/// or no such interface.
pub fn attached_programs(
    socket: &mut RouteSocket,
    places: &[(u32, Direction)],
) -> Result<Vec<Option<u32>>, NetlinkError> {
    let mut programs = Vec::with_capacity(places.len());
    for some in places.chunks(AT_ONCE) {
        let requests = some.iter().map(|(ifindex, direction)| {
            let mut message = our_filter(*ifindex, *direction);
            message.attributes = vec![TcAttribute::Kind(TcFilterBpf::KIND.to_owned())];
            let request = RouteNetlinkMessage::GetTrafficFilter(message);
            Request::new("look for the filter of an interface", request, 0)
        });
        for answer in socket.query_each(requests.collect())? {
            programs.push(match answer {
                Ok(RouteNetlinkMessage::NewTrafficFilter(message)) => program_number(message),
                Ok(other) => {
                    let (what, reason) =
                        ("look for a filter".to_owned(), format!("it is {other:?}"));
                    return Err(NetlinkError::Answer { what, reason });
                }
                // No clsact, no filter, or no interface.
                Err(error) if error.is_absent() || error.errno() == Some(libc::EINVAL) => None,
                Err(error) => return Err(error),
            });
        }
    }
    Ok(programs)
}

/// A message about our filter of an interface.
fn our_filter(ifindex: u32, direction: Direction) -> TcMessage {
    let mut message = message(ifindex, direction.parent());
    message.header.handle = TcHandle { major: 0, minor: 1 };
    message.header.info = (PRIORITY << 16) | ALL_PROTOCOLS;
    message
}

/// Names of the programs attached to an interface in one direction, in the order of their filters.
pub fn filters(
    socket: &mut RouteSocket,
    ifindex: u32,
    direction: Direction,
) -> Result<Vec<String>, NetlinkError> {
    let request = RouteNetlinkMessage::GetTrafficFilter(message(ifindex, direction.parent()));
    let objects = socket.dump("list filters", &request)?;
    Ok(objects
        .into_iter()
        .filter_map(|object| match object {
            RouteNetlinkMessage::NewTrafficFilter(message) => program_name(message),
            _ => None,
        })
        .collect())
}

/// Names of all filters of an interface in one direction, in their order. A program's filter has the
/// program's name, any other filter its kind.
pub fn filter_names(
    socket: &mut RouteSocket,
    ifindex: u32,
    direction: Direction,
) -> Result<Vec<String>, NetlinkError> {
    let request = RouteNetlinkMessage::GetTrafficFilter(message(ifindex, direction.parent()));
    let objects = socket.dump("list filters", &request)?;
    let filters = objects.into_iter().filter_map(|object| match object {
        // Each kind's table comes as well, with handle 0.
        RouteNetlinkMessage::NewTrafficFilter(message) if u32::from(message.header.handle) != 0 => {
            Some(message)
        }
        _ => None,
    });
    Ok(filters
        .map(|message| {
            kind(&message).map_or_else(String::new, |kind| {
                if kind == TcFilterBpf::KIND { program_name(message).unwrap_or(kind) } else { kind }
            })
        })
        .collect())
}

fn kind(message: &TcMessage) -> Option<String> {
    message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Kind(kind) => Some(kind.clone()),
        _ => None,
    })
}

fn message(ifindex: u32, parent: TcHandle) -> TcMessage {
    let mut message = TcMessage::default();
    // The kernel's interface indices are positive i32; tcmsg has the signed form.
    message.header.index = ifindex.cast_signed();
    message.header.parent = parent;
    message
}

fn program_name(message: TcMessage) -> Option<String> {
    program_option(message, |option| match option {
        TcFilterBpfOption::ProgName(name) => Some(name),
        _ => None,
    })
}

fn program_number(message: TcMessage) -> Option<u32> {
    program_option(message, |option| match option {
        TcFilterBpfOption::ProgId(number) => Some(number),
        _ => None,
    })
}

fn program_option<T>(
    message: TcMessage,
    wanted: impl Fn(TcFilterBpfOption) -> Option<T>,
) -> Option<T> {
    let options = message.attributes.into_iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    })?;
    options.into_iter().find_map(|option| match option {
        TcOption::Bpf(option) => wanted(option),
        _ => None,
    })
}
