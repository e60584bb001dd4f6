//! Walking the tree of a text, so that an error names the field by its path.
//!
//! A path is a chain of references on the stack: it costs nothing until an error prints it.

use std::{fmt, ops::RangeInclusive};

use super::{
    Position, Problem, ReadError, fields,
    problem::shown,
    tree::{Node, Value},
};

/// What `null` means.
///
/// The server decodes built-in objects with Go's decoder, which skips nulls, and checks custom
/// resources against a schema, which refuses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nulls {
    /// As if the field were not there.
    Absent,
    /// A value of the wrong type.
    Refused,
}

/// Where a value stands in its object.
#[derive(Debug, Clone, Copy)]
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Path::Root => Ok(()),
            Path::Field(Path::Root, key) => f.write_str(key),
            Path::Field(parent, key) if key.contains(['.', '/']) => write!(f, "{parent}[{key}]"),
            Path::Field(parent, key) => write!(f, "{parent}.{key}"),
            Path::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// A value and its path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    node: &'a Node<'a>,
    path: Path<'a>,
    nulls: Nulls,
}

/// A mapping and its path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Object<'a> {
    entries: &'a [(Node<'a>, Node<'a>)],
    at: Cursor<'a>,
}

impl<'a> Cursor<'a> {
    /// A whole object.
    pub const fn root(node: &'a Node<'a>) -> Self {
        Self { node, path: Path::Root, nulls: Nulls::Absent }
    }

    /// The value as a whole object.
    pub const fn as_root(&self) -> Self {
        Self::root(self.node)
    }

    /// The same, where null has this meaning.
    pub const fn with_nulls(self, nulls: Nulls) -> Self {
        Self { nulls, ..self }
    }

    /// Where the value begins.
    pub const fn position(&self) -> Position {
        self.node.position
    }

    /// The error that this value has a problem.
    pub fn error(&self, problem: Problem) -> ReadError {
        ReadError::at(self.node.position, self.path.to_string(), problem)
    }

    /// The value as a mapping with any keys.
    pub fn map(&self) -> Result<Object<'a>, ReadError> {
        match &self.node.value {
            Value::Map(entries) => Ok(Object { entries, at: *self }),
            _ => Err(self.wrong_type("a mapping")),
        }
    }

    /// The value as a mapping with these fields only.
    pub fn object(&self, fields: &'static [&'static str]) -> Result<Object<'a>, ReadError> {
        let object = self.map()?;
        object.allow(fields).map(|()| object)
    }

    /// The value as a list, each element read.
    pub fn items<T>(
        &self,
        mut read: impl FnMut(Cursor<'_>) -> Result<T, ReadError>,
    ) -> Result<Vec<T>, ReadError> {
        let item = |(index, node)| Cursor { node, path: Path::Item(&self.path, index), ..*self };
        self.list()?.iter().enumerate().map(|element| read(item(element))).collect()
    }

    /// The value as a list of so many elements, each read.
    pub fn some_items<T>(
        &self,
        allowed: RangeInclusive<usize>,
        read: impl FnMut(Cursor<'_>) -> Result<T, ReadError>,
    ) -> Result<Vec<T>, ReadError> {
        let count = self.list()?.len();
        if allowed.contains(&count) {
            return self.items(read);
        }
        let (low, high) = allowed.into_inner();
        Err(self.error(Problem::WrongCount { count, low, high }))
    }

    fn list(&self) -> Result<&'a [Node<'a>], ReadError> {
        match &self.node.value {
            Value::List(nodes) => Ok(nodes),
            _ => Err(self.wrong_type("a list")),
        }
    }

    /// The value as a string.
    pub fn text(&self) -> Result<&'a str, ReadError> {
        let problem = match &self.node.value {
            Value::Text(text) => return Ok(text),
            Value::LongText => Problem::LongString,
            Value::Null => Problem::NoString,
            Value::List(_) | Value::Map(_) => return Err(self.wrong_type("a string")),
            scalar => Problem::Unquoted { found: scalar.kind() },
        };
        Err(self.error(problem))
    }

    /// The value as a string that `parse` understands.
    pub fn parse<T>(
        &self,
        wanted: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ReadError> {
        let text = self.text()?;
        parse(text).ok_or_else(|| self.error(Problem::invalid(text, wanted)))
    }

    /// The value as a whole number of a range.
    pub fn integer(&self, range: RangeInclusive<u16>) -> Result<u16, ReadError> {
        let (low, high) = (*range.start(), *range.end());
        let number = match self.node.value {
            Value::Integer(number) => u16::try_from(number).ok(),
            Value::Number => None,
            _ => return Err(self.wrong_type("a number")),
        };
        let number = number.filter(|number| range.contains(number));
        number.ok_or_else(|| self.error(Problem::OutOfRange { low, high }))
    }

    /// The value as a boolean.
    pub fn boolean(&self) -> Result<bool, ReadError> {
        match self.node.value {
            Value::Bool(value) => Ok(value),
            _ => Err(self.wrong_type("a boolean")),
        }
    }

    /// Whether the value is a string.
    pub const fn is_text(&self) -> bool {
        matches!(self.node.value, Value::Text(_) | Value::LongText)
    }

    fn wrong_type(&self, wanted: &'static str) -> ReadError {
        self.error(Problem::WrongType { found: self.node.value.kind(), wanted })
    }
}

