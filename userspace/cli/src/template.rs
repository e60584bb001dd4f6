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
    model::{TemplateDigest, TemplateName},
    node::Node,
    store::{Captured, Put, StoreError, StoredTemplate, TemplateSource, Templates},
    template::Template,
    verbs::{confirm_template, delete_template, store_template},
};
use serde::Serialize;

use crate::output::{CommandError, json, said, table};

/// How much of a digest tables show: enough to distinguish templates.
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
    /// Show what is to be removed from one template, and added to it, to make another
    Diff {
        /// The one: the name of a stored template, or a file
        #[arg(value_name = "NAME|FILE")]
        one: String,
        /// The other: the name of a stored template, or a file
        #[arg(value_name = "NAME|FILE")]
        other: String,
    },
    /// Let all containers use a template that was made of one of them
    ///
    /// Shows what the container changed. It is confirmed by --digest or --yes only.
    Confirm(Confirm),
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

/// Arguments of `repoint template confirm`.
#[derive(Debug, clap::Args)]
pub(crate) struct Confirm {
    /// Its name
    name: TemplateName,
    /// The digest of the template that was shown; another is refused
    #[arg(long)]
    digest: Option<TemplateDigest>,
    /// Confirm what is shown now
    #[arg(long, conflicts_with = "digest")]
    yes: bool,
    /// Store it under this name as well, in place of what is there, and confirm it there alone
    #[arg(long = "as", value_name = "OTHER")]
    other: Option<TemplateName>,
}

/// Runs `repoint template`.
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
        Some(Action::Confirm(asked)) => confirm(directories, &asked),
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
    /// Whether all containers may use it.
    confirmed: bool,
    /// Otherwise, the only function and tenant that may use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
}

impl From<(TemplateName, StoredTemplate)> for Row {
    fn from((name, stored): (TemplateName, StoredTemplate)) -> Self {
        let owner = stored.source.owner().cloned();
        let confirmed = owner.is_none();
        let owner = owner.unwrap_or_default();
        Self {
            confirmed,
            function: owner.function.map(Into::into),
            tenant: owner.tenant.map(Into::into),
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
    let absent = || CommandError::NoTemplates { state_dir: directories.state.clone() };
    let templates = stored(directories)?.ok_or_else(absent)?.list()?;
    let rows = templates.into_iter().map(Row::from);
    if as_json {
        return json(&rows.collect::<Vec<_>>());
    }
    table(
        ["NAME", "DIGEST", "OPERATIONS", "CONFIRMED", "STORED", "ORIGIN"],
        rows.map(|row| {
            let digest = row.digest[..SHORT_DIGEST].to_owned();
            let (operations, confirmed) = (row.operations.to_string(), yes_or_no(row.confirmed));
            [row.name, digest, operations, confirmed.to_owned(), time(row.stored), row.origin]
        }),
    )
}

const fn yes_or_no(holds: bool) -> &'static str {
    if holds { "yes" } else { "no" }
}

/// A time in UTC, RFC 3339.
fn time(since_epoch: u64) -> String {
    let time: SystemTime = UNIX_EPOCH + Duration::from_nanos(since_epoch);
    humantime::format_rfc3339_seconds(time).to_string()
}

fn show(directories: &Directories, name: &TemplateName) -> Result<(), CommandError> {
    let StoredTemplate { digest, stored, source, template } = find(directories, name)?;
    let mut out = io::stdout().lock();
    writeln!(out, "name:       {name}")?;
    writeln!(out, "digest:     {digest}")?;
    writeln!(out, "version:    {}", template.version)?;
    writeln!(out, "origin:     {}", template.origin)?;
    writeln!(out, "stored:     {}", time(stored))?;
    writeln!(out, "confirmed:  {}", state(&source))?;
    writeln!(out, "operations:")?;
    for (number, operation) in (1..).zip(&template.operations) {
        writeln!(out, "  {number:>3}  {operation}")?;
    }
    Ok(())
}

/// Whether a template is confirmed, and its owner if not.
fn state(source: &TemplateSource) -> String {
    let Some(owner) = source.owner() else {
        return "yes".to_owned();
    };
    format!("no: of a container of {owner}")
}

/// Shows what a container changed, and confirms the template if the operator has seen that.
fn confirm(directories: &Directories, asked: &Confirm) -> Result<(), CommandError> {
    let Confirm { name, digest, yes, other } = asked;
    let found = find(directories, name)?;
    if digest.is_none() {
        print_changes(directories, name, other.as_ref(), &found)?;
    }
    let shown = digest.unwrap_or(found.digest);
    if found.source == TemplateSource::Confirmed && other.is_none() && shown == found.digest {
        // Its pools follow it, even if the process that confirmed it was killed.
        confirm_template(&Node::open(directories)?, name, shown)?;
        return said(&format!("nothing to do: template {name} is confirmed"));
    }
    if digest.is_none() && !yes {
        let other = other.as_ref().map_or_else(String::new, |other| format!(" --as {other}"));
        return Err(CommandError::NotConfirmed { name: name.clone(), digest: shown, other });
    }
    let node = Node::open(directories)?;
    let Some(other) = other else {
        confirm_template(&node, name, shown)?;
        return said(&format!("confirmed template {name}, digest {shown}"));
    };
    if found.digest != shown {
        let (name, found) = (name.clone(), found.digest);
        return Err(StoreError::TemplateReplaced { name, found, shown }.into());
    }
    let put = store_template(&node, other, &found.template, &TemplateSource::Confirmed)?;
    said(&format!("template {other} is {}, digest {shown}", put.name()))
}

/// Prints how a template differs from its network's configuration, and from the template that it replaces.
fn print_changes(
    directories: &Directories,
    name: &TemplateName,
    other: Option<&TemplateName>,
    found: &StoredTemplate,
) -> Result<(), CommandError> {
    let StoredTemplate { digest, source, template, .. } = found;
    let mut out = io::stdout().lock();
    writeln!(out, "template {name}, digest {digest}")?;
    writeln!(out, "confirmed:  {}", state(source))?;
    if let TemplateSource::Container(captured) = source {
        let Captured { network, base, .. } = &**captured;
        let against = match network {
            Some(network) => format!("what the configuration of network {network} made"),
            None => "nothing: an older build stored it without its network".to_owned(),
        };
        writeln!(out, "against {against}:")?;
        let nothing = Template { operations: Vec::new(), ..template.clone() };
        write!(out, "{}", base.as_ref().unwrap_or(&nothing).diff(template))?;
    }
    let Some(other) = other else { return Ok(()) };
    match stored(directories)?.map(|templates| templates.get(other)).transpose()?.flatten() {
        Some(before) => {
            writeln!(out, "against template {other} as it is ({}):", state(&before.source))?;
            write!(out, "{}", before.template.diff(template))?;
        }
        None => writeln!(out, "there is no template {other} yet")?,
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
    let source = TemplateSource::Confirmed;
    let put = store_template(&Node::open(directories)?, &name, &template, &source)?;
    let digest = template.digest()?;
    let reported = match put {
        Put::New => "stored template",
        Put::Changed => "replaced template",
        Put::Unchanged => "nothing to do: this is template",
        Put::Confirmed => "confirmed template",
    };
    said(&format!("{reported} {name}, digest {digest}"))
}

fn name_of(file: &Path) -> Result<TemplateName, CommandError> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    stem.parse().map_err(|source| CommandError::FileIsNoName { path: file.to_owned(), source })
}
