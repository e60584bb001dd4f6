//! TCP connections of a namespace, and ending those that no process has any more.

use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::{NetlinkError, Request, UntypedMessage, UntypedSocket};

/// `SOCK_DIAG_BY_FAMILY`
const SHOW: u16 = 20;
/// `SOCK_DESTROY`, which needs `CONFIG_INET_DIAG_DESTROY`.
const DESTROY: u16 = 21;
/// Length of `struct inet_diag_req_v2`.
const REQUEST: usize = 56;
/// Where `struct inet_diag_msg` has its `struct inet_diag_sockid`, and where the request has.
const ID_IN_ANSWER: std::ops::Range<usize> = 4..52;
const ID_IN_REQUEST: std::ops::Range<usize> = 8..56;
/// Where `struct inet_diag_msg` has the inode number of the socket's file.
const INODE_IN_ANSWER: std::ops::Range<usize> = 68..72;
/// Where the request has the set of states wanted.
const STATES_IN_REQUEST: std::ops::Range<usize> = 4..8;

/// A TCP connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    family: u8,
    id: [u8; 48],
    /// Whether a process has the socket. No process has a connection in `TIME_WAIT`, nor a closed one
    /// that the kernel still has to shut down.
    pub owned: bool,
}

/// Opens a socket of the diagnosis family in the current network namespace; none where the kernel
/// has no such family.
pub fn open_sock_diag() -> Result<Option<UntypedSocket>, NetlinkError> {
    match UntypedSocket::open_untyped(NETLINK_SOCK_DIAG) {
        Err(NetlinkError::Open(error)) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => {
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// Passes all TCP connections and listeners of both families to `visit`. An error of `visit` ends the
/// listing, and the socket is of no more use then. Where the kernel cannot list connections, the function
/// visits none.
pub fn each_tcp_connection<E>(
    socket: &mut UntypedSocket,
    mut visit: impl FnMut(Connection) -> Result<(), E>,
) -> Result<Result<(), E>, NetlinkError> {
    for family in [libc::AF_INET, libc::AF_INET6] {
        // Both are below 256.
        let family = u8::try_from(family).unwrap_or_default();
        let request = request(SHOW, family, None);
        let visited = socket.dump_each("list TCP connections", request, |answer| {
            read(&answer.payload).map_or(Ok(()), &mut visit)
        });
        match visited {
            Err(error) if is_missing(&error) => {}
            visited => {
                if let Err(end) = visited? {
                    return Ok(Err(end));
                }
            }
        }
    }
    Ok(Ok(()))
}

/// Ends connections with no more than a reset to their peers. Returns false if this kernel cannot.
pub fn destroy_connections(
    socket: &mut UntypedSocket,
    connections: &[Connection],
) -> Result<bool, NetlinkError> {
    let requests = connections.iter().map(|connection| {
        let message = request(DESTROY, connection.family, Some(&connection.id));
        Request::new("end a TCP connection", message, 0)
    });
    let refusals = socket.execute_each(requests.collect())?;
    // A connection that ended by itself meanwhile is no refusal.
    let mut refusals = refusals.into_iter().filter(|refusal| !refusal.is_absent()).peekable();
    match refusals.next_if(|refusal| !is_missing(refusal)) {
        Some(refusal) => Err(refusal),
        None => Ok(refusals.peek().is_none()),
    }
}

/// Whether the kernel knows no such request (`sock_diag_rcv_msg`, `inet_diag_cmd_exact`).
fn is_missing(error: &NetlinkError) -> bool {
    matches!(error.errno(), Some(libc::EOPNOTSUPP | libc::EINVAL | libc::EPROTONOSUPPORT))
}

fn request(kind: u16, family: u8, id: Option<&[u8; 48]>) -> UntypedMessage {
    let mut header = [0; REQUEST];
    header[0] = family;
    header[1] = libc::IPPROTO_TCP.to_ne_bytes()[0];
    header[STATES_IN_REQUEST].fill(0xff);
    if let Some(id) = id {
        header[ID_IN_REQUEST].copy_from_slice(id);
    }
    UntypedMessage::new(kind, &header)
}

fn read(answer: &[u8]) -> Option<Connection> {
    let inode = answer.get(INODE_IN_ANSWER)?;
    let id = answer.get(ID_IN_ANSWER)?.try_into().ok()?;
    Some(Connection { family: *answer.first()?, id, owned: inode.iter().any(|byte| *byte != 0) })
}
