//! Digests under which the database keeps templates and fingerprints.

use std::{fmt, str::FromStr};

use super::InvalidValue;

/// SHA-256 of a template's operations: two templates of one digest do the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TemplateDigest(pub [u8; 32]);

impl fmt::Display for TemplateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl FromStr for TemplateDigest {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let octet = |at: usize| {
            let digits = text.get(2 * at..2 * at + 2)?;
            let are_digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            are_digits.then(|| u8::from_str_radix(digits, 16).ok())?
        };
        let octets: Option<Vec<u8>> = (0..32).map(octet).collect();
        let octets = octets.filter(|_| text.len() == 64).and_then(|octets| octets.try_into().ok());
        let why = "must be 64 hexadecimal digits";
        octets.map(Self).ok_or_else(|| InvalidValue::new("digest", text, why))
    }
}

/// SHA-256 of a fingerprint's encoded form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FingerprintDigest(pub [u8; 32]);
