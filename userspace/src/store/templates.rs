//! Templates, by name. They outlive the boot, so a commit waits for the disk.

use std::path::Path;

use lmdb::{Cursor as _, Database, Transaction as _, WriteFlags};

use super::{
    CodecError, StoreError,
    codec::{Decoder, Encoder},
    environment::{Environment, Layout, Opened, Purpose, begin_writing, commit},
};
use crate::{
    template::{Digest, Template},
    types::TemplateName,
};

/// Version of the tables; a database of another is refused.
const SCHEMA: u32 = 1;
/// What to do about a database of another schema.
const SCHEMA_ADVICE: &str = "write its templates to files with `repoint template export` of the \
                             version that made it, move the folder away, and import the files";
/// What to do about a database that is damaged.
const DAMAGED: &str = ": it is damaged: move the folder away, and import the templates again";
/// Key of the table `meta`.
const SCHEMA_KEY: &[u8] = b"schema";
/// Version of a record's form.
const RECORD_VERSION: u8 = 1;
/// Address space, in bytes: for some ten thousand templates.
const MAP_SIZE: usize = 64 << 20;

/// The tables.
#[derive(Debug, Clone, Copy)]
struct Tables {
    /// [`SCHEMA_KEY`] to the schema's version, 4 bytes little-endian.
    meta: Database,
    /// Name to [`StoredTemplate`].
    templates: Database,
}

impl Layout for Tables {
    const TABLES: &'static [&'static str] = &["meta", "templates"];
    const MAP_SIZE: usize = MAP_SIZE;
    const DURABLE: bool = true;
    const DAMAGED: &'static str = DAMAGED;

    fn collect(
        mut table: impl FnMut(&'static str) -> Result<Database, lmdb::Error>,
    ) -> Result<Self, lmdb::Error> {
        Ok(Self { meta: table("meta")?, templates: table("templates")? })
    }

    fn settle(
        &self,
        environment: &lmdb::Environment,
        opened: &Opened<'_>,
    ) -> Result<(), StoreError> {
        let mut transaction = begin_writing(environment)?;
        let found = match transaction.get(self.meta, &SCHEMA_KEY) {
            Ok(bytes) => bytes.try_into().map(u32::from_le_bytes).unwrap_or_default(),
            Err(lmdb::Error::NotFound) => {
                let flags = WriteFlags::NO_OVERWRITE;
                let put = transaction.put(self.meta, &SCHEMA_KEY, &SCHEMA.to_le_bytes(), flags);
                put.and_then(|()| commit(transaction)).map_err(failed("record the schema"))?;
                return Ok(());
            }
            Err(source) => return Err(failed("read the schema")(source)),
        };
        if found != SCHEMA {
            let (path, known, advice) = (opened.path.to_owned(), SCHEMA, SCHEMA_ADVICE);
            return Err(StoreError::Schema { path, found, known, advice });
        }
        Ok(())
    }
}

/// A template as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTemplate {
    /// The digest of its operations.
    pub digest: Digest,
    /// When it was stored, in nanoseconds since the Unix epoch.
    pub stored: u64,
    /// The template.
    pub template: Template,
}

/// What storing a template changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// There was none of the name.
    New,
    /// One of another digest was replaced.
    Changed,
    /// There is one of the same digest. It was left as it is, its origin included.
    Unchanged,
}

impl Put {
    /// As commands tell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
        }
    }
}

/// The open database of templates. A process opens it once.
#[derive(Debug)]
pub struct Templates(Environment<Tables>);

