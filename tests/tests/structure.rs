//! The library's folders: each uses only what stands below it, and LMDB stays in the store.
#![cfg(test)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::dist::workspace;

/// The folders, the lowest first.
const ORDER: [&str; 16] = [
    "model", "cni", "netlink", "netns", "datapath", "template", "ipam", "conf", "store", "slot",
    "node", "retire", "pool", "serve", "verbs", "sweep",
];

/// Sources below a folder, without comments and tests.
fn sources(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let stem = path.file_stem().unwrap_or_default().to_os_string();
            if stem == "tests" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
                found.push((path, code.collect::<Vec<_>>().join("\n")));
            }
        }
    }
    Ok(found)
}

/// The folders of the library that a source names: behind `crate::`, alone or at the beginning of a
/// part of a list.
fn named(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let word = |text: &str| {
            let end = text.find(|c: char| !(c.is_ascii_lowercase() || c == '_'));
            text[..end.unwrap_or(text.len())].to_owned()
        };
        let Some(list) = rest.strip_prefix('{') else {
            found.push(word(rest));
            continue;
        };
        let (mut depth, mut begins) = (0, true);
        for (at, character) in list.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                _ if character.is_whitespace() => {}
                _ if begins => {
                    found.push(word(&list[at..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn lists_are_read_to_their_end() {
    let code = "use crate::{conf::{A, b::C}, node::now,\n store::Slot};\ncrate::pool::refill();";
    assert_eq!(named(code), ["conf", "node", "store", "pool"]);
}

#[test]
fn folders_use_only_what_stands_below_them() -> Result<()> {
    let library = workspace().join("userspace/repoint/src");
    let mut wrong = Vec::new();
    for (place, folder) in ORDER.iter().enumerate() {
        for (path, code) in sources(&library.join(folder))? {
            let above = ORDER[place + 1..].iter();
            let named = named(&code);
            let upward: Vec<_> =
                above.filter(|above| named.iter().any(|name| name == *above)).collect();
            if !upward.is_empty() {
                wrong.push(format!("{}: {upward:?}", path.display()));
            }
        }
    }
    ensure!(wrong.is_empty(), "folders above their own:\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn the_database_is_named_in_the_store_alone() -> Result<()> {
    let mut wrong = Vec::new();
    for folder in ["userspace", "cni-plugin"] {
        for (path, code) in sources(&workspace().join(folder))? {
            let is_store = path.components().any(|part| part.as_os_str() == "store");
            let opens = code.contains("store.read(") || code.contains("store.write(");
            let is_program = !path.starts_with(workspace().join("userspace/repoint"));
            if (!is_store && code.contains("lmdb::")) || (is_program && opens) {
                wrong.push(path.display().to_string());
            }
        }
    }
    ensure!(wrong.is_empty(), "these use LMDB, or transactions, by themselves: {wrong:?}");
    Ok(())
}
