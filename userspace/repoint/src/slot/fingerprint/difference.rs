//! How two fingerprints differ.

use std::{cmp::Ordering, fmt};

use super::objects::Class;

/// Longest list of lines that is shown whole.
const SHOWN: usize = 8;

/// What a namespace has too much, and what it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Lines that were found and not expected.
    pub added: Vec<String>,
    /// Lines that were expected and not found.
    pub missing: Vec<String>,
}

impl Difference {
    /// Compares sorted lists.
    pub(super) fn between(expected: &[String], found: &[String]) -> Option<Self> {
        let mut difference = Self { added: Vec::new(), missing: Vec::new() };
        let (mut expected, mut found) = (expected.iter().peekable(), found.iter().peekable());
        loop {
            let order = match (expected.peek(), found.peek()) {
                (Some(expected), Some(found)) => expected.cmp(found),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            let missing = expected.next_if(|_| order.is_le());
            let added = found.next_if(|_| order.is_ge());
            if order.is_ne() {
                difference.missing.extend(missing.cloned());
                difference.added.extend(added.cloned());
            }
        }
        (!difference.added.is_empty() || !difference.missing.is_empty()).then_some(difference)
    }
}

impl Difference {
    /// Whether nothing but objects of this class differ.
    pub(in crate::slot) fn is_only_of(&self, class: Class) -> bool {
        let class = format!("{class} ");
        self.added.iter().chain(&self.missing).all(|line| line.starts_with(&class))
    }

    /// What was done about it, once it is gone.
    pub(in crate::slot) fn repairs(&self) -> Vec<String> {
        let removed = self.added.iter().map(|line| format!("removed {line}"));
        removed.chain(self.missing.iter().map(|line| format!("restored {line}"))).collect()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, "added", &self.added)?;
        if !self.added.is_empty() && !self.missing.is_empty() {
            f.write_str("; ")?;
        }
        list(f, "missing", &self.missing)
    }
}

fn list(f: &mut fmt::Formatter<'_>, what: &str, lines: &[String]) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    let shown = lines.len().min(SHOWN);
    write!(f, "{what}: {}", lines[..shown].join("; "))?;
    match lines.len() - shown {
        0 => Ok(()),
        more => write!(f, "; and {more} more"),
    }
}
