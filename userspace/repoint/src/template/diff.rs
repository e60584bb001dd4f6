//! What distinguishes two templates.

use std::fmt;

use super::{Operation, Template};

/// An operation that one of two templates has and the other has not, at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// Of the first only.
    Removed(&'a Operation),
    /// Of the second only.
    Added(&'a Operation),
}

/// The way from one template to another, by operations. Empty where both have one digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff<'a>(Vec<Change<'a>>);

impl Template {
    /// The changes that turn this template into `other`.
    #[must_use]
    pub fn diff<'a>(&'a self, other: &'a Self) -> Diff<'a> {
        let (mut old, mut new) = (self.operations.as_slice(), other.operations.as_slice());
        let common = common(old, new);
        let mut changes = Vec::new();
        loop {
            match (old, new) {
                ([first, rest @ ..], [second, others @ ..]) if first == second => {
                    (old, new) = (rest, others);
                }
                // Take the change that keeps more operations in common, a removal where both keep as many.
                ([first, rest @ ..], _)
                    if common[rest.len()][new.len()] == common[old.len()][new.len()] =>
                {
                    changes.push(Change::Removed(first));
                    old = rest;
                }
                (_, [second, others @ ..]) => {
                    changes.push(Change::Added(second));
                    new = others;
                }
                _ => return Diff(changes),
            }
        }
    }
}

/// How many operations the last `i` of the one and the last `j` of the other have in common, in
/// order: the lengths of longest common subsequences.
fn common(old: &[Operation], new: &[Operation]) -> Vec<Vec<usize>> {
    let mut lengths = vec![vec![0; new.len() + 1]; old.len() + 1];
    for (i, first) in (1..).zip(old.iter().rev()) {
        for (j, second) in (1..).zip(new.iter().rev()) {
            lengths[i][j] = if first == second {
                lengths[i - 1][j - 1] + 1
            } else {
                lengths[i - 1][j].max(lengths[i][j - 1])
            };
        }
    }
    lengths
}

impl<'a> Diff<'a> {
    /// The changes, in the templates' order.
    #[must_use]
    pub fn changes(&self) -> &[Change<'a>] {
        &self.0
    }
}

impl fmt::Display for Diff<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|change| match change {
            Change::Removed(operation) => writeln!(f, "- {operation}"),
            Change::Added(operation) => writeln!(f, "+ {operation}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::VERSION;

    fn template(mtus: &[u32]) -> Template {
        let operations = mtus.iter().map(|mtu| Operation::CreateLink { mtu: Some(*mtu) }).collect();
        Template { version: VERSION, origin: String::new(), operations }
    }

    fn diff(old: &[u32], new: &[u32]) -> String {
        template(old).diff(&template(new)).to_string().replace("createLink mtu ", "")
    }

    #[test]
    fn only_what_differs_is_reported_in_order() {
        assert_eq!(diff(&[1, 2, 3], &[1, 2, 3]), "");
        assert_eq!(diff(&[1, 2, 3], &[1, 4, 3]), "- 2\n+ 4\n");
        assert_eq!(diff(&[1, 2, 3], &[0, 1, 3, 5]), "+ 0\n- 2\n+ 5\n");
        assert_eq!(diff(&[1, 2], &[2, 1]), "- 1\n+ 1\n");
        assert_eq!(diff(&[], &[7]), "+ 7\n");
        assert_eq!(diff(&[7], &[]), "- 7\n");
    }
}
