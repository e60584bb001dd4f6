//! Names of plugins.

use std::{fmt, path::Path, str::FromStr};

/// The name of a plugin's executable: key `type` (CNI spec, section 1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PluginName(String);

/// A text that names no executable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is empty, is a directory or holds a '/' or zero byte")]
pub struct InvalidPluginName;

impl PluginName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PluginName {
    type Err = InvalidPluginName;

    fn from_str(text: &str) -> Result<Self, InvalidPluginName> {
        if matches!(text, "" | "." | "..") || text.contains(['/', '\0']) {
            return Err(InvalidPluginName);
        }
        Ok(Self(text.to_owned()))
    }
}

impl AsRef<Path> for PluginName {
    fn as_ref(&self) -> &Path {
        self.0.as_ref()
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_directory() {
        for text in ["", ".", "..", "/bin/sh", "../sh", "a/b", "a\0"] {
            assert!(text.parse::<PluginName>().is_err(), "{text:?}");
        }
        assert_eq!("host-local".parse::<PluginName>().unwrap().as_str(), "host-local");
    }
}
