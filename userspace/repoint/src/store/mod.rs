//! The databases of a node: the slots and pools, and the stored templates.
//!
//! Both are LMDB databases with one short transaction at a time. [`Store`] describes kernel objects,
//! which end with the boot as its file does (`/run` is a tmpfs), so it is never synced to a disk.
//! [`Templates`] outlive the boot. A transaction holds no system call but LMDB's own: one transaction
//! records the intent, the kernel work follows, and a second transaction records the result.

mod codec;
mod cooldown;
mod environment;
mod host_netns;
mod index;
mod journal;
mod keys;
mod pool;
mod prune;
mod read;
mod record;
mod slot_kind;
mod space;
mod survey;
mod templates;
mod tenants;
mod transaction;
mod values;
mod watch;
mod write;

pub use codec::CodecError;
pub use cooldown::Tracked;
pub use index::{Parked, Prefix};
pub use journal::Entry;
pub use pool::Pool;
pub use record::{Network, Slot, SlotState};
pub use slot_kind::{Built, SlotKind};
pub use survey::{IndexFault, RawSurvey, SlotImages, Survey};
pub use templates::{Captured, Put, StoredTemplate, TemplateOwner, TemplateSource, Templates};
pub use tenants::Lingering;
pub use transaction::{Access, Read, Transaction, Write};

use std::{
    io,
    path::{Path, PathBuf},
};

use lmdb::Database;

use environment::{Environment, Layout, Opened, Purpose, begin_reading, begin_writing};

use crate::{
    boot::{boot_id, may_be_of_another},
    lock::LockError,
    model::{AttachmentId, SlotId, TemplateDigest, TemplateName},
    private::PrivateError,
    template::TemplateError,
};

/// Version of the tables and records; a database of another version is refused.
const SCHEMA: u32 = 6;
/// Address space for the database, in bytes; the file is sparse and grows as it is written. A slot
/// takes about 500 bytes in all tables.
const MAP_SIZE: usize = 256 << 20;
/// What to do about a database of another schema.
const SCHEMA_ADVICE: &str =
    "drain the node, run `repoint unload --force` of the version that made it, and try again";
/// What to do about a database that is damaged.
const DAMAGED: &str = ": it is damaged: move the folder away, then `repoint sweep`; containers that \
                       run lose their network and have to be started again";

