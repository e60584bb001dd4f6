//! Backing off where another program keeps undoing what the agent repairs.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// Repairs in a row, each undone at once, that are made without a wait.
const AT_ONCE: u32 = 5;
/// A repair that lasted for longer was not undone at once.
const LASTING: Duration = Duration::from_secs(1);
/// How long the agent waits before the next one, at first and at most; each wait is twice the one
/// before. It stays below the 5 s within which repairs are promised.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// Time without a repair after which the agent forgets all repairs.
const PEACE: Duration = Duration::from_mins(2);

/// What was repaired, how often, and when it may be repaired again.
#[derive(Debug)]
pub(crate) struct Backoff<K>(HashMap<K, Fight>);

#[derive(Debug)]
struct Fight {
    first: Instant,
    last: Instant,
    repairs: u32,
    /// Of these, how many were undone at once, one after the other.
    in_a_row: u32,
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
            in_a_row: 0,
            wait: Duration::ZERO,
        });
        let lasted = now.duration_since(fight.last).saturating_sub(fight.wait) > LASTING;
        fight.in_a_row = if lasted { 0 } else { fight.in_a_row + 1 };
        fight.repairs += 1;
        fight.last = now;
        if fight.in_a_row < AT_ONCE {
            fight.wait = Duration::ZERO;
            // A fault that comes back every few seconds is reported at every `AT_ONCE` repairs.
            let is_often = fight.repairs >= AT_ONCE && fight.repairs.is_multiple_of(AT_ONCE);
            let within = now.duration_since(fight.first);
            return is_often.then_some(Undone { repairs: fight.repairs, within, wait: fight.wait });
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
            waits.push(undone.wait.as_millis());
            now += undone.wait;
            assert_eq!(backoff.until(&"route", now), None);
        }
        assert_eq!(waits, [500, 1000, 2000, 3000, 3000, 3000, 3000, 3000]);
        assert_eq!(backoff.repaired("route", now + PEACE), None, "it was forgotten");
    }

    #[test]
    fn a_repair_that_lasts_is_made_again_without_a_wait_and_reported_now_and_then() {
        let (mut backoff, mut now, mut reported) = (Backoff::default(), Instant::now(), Vec::new());
        for _ in 0..12 {
            reported.extend(backoff.repaired("route", now));
            assert_eq!(backoff.until(&"route", now), None);
            now += 2 * LASTING;
        }
        let numbers: Vec<_> = reported.iter().map(|undone| (undone.repairs, undone.wait)).collect();
        assert_eq!(numbers, [(5, Duration::ZERO), (10, Duration::ZERO)]);
    }
}
