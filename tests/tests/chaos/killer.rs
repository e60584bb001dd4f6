//! Calls that may be killed, or delayed, at any of their steps.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use fastrand::Rng;
use nix::sys::signal::Signal;
use repoint_tests::plugin::{Call, Outcome};

use crate::ledger::Ledger;

/// Of so many calls one is killed, and one delayed.
const ONE_OF: u32 = 6;
/// How long a call is delayed, in ms at most.
const HELD_UP: u64 = 500;
/// How long a call may take.
const LIMIT: Duration = Duration::from_mins(1);
/// Times that are remembered of each verb.
const REMEMBERED: usize = 64;

/// How long calls take, so that those that are killed are killed anywhere between beginning and end.
#[derive(Debug, Default)]
pub struct Killer(Mutex<HashMap<&'static str, Vec<Duration>>>);

impl Killer {
    /// Makes a call, and kills it now and then, or delays it; none: it was killed.
    pub fn call(
        &self,
        verb: &'static str,
        call: &Call,
        rng: &mut Rng,
        ledger: &Ledger,
    ) -> Result<Option<Outcome>> {
        let signals = self.signals(verb, rng);
        let outcome = call.run_signalled(&signals)?;
        if signals == [(LIMIT, Signal::SIGKILL)] {
            self.remember(verb, outcome.duration, rng);
        }
        ledger.count(verb, outcome.was_killed());
        Ok((!outcome.was_killed()).then_some(outcome))
    }

    /// Makes a call that is delayed.
    pub fn hold_up(
        &self,
        verb: &'static str,
        call: &Call,
        rng: &mut Rng,
        ledger: &Ledger,
    ) -> Result<Outcome> {
        let moment = self.moment(verb, rng).unwrap_or_default();
        let outcome = call.run_signalled(&held_up(moment, rng))?;
        ledger.count(verb, false);
        Ok(outcome)
    }

    /// What a call is sent.
    fn signals(&self, verb: &'static str, rng: &mut Rng) -> Vec<(Duration, Signal)> {
        match (rng.u32(..ONE_OF), self.moment(verb, rng)) {
            (0, Some(moment)) => vec![(moment, Signal::SIGKILL)],
            (1, Some(moment)) => held_up(moment, rng),
            _ => vec![(LIMIT, Signal::SIGKILL)],
        }
    }

    /// A moment between beginning and end of a call.
    fn moment(&self, verb: &'static str, rng: &mut Rng) -> Option<Duration> {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = rng.choice(times.get(verb)?)?;
        Some(taken.mul_f64(rng.f64()))
    }

    fn remember(&self, verb: &'static str, took: Duration, rng: &mut Rng) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let times = times.entry(verb).or_default();
        if times.len() < REMEMBERED {
            times.push(took);
        } else {
            times[rng.usize(..REMEMBERED)] = took;
        }
    }
}

fn held_up(moment: Duration, rng: &mut Rng) -> Vec<(Duration, Signal)> {
    let pause = Duration::from_millis(rng.u64(..HELD_UP));
    vec![(moment, Signal::SIGSTOP), (pause, Signal::SIGCONT), (LIMIT, Signal::SIGKILL)]
}
