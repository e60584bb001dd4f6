//! Templates, by name. They outlive the boot, so a commit waits for the disk.

mod source;

use std::path::Path;

pub use source::{Captured, TemplateOwner, TemplateSource};

use lmdb::{Cursor as _, Database, Transaction as _, WriteFlags};

use super::{
    CodecError, StoreError,
    codec::{Decoder, Encoder},
    environment::{Environment, Layout, Opened, Purpose, begin_writing, commit},
};
use crate::{
    model::{FunctionKey, NetworkName, TemplateDigest, TemplateName, Tenant},
    template::Template,
};

/// Version of the tables; a database of another version is refused.
const SCHEMA: u32 = 1;
/// What to do about a database of another schema.
const SCHEMA_ADVICE: &str = "write its templates to files with `repoint template export` of the \
                             version that made it, move the folder away, and import the files";
/// What to do about a database that is damaged.
const DAMAGED: &str = ": it is damaged: move the folder away, and import the templates again";
/// Key of the table `meta`.
const SCHEMA_KEY: &[u8] = b"schema";
/// Version of a record's form.
const RECORD_VERSION: u8 = 2;
/// The previous version, which does not record a template's source.
const WITHOUT_SOURCE: u8 = 1;
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
    pub digest: TemplateDigest,
    /// When it was stored, in nanoseconds since the Unix epoch.
    pub stored: u64,
    /// Where it comes from.
    pub source: TemplateSource,
    /// The template.
    pub template: Template,
}

/// What storing a template changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// No template had the name.
    New,
    /// The new template replaced a template of another digest.
    Changed,
    /// A template of the same digest is stored. It stays as it is, its origin included.
    Unchanged,
    /// A template of the same digest is stored. It was not confirmed, and is now.
    Confirmed,
}

impl Put {
    /// As commands show it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Confirmed => "confirmed",
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

    /// Fails where the folder no longer holds the open database.
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

    /// Stores a template under a name, unless one of the same digest is there. `now` is in
    /// nanoseconds since the Unix epoch.
    ///
    /// # Errors
    /// A template made from a container replaces only a template of the same owner: a container's
    /// settings do not replace a template that others use.
    pub fn put(
        &self,
        name: &TemplateName,
        template: &Template,
        source: &TemplateSource,
        now: u64,
    ) -> Result<Put, StoreError> {
        let refused = |source| StoreError::Template { name: name.clone(), source };
        // A stored template can be read again: reading validates it, too.
        template.validate().map_err(refused)?;
        let digest = template.digest().map_err(refused)?;
        let (template, source) = (template.clone(), source.clone());
        let new = StoredTemplate { digest, stored: now, source, template };
        self.0.grow(|mut transaction, tables| {
            let (put, record) = match transaction.get(tables.templates, &key(name)) {
                Ok(bytes) => match replace(name, bytes, &new)? {
                    (Put::Unchanged, _) => return Ok(Put::Unchanged),
                    (put, stored) => (put, encode(name, &stored)?),
                },
                Err(lmdb::Error::NotFound) => (Put::New, encode(name, &new)?),
                Err(source) => return Err(failed("read a template")(source)),
            };
            transaction
                .put(tables.templates, &key(name), &record, WriteFlags::empty())
                .and_then(|()| commit(transaction))
                .map_err(failed("store a template"))?;
            Ok(put)
        })
    }

    /// Confirms the template of this name, if it still has this digest.
    ///
    /// Returns whether it was confirmed before; none where no template has the name.
    pub fn confirm(
        &self,
        name: &TemplateName,
        digest: TemplateDigest,
    ) -> Result<Option<bool>, StoreError> {
        self.0.grow(|mut transaction, tables| {
            let stored = match transaction.get(tables.templates, &key(name)) {
                Ok(bytes) => decode(name, bytes)?,
                Err(lmdb::Error::NotFound) => return Ok(None),
                Err(source) => return Err(failed("read a template")(source)),
            };
            if stored.digest != digest {
                let (name, found) = (name.clone(), stored.digest);
                return Err(StoreError::TemplateReplaced { name, found, shown: digest });
            }
            if stored.source == TemplateSource::Confirmed {
                return Ok(Some(true));
            }
            let stored = StoredTemplate { source: TemplateSource::Confirmed, ..stored };
            let record = encode(name, &stored)?;
            transaction
                .put(tables.templates, &key(name), &record, WriteFlags::empty())
                .and_then(|()| commit(transaction))
                .map_err(failed("confirm a template"))?;
            Ok(Some(false))
        })
    }