impl<'a> Object<'a> {
    /// The error that this mapping has a problem.
    pub fn error(&self, problem: Problem) -> ReadError {
        self.at.error(problem)
    }

    /// The value of a key, if it is there.
    pub fn get<'k>(&'k self, key: &'k str) -> Option<Cursor<'k>> {
        let (_, node) = self.entries.iter().find(|(own, _)| own.is(key))?;
        let absent = matches!(node.value, Value::Null) && self.at.nulls == Nulls::Absent;
        (!absent).then_some(Cursor { node, path: Path::Field(&self.at.path, key), ..self.at })
    }

    /// The value of a key, read if it is there.
    pub fn optional<T>(
        &self,
        key: &str,
        read: impl FnOnce(Cursor<'_>) -> Result<T, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        self.get(key).map(read).transpose()
    }

    /// The value of a key that must be there, read.
    pub fn required<T>(
        &self,
        key: &str,
        read: impl FnOnce(Cursor<'_>) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        self.optional(key, read)?.ok_or_else(|| {
            let path = Path::Field(&self.at.path, key);
            ReadError::at(self.at.node.position, path.to_string(), Problem::Missing)
        })
    }

    /// The only field, and its value.
    pub fn only_field(&self, fields: &'static str) -> Result<(&'a str, Cursor<'_>), ReadError> {
        let not_one = || Problem::NotOneField { count: self.entries.len(), fields };
        let [(key, _)] = self.entries else {
            return Err(self.error(not_one()));
        };
        let key = self.key(key)?;
        self.get(key).map(|value| (key, value)).ok_or_else(|| self.error(not_one()))
    }

    /// Keys and values, read. The key has the path of the mapping.
    pub fn pairs<T>(
        &self,
        mut read: impl FnMut(Cursor<'_>, Cursor<'_>) -> Result<T, ReadError>,
    ) -> Result<Vec<T>, ReadError> {
        let pair = |(key, node): &'a (Node<'a>, Node<'a>)| {
            let path = Path::Field(&self.at.path, self.key(key)?);
            read(Cursor { node: key, ..self.at }, Cursor { node, path, ..self.at })
        };
        self.entries.iter().map(pair).collect()
    }

    /// Refuses keys other than these.
    pub fn allow(&self, allowed: &'static [&'static str]) -> Result<(), ReadError> {
        self.entries.iter().try_for_each(|(key, _)| {
            let name = self.key(key)?;
            if allowed.contains(&name) {
                return Ok(());
            }
            let (field, elsewhere) = (shown(name), fields::place(name));
            let problem = Problem::UnknownField { field, allowed, elsewhere };
            Err(Cursor { node: key, ..self.at }.error(problem))
        })
    }

    fn key(&self, key: &'a Node<'a>) -> Result<&'a str, ReadError> {
        Cursor { node: key, ..self.at }.text()
    }
}
