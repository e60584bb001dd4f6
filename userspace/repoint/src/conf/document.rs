//! A configuration of which only the JSON and the version are known.

use std::sync::Arc;

use serde_json::Value;

use super::{ConfError, wrong_document};
use crate::cni::{CniVersion, json::Object};

/// The JSON of a configuration, before its keys are checked.
///
/// The plugin prints errors about keys in the version that the JSON names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document(Arc<Value>);

impl Document {
    /// Parses the JSON text.
    pub fn parse(text: &[u8]) -> Result<Self, ConfError> {
        if text.trim_ascii().is_empty() {
            return Err(ConfError::Empty);
        }
        serde_json::from_slice(text)
            .map(|value| Self(Arc::new(value)))
            .map_err(|source| ConfError::NotJson { what: wrong_document::of_text(text), source })
    }

    /// Key `cniVersion`; 0.1.0 where it is absent or empty, as for libcni.
    pub fn cni_version(&self) -> Result<CniVersion, ConfError> {
        let root = self.root()?;
        let version = root.get("cniVersion");
        match version.map_or(Ok(""), |node| node.string("a version such as \"1.0.0\""))? {
            "" => Ok(CniVersion::V0_1_0),
            text => Ok(text.parse()?),
        }
    }

    /// Key `cniVersion` where it is a text, known or not: VERSION returns it.
    #[must_use]
    pub fn cni_version_text(&self) -> Option<&str> {
        self.0.get("cniVersion")?.as_str()
    }

    /// The JSON text without the keys of one call or attachment.
    #[must_use]
    pub fn common(&self) -> Vec<u8> {
        const OWN: [&str; 5] = [
            "args",
            "cni.dev/attachments",
            "cni.dev/valid-attachments",
            "prevResult",
            "runtimeConfig",
        ];
        let mut value = Value::clone(&self.0);
        if let Some(map) = value.as_object_mut() {
            map.retain(|key, _| !OWN.contains(&key.as_str()));
        }
        value.to_string().into_bytes()
    }

    pub(super) fn root(&self) -> Result<Object<'_>, ConfError> {
        match wrong_document::of_value(&self.0) {
            Some(what) => Err(ConfError::Other { what }),
            None => Ok(Object::root(&self.0, "the network configuration")?),
        }
    }
}
