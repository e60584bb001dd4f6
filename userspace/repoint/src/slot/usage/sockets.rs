//! Sockets of a namespace, from inside.

use std::{
    fs, io,
    time::{Duration, Instant},
};

use rustix::thread::{MembarrierCommand, membarrier};

use super::User;
use crate::netlink::{
    Connection, NetlinkError, UntypedSocket, destroy_connections, each_tcp_connection,
    open_sock_diag,
};

/// How long the kernel may take to free closed sockets: some grace periods, of 4 to 30 ms each.
const FREEING: Duration = Duration::from_millis(300);
/// How long a socket may take to be closed.
const CLOSING: Duration = Duration::from_millis(50);
/// Connections that are ended at a time: so many are kept in memory.
const AT_ONCE: usize = 1024;
/// How long ending connections may take. It is enough for some 30,000, as many as one address has to a
/// port of another.
const ENDING: Duration = Duration::from_millis(250);

/// Why sockets cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    /// The counts cannot be read.
    #[error("cannot count sockets: read {path}: {source}")]
    Read {
        /// The file.
        path: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The kernel does not answer.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// Counts of the namespace that the calling thread is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    /// Sockets of all families that hold the namespace, those that are about to go included.
    used: u32,
    /// Sockets in the tables of their protocols. The kernel's own (of a tunnel, of a listener for
    /// encapsulated packets) are here, and do not hold the namespace.
    listed: u32,
    /// TCP connections in `TIME_WAIT`, which are no sockets any more.
    time_wait: u32,
}

/// Ends TCP connections without an owner; returns what is left, if anything.
///
/// The kernel's count proves that nothing can send from the namespace: `used` counts every socket of
/// every family, from its making to its freeing (`sock_inuse_add`).
pub(in crate::slot) fn close_ownerless() -> Result<Option<User>, SocketsError> {
    let counts = Counts::read()?;
    if counts.within(0) {
        return Ok(None);
    }
    let Some(mut socket) = open_sock_diag()? else {
        return Ok(counts.gone(0)?.user(true));
    };
    let destroyed = destroy_ownerless(&mut socket)?;
    // Our own socket is one of them, and stays open until they are counted.
    Ok(Counts::read()?.gone(1)?.user(!destroyed))
}

/// Ends all connections, some at a time, unless one has an owner. Returns false if this kernel cannot end
/// connections.
fn destroy_ownerless(socket: &mut UntypedSocket) -> Result<bool, NetlinkError> {
    let deadline = Instant::now() + ENDING;
    let Some(mut connections) = ownerless(socket, usize::MAX, deadline)? else { return Ok(true) };
    while !connections.is_empty() {
        if !destroy_connections(socket, &connections)? {
            return Ok(false);
        }
        let is_all = connections.len() < AT_ONCE;
        if is_all || Instant::now() >= deadline {
            break;
        }
        // The first listing showed that no connection has an owner.
        connections = ownerless(socket, AT_ONCE, deadline)?.unwrap_or_default();
    }
    Ok(true)
}

/// Some connections; none if one of the first `looked_at` has an owner. The result is also none if the
/// listing does not show that by the deadline. Connections that a listener has not accepted yet have no
/// owner either, but go with the listener.
fn ownerless(
    socket: &mut UntypedSocket,
    looked_at: usize,
    deadline: Instant,
) -> Result<Option<Vec<Connection>>, NetlinkError> {
    let (mut some, mut seen) = (Vec::new(), 0_usize);
    let dumped = each_tcp_connection(socket, |connection| {
        seen += 1;
        match () {
            () if connection.owned => Err(false),
            () if seen.is_multiple_of(AT_ONCE) && Instant::now() >= deadline => Err(false),
            () if seen > looked_at => Err(true),
            () if some.len() < AT_ONCE => {
                some.push(connection);
                Ok(())
            }
            () => Ok(()),
        }
    })?;
    if dumped.is_err()
        && let Some(another) = open_sock_diag()?
    {
        *socket = another;
    }
    Ok(dumped.err().unwrap_or(true).then_some(some))
}

