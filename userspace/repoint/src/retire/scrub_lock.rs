//! Per-slot scrub lock, held from before `scrubbing` is recorded until the result is recorded.
//!
//! It is a lock on the byte of the slot's number in a file of `runDir`, which the kernel releases
//! when its owner is killed. The namespace's own file would not do: a process in the namespace can
//! open and lock that.

use std::{
    fs::{File, OpenOptions},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
};

use crate::{model::SlotId, node::NodeError, private};

/// File in `runDir` of which bytes are locked. It stays empty.
const FILE: &str = "scrub.lock";

/// The right to scrub a slot, until this is dropped.
#[derive(Debug)]
pub(crate) struct ScrubLock(#[expect(dead_code, reason = "it is held, not looked at")] File);

impl ScrubLock {
    /// Takes the lock; none where it is taken.
    pub(crate) fn take(run_dir: &Path, slot: SlotId) -> Result<Option<Self>, NodeError> {
        let path = run_dir.join(FILE);
        let mut options = OpenOptions::new();
        let file = private::file(options.create(true).truncate(false).write(true), &path)?;
        // Numbers of slots have 48 bits.
        let start = i64::try_from(slot.0).unwrap_or(i64::MAX - 1);
        #[expect(clippy::cast_possible_truncation, reason = "these constants are of one digit")]
        let wanted = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: start,
            l_len: 1,
            l_pid: 0,
        };
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&wanted)) {
            Ok(_) => Ok(Some(Self(file))),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(errno) => Err(NodeError::File { what: "lock", path, source: errno.into() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_a_slot_and_others_have_others() {
        let folder = tempfile::tempdir().unwrap();
        let take = |slot| ScrubLock::take(folder.path(), SlotId(slot)).unwrap();
        let (one, other) = (take(7), take(8));
        assert!(one.is_some() && other.is_some());
        assert!(take(7).is_none());
        drop(one);
        assert!(take(7).is_some());
        assert!(take(8).is_none());
    }
}
