//! An LMDB environment, and the lock between its readers and writers.
//!
//! LMDB's own locks are off. They are mutexes of the C library in shared memory, whose form differs
//! between C libraries, and a table of readers, in which killed readers stay. The kernel releases a
//! file's lock (`flock(2)`) when its holder is killed. The lock is on the data file itself, so that no
//! process can remove one without the other.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use lmdb::{Database, DatabaseFlags, EnvironmentFlags, RoTransaction, RwTransaction};

use super::{StoreError, space::Space};
use crate::{
    failpoint,
    lock::{self, Kind, LOCK_TIMEOUT},
    private::{self, PrivateError},
};

/// LMDB's data file in the folder.
const DATA: &str = "data.mdb";
/// Shortest file of an environment, bytes.
///
/// A shorter file is unfinished: the process that made it was killed, or had no room.
const SHORTEST: u64 = 2 * 4096;
/// How often to open an environment that is removed meanwhile.
const TRIES: usize = 16;

/// The tables and properties of an environment.
pub(super) trait Layout: Sized {
    /// Names of the tables.
    const TABLES: &'static [&'static str];
    /// Address space for it, in bytes; the file is sparse and grows as it is written.
    const MAP_SIZE: usize;
    /// Whether a commit waits for the disk.
    const DURABLE: bool;
    /// What to do about a file that is damaged.
    const DAMAGED: &'static str;

    /// The tables, each as `table` opens or makes it.
    fn collect(
        table: impl FnMut(&'static str) -> Result<Database, lmdb::Error>,
    ) -> Result<Self, lmdb::Error>;

    /// Checks the schema's version, and records it in a new environment; forgets what ended with
    /// another boot. The caller holds the lock.
    fn settle(
        &self,
        environment: &lmdb::Environment,
        opened: &Opened<'_>,
    ) -> Result<(), StoreError>;
}

/// An environment as it is being opened.
pub(super) struct Opened<'a> {
    /// The folder.
    pub(super) path: &'a Path,
    /// Its data file.
    pub(super) file: &'a File,
    pub(super) purpose: Purpose,
}

/// What an environment is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Work,
    /// To be left as it is.
    Look,
}

/// An open environment. A process opens it once.
#[derive(Debug)]
pub(super) struct Environment<L> {
    inner: lmdb::Environment,
    tables: L,
    path: PathBuf,
    /// Device and number of the data file.
    inode: (u64, u64),
    /// The data file. A process that works with it holds its lock, and uses one thread at a time.
    data: Mutex<Data>,
}

/// A data file, and what is known of the room in it.
#[derive(Debug)]
struct Data {
    file: File,
    space: Space,
}

impl<L: Layout> Environment<L> {
    /// Opens the environment in a folder; makes both if they are missing.
    pub(super) fn open(path: &Path, purpose: Purpose) -> Result<Self, StoreError> {
        for _ in 0..TRIES {
            let file = make_data_file(path)?;
            // No process writes while this one makes the environment, or looks for its newest state.
            let held = Held::take(&file, path, Kind::Exclusive)?;
            let inner = open_inner::<L>(&file, path)?;
            failpoint::hit("store:opened");
            let found = file.metadata().map_err(file_failed(path, "fstat"))?;
            if found.nlink() == 0 {
                // A process removed the file before LMDB opened it: LMDB has another file.
                continue;
            }
            // Check the file's length before the first read of a page that may be missing.
            let space = Space::of(&inner, (&file, path), found.len(), L::MAP_SIZE, L::DAMAGED)?;
            let tables = tables::<L>(&inner, path)?;
            tables.settle(&inner, &Opened { path, file: &file, purpose })?;
            drop(held);
            let (path, inode) = (path.to_owned(), (found.dev(), found.ino()));
            return Ok(Self { inner, tables, path, inode, data: Mutex::new(Data { file, space }) });
        }
        Err(StoreError::Gone { path: path.to_owned() })
    }

    /// Opens the environment in a folder if there is one.
    pub(super) fn open_existing(path: &Path, purpose: Purpose) -> Result<Option<Self>, StoreError> {
        if path.join(DATA).exists() { Self::open(path, purpose).map(Some) } else { Ok(None) }
    }

    /// Fails where the folder no longer holds the open environment.
    pub(super) fn ensure_current(&self) -> Result<(), StoreError> {
        match fs::metadata(self.path.join(DATA)) {
            Ok(found) if (found.dev(), found.ino()) == self.inode => Ok(()),
            _ => Err(StoreError::Gone { path: self.path.clone() }),
        }
    }

    /// Calls `work` while no process writes.
    pub(super) fn read<T, E: From<StoreError>>(
        &self,
        work: impl for<'env> FnOnce(RoTransaction<'env>, &'env L) -> Result<T, E>,
    ) -> Result<T, E> {
        let data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        let _held = Held::take(&data.file, &self.path, Kind::Shared)?;
        work(begin_reading(&self.inner)?, &self.tables)
    }

