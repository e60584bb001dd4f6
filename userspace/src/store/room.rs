//! Room in the file of an environment.
//!
//! LMDB writes changed pages elsewhere, so that deleting takes pages, too: where the file system is
//! full, or the map, nothing could be given up any more. So the file is longer than what is used of
//! it, its blocks are allocated, and what makes the database larger leaves that reserve alone.

use std::{fs::File, io, path::Path};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

use super::StoreError;

/// What is kept for giving things up, bytes. A DEL takes some 20 pages in each of its transactions,
/// which a later one takes again; a sweep that gives up 64 slots at a time some 200.
const RESERVE: u64 = 1 << 20;
/// By how much the file grows at a time, bytes: some 2,000 slots.
const STEP: u64 = 1 << 20;
/// Pages that may be lacking at the file's end: LMDB does not write those that a transaction has taken
/// and given back.
const UNWRITTEN: u64 = 16;

/// What is known of the room in an environment's file.
#[derive(Debug)]
pub(super) struct Room {
    /// Length of the file when it was looked at last, bytes. It never becomes shorter.
    length: u64,
    /// Size of a page, bytes.
    page: u64,
    /// Size of the map, bytes: the file is never longer.
    map: u64,
}

impl Room {
    /// The room in an environment that was just opened, whose file has this length. Its tail may be
    /// lost: reading there would kill the process (`SIGBUS`).
    pub(super) fn of(
        environment: &lmdb::Environment,
        path: &Path,
        length: u64,
        map: usize,
        advice: &'static str,
    ) -> Result<Self, StoreError> {
        let stat = environment.stat().map_err(failed)?;
        let room = Self { length, page: stat.page_size().into(), map: map as u64 };
        let used = room.used(environment)?;
        if length + UNWRITTEN * room.page < used {
            let path = path.to_owned();
            return Err(StoreError::Truncated { path, length, used, advice });
        }
        Ok(room)
    }

    /// Sees to it that more can be written without the reserve. The caller holds the lock.
    pub(super) fn make(
        &mut self,
        environment: &lmdb::Environment,
        file: &File,
        path: &Path,
    ) -> Result<(), StoreError> {
        let wanted = self.used(environment)? + RESERVE;
        if wanted <= self.length {
            return Ok(());
        }
        if wanted > self.map {
            return self.reuse(environment, StoreError::Full { path: path.into(), size: self.map });
        }
        self.length = file.metadata().map_err(|source| no_space(path, source))?.len();
        if wanted <= self.length {
            return Ok(());
        }
        match self.extend(file, wanted) {
            Ok(()) => Ok(()),
            Err(error @ (Errno::NOSPC | Errno::DQUOT)) => {
                self.reuse(environment, no_space(path, error.into()))
            }
            // Not every file system allocates ahead of time: it says itself when it is full.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(no_space(path, error.into())),
        }
    }

    /// Allocates more than is wanted, or else as much.
    fn extend(&mut self, file: &File, wanted: u64) -> Result<(), Errno> {
        let allocate = |to: u64| fallocate(file, FallocateFlags::empty(), 0, to).map(|()| to);
        let more = (wanted + STEP).min(self.map);
        self.length = allocate(more).or_else(|_| allocate(wanted))?;
        Ok(())
    }

    /// Contents itself with pages that are free within the file, if they are as many as the reserve.
    fn reuse(&self, environment: &lmdb::Environment, full: StoreError) -> Result<(), StoreError> {
        let free = environment.freelist().map_err(failed)? as u64;
        if free * self.page >= RESERVE { Ok(()) } else { Err(full) }
    }

    /// Bytes of the file until the end of the last page that was ever used.
    fn used(&self, environment: &lmdb::Environment) -> Result<u64, StoreError> {
        let last = environment.info().map_err(failed)?.last_pgno() as u64;
        Ok((last + 1) * self.page)
    }
}

fn failed(source: lmdb::Error) -> StoreError {
    StoreError::Lmdb { what: "look for room", source }
}

fn no_space(path: &Path, source: io::Error) -> StoreError {
    StoreError::NoSpace { path: path.to_owned(), source }
}
