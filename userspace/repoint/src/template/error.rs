//! What can be wrong with a template.

use super::{Operation, VERSION};
use crate::model::TemplateDigest;

/// Why a text is no template, or a template cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// It is of a form that this version does not know.
    #[error("template version {found} is not supported: this program knows version {VERSION}")]
    Version {
        /// The template's version.
        found: u64,
    },
    /// An operation is not known here.
    #[error(
        "operation {number} is {name:?}, which is not known: known are {}",
        Operation::NAMES.join(", ")
    )]
    UnknownOperation {
        /// Its place in the list, from 1.
        number: usize,
        /// Its name.
        name: String,
    },
    /// An operation cannot be read: a field is missing, unknown, or of another type.
    #[error("operation {number} ({name}): {source}")]
    Field {
        /// Its place in the list, from 1.
        number: usize,
        /// Its name.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// An operation can be read, and makes no sense.
    #[error("operation {number} ({name}): {why}")]
    Invalid {
        /// Its place in the list, from 1.
        number: usize,
        /// Its name.
        name: &'static str,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// An operation without which there is no network is missing.
    #[error("operation {operation} is missing")]
    Incomplete {
        /// Its name.
        operation: &'static str,
    },
    /// The origin cannot be shown.
    #[error("the origin must be one line of at most {most} bytes without control characters")]
    Origin {
        /// Most bytes that it may have.
        most: usize,
    },
    /// The digest in the file is not that of its operations.
    #[error(
        "it was changed after its digest was taken: its operations have digest {found}, it says \
         {stated:?}; to use it as it is, remove its key `digest`"
    )]
    Changed {
        /// The digest of the operations.
        found: TemplateDigest,
        /// The digest that the file states.
        stated: String,
    },
    /// It is not the JSON of a template.
    #[error("not a template: {0}")]
    Decode(#[source] serde_json::Error),
    /// It has no JSON form.
    #[error("cannot write the template as JSON: {0}")]
    Encode(#[source] serde_json::Error),
}
