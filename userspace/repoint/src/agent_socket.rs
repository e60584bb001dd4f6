//! The agent's socket: how plugins and the CLI notify the agent.
//!
//! A notification is one datagram on a socket in `runDir`. Its sender waits for no answer: if it can send
//! the datagram, an agent listens. The agent finds the details in the database.

use std::{
    os::{fd::AsRawFd as _, unix::net::UnixDatagram},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, UnixAddr, sendto},
};

/// File in `runDir` that the agent listens at.
const SOCKET: &str = "agent.sock";

/// Longest message, in bytes; longer ones are cut.
pub const LONGEST: usize = 1024;

/// Where the agent listens.
#[must_use]
pub fn path(run_dir: &Path) -> PathBuf {
    run_dir.join(SOCKET)
}

/// Notifies the agent; returns whether an agent listens.
///
/// `message` is a line for the agent's log, or empty where the journal has the decision.
#[expect(clippy::must_use_candidate, reason = "whether anybody listens matters to few")]
pub fn notify(run_dir: &Path, message: &str) -> bool {
    let Ok(socket) = UnixDatagram::unbound() else {
        return false;
    };
    let Ok(agent) = UnixAddr::new(&path(run_dir)) else {
        return false;
    };
    let message = &message.as_bytes()[..message.len().min(LONGEST)];
    match sendto(socket.as_raw_fd(), message, &agent, MsgFlags::MSG_DONTWAIT) {
        Ok(_) => true,
        // The agent's queue is full: the agent has notifications to read.
        Err(errno) => errno == Errno::EAGAIN,
    }
}

/// Whether there is an agent.
#[must_use]
pub fn is_served(run_dir: &Path) -> bool {
    UnixDatagram::unbound().is_ok_and(|socket| socket.connect(path(run_dir)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_notified_and_one_that_ended_is_not() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!notify(folder.path(), "nobody") && !is_served(folder.path()));
        let agent = UnixDatagram::bind(path(folder.path())).unwrap();
        assert!(is_served(folder.path()) && notify(folder.path(), "dirty"));
        let mut buffer = [0; LONGEST];
        let length = agent.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"dirty");
        // More than its queue holds.
        assert!((0..10_000).all(|_| notify(folder.path(), "again")));
        drop(agent);
        assert!(!notify(folder.path(), "ended"));
    }
}
