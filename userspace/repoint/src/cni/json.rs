//! Walking a JSON document so that an error names the key by its path, as in
//! `ipam.ranges[0][1].subnet`.
//!
//! A path is a chain of references on the stack: it costs nothing until an error prints it.
//! `null` counts as absent everywhere, because runtimes written in Go print empty lists so.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use serde_json::{Map, Value};

use crate::model::InvalidValue;

/// Longest text of a value that an error repeats, in characters.
const LONGEST_SHOWN: usize = 80;

/// A key that is missing, or has a wrong value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A required key is not there.
    #[error("{path} is missing: it must be {expected}")]
    Missing {
        /// Path of the key.
        path: String,
        /// What would be right.
        expected: &'static str,
    },
    /// The value is of another JSON type, or cannot be used.
    #[error("{path} is {problem}")]
    Wrong {
        /// Path of the key.
        path: String,
        /// The value, what is wrong with it, and what would be right.
        problem: String,
    },
}

/// Where a value stands in its document.
#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    Root(&'static str),
    Key(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Place::Root(name) => f.write_str(name),
            Place::Key(Place::Root(_), key) => f.write_str(key),
            Place::Key(parent, key) => write!(f, "{parent}.{key}"),
            Place::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// A value and its place.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    value: &'a Value,
    place: Place<'a>,
}

/// An object and its place.
#[derive(Debug, Clone, Copy)]
pub struct Object<'a> {
    map: &'a Map<String, Value>,
    place: Place<'a>,
}

impl<'a> Object<'a> {
    /// The whole document; `name` is what errors call it.
    pub fn root(value: &'a Value, name: &'static str) -> Result<Self, KeyError> {
        Node { value, place: Place::Root(name) }.object("a JSON object")
    }

    /// The value of a key, unless it is absent or null.
    #[must_use]
    pub fn get<'k>(&'k self, key: &'k str) -> Option<Node<'k>> {
        let value = self.map.get(key).filter(|value| !value.is_null())?;
        Some(Node { value, place: Place::Key(&self.place, key) })
    }

    /// The value of a key that holds a text, unless it is absent, null or empty: runtimes and
    /// templates of configurations write an empty text where nothing is set.
    #[must_use]
    pub fn text<'k>(&'k self, key: &'k str) -> Option<Node<'k>> {
        self.get(key).filter(|node| node.value.as_str() != Some(""))
    }

    /// Whether the key is there, be it null.
    #[must_use]
    pub fn holds(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// The keys that have a value.
    pub fn keys(&self) -> impl Iterator<Item = &'a str> {
        let present = self.map.iter().filter(|(_, value)| !value.is_null());
        present.map(|(key, _)| key.as_str())
    }

    /// The value of a key that must be there.
    pub fn require<'k>(
        &'k self,
        key: &'k str,
        expected: &'static str,
    ) -> Result<Node<'k>, KeyError> {
        self.get(key).ok_or_else(|| self.missing(key, expected))
    }

    /// The error that a required key is not there.
    #[must_use]
    pub fn missing(&self, key: &str, expected: &'static str) -> KeyError {
        KeyError::Missing { path: Place::Key(&self.place, key).to_string(), expected }
    }

    /// The error that the value of a key cannot be used.
    #[must_use]
    pub fn bad_value(&self, key: &str, why: impl fmt::Display) -> KeyError {
        let value = self.map.get(key).unwrap_or(&Value::Null);
        Node { value, place: Place::Key(&self.place, key) }.bad_value(why)
    }
}

