//! Per-slot scrub lock, held from before `scrubbing` is recorded until the result is recorded.
//!
//! It is a lock on the byte of the slot's number in a file of `runDir`, which the kernel releases
//! when its owner is killed. The namespace's own file would not do: a process in the namespace can
//! open and lock that.

use std::path::Path;

use crate::{
    lock::{ByteLock, LockError},
    model::SlotId,
};

/// File in `runDir` of which bytes are locked. It stays empty.
const FILE: &str = "scrub.lock";

/// The right to scrub a slot, until this is dropped.
#[derive(Debug)]
pub(crate) struct ScrubLock(#[expect(dead_code, reason = "it is held, not looked at")] ByteLock);

impl ScrubLock {
    /// Takes the lock; none where it is taken.
    pub(crate) fn take(run_dir: &Path, slot: SlotId) -> Result<Option<Self>, LockError> {
        Ok(ByteLock::try_take(&run_dir.join(FILE), slot.0)?.map(Self))
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
