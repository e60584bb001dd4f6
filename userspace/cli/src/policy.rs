//! `repoint policy`.

mod drops;
mod explain;

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Subcommand;
use repoint::{
    conf::Directories,
    node::Node,
    store::{PartyNames, StoredPolicies},
};
use repoint_policy::{
    Direction, Numbered, Object, ObjectId,
    object::{Kind, Spec, Tier},
    read::read,
    write::to_json,
};
use serde::Serialize;
use serde_json::json;

use crate::output::{CommandError, json as print_json, said, table};

/// Most bytes of a file that are read: one more than policies may have.
const MOST: u64 = (4 << 20) + 1;

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Store the policies of files, each in the place of the one of its name, and enforce them
    ///
    /// All of them, or none where one cannot be enforced.
    Apply {
        /// A file of `NetworkPolicy` and `ClusterNetworkPolicy` objects in YAML or JSON, or - for standard input
        #[arg(short, long = "file", value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// List the policies that are stored
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print policies in JSON, as `apply` reads them
    Show {
        /// NAMESPACE/NAME of a `NetworkPolicy`, or NAME of a `ClusterNetworkPolicy`
        name: Option<String>,
        /// All that are stored
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Delete policies, and what they denied is allowed
    Delete {
        /// NAMESPACE/NAME of a `NetworkPolicy`, or NAME of a `ClusterNetworkPolicy`
        names: Vec<String>,
        /// Those that this file has
        #[arg(short, long = "file", value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Count the packets that policies denied, by function and rule
    Drops {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what becomes of a flow, and which rule decides
    Explain(explain::Wanted),
    /// Judge the cases of files, without a node: which of them are not as they say
    Test {
        /// A file of functions, policies and cases: `docs/policies.md` describes it
        #[arg(short, long = "file", value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
}

/// Runs `repoint policy`.
pub(crate) fn run(
    directories: &Directories,
    action: Option<Action>,
    as_json: bool,
) -> Result<ExitCode, CommandError> {
    match action {
        Some(Action::Test { files }) => return explain::test(&files),
        None => list(directories, as_json),
        Some(Action::List { json }) => list(directories, json || as_json),
        Some(Action::Apply { files, dry_run }) => apply(directories, &files, dry_run),
        Some(Action::Show { name, all }) => show(directories, name.as_deref(), all),
        Some(Action::Delete { names, files }) => delete(directories, &names, &files),
        Some(Action::Drops { json }) => drops::run(directories, json || as_json),
        Some(Action::Explain(wanted)) => explain::run(directories, &wanted),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// What is stored of policies and labels; an error where nothing was ever stored.
pub(crate) fn stored(directories: &Directories) -> Result<StoredPolicies, CommandError> {
    if !Node::policies_folder(directories).exists() {
        return Err(CommandError::NoPolicies { state_dir: directories.state.clone() });
    }
    Ok(Node::stored_policies(directories)?)
}

/// The objects of files, each at most once.
fn read_all(files: &[PathBuf]) -> Result<Vec<Object>, CommandError> {
    let (mut objects, mut seen) = (Vec::new(), BTreeSet::new());
    for file in files {
        for object in read(&text_of(file)?, &file.to_string_lossy())? {
            if !seen.insert(object.id.clone()) {
                return Err(CommandError::Twice { object: object.id });
            }
            objects.push(object);
        }
    }
    Ok(objects)
}

fn text_of(file: &Path) -> Result<Vec<u8>, CommandError> {
    let mut text = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().lock().take(MOST).read_to_end(&mut text)
    } else {
        File::open(file).and_then(|open| open.take(MOST).read_to_end(&mut text))
    };
    match read {
        Ok(_) => Ok(text),
        Err(source) => Err(CommandError::ReadPolicies { file: file.to_owned(), source }),
    }
}

fn apply(directories: &Directories, files: &[PathBuf], dry_run: bool) -> Result<(), CommandError> {
    let objects = read_all(files)?;
    let mut lines = Vec::new();
    let mut put = |stored: &mut StoredPolicies| {
        let mut is_changed = false;
        for object in &objects {
            let word = match stored.put(object.clone()) {
                Some(true) => "changed",
                Some(false) => "new",
                None => "unchanged",
            };
            is_changed |= word != "unchanged";
            lines.push(format!("{} {word}", object.id));
        }
        is_changed
    };
    if dry_run {
        Node::check_policies(directories, |stored| {
            put(stored);
        })?;
        lines.push("nothing was done".to_owned());
    } else {
        Node::open(directories)?.change_policies(|stored| Ok(put(stored).then_some(())))?;
    }
    lines.iter().try_for_each(|line| said(line))
}

/// A policy as it is listed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    kind: &'static str,
    namespace: Option<String>,
    name: String,
    /// `enforce` or `audit`.
    mode: &'static str,
    /// `admin`, `network` or `baseline`.
    tier: &'static str,
    /// Of a `ClusterNetworkPolicy`.
    priority: Option<u16>,
    /// Functions and single containers on record that it is about.
    functions: usize,
}

impl Row {
    fn new(Numbered { number, object }: &Numbered, about: &[Vec<u32>]) -> Self {
        let (tier, priority) = match &object.spec {
            Spec::Network(_) => ("network", None),
            Spec::Cluster(policy) => {
                let tier = match policy.tier {
                    Tier::Admin => "admin",
                    Tier::Baseline => "baseline",
                };
                (tier, Some(policy.priority))
            }
        };
        Self {
            kind: object.id.kind.name(),
            namespace: object.id.namespace.clone(),
            name: object.id.name.clone(),
            mode: if object.audit { "audit" } else { "enforce" },
            tier,
            priority,
            functions: about.iter().filter(|numbers| numbers.contains(number)).count(),
        }
    }
}

fn list(directories: &Directories, as_json: bool) -> Result<(), CommandError> {
    let stored = stored(directories)?;
    let about = objects_about(directories, &stored)?;
    let mut objects: Vec<_> = stored.objects.iter().collect();
    objects.sort_by_key(|numbered| &numbered.object.id);
    let rows = objects.into_iter().map(|numbered| Row::new(numbered, &about));
    if as_json {
        return print_json(&rows.collect::<Vec<_>>());
    }
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    table(
        ["KIND", "NAMESPACE", "NAME", "MODE", "TIER", "PRIORITY", "FUNCTIONS"],
        rows.map(|row| {
            let priority = text(row.priority.map(|priority| priority.to_string()));
            [
                row.kind.to_owned(),
                text(row.namespace),
                row.name,
                row.mode.to_owned(),
                row.tier.to_owned(),
                priority,
                row.functions.to_string(),
            ]
        }),
    )
}

/// For each function and single container on record, the numbers of the objects about it.
fn objects_about(
    directories: &Directories,
    stored: &StoredPolicies,
) -> Result<Vec<Vec<u32>>, CommandError> {
    let Some(node) = Node::look(directories)? else { return Ok(Vec::new()) };
    let set = repoint_policy::PolicySet {
        objects: stored.objects.clone(),
        ..repoint_policy::PolicySet::default()
    };
    let about = |names: PartyNames<'_>| {
        let given = names.identity.map(|identity| node.given_labels(identity)).transpose()?;
        let party = stored.party(&names, given.unwrap_or_default());
        let mut numbers: Vec<_> = [Direction::Egress, Direction::Ingress]
            .into_iter()
            .flat_map(|direction| set.objects_about(&party, direction))
            .map(|numbered| numbered.number)
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers)
    };
    let (identities, slots) = (node.identities()?, node.slots()?);
    let functions = identities.iter().map(|record| about(PartyNames::of_function(record)));
    let singles = slots.iter().filter(|slot| slot.identity.is_of_container());
    let singles = singles.map(|slot| about(PartyNames::of_slot(slot)));
    functions.chain(singles).collect()
}

/// Whether a name on the command line is an object's.
fn is_named(id: &ObjectId, name: &str) -> bool {
    match (&id.namespace, name.split_once('/')) {
        (Some(namespace), Some((of, name))) => namespace == of && id.name == name,
        (None, None) => id.kind == Kind::ClusterNetworkPolicy && id.name == name,
        _ => false,
    }
}

fn show(directories: &Directories, name: Option<&str>, all: bool) -> Result<(), CommandError> {
    if name.is_none() && !all {
        return Err(CommandError::NoPolicyShown);
    }
    let mut objects = stored(directories)?.objects;
    objects.sort_by(|one, other| one.object.id.cmp(&other.object.id));
    let Some(name) = name else {
        let items: Vec<_> = objects.iter().map(|numbered| to_json(&numbered.object)).collect();
        return print_json(&json!({ "apiVersion": "v1", "kind": "List", "items": items }));
    };
    match objects.iter().find(|numbered| is_named(&numbered.object.id, name)) {
        Some(found) => print_json(&to_json(&found.object)),
        None => Err(CommandError::NoPolicy { name: name.to_owned() }),
    }
}

fn delete(
    directories: &Directories,
    names: &[String],
    files: &[PathBuf],
) -> Result<(), CommandError> {
    let of_files = read_all(files)?;
    if names.is_empty() && files.is_empty() {
        return Err(CommandError::NoPolicyNamed);
    }
    stored(directories)?;
    let node = Node::open(directories)?;
    let mut missing = None;
    let deleted = node.change_policies(|stored| {
        let is_one = |id: &ObjectId| {
            names.iter().any(|name| is_named(id, name))
                || of_files.iter().any(|object| object.id == *id)
        };
        let has = |is: &dyn Fn(&ObjectId) -> bool| {
            stored.objects.iter().any(|numbered| is(&numbered.object.id))
        };
        let of_name = names.iter().find(|name| !has(&|id| is_named(id, name))).cloned();
        let of_file = of_files.iter().find(|object| !has(&|id| *id == object.id));
        missing = of_name.or_else(|| of_file.map(|object| object.id.to_string()));
        if missing.is_some() {
            return Ok(None);
        }
        let (deleted, kept) =
            stored.objects.drain(..).partition(|numbered| is_one(&numbered.object.id));
        stored.objects = kept;
        Ok::<Option<Vec<Numbered>>, _>(Some(deleted))
    })?;
    if let Some(name) = missing {
        return Err(CommandError::NoPolicy { name });
    }
    let deleted = deleted.unwrap_or_default();
    deleted.iter().try_for_each(|numbered| said(&format!("{} deleted", numbered.object.id)))
}