impl<'a> Node<'a> {
    /// The value as an object.
    pub fn object(&self, expected: &'static str) -> Result<Object<'a>, KeyError> {
        let map = self.value.as_object().ok_or_else(|| self.wrong_type(expected))?;
        Ok(Object { map, place: self.place })
    }

    /// The values of a list, null ones included.
    pub fn items<'k>(
        &'k self,
        expected: &'static str,
    ) -> Result<impl ExactSizeIterator<Item = Node<'k>>, KeyError> {
        let list = self.value.as_array().ok_or_else(|| self.wrong_type(expected))?;
        let node = |(index, value)| Node { value, place: Place::Item(&self.place, index) };
        Ok(list.iter().enumerate().map(node))
    }

    /// The value as a text.
    pub fn string(&self, expected: &'static str) -> Result<&'a str, KeyError> {
        self.value.as_str().ok_or_else(|| self.wrong_type(expected))
    }

    /// The value as a text that is of the form of `T`.
    pub fn parse<T>(&self, expected: &'static str) -> Result<T, KeyError>
    where
        T: FromStr<Err: fmt::Display>,
    {
        self.string(expected)?
            .parse()
            .map_err(|error| self.bad_value(format!("{error}; it must be {expected}")))
    }

    /// The value as a `T`, with an error that describes the text.
    pub fn checked<T>(&self, expected: &'static str) -> Result<T, KeyError>
    where
        T: FromStr<Err = InvalidValue>,
    {
        self.string(expected)?.parse().map_err(|error: InvalidValue| self.bad_value(error.why))
    }

    /// Whether the value is the number 0.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.value.as_u64() == Some(0)
    }

    /// The value as `true` or `false`.
    pub fn boolean(&self) -> Result<bool, KeyError> {
        self.value.as_bool().ok_or_else(|| self.wrong_type("true or false"))
    }

    /// The value as a whole number of a range.
    pub fn integer<T>(&self, range: RangeInclusive<T>) -> Result<T, KeyError>
    where
        T: TryFrom<u64> + PartialOrd + fmt::Display,
    {
        let expected = || format!("a whole number from {} to {}", range.start(), range.end());
        if !self.value.is_number() {
            return Err(self.wrong_type(expected()));
        }
        let number = self.value.as_u64().and_then(|number| T::try_from(number).ok());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.bad_value(format!("it must be {}", expected())))
    }

    /// The error that the value cannot be used.
    #[must_use]
    pub fn bad_value(&self, why: impl fmt::Display) -> KeyError {
        KeyError::Wrong {
            path: self.place.to_string(),
            problem: format!("{}: {why}", self.shown()),
        }
    }

    fn wrong_type(&self, expected: impl fmt::Display) -> KeyError {
        KeyError::Wrong {
            path: self.place.to_string(),
            problem: format!("{}{}: it must be {expected}", self.shown(), kind(self.value)),
        }
    }

    /// The value as JSON, cut when it is long.
    fn shown(&self) -> String {
        let text = self.value.to_string();
        match text.char_indices().nth(LONGEST_SHOWN) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text,
        }
    }
}

/// The kind of the value, to print after it; empty for null.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "",
        Value::Bool(_) => ", a boolean",
        Value::Number(_) => ", a number",
        Value::String(_) => ", a string",
        Value::Array(_) => ", a list",
        Value::Object(_) => ", a JSON object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_names_the_path_what_was_given_and_what_is_right() {
        let document = json!({"a": {"b": [{"c": 1}, {"c": true}]}});
        let root = Object::root(&document, "the document").unwrap();
        let a = root.get("a").unwrap().object("an object").unwrap();
        let b = a.get("b").unwrap();
        let items: Vec<_> = b.items("a list").unwrap().collect();
        let second = items[1].object("an object").unwrap();
        let error = second.get("c").unwrap().string("a text").unwrap_err();
        assert_eq!(error.to_string(), "a.b[1].c is true, a boolean: it must be a text");
        let error = second.require("d", "a text").unwrap_err();
        assert_eq!(error.to_string(), "a.b[1].d is missing: it must be a text");
    }

    #[test]
    fn the_whole_document_is_named() {
        let document = json!([1]);
        let error = Object::root(&document, "the network configuration").unwrap_err();
        let text = "the network configuration is [1], a list: it must be a JSON object";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn null_is_absent() {
        let document = json!({"a": null});
        assert!(Object::root(&document, "it").unwrap().get("a").is_none());
    }

    #[test]
    fn an_empty_text_is_none_where_a_text_is_asked_for() {
        let document = json!({"a": "", "b": [""], "c": null, "d": "x", "e": 0});
        let root = Object::root(&document, "it").unwrap();
        let found = ["a", "b", "c", "d", "e", "f"].map(|key| root.text(key).is_some());
        assert_eq!(found, [false, true, false, true, true, false]);
        assert!(root.holds("c") && !root.holds("f"));
        assert!(root.get("e").unwrap().is_zero() && !root.get("d").unwrap().is_zero());
    }

    #[test]
    fn numbers_must_be_whole_and_in_range() {
        let document = json!([0, 1, 9, 10, -1, 1.5, 5_000_000_000_u64, "1"]);
        let node = Node { value: &document, place: Place::Root("it") };
        let taken: Vec<_> =
            node.items("a list").unwrap().map(|item| item.integer(1_u8..=9).ok()).collect();
        assert_eq!(taken, [None, Some(1), Some(9), None, None, None, None, None]);
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let document = json!("ü".repeat(200));
        let node = Node { value: &document, place: Place::Root("it") };
        let error = node.boolean().unwrap_err().to_string();
        assert!(error.contains("ü..., a string") && error.len() < 300, "{error}");
    }
}
