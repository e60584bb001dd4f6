//! `repoint template`.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Subcommand;
use repoint::{
    conf::Directories,
    lifecycle::{Node, delete_template, store_template},
    store::{Put, StoredTemplate, Templates},
    template::Template,
    types::TemplateName,
};
use serde::Serialize;

use crate::output::{CommandError, json, said, table};

/// How much of a digest tables show: enough to tell templates apart.
const SHORT_DIGEST: usize = 12;

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// List the templates that are stored
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a template, an operation a line
    Show {
        /// Its name
        name: TemplateName,
    },
    /// Tell what is to be removed from one template, and added to it, to make another
    Diff {
        /// The one: the name of a stored template, or a file
        #[arg(value_name = "NAME|FILE")]
        one: String,
        /// The other: the name of a stored template, or a file
        #[arg(value_name = "NAME|FILE")]
        other: String,
    },
    /// Forget a template
    Delete {
        /// Its name
        name: TemplateName,
    },
    /// Write a template as JSON
    Export {
        /// Its name
        name: TemplateName,
        /// Where to; standard output where there is none
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Store the template of a file, in place of one of the same name
    Import {
        /// The file, as `export` wrote it
        file: PathBuf,
        /// The name to store it under; that of the file without its ending where there is none
        #[arg(long, value_name = "NAME")]
        name: Option<TemplateName>,
    },
}

/// Does what is asked for.
pub(crate) fn run(
    directories: &Directories,
    action: Option<Action>,
    as_json: bool,
) -> Result<(), CommandError> {
    match action {
        None => list(directories, as_json),
        Some(Action::List { json }) => list(directories, json || as_json),
        Some(Action::Show { name }) => show(directories, &name),
        Some(Action::Diff { one, other }) => diff(directories, &one, &other),
        Some(Action::Delete { name }) => delete(directories, &name),
        Some(Action::Export { name, output }) => export(directories, &name, output.as_deref()),
        Some(Action::Import { file, name }) => import(directories, &file, name),
    }
}

/// The templates of the node, if it has any.
fn stored(directories: &Directories) -> Result<Option<Templates>, CommandError> {
    Ok(Templates::open_existing(&Node::templates_folder(directories))?)
}

fn find(directories: &Directories, name: &TemplateName) -> Result<StoredTemplate, CommandError> {
    let found = match stored(directories)? {
        Some(templates) => templates.get(name)?,
        None => None,
    };
    found.ok_or_else(|| CommandError::NoTemplate { name: name.clone() })
}

fn read(file: &Path) -> Result<Template, CommandError> {
    let text = fs::read_to_string(file)
        .map_err(|source| CommandError::ReadTemplate { path: file.to_owned(), source })?;
    Template::from_json(&text)
        .map_err(|source| CommandError::Template { path: file.to_owned(), source })
}

/// A template as it is listed.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    digest: String,
    version: u32,
    operations: usize,
    origin: String,
    /// Nanoseconds since the Unix epoch.
    stored: u64,
}

impl From<(TemplateName, StoredTemplate)> for Row {
    fn from((name, stored): (TemplateName, StoredTemplate)) -> Self {
        Self {
            name: name.into(),
            digest: stored.digest.to_string(),
            version: stored.template.version,
            operations: stored.template.operations.len(),
            origin: stored.template.origin,
            stored: stored.stored,
        }
    }
}

fn list(directories: &Directories, as_json: bool) -> Result<(), CommandError> {
    let templates = match stored(directories)? {
        Some(templates) => templates.list()?,
        None => Vec::new(),
    };
    let rows = templates.into_iter().map(Row::from);
    if as_json {
        return json(&rows.collect::<Vec<_>>());
    }
    table(
        ["NAME", "DIGEST", "OPERATIONS", "STORED", "ORIGIN"],
        rows.map(|row| {
            let digest = row.digest[..SHORT_DIGEST].to_owned();
            [row.name, digest, row.operations.to_string(), time(row.stored), row.origin]
        }),
    )
}

/// A time in UTC, RFC 3339.
fn time(since_epoch: u64) -> String {
    let time: SystemTime = UNIX_EPOCH + Duration::from_nanos(since_epoch);
    humantime::format_rfc3339_seconds(time).to_string()
}

fn show(directories: &Directories, name: &TemplateName) -> Result<(), CommandError> {
    let StoredTemplate { digest, stored, template } = find(directories, name)?;
    let mut out = io::stdout().lock();
    writeln!(out, "name:       {name}")?;
    writeln!(out, "digest:     {digest}")?;
    writeln!(out, "version:    {}", template.version)?;
    writeln!(out, "origin:     {}", template.origin)?;
    writeln!(out, "stored:     {}", time(stored))?;
    writeln!(out, "operations:")?;
    for (number, operation) in (1..).zip(&template.operations) {
        writeln!(out, "  {number:>3}  {operation}")?;
    }
    Ok(())
}

/// The stored template of this name, or else that of this file.
fn name_or_file(directories: &Directories, text: &str) -> Result<Template, CommandError> {
    // A name has no slash.
    let name: Option<TemplateName> = text.parse().ok();
    if let (Some(name), Some(templates)) = (name, stored(directories)?)
        && let Some(stored) = templates.get(&name)?
    {
        return Ok(stored.template);
    }
    let file = Path::new(text);
    if file.exists() {
        read(file)
    } else {
        Err(CommandError::NeitherNameNorFile { text: text.to_owned() })
    }
}

fn diff(directories: &Directories, one: &str, other: &str) -> Result<(), CommandError> {
    let (one, other) = (name_or_file(directories, one)?, name_or_file(directories, other)?);
    Ok(write!(io::stdout(), "{}", one.diff(&other))?)
}

fn delete(directories: &Directories, name: &TemplateName) -> Result<(), CommandError> {
    // Where there are no templates, no database of them is made.
    if !Node::templates_folder(directories).exists()
        || !delete_template(&Node::open(directories)?, name)?
    {
        return Err(CommandError::NoTemplate { name: name.clone() });
    }
    said(&format!("deleted template {name}"))
}

fn export(
    directories: &Directories,
    name: &TemplateName,
    output: Option<&Path>,
) -> Result<(), CommandError> {
    let mut text = find(directories, name)?.template.to_json()?;
    text.push('\n');
    match output {
        Some(path) => fs::write(path, text)
            .map_err(|source| CommandError::WriteTemplate { path: path.to_owned(), source }),
        None => Ok(io::stdout().write_all(text.as_bytes())?),
    }
}

fn import(
    directories: &Directories,
    file: &Path,
    name: Option<TemplateName>,
) -> Result<(), CommandError> {
    let template = read(file)?;
    let name = name.map_or_else(|| name_of(file), Ok)?;
    let put = store_template(&Node::open(directories)?, &name, &template)?;
    let digest = template.digest()?;
    let told = match put {
        Put::New => "stored template",
        Put::Changed => "replaced template",
        Put::Unchanged => "nothing to do: this is template",
    };
    said(&format!("{told} {name}, digest {digest}"))
}

fn name_of(file: &Path) -> Result<TemplateName, CommandError> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    stem.parse().map_err(|source| CommandError::FileIsNoName { path: file.to_owned(), source })
}
