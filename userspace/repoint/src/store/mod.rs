//! The databases of a node: the slots and pools, and the stored templates.
//!
//! Both are LMDB databases with one short transaction at a time. [`Store`] describes kernel objects,
//! which end with the boot as its file does (`/run` is a tmpfs), so it is never synced to a disk.
//! [`Templates`] outlive the boot. A transaction holds no system call but LMDB's own: one transaction
//! records the intent, the kernel work follows, and a second transaction records the result.

mod codec;
mod cooldown;
mod environment;
mod error;
mod host_netns;
mod identities;
mod index;
mod journal;
mod keys;
mod policies;
mod policy_objects;
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
pub use error::StoreError;
pub use identities::IdentityRecord;
pub use index::{Parked, Prefix};
pub use journal::Entry;
pub use policies::{IdentityPolicies, PartyNames, PoliciesState};
pub use policy_objects::{PolicyStore, StoredPolicies, Target};
pub use pool::Pool;
pub use record::{Network, Slot, SlotState};
pub use slot_kind::{Built, SlotKind};
pub use survey::{IndexFault, RawSurvey, SlotImages, Survey};
pub use templates::{Captured, Put, StoredTemplate, TemplateOwner, TemplateSource, Templates};
pub use tenants::Lingering;
pub use transaction::{Access, Read, Transaction, Write};

use std::path::Path;

use lmdb::Database;

use environment::{Environment, Layout, Opened, Purpose, begin_reading, begin_writing};

use crate::boot::{boot_id, may_be_of_another};

/// Version of the tables and records; a database of another version is refused.
const SCHEMA: u32 = 11;
/// Address space for the database, in bytes; the file is sparse and grows as it is written. A slot
/// takes about 500 bytes in all tables.
const MAP_SIZE: usize = 256 << 20;
/// What to do about a database of another schema.
const SCHEMA_ADVICE: &str =
    "drain the node, run `repoint unload --force` of the version that made it, and try again";
/// What to do about a database that is damaged.
const DAMAGED: &str = ": it is damaged: move the folder away, then `repoint sweep`; containers that \
                       run lose their network and have to be started again";

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
    /// Digest of the names of a function, container or tenant, to its number and names.
    identities: Database,
    /// Number, 4 bytes big-endian, to that digest.
    identity_numbers: Database,
    /// Key of [`index`] to nothing.
    index: Database,
    /// Network and interface name to [`Pool`].
    pools: Database,
    /// Network, interface name and what is counted, to a number; the number of the last decision.
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
    /// Tenant and name to number and JSON text of a policy object.
    policy_objects: Database,
    /// Tenant and digest to number and JSON text of a set of peers.
    policy_groups: Database,
    /// Tenant and function to the JSON text of their labels.
    declared: Database,
    /// Number, 4 bytes big-endian, to the rules of a policy.
    policies: Database,
    /// Digest of a policy's rules to its number.
    policy_digests: Database,
    /// Identity, 4 bytes big-endian, to its policies and groups.
    identity_policies: Database,
    /// Identity, 4 bytes big-endian, to the JSON text of the labels that a start gave to it.
    given_labels: Database,
}

/// Names of the tables, in the order of [`Tables`].
const TABLES: [&str; 23] = [
    "meta",
    "networks",
    "slots",
    "attachments",
    "ips",
    "identities",
    "identity-numbers",
    "index",
    "pools",
    "counters",
    "fingerprints",
    "templates",
    "resting",
    "tenants",
    "lingering",
    "journal",
    "policy-objects",
    "policy-groups",
    "declared",
    "policies",
    "policy-digests",
    "identity-policies",
    "given-labels",
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
            identity_numbers,
            index,
            pools,
            counters,
            fingerprints,
            templates,
            resting,
            tenants,
            lingering,
            journal,
            policy_objects,
            policy_groups,
            declared,
            policies,
            policy_digests,
            identity_policies,
            given_labels,
        ] = TABLES;
        Ok(Self {
            meta: table(meta)?,
            networks: table(networks)?,
            slots: table(slots)?,
            attachments: table(attachments)?,
            ips: table(ips)?,
            identities: table(identities)?,
            identity_numbers: table(identity_numbers)?,
            index: table(index)?,
            pools: table(pools)?,
            counters: table(counters)?,
            fingerprints: table(fingerprints)?,
            templates: table(templates)?,
            resting: table(resting)?,
            tenants: table(tenants)?,
            lingering: table(lingering)?,
            journal: table(journal)?,
            policy_objects: table(policy_objects)?,
            policy_groups: table(policy_groups)?,
            declared: table(declared)?,
            policies: table(policies)?,
            policy_digests: table(policy_digests)?,
            identity_policies: table(identity_policies)?,
            given_labels: table(given_labels)?,
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
