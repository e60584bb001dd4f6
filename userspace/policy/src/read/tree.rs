//! The text of a file as a tree of nodes, each with its position.

use std::{borrow::Cow, fmt, str};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Options, Spanned};

use super::{
    MAX_DEPTH, MAX_OBJECTS, MAX_TEXT, MAX_VALUES, Position, Problem, ReadError, syntax::read_error,
};

/// Longest string that the tree keeps, in bytes. No field that counts has a longer one: the longest
/// is a label's key, of 317.
pub(super) const MAX_STRING: usize = 512;

/// A value of the text, and its position.
#[derive(Debug)]
pub(super) struct Node<'t> {
    /// The value.
    pub value: Value<'t>,
    /// Where it begins.
    pub position: Position,
}

/// A value of the text.
#[derive(Debug)]
pub(super) enum Value<'t> {
    /// `null`, or nothing.
    Null,
    /// A boolean, in one of YAML 1.1's spellings: Kubernetes reads those.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Number,
    /// A string.
    Text(Cow<'t, str>),
    /// A string of more than [`MAX_STRING`] bytes.
    LongText,
    /// A list.
    List(Vec<Node<'t>>),
    /// A mapping: keys with values, in the text's order.
    Map(Vec<(Node<'t>, Node<'t>)>),
}

impl Node<'_> {
    /// Whether it is this string.
    pub fn is(&self, text: &str) -> bool {
        matches!(&self.value, Value::Text(own) if own == text)
    }
}

impl Value<'_> {
    /// The type, for errors.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) | Self::Number => "a number",
            Self::Text(_) => "a string",
            Self::LongText => "a long string",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// The documents of a text, without the empty ones.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Node<'_>>, ReadError> {
    if text.len() > MAX_TEXT {
        return Err(ReadError::of_text(Problem::TooLarge { size: text.len() }));
    }
    let text = str::from_utf8(text).map_err(|error| not_utf8(&text[..error.valid_up_to()]))?;
    serde_saphyr::from_multiple_with_options(text, options()).map_err(|error| read_error(&error))
}

/// The error that the text is not UTF-8 after its valid part.
fn not_utf8(valid: &[u8]) -> ReadError {
    let valid = String::from_utf8_lossy(valid);
    let last_line = valid.rsplit('\n').next().unwrap_or_default();
    let (line, column) = (valid.split('\n').count(), last_line.chars().count() + 1);
    let position = Position { line: line as u64, column: column as u64 };
    ReadError::at(position, String::new(), Problem::NotUtf8)
}

/// The bounds for hostile texts.
///
/// A tree has at most `max_nodes` and `max_total_replayed_events` nodes of some 50 bytes. Their
/// strings are parts of the text, or copies: no more than the text, and [`MAX_STRING`] bytes for each
/// replayed event.
fn options() -> Options {
    serde_saphyr::options! {
        with_snippet: false,
        reject_unsupported_tags: true,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 20_000,
            max_replay_stack_depth: 8,
        },
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            // Higher than `max_depth`, because it counts brackets that the parser has yet to see.
            flow_nesting_limit: 2 * MAX_DEPTH,
            max_nodes: MAX_VALUES,
            max_events: 2 * MAX_VALUES + 4 * MAX_OBJECTS,
            max_documents: MAX_OBJECTS,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_recorded_anchor_events: 200_000,
            max_recorded_anchor_bytes: MAX_TEXT,
            max_merge_keys: 1_000,
            max_total_scalar_bytes: MAX_TEXT,
        },
    }
}

impl<'de> Deserialize<'de> for Node<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::deserialize(deserializer)?;
        let position = Position { line: referenced.line(), column: referenced.column() };
        Ok(Self { value, position })
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(i64::try_from(value).map_or(Value::Number, Value::Integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value<'de>, E> {
        Ok(Value::Number)
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Value<'de>, E> {
        Ok(text(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value<'de>, E> {
        Ok(text(value.to_owned().into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value<'de>, E> {
        Ok(text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = seq.next_element()? {
            list.push(node);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}

fn text(text: Cow<'_, str>) -> Value<'_> {
    if text.len() > MAX_STRING { Value::LongText } else { Value::Text(text) }
}