/// Why the database cannot be used, or refuses a change.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Its folder or file cannot be made, or is not the node's own.
    #[error("cannot use the database: {0}")]
    Private(#[from] PrivateError),
    /// Its file cannot be opened, or locked.
    #[error("cannot use the database {path}: {call}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system call.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// Others hold its lock.
    #[error(transparent)]
    Held(#[from] LockError),
    /// The environment cannot be opened.
    #[error("cannot open the database in {path}: {source}{advice}")]
    Open {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: lmdb::Error,
        /// What to do.
        advice: &'static str,
    },
    /// The end of its file is lost.
    #[error("the database in {path} is {length} bytes long and should be at least {used}{advice}")]
    Truncated {
        /// The folder.
        path: PathBuf,
        /// Bytes that there are.
        length: u64,
        /// Bytes that were written.
        used: u64,
        /// What to do.
        advice: &'static str,
    },
    /// Its file was removed or replaced.
    #[error("the database in {path} was removed or replaced while it was open")]
    Gone {
        /// The folder.
        path: PathBuf,
    },
    /// Its file system is full but for what is kept for deletions.
    #[error(
        "the database in {path} cannot grow: {source}: make room on its file system; containers can \
         be removed meanwhile"
    )]
    NoSpace {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is full but for what is kept for deletions.
    #[error(
        "the database in {path} is full, it holds {size} bytes at most: remove slots or templates"
    )]
    Full {
        /// The folder.
        path: PathBuf,
        /// Size of the map, bytes.
        size: u64,
    },
    /// The database is of another version of repoint.
    #[error("the database in {path} has schema version {found}, this is version {known}: {advice}")]
    Schema {
        /// The folder.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The only known version.
        known: u32,
        /// What to do.
        advice: &'static str,
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
    /// The record of a template cannot be read.
    #[error(
        "the record of template {name} cannot be read: {source}: delete it with `repoint template \
         delete {name}`, or use the version of repoint that stored it"
    )]
    StoredTemplate {
        /// Its name.
        name: TemplateName,
        /// What is wrong with the record.
        source: CodecError,
    },
    /// A template cannot be stored, or the one that is stored cannot be used.
    #[error("template {name}: {source}")]
    Template {
        /// Its name.
        name: TemplateName,
        /// What is wrong with it.
        source: TemplateError,
    },
    /// A container's settings cannot replace a confirmed template.
    #[error(
        "template {name} is confirmed, and what a container has does not replace it: store it under \
         another name, and put that one in its place by `repoint template confirm OTHER --as {name}`"
    )]
    TemplateConfirmed {
        /// Its name.
        name: TemplateName,
    },
    /// A template of another owner's container has the name.
    #[error(
        "template {name} was made of a container of {owner}, and is not confirmed: use another name, \
         or confirm it (`repoint template confirm {name}`) or delete it \
         (`repoint template delete {name}`) first"
    )]
    TemplateOfOther {
        /// Its name.
        name: TemplateName,
        /// The owner of that container.
        owner: TemplateOwner,
    },
    /// The template was replaced after the operator saw it.
    #[error(
        "template {name} has digest {found} now, not {shown}: it was replaced; look at it again by \
         `repoint template confirm {name}`"
    )]
    TemplateReplaced {
        /// Its name.
        name: TemplateName,
        /// Its digest.
        found: TemplateDigest,
        /// The digest that was to be confirmed.
        shown: TemplateDigest,
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
    /// The host's ends of slots are in another network namespace.
    #[error(
        "slots on record were built in another network namespace ({host}) than this process's ({here}), \
         where none of their interfaces is to be seen: run it in that one (a pod: hostNetwork: true); \
         if that one is gone, move the folder `state` in runDir away, then `repoint sweep`"
    )]
    WrongNetns {
        /// Device and inode number of that namespace.
        host: String,
        /// The same of this process's namespace.
        here: String,
    },
    /// A slot's state does not allow the transition.
    #[error("slot {slot} is {from} and cannot become {to}")]
    Transition {
        /// The slot.
        slot: SlotId,
        /// Its state.
        from: SlotState,
        /// The state wanted.
        to: SlotState,
    },
    /// A slot is on record as not built, and is used as if it were.
    #[error("slot {slot} is not built: its record has no interface")]
    NotBuilt {
        /// The slot.
        slot: SlotId,
    },
    /// A slot is gone: another process deleted it meanwhile.
    #[error("slot {slot} is gone from the database: it was deleted meanwhile")]
    SlotGone {
        /// The slot.
        slot: SlotId,
    },
}

/// What a person can do about an error of LMDB.
fn advice(error: lmdb::Error) -> &'static str {
    match error {
        lmdb::Error::MapFull => ": it is full, remove slots or templates",
        // LMDB reports a short write as EIO.
        lmdb::Error::Other(libc::ENOSPC | libc::EDQUOT | libc::EIO) => {
            ": its file system is full, or fails: make room there"
        }
        lmdb::Error::Other(libc::EFBIG) => {
            ": the process may write no file so large: raise RLIMIT_FSIZE"
        }
        lmdb::Error::Other(libc::ENOMEM) => {
            ": the process has no address space left: raise RLIMIT_AS (`ulimit -v`)"
        }
        lmdb::Error::Other(libc::EMFILE) => {
            ": the process has too many files open: raise RLIMIT_NOFILE (`ulimit -n`)"
        }
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
    /// Label of an identity, to its number.
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
    /// Address that was in use, to its cooldown.
    resting: Database,
    /// Network and tenant to the number of the tenant's slots.
    tenants: Database,
    /// Number of a deleted slot to nsid, network and tenant: its namespace may live on.
    lingering: Database,
    /// Number of a decision to its entry of [`journal`].
    journal: Database,
}

/// Names of the tables, in the order of [`Tables`].
const TABLES: [&str; 15] = [
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
    "tenants",
    "lingering",
    "journal",
];

