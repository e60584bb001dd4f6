//! What can be wrong with a text.

use ipnet::IpNet;

use super::{MAX_DEPTH, MAX_OBJECTS, MAX_TEXT, MAX_VALUES, tree::MAX_STRING};

/// Longest value that an error repeats, in characters.
const LONGEST_SHOWN: usize = 60;

/// What is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The text is too long.
    #[error("{size} bytes are more than {}: split the file", MAX_TEXT)]
    TooLarge {
        /// Its length in bytes.
        size: usize,
    },
    /// The text is not UTF-8.
    #[error("not UTF-8: save the file as UTF-8")]
    NotUtf8,
    /// The text is neither YAML nor JSON.
    #[error("not valid YAML or JSON: {0}")]
    Syntax(String),
    /// A mapping has a key twice.
    #[error("field {0} appears twice: remove one of them")]
    DuplicateField(String),
    /// Lists and mappings are nested too deeply.
    #[error("more than {} levels of lists and mappings: no policy has so many", MAX_DEPTH)]
    TooDeep,
    /// The text has too many values.
    #[error("more than {} values: split the file", MAX_VALUES)]
    TooManyValues,
    /// Anchors and aliases are too many, or expand to too much.
    #[error("the aliases (*name) stand for too much: write the values in their place")]
    TooManyAliases,
    /// The text has too many objects.
    #[error("more than {} objects: split the file", MAX_OBJECTS)]
    TooManyObjects,
    /// The kind of the object is not one of those that are read.
    #[error(
        "{kind} of {api_version} is not read: use NetworkPolicy of networking.k8s.io/v1, \
         ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2 or v1beta1, or a List of these"
    )]
    WrongKind {
        /// Its kind.
        kind: String,
        /// Its API version.
        api_version: String,
    },
    /// An element of a list of one kind is of another.
    #[error("{found} where {wanted} is wanted: lists of several kinds are of kind List")]
    WrongItem {
        /// Its kind or API version.
        found: String,
        /// The list's.
        wanted: &'static str,
    },
    /// A list has a list in it.
    #[error("a list in a list: put its objects into the outer one")]
    NestedList,
    /// Two objects have the same name.
    #[error("the same object is at line {line}: remove one of them")]
    SameObject {
        /// Line of the first.
        line: u64,
    },
    /// A field is not of this place.
    #[error("unknown field {field}: {}{}", known(.allowed), belongs(*.elsewhere))]
    UnknownField {
        /// The field.
        field: String,
        /// The fields of the place.
        allowed: &'static [&'static str],
        /// Where a field of this name is allowed.
        elsewhere: Option<&'static str>,
    },
    /// A field of the experimental channel of the policy API.
    #[error("not supported, so the whole object is refused: use {instead}")]
    NotSupported {
        /// What does the same.
        instead: &'static str,
    },
    /// A required field is not there.
    #[error("missing: add it")]
    Missing,
    /// The value is of another type.
    #[error("{found} where {wanted} is wanted")]
    WrongType {
        /// Its type.
        found: &'static str,
        /// The right type.
        wanted: &'static str,
    },
    /// The value is a string only if quoted.
    #[error("{found} where a string is wanted: put it in quotes")]
    Unquoted {
        /// Its type.
        found: &'static str,
    },
    /// A string is not there. Kubernetes would take it as empty.
    #[error("nothing where a string is wanted: write the string, or \"\" for an empty one")]
    NoString,
    /// A string is longer than any that is valid.
    #[error("a string of more than {} bytes: write a shorter one", MAX_STRING)]
    LongString,
    /// A string is not of the required form.
    #[error("{value} is not {wanted}")]
    Invalid {
        /// The string, quoted and cut.
        value: String,
        /// The required form.
        wanted: &'static str,
    },
    /// A number is out of range, or not whole.
    #[error("must be a whole number from {low} to {high}")]
    OutOfRange {
        /// The lowest.
        low: u16,
        /// The highest.
        high: u16,
    },
    /// A list is too long or too short.
    #[error("{count} elements, where {low} to {high} are allowed")]
    WrongCount {
        /// Its length.
        count: usize,
        /// The shortest length.
        low: usize,
        /// The longest.
        high: usize,
    },
    /// An element is in a list twice.
    #[error("{0} appears twice: remove one of them")]
    SameElement(String),
    /// Several fields exclude each other, or none is there.
    #[error("{count} fields, where exactly one of {fields} is wanted")]
    NotOneField {
        /// How many there are.
        count: usize,
        /// The fields.
        fields: &'static str,
    },
    /// A cluster-scoped object has a namespace.
    #[error("a ClusterNetworkPolicy belongs to no namespace: remove the field")]
    HasNamespace,
    /// An annotation of this project is not known.
    #[error("unknown annotation {0}: repoint.dev/audit is the only one")]
    UnknownAnnotation(String),
    /// Operator `In` or `NotIn` without values.
    #[error("operator {0} needs at least one value")]
    NoValues(&'static str),
    /// Operator `Exists` or `DoesNotExist` with values.
    #[error("operator {0} takes no values: remove them")]
    NeedlessValues(&'static str),
    /// A peer has `ipBlock` and a selector.
    #[error("ipBlock excludes podSelector and namespaceSelector: use two peers")]
    BlockWithSelector,
    /// A peer has no field.
    #[error("a peer without fields: write ipBlock, podSelector or namespaceSelector")]
    EmptyPeer,
    /// An exception is not within its block.
    #[error("{except} is not a smaller part of {cidr}")]
    NotWithin {
        /// The exception.
        except: IpNet,
        /// The block.
        cidr: IpNet,
    },
    /// A port's number is in quotes.
    #[error("{0} is the name of a port: remove the quotes to mean the number")]
    QuotedPort(String),
    /// A range of ports without a number to begin with.
    #[error("needs a number in field port: write one, or remove endPort")]
    EndPortAlone,
    /// A range of ports ends before it begins.
    #[error("{end} is lower than port {port}")]
    EndPortTooLow {
        /// Its end.
        end: u16,
        /// Its beginning.
        port: u16,
    },
    /// A range of ports does not end after it begins.
    #[error("end {end} is not higher than start {start}: use number for a single port")]
    RangeTooShort {
        /// Its beginning.
        start: u16,
        /// Its end.
        end: u16,
    },
}

impl Problem {
    /// The problem that a string is not of the required form.
    pub(super) fn invalid(value: &str, wanted: &'static str) -> Self {
        Self::Invalid { value: shown(value), wanted }
    }
}

/// A string for an error: quoted, escaped, and cut when it is long.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(LONGEST_SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn known(allowed: &[&str]) -> String {
    format!("the fields here are {}", allowed.join(", "))
}

fn belongs(elsewhere: Option<&str>) -> String {
    elsewhere.map_or_else(String::new, |place| format!("; it is a field of {place}"))
}
