//! The alias of a slot's host-side interface, which names network, slot and owner.

use std::{fmt, fs, num::ParseIntError, path::Path, str::FromStr};

use sha2::{Digest as _, Sha256};

use crate::{
    model::{NetworkName, SlotId},
    store::Slot,
};

/// The database with a slot's record, by the path of its `runDir`.
///
/// A database that was made anew at the same path owns what the old one owned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owner(u32);

impl Owner {
    /// The owner that a `runDir` stands for.
    #[must_use]
    pub fn of(run_dir: &Path) -> Self {
        let path = fs::canonicalize(run_dir).unwrap_or_else(|_| run_dir.to_owned());
        let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
        Self(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]))
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl FromStr for Owner {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u32::from_str_radix(text, 16).map(Self)
    }
}

/// The parsed text of an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The slot's network.
    pub network: NetworkName,
    /// The slot.
    pub slot: SlotId,
    /// The owner; none: the slot was built before aliases named the owner.
    pub owner: Option<Owner>,
}

impl Alias {
    /// The alias of a slot.
    #[must_use]
    pub fn new(slot: &Slot, owner: Owner) -> Self {
        Self { network: slot.network.clone(), slot: slot.id, owner: Some(owner) }
    }

    /// Parses an alias; none if it is not a slot's.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        // None of them holds a colon.
        let mut words = text.strip_prefix("repoint:")?.split(':');
        let (network, slot) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let owner = words.next().map(str::parse).transpose().ok()?;
        words.next().is_none().then_some(Self { network, slot, owner })
    }

    /// Whether the alias is that of a slot on record.
    #[must_use]
    pub fn is_of(&self, slot: &Slot) -> bool {
        self.slot == slot.id && self.network == slot.network
    }

    /// Whether the alias names another owner than `owner`.
    #[must_use]
    pub fn is_foreign_to(&self, owner: Owner) -> bool {
        self.owner.is_some_and(|other| other != owner)
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "repoint:{}:{}", self.network, self.slot)?;
        self.owner.map_or(Ok(()), |owner| write!(f, ":{owner}"))
    }
}

/// Whether an interface's alias is that of a slot on record.
pub(crate) fn is_alias_of(text: &str, slot: &Slot) -> bool {
    Alias::read(text).is_some_and(|alias| alias.is_of(slot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_tells_network_slot_and_owner() {
        let (network, slot) = ("my.net".parse().unwrap(), SlotId(0xab_cdef));
        for owner in [None, Some(Owner::of("/run/repoint".as_ref()))] {
            let alias = Alias { network: NetworkName::clone(&network), slot, owner };
            assert_eq!(Alias::read(&alias.to_string()), Some(alias));
        }
        for other in ["", "repoint", "repoint:n", "repoint:n:1", "repoint::000000000001", "x"] {
            assert_eq!(Alias::read(other), None, "{other:?}");
        }
        for rest in [":x", ":", ":00000001:2"] {
            assert_eq!(Alias::read(&format!("repoint:n:000000000001{rest}")), None, "{rest:?}");
        }
    }

    #[test]
    fn what_does_not_tell_its_owner_is_anybodys() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (Owner::of(folder.path()), Owner::of(&folder.path().join("other")));
        let slot = Slot::building(SlotId(1), "n".parse().unwrap(), "eth0".parse().unwrap(), 1);
        let alias = Alias::new(&slot, one);
        assert!(!alias.is_foreign_to(one) && alias.is_foreign_to(other));
        assert!(!Alias { owner: None, ..alias }.is_foreign_to(other));
        // However the folder is called.
        assert_eq!(Owner::of(&folder.path().join(".")), one);
    }
}
