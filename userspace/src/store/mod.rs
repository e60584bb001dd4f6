//! The database of what repoint holds on this node: LMDB, one short transaction at a time.
//!
//! It describes kernel objects, which die with the boot as its file does (`/run` is a tmpfs), so
//! it is never synced to a disk. Readers and writers are kept apart by a lock on a file
//! (`flock(2)`), and not by LMDB's own: that is a mutex of the C library in shared memory, which
//! executables of two C libraries do not understand alike, and a table of readers, in which killed
//! ones stay. The kernel gives a lock back whose owner was killed. A transaction holds no system call but LMDB's own; kernel work is
//! done between the one that records the intent and the one that records that it is done.

mod codec;
mod decision;
mod index;
mod journal;
mod pool;
mod record;
mod transaction;

pub use codec::CodecError;
pub use decision::{Decision, Mode, Served};
pub use index::{Parked, Shelf, Use};
pub use journal::Entry;
pub use pool::{Pool, PoolId, PoolOverride, PoolPolicy, Scope};
pub use record::{Network, Slot, SlotState};
pub use transaction::{Read, Transaction, Write};

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use lmdb::{Database, DatabaseFlags, Environment, EnvironmentFlags, RoTransaction, RwTransaction};

use crate::types::{AttachmentId, SlotId};

/// Version of the tables and records; a database of another is refused.
const SCHEMA: u32 = 3;
/// Address space for the database, in bytes; the file is sparse and grows as it is written. A slot
/// takes about 500 bytes in all tables.
const MAP_SIZE: usize = 256 << 20;
/// File in the folder that readers and writers lock.
const LOCK: &str = "lock";
/// LMDB's data file in the folder.
const DATA: &str = "data.mdb";
/// What is wrong with the database, or with what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder cannot be made.
    #[error("cannot create {path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Its lock cannot be had.
    #[error("cannot lock {path}: {call}: {source}")]
    Lock {
        /// The file.
        path: PathBuf,
        /// The system call.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// The environment cannot be opened.
    #[error("cannot open the database in {path}: {source}")]
    Open {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: lmdb::Error,
    },
    /// The database is of another version of repoint.
    #[error(
        "the database in {path} has schema version {found}, this is version {SCHEMA}: \
         drain the node, run `repoint unload --force` of the version that made it, and try again"
    )]
    Schema {
        /// The folder.
        path: PathBuf,
        /// The version found.
        found: u32,
    },
    /// LMDB refused.
    #[error("cannot {what} in the database: {source}{}", advice(*.source))]
    Lmdb {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: lmdb::Error,
    },
    /// A record cannot be read.
    #[error("the {what} record in the database cannot be read: {source}")]
    Record {
        /// Which kind of record.
        what: &'static str,
        /// What is wrong with it.
        source: CodecError,
    },
    /// The attachment exists.
    #[error("{attachment} is attached already (slot {slot}): DEL it first")]
    AttachmentTaken {
        /// The attachment.
        attachment: AttachmentId,
        /// Its slot.
        slot: SlotId,
    },
    /// The address is another slot's.
    #[error("address {address} is in use by slot {slot}")]
    AddressTaken {
        /// The address.
        address: std::net::IpAddr,
        /// The slot that has it.
        slot: SlotId,
    },
    /// A slot is not in a state from which it can go there.
    #[error("slot {slot} is {from} and cannot become {to}")]
    Transition {
        /// The slot.
        slot: SlotId,
        /// Its state.
        from: SlotState,
        /// The state wanted.
        to: SlotState,
    },
    /// A slot is gone: somebody else gave it up meanwhile.
    #[error("slot {slot} is gone from the database: it was deleted meanwhile")]
    SlotGone {
        /// The slot.
        slot: SlotId,
    },
}

/// What a person can do about an error of LMDB.
fn advice(error: lmdb::Error) -> &'static str {
    match error {
        lmdb::Error::MapFull => ": it is full, remove networks or slots",
        lmdb::Error::Other(libc::ENOSPC) => ": its file system is full",
        _ => "",
    }
}

/// The tables.
#[derive(Debug, Clone, Copy)]
struct Tables {
    /// Key of [`transaction::meta`] to a number.
    meta: Database,
    /// Network name to [`Network`].
    networks: Database,
    /// Slot number, 8 bytes big-endian, to [`Slot`].
    slots: Database,
    /// Attachment to slot number.
    attachments: Database,
    /// Address, 4 or 16 bytes, to slot number. Unique on the node.
    ips: Database,
    /// What an identity stands for, to its number.
    identities: Database,
    /// Key of [`index`] to nothing.
    index: Database,
    /// Network and interface name to [`Pool`].
    pools: Database,
    /// Network, interface name and what is counted, to a number.
    counters: Database,
    /// Digest to [`crate::slot::Fingerprint`].
    fingerprints: Database,
    /// Digest to the JSON text of a template that slots were made from.
    templates: Database,
    /// Address to the time until which it rests, nanoseconds since the Unix epoch.
    resting: Database,
    /// Number of an entry, of [`journal`] to what it says.
    journal: Database,
}