/// What is left of sockets after a wait.
struct Left {
    counts: Counts,
    own: u32,
}

impl Left {
    fn user(self, indestructible: bool) -> Option<User> {
        let Counts { used, listed, time_wait } = self.counts;
        (!self.counts.within(self.own)).then(|| User::Sockets {
            count: used.max(listed).saturating_sub(self.own),
            time_wait,
            indestructible,
        })
    }
}

impl Counts {
    fn read() -> Result<Self, SocketsError> {
        let v4 = read("/proc/thread-self/net/sockstat")?;
        let v6 = match read("/proc/thread-self/net/sockstat6") {
            Err(SocketsError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                String::new()
            }
            other => other?,
        };
        let protocols = read("/proc/thread-self/net/protocols")?;
        let listed =
            values(&v4, "inuse").chain(values(&v6, "inuse")).sum::<u32>().max(sockets(&protocols));
        let used = values(&v4, "used").sum();
        Ok(Self { used, listed, time_wait: values(&v4, "tw").sum() })
    }

    /// Whether there are only `own` sockets.
    fn within(self, own: u32) -> bool {
        self.used <= own && self.listed <= own && self.time_wait == 0
    }

    /// Waits for sockets that are being closed. The kernel frees netlink and packet sockets a grace
    /// period later, and a process that is being started has a copy of each of our sockets for a moment.
    fn gone(mut self, own: u32) -> Result<Left, SocketsError> {
        let start = Instant::now();
        while !self.within(own) {
            let limit = if self.listed <= own { FREEING } else { CLOSING };
            if start.elapsed() >= limit || membarrier(MembarrierCommand::Global).is_err() {
                break;
            }
            self = Self::read()?;
        }
        Ok(Left { counts: self, own })
    }
}

fn read(path: &'static str) -> Result<String, SocketsError> {
    fs::read_to_string(path).map_err(|source| SocketsError::Read { path, source })
}

/// The numbers behind a word: `TCP: inuse 0 orphan 0 tw 3 alloc 1 mem 0`.
fn values<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = u32> + 'a {
    text.lines().filter_map(move |line| {
        let mut words = line.split_ascii_whitespace();
        words.find(|found| *found == word)?;
        words.next()?.parse::<u32>().ok()
    })
}

/// The sum of the third column, below the heading, without the socket that SCTP has in each namespace
/// for packets of no association (`sctp_ctl_sock_init`). A user's SCTP socket is also counted as `used`.
fn sockets(protocols: &str) -> u32 {
    let count = |line: &str| line.split_ascii_whitespace().nth(2)?.parse::<u32>().ok();
    let sum = |is_sctp: bool| {
        let lines = protocols.lines().skip(1).filter(|line| line.starts_with("SCTP") == is_sctp);
        lines.filter_map(count).sum::<u32>()
    };
    sum(false) + sum(true).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_found_behind_their_words() {
        let text =
            "sockets: used 4\nTCP: inuse 1 orphan 0 tw 3 alloc 1 mem 220\nUDP: inuse 2 mem 0\n";
        assert_eq!(values(text, "used").sum::<u32>(), 4);
        assert_eq!(values(text, "inuse").sum::<u32>(), 3);
        assert_eq!(values(text, "tw").sum::<u32>(), 3);
        let protocols = "protocol  size sockets  memory press\nPACKET  1600  2  -1  NI\nTCP  2304  1  220  no\n";
        assert_eq!(sockets(protocols), 3);
        let sctp =
            |count: u32| format!("{protocols}SCTPv6  1600  {count}  0  no\nSCTP  1400  0  0  no\n");
        assert_eq!([0, 1, 2].map(|count| sockets(&sctp(count))), [3, 3, 4]);
    }
}
