//! Versions of the CNI spec.

use std::{fmt, str::FromStr};

/// A released version of the CNI spec. Later ones compare greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CniVersion {
    /// The first: results are `ip4` and `ip6`.
    V0_1_0,
    /// Brought VERSION and `args`.
    V0_2_0,
    /// Brought results with `interfaces` and `ips`, and chains of plugins.
    V0_3_0,
    /// As 0.3.0, with a correction of the text.
    V0_3_1,
    /// Brought CHECK, and `prevResult` on DEL.
    V0_4_0,
    /// Dropped `ips[].version`.
    V1_0_0,
    /// Brought GC and STATUS, and more keys of interfaces and routes.
    V1_1_0,
}

/// A `cniVersion` that names no version known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("CNI version {given:?} is not supported, these are: {}", CniVersion::list())]
pub struct UnsupportedVersion {
    /// What was given.
    pub given: String,
}

impl CniVersion {
    /// Every version, oldest first.
    pub const ALL: [Self; 7] = [
        Self::V0_1_0,
        Self::V0_2_0,
        Self::V0_3_0,
        Self::V0_3_1,
        Self::V0_4_0,
        Self::V1_0_0,
        Self::V1_1_0,
    ];

    /// The newest version.
    pub const LATEST: Self = Self::V1_1_0;

    /// The text of `cniVersion`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// Whether results list interfaces, and any number of addresses; before 0.3.0 there was one
    /// address a family.
    #[must_use]
    pub fn lists_interfaces(self) -> bool {
        self >= Self::V0_3_0
    }

    fn list() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }
}

impl FromStr for CniVersion {
    type Err = UnsupportedVersion;

    fn from_str(text: &str) -> Result<Self, UnsupportedVersion> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
            .ok_or_else(|| UnsupportedVersion { given: text.to_owned() })
    }
}

impl fmt::Display for CniVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_value_agree() {
        for version in CniVersion::ALL {
            assert_eq!(version.as_str().parse(), Ok(version));
        }
    }

    #[test]
    fn later_versions_compare_greater() {
        assert!(CniVersion::ALL.is_sorted());
        assert_eq!(CniVersion::ALL.last(), Some(&CniVersion::LATEST));
    }

    #[test]
    fn an_unknown_version_is_refused_with_the_known_ones() {
        let error = "9.9.9".parse::<CniVersion>().unwrap_err().to_string();
        assert!(error.contains("9.9.9") && error.contains("0.1.0, 0.2.0"), "{error}");
        for text in ["", "1", "1.0", "1.1.0 ", "01.0.0"] {
            assert!(text.parse::<CniVersion>().is_err(), "{text:?}");
        }
    }
}
