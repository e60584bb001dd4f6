//! How many slots are built at a time.
//!
//! Building is work under RTNL, one lock for the whole node: more builders than a few only queue
//! there, and make everything else that needs it wait, too.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

/// No permit can be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot wait for a turn to build in {path}: {call}: {source}")]
pub struct PermitError {
    path: PathBuf,
    call: &'static str,
    source: io::Error,
}

/// The right to build, for as long as this lives; the kernel takes it back from a killed process.
#[derive(Debug)]
pub struct BuildPermit {
    _lock: Flock<File>,
}

impl BuildPermit {
    /// Waits until one of the node's permits is free.
    pub fn acquire(run_dir: &Path, permits: u32) -> Result<Self, PermitError> {
        for number in 0..permits.max(1) {
            let file = open(run_dir, number)?;
            if let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                return Ok(Self { _lock: lock });
            }
        }
        // All are taken: wait for one, and let processes spread over them by their number.
        let number = std::process::id() % permits.max(1);
        let file = open(run_dir, number)?;
        let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| {
            PermitError { path: path(run_dir, number), call: "flock", source: errno.into() }
        })?;
        Ok(Self { _lock: lock })
    }
}

fn path(run_dir: &Path, number: u32) -> PathBuf {
    run_dir.join(format!("build.{number}.lock"))
}

fn open(run_dir: &Path, number: u32) -> Result<File, PermitError> {
    let path = path(run_dir, number);
    OpenOptions::new().create(true).append(true).open(&path).map_err(|source| PermitError {
        path,
        call: "open",
        source,
    })
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
}