/// Names of the tables, in the order of [`Tables`].
const TABLES: [&str; 13] = [
    "meta",
    "networks",
    "slots",
    "attachments",
    "ips",
    "identities",
    "index",
    "pools",
    "counters",
    "fingerprints",
    "templates",
    "resting",
    "journal",
];

impl Tables {
    fn collect(
        mut table: impl FnMut(&'static str) -> Result<Database, lmdb::Error>,
    ) -> Result<Self, lmdb::Error> {
        let [
            meta,
            networks,
            slots,
            attachments,
            ips,
            identities,
            index,
            pools,
            counters,
            fingerprints,
            templates,
            resting,
            journal,
        ] = TABLES;
        Ok(Self {
            meta: table(meta)?,
            networks: table(networks)?,
            slots: table(slots)?,
            attachments: table(attachments)?,
            ips: table(ips)?,
            identities: table(identities)?,
            index: table(index)?,
            pools: table(pools)?,
            counters: table(counters)?,
            fingerprints: table(fingerprints)?,
            templates: table(templates)?,
            resting: table(resting)?,
            journal: table(journal)?,
        })
    }
}

/// The open database. A process opens it once.
#[derive(Debug)]
pub struct Store {
    environment: Environment,
    tables: Tables,
    path: PathBuf,
    /// Whoever works with the database holds it; of a process, one thread at a time.
    lock: Mutex<File>,
}

impl Store {
    /// Opens the database in a folder, and makes both where they are not there.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let lock = match lock_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(path)
                    .map_err(|source| StoreError::Folder { path: path.to_owned(), source })?;
                lock_file(path)
            }
            other => other,
        };
        let lock = lock.map_err(lock_failed(path, "open"))?;
        // Nobody writes while it is made, or its newest state is looked for.
        let held = Held::exclusive(&lock, path)?;
        let open = |source| StoreError::Open { path: path.to_owned(), source };
        let environment = environment(path).map_err(open)?;
        let tables = match Tables::collect(|name| environment.open_db(Some(name))) {
            Err(lmdb::Error::NotFound) => {
                Tables::collect(|name| environment.create_db(Some(name), DatabaseFlags::empty()))
            }
            other => other,
        }
        .map_err(open)?;
        settle_schema(&environment, &tables, path)?;
        drop(held);
        Ok(Self { environment, tables, path: path.to_owned(), lock: Mutex::new(lock) })
    }

    /// Opens the database in a folder if there is one.
    pub fn open_existing(path: &Path) -> Result<Option<Self>, StoreError> {
        if path.join(DATA).exists() { Self::open(path).map(Some) } else { Ok(None) }
    }

    /// Calls `work` with a consistent view.
    pub fn read<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&Read<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let file = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _held = Held::shared(&file, &self.path)?;
        work(&Transaction::new(begin_reading(&self.environment)?, &self.tables))
    }

    /// Calls `work`, the only one on the node that works with the database meanwhile, and commits
    /// what it did if it went well, nothing otherwise.
    pub fn write<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&mut Write<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let file = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _held = Held::exclusive(&file, &self.path)?;
        let mut transaction = Transaction::new(begin_writing(&self.environment)?, &self.tables);
        let value = work(&mut transaction)?;
        transaction.commit()?;
        Ok(value)
    }
}

/// Checks the schema's version, and records it in a new database. The caller holds the lock.
fn settle_schema(
    environment: &Environment,
    tables: &Tables,
    path: &Path,
) -> Result<(), StoreError> {
    let recorded = Transaction::new(begin_reading(environment)?, tables).schema()?;
    let found = if let Some(found) = recorded {
        found
    } else {
        let mut transaction = Transaction::new(begin_writing(environment)?, tables);
        let recorded = transaction.initialise(SCHEMA)?;
        transaction.commit()?;
        recorded
    };
    if found != SCHEMA {
        return Err(StoreError::Schema { path: path.to_owned(), found });
    }
    Ok(())
}

fn begin_reading(environment: &Environment) -> Result<RoTransaction<'_>, StoreError> {
    let begun = environment.begin_ro_txn();
    begun.map_err(|source| StoreError::Lmdb { what: "begin reading", source })
}

fn begin_writing(environment: &Environment) -> Result<RwTransaction<'_>, StoreError> {
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

/// Opens the environment.
fn environment(path: &Path) -> Result<Environment, lmdb::Error> {
    let tables = TABLES.len().try_into().unwrap_or(u32::MAX);
    Environment::new()
        .set_flags(
            EnvironmentFlags::NO_SYNC
                | EnvironmentFlags::NO_META_SYNC
                | EnvironmentFlags::NO_LOCK
                | EnvironmentFlags::NO_TLS,
        )
        .set_map_size(MAP_SIZE)
        .set_max_dbs(tables)
        .open_with_permissions(path, 0o600)
}

#[cfg(test)]
mod tests;