    /// Deletes the template of this name; returns whether there was one.
    ///
    /// A template that cannot be read is deleted as well.
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

/// The result of replacing `old` by `new`, and the template to store.
fn replace(
    name: &TemplateName,
    old: &[u8],
    new: &StoredTemplate,
) -> Result<(Put, StoredTemplate), StoreError> {
    let old = decode(name, old);
    let Some(owner) = new.source.owner() else {
        return Ok(match old {
            Ok(old) if old.digest != new.digest => (Put::Changed, new.clone()),
            Ok(old) if old.source == TemplateSource::Confirmed => (Put::Unchanged, old),
            Ok(old) => (Put::Confirmed, StoredTemplate { source: new.source.clone(), ..old }),
            // An operator can replace a template that cannot be read.
            Err(_) => (Put::Changed, new.clone()),
        });
    };
    let old = old?;
    match old.source.owner() {
        None if old.digest == new.digest => Ok((Put::Unchanged, old)),
        None => Err(StoreError::TemplateConfirmed { name: name.clone() }),
        Some(others) if others != owner => {
            Err(StoreError::TemplateOfOther { name: name.clone(), owner: others.clone() })
        }
        Some(_) if old.digest == new.digest => Ok((Put::Unchanged, old)),
        Some(_) => Ok((Put::Changed, new.clone())),
    }
}

fn encode(name: &TemplateName, stored: &StoredTemplate) -> Result<Vec<u8>, StoreError> {
    let refused = |source| StoreError::Template { name: name.clone(), source };
    let StoredTemplate { digest, stored, source, template } = stored;
    let json = template.to_json().map_err(refused)?;
    let mut encoder = Encoder::new(RECORD_VERSION);
    encoder.raw(&digest.0).u64(*stored).long(json.as_bytes());
    match source {
        TemplateSource::Confirmed => encoder.u8(0),
        TemplateSource::Container(captured) => {
            let Captured { owner, network, base } = &**captured;
            let base = base.as_ref().map(Template::to_json).transpose().map_err(refused)?;
            encoder
                .u8(1)
                .option(owner.tenant.as_ref().map(Tenant::as_str))
                .option(owner.function.as_ref().map(FunctionKey::as_str))
                .option(network.as_ref().map(NetworkName::as_str))
                .long(base.unwrap_or_default().as_bytes())
        }
    };
    Ok(encoder.finish())
}

fn decode(name: &TemplateName, bytes: &[u8]) -> Result<StoredTemplate, StoreError> {
    let unreadable = |source| StoreError::StoredTemplate { name: name.clone(), source };
    let refused = |source| StoreError::Template { name: name.clone(), source };
    let Fields { digest, stored, json, source } = Fields::read(bytes).map_err(unreadable)?;
    let template = Template::from_json(json).map_err(refused)?;
    let source = match source {
        RecordedSource::Missing => TemplateSource::of_older_build(&template),
        RecordedSource::Confirmed => TemplateSource::Confirmed,
        RecordedSource::Container { owner, network, base } => {
            let base = (!base.is_empty()).then(|| Template::from_json(base));
            let base = base.transpose().map_err(refused)?;
            TemplateSource::Container(Box::new(Captured { owner, network, base }))
        }
    };
    Ok(StoredTemplate { digest, stored, source, template })
}

/// The fields of a record.
struct Fields<'a> {
    digest: TemplateDigest,
    stored: u64,
    json: &'a str,
    source: RecordedSource<'a>,
}

/// A template's source as it is recorded.
enum RecordedSource<'a> {
    /// An older build wrote the record.
    Missing,
    Confirmed,
    Container {
        owner: TemplateOwner,
        network: Option<NetworkName>,
        /// JSON of what the network's configuration made, or nothing.
        base: &'a str,
    },
}

impl<'a> Fields<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, CodecError> {
        let is_older = bytes.first() == Some(&WITHOUT_SOURCE);
        let known = if is_older { WITHOUT_SOURCE } else { RECORD_VERSION };
        let mut decoder = Decoder::new(bytes, known)?;
        let digest = TemplateDigest(decoder.array("digest")?);
        let stored = decoder.u64("time of storing")?;
        let json = utf8("JSON", decoder.long("JSON")?)?;
        let source =
            if is_older { RecordedSource::Missing } else { RecordedSource::read(&mut decoder)? };
        decoder.finish()?;
        Ok(Self { digest, stored, json, source })
    }
}

impl<'a> RecordedSource<'a> {
    fn read(decoder: &mut Decoder<'a>) -> Result<Self, CodecError> {
        const BASE: &str = "JSON of the configuration";
        if !decoder.bool("source")? {
            return Ok(Self::Confirmed);
        }
        let owner = TemplateOwner {
            tenant: decoder.option("tenant")?.map(str::parse).transpose()?,
            function: decoder.option("function")?.map(str::parse).transpose()?,
        };
        let network = decoder.option("network")?.map(str::parse).transpose()?;
        Ok(Self::Container { owner, network, base: utf8(BASE, decoder.long(BASE)?)? })
    }
}

fn utf8<'a>(field: &'static str, bytes: &'a [u8]) -> Result<&'a str, CodecError> {
    let value = || "not UTF-8".to_owned();
    str::from_utf8(bytes).map_err(|_| CodecError::Value { field, value: value() })
}

#[cfg(test)]
mod tests;