    /// Calls `work`, which commits, while no other process reads or writes.
    ///
    /// The transaction may use the room that is kept for deletions.
    pub(super) fn write<T, E: From<StoreError>>(
        &self,
        work: impl for<'env> FnOnce(RwTransaction<'env>, &'env L) -> Result<T, E>,
    ) -> Result<T, E> {
        let data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        let _held = Held::take(&data.file, &self.path, Kind::Exclusive)?;
        work(begin_writing(&self.inner)?, &self.tables)
    }

    /// As [`Self::write`], for work that makes the environment larger.
    ///
    /// It fails where the transaction would use the room that is kept for deletions.
    pub(super) fn grow<T, E: From<StoreError>>(
        &self,
        work: impl for<'env> FnOnce(RwTransaction<'env>, &'env L) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        let Data { file, space } = &mut *data;
        let _held = Held::take(file, &self.path, Kind::Exclusive)?;
        space.make(&self.inner, file, &self.path)?;
        failpoint::hit("store:room");
        work(begin_writing(&self.inner)?, &self.tables)
    }
}

fn tables<L: Layout>(environment: &lmdb::Environment, path: &Path) -> Result<L, StoreError> {
    match L::collect(|name| environment.open_db(Some(name))) {
        Err(lmdb::Error::NotFound) => L::collect(|name| {
            let table = environment.create_db(Some(name), DatabaseFlags::empty());
            failpoint::hit("store:table");
            table
        }),
        other => other,
    }
    .map_err(open_failed::<L>(path))
}

/// Commits what was written. The caller holds the lock.
pub(super) fn commit(transaction: impl lmdb::Transaction) -> Result<(), lmdb::Error> {
    failpoint::hit("store:written");
    transaction.commit()?;
    failpoint::hit("store:committed");
    Ok(())
}

pub(super) fn begin_reading(
    environment: &lmdb::Environment,
) -> Result<RoTransaction<'_>, StoreError> {
    let begun = environment.begin_ro_txn();
    begun.map_err(|source| StoreError::Lmdb { what: "begin reading", source })
}

pub(super) fn begin_writing(
    environment: &lmdb::Environment,
) -> Result<RwTransaction<'_>, StoreError> {
    let begun = environment.begin_rw_txn();
    let begun = begun.map_err(|source| StoreError::Lmdb { what: "begin writing", source })?;
    failpoint::hit("store:begun");
    Ok(begun)
}

/// The lock, held until this is dropped.
struct Held<'a>(&'a File);

impl<'a> Held<'a> {
    /// Takes the lock: shared to read, exclusive to write.
    fn take(file: &'a File, folder: &Path, kind: Kind) -> Result<Self, StoreError> {
        lock::take(file, &folder.join(DATA), kind, LOCK_TIMEOUT)?;
        Ok(Self(file))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // The kernel unlocks an open file always, and when the process ends at the latest.
        drop(self.0.unlock());
    }
}

/// Opens the data file; makes it and its folder if they are missing.
fn make_data_file(path: &Path) -> Result<File, StoreError> {
    let opened = match data_file(path) {
        Err(error) if error.is_not_found() => {
            private::folder(path)?;
            failpoint::hit("store:folder");
            data_file(path)
        }
        other => other,
    };
    Ok(opened?)
}

fn data_file(path: &Path) -> Result<File, PrivateError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    private::file(&mut options, &path.join(DATA))
}

fn file_failed(path: &Path, call: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.join(DATA);
    move |source| StoreError::File { path, call, source }
}

fn open_failed<L: Layout>(path: &Path) -> impl Fn(lmdb::Error) -> StoreError {
    let path = path.to_owned();
    move |source| {
        let advice = if is_damage(source) { L::DAMAGED } else { super::error::advice(source) };
        StoreError::Open { path: path.clone(), source, advice }
    }
}

/// Whether an error says that the file is not what LMDB left there.
fn is_damage(error: lmdb::Error) -> bool {
    use lmdb::Error::{Corrupted, Incompatible, Invalid, PageNotFound, VersionMismatch};
    matches!(error, Corrupted | Incompatible | Invalid | PageNotFound | VersionMismatch)
}

/// Opens the environment; makes an unfinished one from the beginning.
fn open_inner<L: Layout>(file: &File, path: &Path) -> Result<lmdb::Environment, StoreError> {
    let opened = match open_lmdb::<L>(path) {
        Err(lmdb::Error::Invalid) if file.metadata().is_ok_and(|it| it.len() < SHORTEST) => {
            file.set_len(0).map_err(file_failed(path, "ftruncate"))?;
            open_lmdb::<L>(path)
        }
        other => other,
    };
    opened.map_err(open_failed::<L>(path))
}

fn open_lmdb<L: Layout>(path: &Path) -> Result<lmdb::Environment, lmdb::Error> {
    let mut flags = EnvironmentFlags::NO_LOCK | EnvironmentFlags::NO_TLS;
    if !L::DURABLE {
        flags |= EnvironmentFlags::NO_SYNC | EnvironmentFlags::NO_META_SYNC;
    }
    lmdb::Environment::new()
        .set_flags(flags)
        .set_map_size(L::MAP_SIZE)
        .set_max_dbs(L::TABLES.len().try_into().unwrap_or(u32::MAX))
        .open_with_permissions(path, 0o600)
}
