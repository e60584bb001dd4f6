//! Tests that may be skipped in CI.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result, bail, ensure};

use crate::paths;

/// The list, from the workspace's root: a test's name, then why it may be skipped.
const LIST: &str = "tests/may-skip.txt";

/// Fails if a test was skipped that is not on the list.
pub fn check(skipped: &[String]) -> Result<()> {
    let path = paths::workspace().join(LIST);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let denied = denied(&parse(&text)?, skipped);
    if denied.is_empty() {
        return Ok(());
    }
    bail!(
        "these tests were skipped: {}. This machine should run them; the lines that begin with \
         \"skipped: \" say what they lack. A test that no machine of CI can run belongs into {LIST}, \
         with its reason",
        denied.join(", ")
    )
}

/// The names on the list, with their reasons.
fn parse(text: &str) -> Result<BTreeMap<&str, &str>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut list = BTreeMap::new();
    for line in lines {
        let (name, reason) = line.split_once(' ').unwrap_or((line, ""));
        ensure!(!reason.trim().is_empty(), "{LIST} gives no reason why {name} may be skipped");
        list.insert(name, reason.trim());
    }
    Ok(list)
}

fn denied<'a>(list: &BTreeMap<&str, &str>, skipped: &'a [String]) -> Vec<&'a str> {
    skipped.iter().map(String::as_str).filter(|name| !list.contains_key(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_are_not_listed_may_not_be_skipped() -> Result<()> {
        let list = parse("# comment\n\ncost::all  a measurement\n")?;
        assert_eq!(list["cost::all"], "a measurement");
        let skipped = ["cost::all", "cri::pods"].map(str::to_owned);
        assert_eq!(denied(&list, &skipped), ["cri::pods"]);
        Ok(())
    }

    #[test]
    fn a_listed_test_has_a_reason() {
        let error = parse("cost::all\n").unwrap_err();
        assert!(error.to_string().contains("no reason why cost::all"), "{error}");
    }
}
