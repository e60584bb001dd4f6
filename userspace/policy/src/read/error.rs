//! The error of the reader: a problem and its place.

use std::fmt::{self, Write as _};

use super::Problem;

/// Why a text has no objects to use, as one line: place, then problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
#[non_exhaustive]
pub struct ReadError {
    /// Where the problem is.
    pub place: Box<Place>,
    /// What is wrong, and what to do.
    pub problem: Problem,
}

/// A place in a text. `Display` shows it as `a.yaml:12:7: NetworkPolicy shop/web: spec.ingress`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Place {
    /// The source that the caller named.
    pub file: String,
    /// Line and column, where a single place is to blame.
    pub position: Option<Position>,
    /// Kind, namespace and name of the object, where known.
    pub object: Option<String>,
    /// Path of the field in the object; empty for the whole object.
    pub field: String,
}

/// Line and column, both counted in characters and from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
}

impl ReadError {
    /// An error about the whole text.
    pub(super) fn of_text(problem: Problem) -> Self {
        Self { place: Box::default(), problem }
    }

    /// An error about one place of the text.
    pub(super) fn at(position: Position, field: String, problem: Problem) -> Self {
        let place = Place { position: Some(position), field, ..Place::default() };
        Self { place: Box::new(place), problem }
    }

    /// The error with the name of the object, where that is known.
    pub(super) fn in_object(mut self, object: Option<String>) -> Self {
        self.place.object = self.place.object.or(object);
        self
    }

    /// The error with the name of the file.
    pub(super) fn in_file(mut self, file: &str) -> Self {
        file.clone_into(&mut self.place.file);
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, &self.file)?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        if let Some(object) = &self.object {
            write!(f, ": {object}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        Ok(())
    }
}

/// A file's name may hold a line break, and an error is one line.
fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.chars().try_for_each(|character| {
        if character.is_control() {
            write!(f, "{}", character.escape_debug())
        } else {
            f.write_char(character)
        }
    })
}
