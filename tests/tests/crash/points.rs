//! The points that there are, by the source and by the documentation.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::dist::workspace;

/// What stands before a name: a call, and the fields of the sweep's table.
const BEFORE: [&str; 3] = ["failpoint::hit(\"", "before: \"sweep:", "after: \"sweep:"];

/// Names of all points in the source, each with the number of places where it stands.
pub fn in_source() -> Result<BTreeMap<String, usize>> {
    let mut found = BTreeMap::new();
    for folder in ["userspace", "cni-plugin/src"] {
        collect(&workspace().join(folder), &mut found)?;
    }
    Ok(found)
}

fn collect(folder: &Path, found: &mut BTreeMap<String, usize>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            names(&text).for_each(|name| *found.entry(name).or_default() += 1);
        }
    }
    Ok(())
}

fn names(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter_map(|line| {
        let (before, rest) =
            BEFORE.iter().find_map(|before| Some((before, line.split_once(before)?.1)))?;
        let (_, quoted) = before.split_once('"')?;
        let (name, _) = rest.split_once('"')?;
        Some(format!("{quoted}{name}"))
    })
}

/// Names of the points in the first column of the tables of the documentation.
fn in_documentation() -> Result<BTreeSet<String>> {
    let path = workspace().join("docs/crash-safety.md");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let name = |line: &str| {
        let (name, _) = line.strip_prefix("| `")?.split_once('`')?;
        name.contains(':').then(|| name.to_owned())
    };
    Ok(text.lines().filter_map(name).collect())
}

#[test]
fn every_point_is_documented_and_stands_in_one_place() -> Result<()> {
    let (source, documentation) = (in_source()?, in_documentation()?);
    let twice: Vec<_> = source.iter().filter(|(_, places)| **places > 1).collect();
    ensure!(twice.is_empty(), "points of one name: {twice:?}");
    let source: BTreeSet<String> = source.into_keys().collect();
    let missing: Vec<_> = source.difference(&documentation).collect();
    let gone: Vec<_> = documentation.difference(&source).collect();
    ensure!(missing.is_empty() && gone.is_empty(), "not documented: {missing:?}; gone: {gone:?}");
    println!("{} failpoints", source.len());
    Ok(())
}
