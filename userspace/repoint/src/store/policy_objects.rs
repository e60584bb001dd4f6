//! Policy objects and labels as they are stored. They outlive the boot, so a commit waits for the disk.

use std::{collections::BTreeMap, fmt, path::Path, time::SystemTime};

use lmdb::{Cursor as _, Database, WriteFlags};
use repoint_policy::{Declared, Labels, Numbered, Object, ObjectId, Party};

use super::{
    CodecError, StoreError,
    environment::{Environment, Layout, Opened, Purpose, begin_writing, commit},
    policies::{PartyNames, damaged, decode_json, encode_json, key_of},
};
use crate::model::{FunctionKey, Tenant};

/// Version of the tables; a database of another version is refused.
const SCHEMA: u32 = 1;
/// What to do about a database of another schema.
const SCHEMA_ADVICE: &str = "write its policies to a file with `repoint policy show --all` of the version \
                             that made it, move the folder away, and apply the file";
/// What to do about a database that is damaged.
const DAMAGED: &str = ": it is damaged: move the folder away, and apply the policies again";
const SCHEMA_KEY: &[u8] = b"schema";
const REVISION_KEY: &[u8] = b"revision";
const LAST_OBJECT_KEY: &[u8] = b"last-object";
/// Address space, in bytes: for some ten thousand objects.
const MAP_SIZE: usize = 64 << 20;

/// The tables.
#[derive(Debug, Clone, Copy)]
struct Tables {
    /// [`SCHEMA_KEY`] and others to a number, 8 bytes little-endian.
    meta: Database,
    /// Key of [`StoredPolicies::object_key`] to number and object.
    objects: Database,
    /// Key of [`Target::key`] to what is declared.
    declared: Database,
}

impl Layout for Tables {
    const TABLES: &'static [&'static str] = &["meta", "objects", "declared"];
    const MAP_SIZE: usize = MAP_SIZE;
    const DURABLE: bool = true;
    const DAMAGED: &'static str = DAMAGED;

    fn collect(
        mut table: impl FnMut(&'static str) -> Result<Database, lmdb::Error>,
    ) -> Result<Self, lmdb::Error> {
        Ok(Self { meta: table("meta")?, objects: table("objects")?, declared: table("declared")? })
    }

    fn settle(
        &self,
        environment: &lmdb::Environment,
        opened: &Opened<'_>,
    ) -> Result<(), StoreError> {
        let mut transaction = begin_writing(environment)?;
        let known = u64::from(SCHEMA);
        match number(&transaction, *self, SCHEMA_KEY)? {
            Some(found) if found == known => Ok(()),
            Some(found) => {
                let found = u32::try_from(found).unwrap_or(u32::MAX);
                let (path, known, advice) = (opened.path.to_owned(), SCHEMA, SCHEMA_ADVICE);
                Err(StoreError::Schema { path, found, known, advice })
            }
            None => {
                put_number(&mut transaction, *self, SCHEMA_KEY, known)?;
                // Not that of another database that was there before.
                let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
                put_number(&mut transaction, *self, REVISION_KEY, now.as_secs())?;
                commit(transaction).map_err(failed("record the schema"))
            }
        }
    }
}

/// What labels are declared of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A tenant, which is a namespace.
    Tenant(Tenant),
    /// A function of a tenant, or of none, in all networks.
    Function(Option<Tenant>, FunctionKey),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(tenant) => write!(f, "tenant {tenant}"),
            Self::Function(Some(tenant), function) => write!(f, "function {tenant}/{function}"),
            Self::Function(None, function) => write!(f, "function {function}"),
        }
    }
}

impl Target {
    pub(super) fn key(&self) -> Vec<u8> {
        match self {
            Self::Tenant(tenant) => key_of(Some(tenant.as_str()), &[]),
            Self::Function(tenant, function) => {
                key_of(tenant.as_ref().map(Tenant::as_str), function.as_str().as_bytes())
            }
        }
    }

    fn parse(key: &[u8]) -> Result<Self, StoreError> {
        let text = String::from_utf8_lossy(key);
        let name = |error| damaged(CodecError::Name(error));
        let cut = || damaged(CodecError::Truncated { field: "key" });
        let (tenant, function) = text.split_once('\0').ok_or_else(cut)?;
        if function.is_empty() {
            return tenant.parse().map(Self::Tenant).map_err(name);
        }
        let tenant = (!tenant.is_empty()).then(|| tenant.parse().map_err(name)).transpose()?;
        Ok(Self::Function(tenant, function.parse().map_err(name)?))
    }
}

/// Everything that is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredPolicies {
    /// How often it was changed.
    pub revision: u64,
    /// The number that an object got last.
    pub last_object: u32,
    /// The objects.
    pub objects: Vec<Numbered>,
    /// Labels and named ports.
    pub declared: BTreeMap<Target, Declared>,
}

impl StoredPolicies {
    pub(super) fn object_key(id: &ObjectId) -> Vec<u8> {
        key_of(id.namespace.as_deref(), id.name.as_bytes())
    }

