//! The JSON form of a template: version, origin, digest and operations.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Operation, Template, TemplateError, VERSION};

/// Key of an operation's name.
const NAME: &str = "operation";

/// The version, which is read first: another version may have any form.
#[derive(Deserialize)]
struct Head {
    version: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    #[serde(rename = "version")]
    _version: u64,
    #[serde(default)]
    origin: String,
    digest: Option<String>,
    operations: Vec<Map<String, Value>>,
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    origin: &'a str,
    digest: String,
    operations: &'a [Operation],
}

impl Template {
    /// Reads a template from JSON and [validates](Self::validate) it. A digest in it, which may be
    /// missing, must be that of its operations.
    pub fn from_json(text: &str) -> Result<Self, TemplateError> {
        let head: Head = serde_json::from_str(text).map_err(TemplateError::Decode)?;
        if head.version != u64::from(VERSION) {
            return Err(TemplateError::Version { found: head.version });
        }
        let read: Read = serde_json::from_str(text).map_err(TemplateError::Decode)?;
        let operations =
            (1..).zip(read.operations).map(|(number, fields)| operation(number, fields));
        let operations = operations.collect::<Result<_, _>>()?;
        let template = Self { version: VERSION, origin: read.origin, operations };
        template.validate()?;
        template.compare_digest(read.digest)?;
        Ok(template)
    }

    /// Writes it as JSON, with its digest.
    pub fn to_json(&self) -> Result<String, TemplateError> {
        let written = Written {
            version: self.version,
            origin: &self.origin,
            digest: self.digest()?.to_string(),
            operations: &self.operations,
        };
        serde_json::to_string_pretty(&written).map_err(TemplateError::Encode)
    }

    fn compare_digest(&self, stated: Option<String>) -> Result<(), TemplateError> {
        let found = self.digest()?;
        match stated {
            Some(stated) if stated != found.to_string() => {
                Err(TemplateError::Changed { found, stated })
            }
            _ => Ok(()),
        }
    }
}

/// Reads an operation; an error about an unknown name comes first.
fn operation(number: usize, fields: Map<String, Value>) -> Result<Operation, TemplateError> {
    let name = match fields.get(NAME) {
        Some(Value::String(name)) => name.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    if !Operation::NAMES.contains(&name.as_str()) {
        return Err(TemplateError::UnknownOperation { number, name });
    }
    // serde ignores fields of operations that have none.
    let extra = fields.keys().find(|field| *field != NAME).cloned();
    let operation: Operation = serde_json::from_value(Value::Object(fields))
        .map_err(|source| TemplateError::Field { number, name, source })?;
    match extra {
        Some(field) if operation.has_no_fields() => Err(TemplateError::Invalid {
            number,
            name: operation.name(),
            why: format!("unknown field `{field}`: it has none"),
        }),
        _ => Ok(operation),
    }
}
