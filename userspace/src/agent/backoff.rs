//! Backing off where another program keeps undoing what the agent repairs.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// Repairs in a row that are made at once.
const AT_ONCE: u32 = 5;
/// How long the agent waits before the next one, at first and at most; each wait is twice the one
/// before.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// After how long without a repair all is forgotten.
const PEACE: Duration = Duration::from_secs(120);

/// What was repaired, how often, and when it may be repaired again.
#[derive(Debug)]
pub(crate) struct Backoff<K>(HashMap<K, Fight>);

#[derive(Debug)]
struct Fight {
    first: Instant,
    last: Instant,
    repairs: u32,
    wait: Duration,
}

/// A program undoes a repair again and again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Undone {
    /// How often it was repaired.
    pub(crate) repairs: u32,
    /// In what time.
    pub(crate) within: Duration,
    /// How long until the next repair.
    pub(crate) wait: Duration,
}

impl<K> Default for Backoff<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Backoff<K> {
    /// When something may be repaired again; none: now.
    pub(crate) fn until(&self, what: &K, now: Instant) -> Option<Instant> {
        let fight = self.0.get(what)?;
        Some(fight.last + fight.wait).filter(|until| *until > now)
    }

    /// Records a repair, and reports where the repairs of a thing are too many.
    pub(crate) fn repaired(&mut self, what: K, now: Instant) -> Option<Undone> {
        self.0.retain(|_, fight| now.duration_since(fight.last) < PEACE);
        let fight = self.0.entry(what).or_insert(Fight {
            first: now,
            last: now,
            repairs: 0,
            wait: Duration::ZERO,
        });
        fight.repairs += 1;
        fight.last = now;
        if fight.repairs < AT_ONCE {
            return None;
        }
        fight.wait = (fight.wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
        let within = now.duration_since(fight.first);
        Some(Undone { repairs: fight.repairs, within, wait: fight.wait })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repairs_that_are_undone_wait_longer_and_longer_until_there_is_peace() {
        let (mut backoff, begun) = (Backoff::default(), Instant::now());
        let mut now = begun;
        for _ in 1..AT_ONCE {
            assert_eq!(backoff.repaired("route", now), None);
            assert_eq!(backoff.until(&"route", now), None);
        }
        let mut waits = Vec::new();
        for _ in 0..8 {
            let undone = backoff.repaired("route", now).unwrap();
            assert_eq!(undone.within, now.duration_since(begun));
            assert_eq!(backoff.until(&"route", now), Some(now + undone.wait));
            assert_eq!(backoff.until(&"other", now), None);
            waits.push(undone.wait.as_secs());
            now += undone.wait;
            assert_eq!(backoff.until(&"route", now), None);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.repaired("route", now + PEACE), None, "it was forgotten");
    }
}
