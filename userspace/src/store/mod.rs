//! The database of what repoint holds on this node: LMDB, one short transaction at a time.
//!
//! It describes kernel objects, which die with the boot as its file does (`/run` is a tmpfs), so
//! it is never synced to a disk. A transaction holds no system call but LMDB's own; kernel work is
//! done between the one that records the intent and the one that records that it is done.

mod codec;
mod record;
mod transaction;

pub use codec::CodecError;
pub use record::{Network, Slot, SlotState};
pub use transaction::{Read, Transaction, Write};

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use lmdb::{Database, DatabaseFlags, Environment, EnvironmentFlags};

use crate::types::{AttachmentId, SlotId};

/// Version of the tables and records; a database of another is refused.
const SCHEMA: u32 = 1;
/// Address space for the database, in bytes; the file is sparse and grows as it is written. A slot
/// takes about 500 bytes in all tables.
const MAP_SIZE: usize = 256 << 20;
/// Plugin processes that read at the same time. LMDB keeps 64 bytes for each.
const MAX_READERS: u32 = 4096;
/// An environment may refuse while another process opens or closes it.
const OPEN_ATTEMPTS: u32 = 50;

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
        lmdb::Error::ReadersFull => {
            ": too many processes read it, or were killed reading it: remove lock.mdb beside it while \
             no process of repoint runs"
        }
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
}

/// Names of the tables, in the order of [`Tables`].
const TABLES: [&str; 6] = ["meta", "networks", "slots", "attachments", "ips", "identities"];

impl Tables {
    fn collect(
        mut table: impl FnMut(&'static str) -> Result<Database, lmdb::Error>,
    ) -> Result<Self, lmdb::Error> {
        let [meta, networks, slots, attachments, ips, identities] = TABLES;
        Ok(Self {
            meta: table(meta)?,
            networks: table(networks)?,
            slots: table(slots)?,
            attachments: table(attachments)?,
            ips: table(ips)?,
            identities: table(identities)?,
        })
    }
}

/// The open database. A process opens it once.
#[derive(Debug)]
pub struct Store {
    environment: Environment,
    tables: Tables,
    path: PathBuf,
}

impl Store {
    /// Opens the database in a folder, and makes both where they are not there.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|source| StoreError::Folder { path: path.to_owned(), source })?;
        let open = |source| StoreError::Open { path: path.to_owned(), source };
        let environment = environment(path).map_err(open)?;
        let tables = match Tables::collect(|name| environment.open_db(Some(name))) {
            Err(lmdb::Error::NotFound) => {
                Tables::collect(|name| environment.create_db(Some(name), DatabaseFlags::empty()))
            }
            other => other,
        }
        .map_err(open)?;
        let store = Self { environment, tables, path: path.to_owned() };
        store.settle_schema()?;
        Ok(store)
    }

    /// Opens the database in a folder if there is one.
    pub fn open_existing(path: &Path) -> Result<Option<Self>, StoreError> {
        if path.join("data.mdb").exists() { Self::open(path).map(Some) } else { Ok(None) }
    }

    /// Checks the schema's version, and records it in a new database.
    fn settle_schema(&self) -> Result<(), StoreError> {
        let recorded = self.read(|transaction| transaction.schema())?;
        let found = match recorded {
            Some(found) => found,
            None => self.write(|transaction| transaction.initialise(SCHEMA))?,
        };
        if found != SCHEMA {
            return Err(StoreError::Schema { path: self.path.clone(), found });
        }
        Ok(())
    }

    /// Calls `work` with a consistent view.
    pub fn read<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&Read<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let inner = self
            .environment
            .begin_ro_txn()
            .map_err(|source| StoreError::Lmdb { what: "begin reading", source })?;
        work(&Transaction::new(inner, &self.tables))
    }

    /// Calls `work`, the only writer of the node meanwhile, and commits what it did if it went
    /// well, nothing otherwise.
    pub fn write<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&mut Write<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let inner = self
            .environment
            .begin_rw_txn()
            .map_err(|source| StoreError::Lmdb { what: "begin writing", source })?;
        let mut transaction = Transaction::new(inner, &self.tables);
        let value = work(&mut transaction)?;
        transaction.commit()?;
        Ok(value)
    }
}

/// Opens the environment, trying again while another process opens or closes it.
fn environment(path: &Path) -> Result<Environment, lmdb::Error> {
    let mut attempt = 0;
    loop {
        let tables = TABLES.len().try_into().unwrap_or(u32::MAX);
        let opened = Environment::new()
            .set_flags(EnvironmentFlags::NO_SYNC | EnvironmentFlags::NO_META_SYNC)
            .set_map_size(MAP_SIZE)
            .set_max_readers(MAX_READERS)
            .set_max_dbs(tables)
            .open_with_permissions(path, 0o600);
        match opened {
            Err(
                lmdb::Error::Other(libc::EAGAIN | libc::EACCES | libc::ENOENT)
                | lmdb::Error::Invalid,
            ) if attempt < OPEN_ATTEMPTS => {
                attempt += 1;
                std::thread::yield_now();
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests;