impl Layout for Tables {
    const TABLES: &'static [&'static str] = &TABLES;
    const MAP_SIZE: usize = MAP_SIZE;
    const DURABLE: bool = false;
    const DAMAGED: &'static str = DAMAGED;

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
            tenants,
            lingering,
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
            tenants: table(tenants)?,
            lingering: table(lingering)?,
            journal: table(journal)?,
        })
    }

    fn settle(
        &self,
        environment: &lmdb::Environment,
        opened: &Opened<'_>,
    ) -> Result<(), StoreError> {
        let recorded = Transaction::new(begin_reading(environment)?, self).schema()?;
        let found = if let Some(found) = recorded {
            found
        } else {
            let mut transaction = Transaction::new(begin_writing(environment)?, self);
            let recorded = transaction.initialise(SCHEMA)?;
            transaction.commit()?;
            recorded
        };
        if found != SCHEMA {
            let (path, known, advice) = (opened.path.to_owned(), SCHEMA, SCHEMA_ADVICE);
            return Err(StoreError::Schema { path, found, known, advice });
        }
        if opened.purpose == Purpose::Work && may_be_of_another(opened.file) {
            self.begin_boot(environment, boot_id().as_deref())?;
        }
        Ok(())
    }
}

impl Tables {
    /// Forgets the slots of an earlier boot, before new slots join them.
    fn begin_boot(
        &self,
        environment: &lmdb::Environment,
        boot: Option<&str>,
    ) -> Result<(), StoreError> {
        let recorded = Transaction::new(begin_reading(environment)?, self).boot()?;
        let Some(boot) = boot.filter(|boot| recorded.is_some_and(|recorded| recorded != *boot))
        else {
            return Ok(());
        };
        let mut transaction = Transaction::new(begin_writing(environment)?, self);
        transaction.begin_boot(boot)?;
        transaction.commit()
    }
}

/// The open database of slots and pools. A process opens it once.
#[derive(Debug)]
pub struct Store(Environment<Tables>);

impl Store {
    /// Opens the database in a folder; makes both if they are missing.
    ///
    /// Slots of another boot are forgotten.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Environment::open(path, Purpose::Work).map(Self)
    }

    /// Opens the database in a folder if there is one.
    pub fn open_existing(path: &Path) -> Result<Option<Self>, StoreError> {
        Ok(Environment::open_existing(path, Purpose::Work)?.map(Self))
    }

    /// As [`Self::open_existing`], but keeps slots of another boot.
    pub fn look(path: &Path) -> Result<Option<Self>, StoreError> {
        Ok(Environment::open_existing(path, Purpose::Look)?.map(Self))
    }

    /// Calls `work` with a consistent view.
    pub fn read<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&Read<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.0.read(|inner, tables| work(&Transaction::new(inner, tables)))
    }

    /// Calls `work` with exclusive access to the database.
    ///
    /// Commits the changes if `work` succeeds, and nothing otherwise.
    pub fn write<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&mut Write<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.0.write(|inner, tables| commit(Transaction::new(inner, tables), work))
    }

    /// As [`Store::write`], for work that makes the database larger.
    ///
    /// Examples are a new slot and a new attachment. It fails where only the room is left that is kept
    /// for [`Store::write`]: deletions always have room.
    pub fn grow<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&mut Write<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.0.grow(|inner, tables| commit(Transaction::new(inner, tables), work))
    }

    /// Fails where [`Store::grow`] would fail for want of room.
    pub fn ensure_room(&self) -> Result<(), StoreError> {
        self.grow(|_| Ok(()))
    }

    /// Fails where the folder no longer holds the open database.
    ///
    /// Another database then has the record of the node's slots, or none has.
    pub fn ensure_current(&self) -> Result<(), StoreError> {
        self.0.ensure_current()
    }
}

fn commit<T, E: From<StoreError>>(
    mut transaction: Write<'_>,
    work: impl FnOnce(&mut Write<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let value = work(&mut transaction)?;
    transaction.commit()?;
    Ok(value)
}

#[cfg(test)]
mod tests;
