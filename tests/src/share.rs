//! The share that a long suite plays where not everything is asked for.
//!
//! `cargo xtask test --whole` sets `REPOINT_WHOLE`. Without it, suites that outgrew their share of CI play a
//! part, drawn by a seed that they print and that `REPOINT_SHARE_SEED` repeats.

use std::{
    env,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use anyhow::{Context as _, Result};

/// The seed's variable.
const SEED: &str = "REPOINT_SHARE_SEED";

/// What a suite plays of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// All of them.
    Whole,
    /// One of so many, by the seed.
    OneOf(u64, u64),
}

/// Whether everything is asked for.
#[must_use]
pub fn is_whole() -> bool {
    env::var_os("REPOINT_WHOLE").is_some()
}

impl Share {
    /// Everything under `--whole`, or else one of `of` parts; prints which.
    pub fn drawn(of: u64) -> Result<Self> {
        if is_whole() {
            return Ok(Self::Whole);
        }
        let seed = match env::var(SEED) {
            Ok(text) => text.parse().with_context(|| format!("{SEED}={text} is not a number"))?,
            Err(_) => fastrand::u64(..1 << 32),
        };
        println!("{SEED}={seed}: one part of {of}");
        Ok(Self::OneOf(of, seed))
    }

    /// Whether a part is played, by its name.
    #[must_use]
    pub fn has(self, part: &str) -> bool {
        match self {
            Self::Whole => true,
            Self::OneOf(of, seed) => {
                let mut hasher = DefaultHasher::new();
                part.hash(&mut hasher);
                hasher.finish() % of == seed % of
            }
        }
    }

    /// The parts of a list that are played: all, or one.
    #[must_use]
    pub fn pick<T: Copy>(self, parts: &[T]) -> Vec<T> {
        match self {
            Self::Whole => parts.to_vec(),
            Self::OneOf(_, seed) => {
                let index = usize::try_from(seed).unwrap_or_default() % parts.len().max(1);
                parts.get(index).copied().into_iter().collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_played_by_one_seed_of_a_row() {
        for part in ["add/store:1/del", "hit", "sweep-boot/a#1/wait"] {
            let seeds = (0..3).filter(|seed| Share::OneOf(3, *seed).has(part));
            assert_eq!(seeds.count(), 1, "{part}");
            assert!(Share::Whole.has(part));
        }
        let picked: Vec<_> = (0..3).map(|seed| Share::OneOf(3, seed).pick(&[1, 2, 3])).collect();
        assert_eq!(picked, [[1], [2], [3]]);
        assert_eq!(Share::Whole.pick(&[1, 2]), [1, 2]);
    }
}
