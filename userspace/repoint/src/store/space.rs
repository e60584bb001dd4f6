//! Space in the file of an environment.
//!
//! LMDB writes a changed page to another place, so that a deletion needs pages, too: with a full file
//! system, or a full map, nothing could be deleted any more. The file is therefore longer than its used
//! part, and its blocks are allocated. Transactions that make the database larger leave this reserve alone.

use std::{fs::File, io, path::Path};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

use super::StoreError;

/// The reserve for deletions, bytes.
///
/// A DEL takes some 20 pages in each of its transactions, and later transactions take the same pages
/// again. A sweep that deletes 64 slots at a time takes some 200.
const RESERVE: u64 = 1 << 20;
/// By how much the file grows at a time, bytes: some 2,000 slots.
const STEP: u64 = 1 << 20;
/// Pages that an intact file may lack at its end.
///
/// Where the reserve is used up, the last pages may be ones that a transaction took and freed again:
/// LMDB does not write these.
const UNWRITTEN: u64 = 16;

/// What is known of the room in an environment's file.
#[derive(Debug)]
pub(super) struct Space {
    /// Last known length of the file, bytes. The file never becomes shorter.
    length: u64,
    /// Size of a page, bytes.
    page: u64,
    /// Size of the map, bytes: the file is never longer.
    map: u64,
}

impl Space {
    /// Checks the file of an environment that was just opened.
    ///
    /// The file's end may be lost. Reading behind the end would kill the process (`SIGBUS`), so a few
    /// missing pages become zeros, which LMDB reports as an error.
    pub(super) fn of(
        environment: &lmdb::Environment,
        (file, path): (&File, &Path),
        length: u64,
        map: usize,
        advice: &'static str,
    ) -> Result<Self, StoreError> {
        let stat = environment.stat().map_err(failed)?;
        let mut space = Self { length, page: stat.page_size().into(), map: map as u64 };
        let used = space.used(environment)?;
        if length + UNWRITTEN * space.page < used {
            let path = path.to_owned();
            return Err(StoreError::Truncated { path, length, used, advice });
        }
        if length < used {
            file.set_len(used).map_err(|source| no_space(path, source))?;
            space.length = used;
        }
        Ok(space)
    }

    /// Ensures that more can be written without the reserve. The caller holds the lock.
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
            // Not every file system allocates ahead of time: without that, a write reports that it is full.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error @ (Errno::NOSPC | Errno::DQUOT)) => {
                self.reuse(environment, no_space(path, error.into()))
            }
            Err(error) => Err(no_space(path, error.into())),
        }
    }

    /// Allocates a step more than `wanted`, or else `wanted` alone.
    fn extend(&mut self, file: &File, wanted: u64) -> Result<(), Errno> {
        let allocate = |to: u64| fallocate(file, FallocateFlags::empty(), 0, to).map(|()| to);
        let more = (wanted + STEP).min(self.map);
        self.length = allocate(more).or_else(|_| allocate(wanted))?;
        Ok(())
    }

    /// Accepts free pages within the file, if they amount to the reserve.
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

#[cfg(test)]
mod tests {
    use lmdb::{Database, Transaction as _, WriteFlags};

    use super::*;
    use crate::store::environment::{Environment, Layout, Opened, Purpose};

    /// An environment that is soon full.
    #[derive(Debug)]
    struct Small(Database);

    impl Layout for Small {
        const TABLES: &'static [&'static str] = &["small"];
        const MAP_SIZE: usize = 4 << 20;
        const DURABLE: bool = false;
        const DAMAGED: &'static str = "";

        fn collect(
            mut table: impl FnMut(&'static str) -> Result<Database, lmdb::Error>,
        ) -> Result<Self, lmdb::Error> {
            table("small").map(Self)
        }

        fn settle(&self, _: &lmdb::Environment, _: &Opened<'_>) -> Result<(), StoreError> {
            Ok(())
        }
    }

    fn failed(source: lmdb::Error) -> StoreError {
        StoreError::Lmdb { what: "test", source }
    }

    fn put(environment: &Environment<Small>, number: u64) -> Result<(), StoreError> {
        environment.grow(|mut transaction, Small(table)| {
            let key = number.to_be_bytes();
            transaction.put(*table, &key, &[7; 1500], WriteFlags::empty()).map_err(failed)?;
            transaction.commit().map_err(failed)
        })
    }

    fn delete(environment: &Environment<Small>, number: u64) -> Result<(), StoreError> {
        environment.write(|mut transaction, Small(table)| {
            transaction.del(*table, &number.to_be_bytes(), None).map_err(failed)?;
            transaction.commit().map_err(failed)
        })
    }

    #[test]
    fn a_full_map_can_be_emptied_and_filled_again() {
        let folder = tempfile::tempdir().unwrap();
        let environment: Environment<Small> =
            Environment::open(folder.path(), Purpose::Work).unwrap();
        let mut last = Vec::new();
        for round in 0..3 {
            let full =
                (0..).find_map(|number| put(&environment, number).err().map(|e| (number, e)));
            let (number, full) = full.unwrap();
            println!("round {round}: {number} records: {full}");
            assert!(matches!(full, StoreError::Full { size, .. } if size == 4 << 20), "{full}");
            assert!(full.to_string().contains("remove slots"), "{full}");
            // One after the other, each in a transaction of its own, as DELs come.
            (0..number).for_each(|number| delete(&environment, number).unwrap());
            last.push(number);
        }
        assert!(last.iter().all(|number| *number > 400), "{last:?}");
        let length = std::fs::metadata(folder.path().join("data.mdb")).unwrap().len();
        assert!(length <= 4 << 20, "{length}");
    }

    /// The used part may grow by one transaction before the next check.
    #[test]
    fn the_file_is_longer_than_what_is_used_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let environment: Environment<Small> =
            Environment::open(folder.path(), Purpose::Work).unwrap();
        put(&environment, 1).unwrap();
        let length = std::fs::metadata(folder.path().join("data.mdb")).unwrap().len();
        assert!((RESERVE + STEP..4 << 20).contains(&length), "{length}");
    }

    /// Wherever the file is cut, no missing page is read: that would kill this process.
    #[test]
    fn what_was_cut_off_is_reported() {
        let whole = tempfile::tempdir().unwrap();
        let environment: Environment<Small> =
            Environment::open(whole.path(), Purpose::Work).unwrap();
        (0..100).for_each(|number| put(&environment, number).unwrap());
        drop(environment);
        let bytes = std::fs::read(whole.path().join("data.mdb")).unwrap();
        let mut reported = 0;
        for length in (8192..bytes.len()).step_by(4096) {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("data.mdb"), &bytes[..length]).unwrap();
            let read =
                Environment::<Small>::open(folder.path(), Purpose::Work).and_then(|environment| {
                    environment.read(|transaction, Small(table)| {
                        let mut records = (0..100_u64).map(|number| number.to_be_bytes());
                        records.try_for_each(|key| match transaction.get(*table, &key) {
                            Ok(_) => Ok(()),
                            Err(other) => Err(failed(other)),
                        })
                    })
                });
            reported += usize::from(read.is_err());
        }
        println!("{reported} of {} lengths are reported", bytes.len() / 4096 - 2);
        assert!(reported >= 100 * 1500 / 4096, "{reported}");
    }
}