    /// A function or container with its labels, of which a start gave some.
    #[must_use]
    pub fn party(&self, names: &PartyNames<'_>, given: Labels) -> Party {
        let declared = |target: &Target| self.declared.get(target).cloned().unwrap_or_default();
        let of_function = names
            .function
            .map(|function| declared(&Target::Function(names.tenant.cloned(), function.clone())));
        let of_tenant = names.tenant.map(|tenant| declared(&Target::Tenant(tenant.clone())));
        let mut of_function = of_function.unwrap_or_default();
        of_function.give(given);
        Party::new(
            names.network.as_str(),
            names.tenant.map(Tenant::as_str),
            names.function.map(FunctionKey::as_str),
            of_function,
            of_tenant.unwrap_or_default().labels,
        )
    }

    /// Puts an object in the place of the one of its name; returns whether there was one that differs, or none where
    /// it is the same.
    pub fn put(&mut self, object: Object) -> Option<bool> {
        let found = self.objects.iter_mut().find(|known| known.object.id == object.id);
        match found {
            Some(known) if known.object == object => None,
            Some(known) => {
                known.object = object;
                Some(true)
            }
            None => {
                // Numbers come again after 16 million objects.
                self.last_object = self.last_object % Numbered::LAST + 1;
                let taken = |number| self.objects.iter().any(|known| known.number == number);
                while taken(self.last_object) {
                    self.last_object = self.last_object % Numbered::LAST + 1;
                }
                self.objects.push(Numbered { number: self.last_object, object });
                Some(false)
            }
        }
    }
}

/// The open database of policies. A process opens it once.
#[derive(Debug)]
pub struct PolicyStore(Environment<Tables>);

impl PolicyStore {
    /// Opens the database in a folder, and makes both where they are not there.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Environment::open(path, Purpose::Work).map(Self)
    }

    /// Opens the database in a folder if there is one.
    pub fn open_existing(path: &Path) -> Result<Option<Self>, StoreError> {
        Ok(Environment::open_existing(path, Purpose::Work)?.map(Self))
    }

    /// Everything that is stored.
    pub fn read(&self) -> Result<StoredPolicies, StoreError> {
        self.0.read(|transaction, tables| {
            let revision = number(&transaction, *tables, REVISION_KEY)?.unwrap_or_default();
            let last = number(&transaction, *tables, LAST_OBJECT_KEY)?.unwrap_or_default();
            let mut stored = StoredPolicies {
                revision,
                last_object: u32::try_from(last).unwrap_or_default(),
                ..StoredPolicies::default()
            };
            for (_, value) in list(&transaction, tables.objects)? {
                let (number, object) = decode_json(value)?;
                stored.objects.push(Numbered { number, object });
            }
            for (key, value) in list(&transaction, tables.declared)? {
                stored.declared.insert(Target::parse(key)?, decode_json(value)?.1);
            }
            Ok(stored)
        })
    }

    /// Stores everything in the place of what is stored, if that is of the revision before.
    pub fn replace(&self, stored: &StoredPolicies) -> Result<(), StoreError> {
        self.0.grow(|mut transaction, tables| {
            let found = number(&transaction, *tables, REVISION_KEY)?.unwrap_or_default();
            if found + 1 != stored.revision {
                return Err(StoreError::PoliciesChanged);
            }
            let failed = failed("store policies");
            for table in [tables.objects, tables.declared] {
                transaction.clear_db(table).map_err(&failed)?;
            }
            let flags = WriteFlags::empty();
            for Numbered { number, object } in &stored.objects {
                let (key, record) =
                    (StoredPolicies::object_key(&object.id), encode_json(*number, object)?);
                transaction.put(tables.objects, &key, &record, flags).map_err(&failed)?;
            }
            for (target, declared) in &stored.declared {
                let record = encode_json(0, declared)?;
                transaction.put(tables.declared, &target.key(), &record, flags).map_err(&failed)?;
            }
            put_number(&mut transaction, *tables, REVISION_KEY, stored.revision)?;
            let last = u64::from(stored.last_object);
            put_number(&mut transaction, *tables, LAST_OBJECT_KEY, last)?;
            commit(transaction).map_err(&failed)
        })
    }
}

fn failed(what: &'static str) -> impl Fn(lmdb::Error) -> StoreError {
    move |source| StoreError::Lmdb { what, source }
}

fn number(
    transaction: &impl lmdb::Transaction,
    tables: Tables,
    key: &[u8],
) -> Result<Option<u64>, StoreError> {
    match transaction.get(tables.meta, &key) {
        Ok(bytes) => Ok(Some(bytes.try_into().map(u64::from_le_bytes).unwrap_or_default())),
        Err(lmdb::Error::NotFound) => Ok(None),
        Err(source) => Err(failed("read policies")(source)),
    }
}

fn put_number(
    transaction: &mut lmdb::RwTransaction<'_>,
    tables: Tables,
    key: &[u8],
    value: u64,
) -> Result<(), StoreError> {
    let put = transaction.put(tables.meta, &key, &value.to_le_bytes(), WriteFlags::empty());
    put.map_err(failed("store policies"))
}

type Pairs<'a> = Vec<(&'a [u8], &'a [u8])>;

fn list(transaction: &impl lmdb::Transaction, table: Database) -> Result<Pairs<'_>, StoreError> {
    let mut cursor = transaction.open_ro_cursor(table).map_err(failed("list policies"))?;
    let pairs: Result<Pairs<'_>, _> = cursor.iter_start().collect();
    pairs.map_err(failed("list policies"))
}
