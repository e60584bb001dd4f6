//! Words that the project's English does without: private ones, and riddles.
//!
//! `docs/glossary.md` has the terms to use. A line that quotes such a word is listed in
//! `tests/words-allowed.txt`.
#![cfg(test)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::dist::workspace;

/// Words and phrases, in lower case; `*` at the end stands for any ending.
const BANNED: [&str; 30] = [
    "bell",
    "by turns",
    "condemn*",
    "doomed",
    "encounter*",
    "gave up",
    "give up",
    "given up",
    "gives up",
    "giving up",
    "held up",
    "in hand",
    "look after",
    "looked after",
    "looking after",
    "looks after",
    "mend",
    "mended",
    "mends",
    "put right",
    "puts right",
    "ripeness",
    "see to",
    "sees to",
    "shelf",
    "somebody*",
    "tell apart",
    "tells apart",
    "told",
    "whoever*",
];

/// Where a banned phrase may stand: a file, and what the line contains.
const ALLOWED: &str = "tests/words-allowed.txt";
/// What is read: source and documentation.
const ENDINGS: [&str; 2] = ["rs", "md"];
/// Folders that are not the project's own text.
const OTHERS: [&str; 2] = ["target", ".git"];

/// Files of the workspace, from its root.
fn files() -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![workspace().to_path_buf()]);
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            if entry.file_type()?.is_dir() {
                if !OTHERS.iter().any(|other| name == *other) {
                    folders.push(path);
                }
            } else if ENDINGS
                .iter()
                .any(|ending| path.extension().is_some_and(|own| own == *ending))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A line's words in lower case, between spaces; without the marks of comments and Markdown.
fn words(line: &str) -> String {
    let is_of_word = |letter: char| letter.is_alphanumeric() || "_'-".contains(letter);
    let words = line.split(|letter| !is_of_word(letter)).filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(str::to_lowercase).collect();
    format!(" {} ", words.join(" "))
}

/// The banned phrases in a text; one that goes on in the next line is of the first.
fn banned(text: &str) -> Vec<(usize, &'static str)> {
    let lines: Vec<String> = text.lines().map(words).collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let next = lines.get(number + 1).map_or("", String::as_str);
        let both = format!("{line}{}", next.trim_start());
        for phrase in BANNED {
            let (start, wanted) = match phrase.strip_suffix('*') {
                Some(start) => (start, format!(" {start}")),
                None => (phrase, format!(" {phrase} ")),
            };
            // A single word of the next line is found there.
            let place = if start.contains(' ') { &both } else { line };
            if place.contains(&wanted) && !(start.contains(' ') && next.contains(&wanted)) {
                found.push((number + 1, phrase));
            }
        }
    }
    found
}

/// Lines that may have such a word: of a file, and with this text.
fn allowed() -> Result<Vec<(PathBuf, String)>> {
    let text = fs::read_to_string(workspace().join(ALLOWED)).context(ALLOWED)?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (path, part) =
                line.split_once(": ").with_context(|| format!("{ALLOWED}: {line}"))?;
            Ok((workspace().join(path), part.to_owned()))
        })
        .collect()
}

fn is_allowed(allowed: &[(PathBuf, String)], path: &Path, line: &str) -> bool {
    allowed.iter().any(|(file, part)| file == path && line.contains(part.as_str()))
}

#[test]
fn the_text_does_without_private_words() -> Result<()> {
    let allowed = allowed()?;
    let own = workspace().join("tests/tests/words.rs");
    let mut found = Vec::new();
    for path in files()?.into_iter().filter(|path| *path != own) {
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for (number, phrase) in banned(&text) {
            let line = text.lines().nth(number - 1).unwrap_or_default();
            if !is_allowed(&allowed, &path, line) {
                found.push(format!("{}:{number}: {phrase:?}: {}", path.display(), line.trim()));
            }
        }
    }
    ensure!(found.is_empty(), "{} lines:\n{}", found.len(), found.join("\n"));
    Ok(())
}

#[test]
fn a_banned_phrase_is_found_also_over_two_lines() {
    assert_eq!(banned("It is held up."), [(1, "held up")]);
    assert_eq!(banned("/// It is held\n/// up, and condemned."), [(1, "held up"), (2, "condemn*")]);
    assert_eq!(banned("upheld, tolded, `held_up`"), []);
}
