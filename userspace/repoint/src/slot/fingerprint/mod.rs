//! What a slot's namespace is like: everything in it that a user could have set.
//!
//! A fingerprint is a list of lines, one for each link, address, route, rule, neighbour, queueing
//! discipline, table and sysctl. It leaves out what changes by itself: statistics, carrier, remaining
//! lifetimes, learned neighbours. Placeholders stand for a slot's own values, so that all slots of a
//! network configuration have the same lines.

mod budget;
mod difference;
mod files;
mod generic;
mod kernel;
mod names;
mod netfilter;
mod objects;
mod observation;
mod others;
mod render;
mod sysctls;

pub(super) use budget::Budget;
pub use budget::TooMuch;
pub use difference::Difference;
pub(super) use files::mount_proc;
pub(super) use kernel::Kernel;
pub(super) use names::{IFNAME, shown};
pub(super) use netfilter::count_rules;
pub(super) use objects::{Class, Link, Object, list};
pub use observation::FingerprintError;
pub(super) use observation::{Observation, Occasion};
pub(super) use sysctls::{sysctl_of, write_sysctl};

use sha2::{Digest as _, Sha256};

use crate::{model::FingerprintDigest, store::Slot};

/// Version of the lines' form: two versions cannot be compared.
const VERSION: u8 = 2;

/// What a namespace is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// Sorted.
    lines: Vec<String>,
}

/// Why bytes are no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They are of a form that this program does not know.
    #[error("a fingerprint's version is {found:?}, known is {VERSION}")]
    Version {
        /// Their version; none: there is not a byte.
        found: Option<u8>,
    },
    /// They are no text.
    #[error("a fingerprint is not UTF-8: {0}")]
    Text(#[from] std::str::Utf8Error),
}

impl Fingerprint {
    /// Takes the fingerprint of a slot's namespace that has had no user. The calling thread must be in
    /// that namespace.
    pub fn take(slot: &Slot) -> Result<Self, FingerprintError> {
        let mut kernel = Kernel::open_first()?;
        Ok(Observation::take(slot, &mut kernel, Occasion::First)?.fingerprint())
    }

    fn new(mut lines: Vec<String>) -> Self {
        lines.sort_unstable();
        Self { lines }
    }

    /// SHA-256 of its encoded form.
    #[must_use]
    pub fn digest(&self) -> FingerprintDigest {
        FingerprintDigest(Sha256::digest(self.encode()).into())
    }

    /// The form in which it is stored.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.lines.join("\n").as_bytes());
        bytes
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.split_first() {
            Some((&VERSION, text)) => {
                Ok(Self { lines: str::from_utf8(text)?.lines().map(str::to_owned).collect() })
            }
            other => Err(DecodeError::Version { found: other.map(|(version, _)| *version) }),
        }
    }

    /// Its lines, sorted.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Whether a line is part of it.
    pub(super) fn has(&self, line: &str) -> bool {
        self.lines.binary_search_by(|own| own.as_str().cmp(line)).is_ok()
    }

    /// How `found` differs from this, if it does.
    #[must_use]
    pub fn difference(&self, found: &Self) -> Option<Difference> {
        Difference::between(&self.lines, &found.lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(lines: &[&str]) -> Fingerprint {
        Fingerprint::new(lines.iter().map(|line| (*line).to_owned()).collect())
    }

    #[test]
    fn encoding_keeps_everything_and_another_version_is_refused() {
        let fingerprint = fingerprint(&["sysctl net.ipv4.ip_forward = 0", "link lo: up"]);
        let mut bytes = fingerprint.encode();
        let read = Fingerprint::decode(&bytes).unwrap();
        assert_eq!(read, fingerprint);
        assert_eq!(read.digest(), fingerprint.digest());
        bytes[0] += 1;
        assert_eq!(
            Fingerprint::decode(&bytes),
            Err(DecodeError::Version { found: Some(VERSION + 1) })
        );
        assert_eq!(Fingerprint::decode(&[]), Err(DecodeError::Version { found: None }));
    }

    #[test]
    fn differences_are_described_in_words() {
        let expected = fingerprint(&["link lo: up", "rule a", "sysctl x = 0"]);
        let found = fingerprint(&["link lo: down", "rule a", "rule b", "sysctl x = 1"]);
        let difference = expected.difference(&found).unwrap();
        assert_eq!(
            difference.to_string(),
            "added: link lo: down; rule b; sysctl x = 1; missing: link lo: up; sysctl x = 0"
        );
        assert_eq!(expected.difference(&expected.clone()), None);
    }
}
