//! How many slots are built at a time.
//!
//! Building is work under RTNL, one lock for the whole node: more builders than a few only queue
//! there, and make everything else that needs it wait, too.

use std::path::{Path, PathBuf};

use crate::lock::{LOCK_TIMEOUT, Lock, LockError};

/// Why no build permit can be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot wait for a turn to build: {0}")]
pub struct PermitError(#[from] LockError);

/// The right to build, for as long as this lives; the kernel takes it back from a killed process.
#[derive(Debug)]
pub struct BuildPermit {
    _lock: Lock,
}

impl BuildPermit {
    /// Waits until one of the node's permits is free.
    pub fn acquire(run_dir: &Path, permits: u32) -> Result<Self, PermitError> {
        let path = |number| run_dir.join(format!("build.{number}.lock"));
        let paths: Vec<PathBuf> = (0..permits.max(1)).map(path).collect();
        Ok(Self { _lock: Lock::any(&paths, LOCK_TIMEOUT)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_permits_than_allowed_and_one_that_is_given_back_is_given_again() {
        let folder = tempfile::tempdir().unwrap();
        let first = BuildPermit::acquire(folder.path(), 2).unwrap();
        let second = BuildPermit::acquire(folder.path(), 2).unwrap();
        let path = folder.path().to_owned();
        let third = std::thread::spawn(move || BuildPermit::acquire(&path, 2).map(drop));
        assert!(!third.is_finished());
        drop((first, second));
        third.join().unwrap().unwrap();
    }

    /// A stopped builder keeps one permit, whichever it is, and no more.
    #[test]
    fn who_waits_is_given_any_permit_that_is_given_back() {
        for number in [0, 1] {
            let folder = tempfile::tempdir().unwrap();
            let mut taken = [0, 1].map(|_| BuildPermit::acquire(folder.path(), 2).ok());
            let path = folder.path().to_owned();
            let third = std::thread::spawn(move || BuildPermit::acquire(&path, 2).map(drop));
            taken[number] = None;
            third.join().unwrap().unwrap();
        }
    }
}
