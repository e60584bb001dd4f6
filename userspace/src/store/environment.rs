//! An LMDB environment, and the lock on a file that keeps its readers and writers apart.
//!
//! LMDB's own locks are off: those are mutexes of the C library in shared memory, which executables
//! of two C libraries do not understand alike, and a table of readers, in which killed ones stay.
//! The kernel gives a file's lock (`flock(2)`) back when its owner was killed.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use lmdb::{Database, DatabaseFlags, EnvironmentFlags, RoTransaction, RwTransaction};

use super::StoreError;
use crate::failpoint;

/// File in the folder that readers and writers lock.
const LOCK: &str = "lock";
/// LMDB's data file in the folder.
const DATA: &str = "data.mdb";

/// The tables of an environment, and what it is like.
pub(super) trait Layout: Sized {
    /// Names of the tables.
    const TABLES: &'static [&'static str];
    /// Address space for it, in bytes; the file is sparse and grows as it is written.
    const MAP_SIZE: usize;
    /// Whether a commit waits for the disk.
    const DURABLE: bool;

    /// The tables, each as `table` opens or makes it.
    fn collect(
        table: impl FnMut(&'static str) -> Result<Database, lmdb::Error>,
    ) -> Result<Self, lmdb::Error>;

    /// Checks the schema's version, and records it in a new environment. The caller holds the lock.
    fn settle(&self, environment: &lmdb::Environment, path: &Path) -> Result<(), StoreError>;
}

/// An open environment. A process opens it once.
#[derive(Debug)]
pub(super) struct Environment<L> {
    inner: lmdb::Environment,
    tables: L,
    path: PathBuf,
    /// Whoever works with it holds it; of a process, one thread at a time.
    lock: Mutex<File>,
}

impl<L: Layout> Environment<L> {
    /// Opens the environment in a folder, and makes both where they are not there.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let lock = match lock_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(path)
                    .map_err(|source| StoreError::Folder { path: path.to_owned(), source })?;
                failpoint::hit("store:folder");
                lock_file(path)
            }
            other => other,
        };
        let lock = lock.map_err(lock_failed(path, "open"))?;
        // Nobody writes while it is made, or its newest state is looked for.
        let held = Held::exclusive(&lock, path)?;
        let open = |source| StoreError::Open { path: path.to_owned(), source };
        let inner = open_inner::<L>(path).map_err(open)?;
        failpoint::hit("store:opened");
        let tables = match L::collect(|name| inner.open_db(Some(name))) {
            Err(lmdb::Error::NotFound) => L::collect(|name| {
                let table = inner.create_db(Some(name), DatabaseFlags::empty());
                failpoint::hit("store:table");
                table
            }),
            other => other,
        }
        .map_err(open)?;
        tables.settle(&inner, path)?;
        drop(held);
        Ok(Self { inner, tables, path: path.to_owned(), lock: Mutex::new(lock) })
    }

    /// Opens the environment in a folder if there is one.
    pub(super) fn open_existing(path: &Path) -> Result<Option<Self>, StoreError> {
        if path.join(DATA).exists() { Self::open(path).map(Some) } else { Ok(None) }
    }

    /// Calls `work` while nobody writes.
    pub(super) fn read<T, E: From<StoreError>>(
        &self,
        work: impl for<'env> FnOnce(RoTransaction<'env>, &'env L) -> Result<T, E>,
    ) -> Result<T, E> {
        let file = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _held = Held::shared(&file, &self.path)?;
        work(begin_reading(&self.inner)?, &self.tables)
    }

    /// Calls `work`, which commits, while nobody else reads or writes.
    pub(super) fn write<T, E: From<StoreError>>(
        &self,
        work: impl for<'env> FnOnce(RwTransaction<'env>, &'env L) -> Result<T, E>,
    ) -> Result<T, E> {
        let file = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _held = Held::exclusive(&file, &self.path)?;
        let transaction = begin_writing(&self.inner)?;
        failpoint::hit("store:begun");
        work(transaction, &self.tables)
    }
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
    begun.map_err(|source| StoreError::Lmdb { what: "begin writing", source })
}

/// The lock, held until this is dropped.
struct Held<'a>(&'a File);

impl<'a> Held<'a> {
    /// Waits until nobody writes.
    fn shared(file: &'a File, path: &Path) -> Result<Self, StoreError> {
        file.lock_shared().map_err(lock_failed(path, "flock"))?;
        Ok(Self(file))
    }

    /// Waits until nobody reads or writes.
    fn exclusive(file: &'a File, path: &Path) -> Result<Self, StoreError> {
        file.lock().map_err(lock_failed(path, "flock"))?;
        Ok(Self(file))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // The kernel unlocks an open file always, and when the process ends at the latest.
        drop(self.0.unlock());
    }
}

fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path.join(LOCK))
}

fn lock_failed(path: &Path, call: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.join(LOCK);
    move |source| StoreError::Lock { path, call, source }
}

fn open_inner<L: Layout>(path: &Path) -> Result<lmdb::Environment, lmdb::Error> {
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