impl Templates {
    /// Opens the database in a folder, and makes both where they are not there.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Environment::open(path, Purpose::Work).map(Self)
    }

    /// Opens the database in a folder if there is one.
    pub fn open_existing(path: &Path) -> Result<Option<Self>, StoreError> {
        Ok(Environment::open_existing(path, Purpose::Work)?.map(Self))
    }

    /// Fails where the database that is open is not the one in its folder any more.
    pub fn ensure_current(&self) -> Result<(), StoreError> {
        self.0.ensure_current()
    }

    /// The template of this name.
    pub fn get(&self, name: &TemplateName) -> Result<Option<StoredTemplate>, StoreError> {
        self.0.read(|transaction, tables| match transaction.get(tables.templates, &key(name)) {
            Ok(bytes) => decode(name, bytes).map(Some),
            Err(lmdb::Error::NotFound) => Ok(None),
            Err(source) => Err(failed("read a template")(source)),
        })
    }

    /// Every template, in the order of their names.
    pub fn list(&self) -> Result<Vec<(TemplateName, StoredTemplate)>, StoreError> {
        const WHAT: &str = "list templates";
        self.0.read(|transaction, tables| {
            let mut cursor = transaction.open_ro_cursor(tables.templates).map_err(failed(WHAT))?;
            cursor
                .iter_start()
                .map(|entry| {
                    let (key, bytes) = entry.map_err(failed(WHAT))?;
                    let name = parse_key(key)?;
                    let stored = decode(&name, bytes)?;
                    Ok((name, stored))
                })
                .collect()
        })
    }

    /// Stores a template under a name, whatever was there, unless that is of the same digest. `now`
    /// is in nanoseconds since the Unix epoch.
    pub fn put(
        &self,
        name: &TemplateName,
        template: &Template,
        now: u64,
    ) -> Result<Put, StoreError> {
        let refused = |source| StoreError::Template { name: name.clone(), source };
        // What is stored can be read again.
        template.validate().map_err(refused)?;
        let digest = template.digest().map_err(refused)?;
        let record = encode(digest, now, &template.to_json().map_err(refused)?);
        self.0.grow(|mut transaction, tables| {
            let put = match transaction.get(tables.templates, &key(name)) {
                Ok(bytes) if read_digest(bytes) == Ok(digest) => return Ok(Put::Unchanged),
                Ok(_) => Put::Changed,
                Err(lmdb::Error::NotFound) => Put::New,
                Err(source) => return Err(failed("read a template")(source)),
            };
            transaction
                .put(tables.templates, &key(name), &record, WriteFlags::empty())
                .and_then(|()| commit(transaction))
                .map_err(failed("store a template"))?;
            Ok(put)
        })
    }

    /// Forgets the template of this name, also one that cannot be read. Returns whether there was
    /// one.
    pub fn delete(&self, name: &TemplateName) -> Result<bool, StoreError> {
        self.0.write(|mut transaction, tables| {
            match transaction.del(tables.templates, &key(name), None) {
                Ok(()) => {
                    commit(transaction).map_err(failed("delete a template"))?;
                    Ok(true)
                }
                Err(lmdb::Error::NotFound) => Ok(false),
                Err(source) => Err(failed("delete a template")(source)),
            }
        })
    }
}

fn failed(what: &'static str) -> impl Fn(lmdb::Error) -> StoreError {
    move |source| StoreError::Lmdb { what, source }
}

fn damaged(source: CodecError) -> StoreError {
    StoreError::Record { what: "template", source }
}

fn key(name: &TemplateName) -> &[u8] {
    name.as_str().as_bytes()
}

fn parse_key(key: &[u8]) -> Result<TemplateName, StoreError> {
    let name = String::from_utf8_lossy(key);
    name.parse().map_err(|error| damaged(CodecError::Name(error)))
}

fn encode(digest: Digest, stored: u64, json: &str) -> Vec<u8> {
    let mut encoder = Encoder::new(RECORD_VERSION);
    encoder.raw(&digest.0).u64(stored).long(json.as_bytes());
    encoder.finish()
}

/// The digest of a record, whatever its template is like.
fn read_digest(bytes: &[u8]) -> Result<Digest, CodecError> {
    Decoder::new(bytes, RECORD_VERSION)?.array("digest").map(Digest)
}

fn decode(name: &TemplateName, bytes: &[u8]) -> Result<StoredTemplate, StoreError> {
    let unreadable = |source| StoreError::StoredTemplate { name: name.clone(), source };
    let (digest, stored, json) = fields(bytes).map_err(unreadable)?;
    let template = Template::from_json(json)
        .map_err(|source| StoreError::Template { name: name.clone(), source })?;
    Ok(StoredTemplate { digest, stored, template })
}

fn fields(bytes: &[u8]) -> Result<(Digest, u64, &str), CodecError> {
    let mut decoder = Decoder::new(bytes, RECORD_VERSION)?;
    let digest = Digest(decoder.array("digest")?);
    let stored = decoder.u64("time of storing")?;
    let json = decoder.long("JSON")?;
    decoder.finish()?;
    let json = str::from_utf8(json)
        .map_err(|_| CodecError::Value { field: "JSON", value: "not UTF-8".to_owned() })?;
    Ok((digest, stored, json))
}

#[cfg(test)]
mod tests;
