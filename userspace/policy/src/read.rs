//! Reads policy objects from YAML or JSON.
//!
//! The text becomes a tree of nodes with positions, and the functions that walk it check each field
//! as the API server of Kubernetes does. Unknown fields are errors, because a rule under a misspelt
//! name would silently not count.

mod address;
mod cases;
mod cluster;
mod cursor;
mod document;
mod error;
mod fields;
mod metadata;
mod names;
mod network;
mod problem;
mod selector;
mod syntax;
#[cfg(test)]
mod tests;
mod tree;

pub use cases::read_cases;
pub use error::{Place, Position, ReadError};
pub use problem::Problem;

use crate::object::Object;
use names::{A_LABEL_KEY, A_LABEL_VALUE, A_PORT_NAME, is_label_key, is_label_value, is_port_name};

/// Longest text, in bytes.
pub const MAX_TEXT: usize = 4 << 20;
/// Most objects of a text, and most of its documents.
pub const MAX_OBJECTS: usize = 10_000;
/// Deepest nesting of lists and mappings.
pub const MAX_DEPTH: usize = 32;
/// Most values of a text: keys, strings, numbers, lists, mappings.
pub const MAX_VALUES: usize = 500_000;

/// The policy objects of a text, in its order.
///
/// The text is YAML, with any number of documents, or JSON. A document is a `NetworkPolicy` of
/// `networking.k8s.io/v1`, a `ClusterNetworkPolicy` of `policy.networking.k8s.io/v1alpha2` or
/// `v1beta1`, or a list of them. Errors name `source`, usually a file.
pub fn read(text: &[u8], source: &str) -> Result<Vec<Object>, ReadError> {
    tree::parse(text)
        .and_then(|documents| document::read_all(&documents))
        .map_err(|error| error.in_file(source))
}

/// Fails, with what is wanted, where a label cannot have this key or value.
pub fn check_label(key: &str, value: &str) -> Result<(), String> {
    let wanted = |text: &str, wanted| Err(format!("\"{text}\" is not {wanted}"));
    match (is_label_key(key), is_label_value(value)) {
        (false, _) => wanted(key, A_LABEL_KEY),
        (true, false) => wanted(value, A_LABEL_VALUE),
        (true, true) => Ok(()),
    }
}

/// Fails, with what is wanted, where a port cannot have this name.
pub fn check_port_name(name: &str) -> Result<(), String> {
    if is_port_name(name) { Ok(()) } else { Err(format!("\"{name}\" is not {A_PORT_NAME}")) }
}
