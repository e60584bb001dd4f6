//! What looking at one namespace may cost: its user decides how much there is in it.

use std::time::Duration;

use rustix::{
    thread::{MembarrierCommand, membarrier},
    time::{ClockId, clock_gettime},
};

use super::FingerprintError;
use crate::netlink::{NetlinkError, UntypedMessage, UntypedSocket};

/// Most objects of one kind. A slot as it was built has some ten of each, and 700 sysctls.
const OBJECTS: usize = 4096;
/// Most bytes of all of them. As they are and as lines, a slot as it was built has some 100 kB.
const BYTES: usize = 1024 * 1024;
/// CPU time that one look may take; waits do not count. A clean slot takes 5 ms, and a slot with as many
/// objects of each kind as are allowed 60 ms.
const COMPUTING: Duration = Duration::from_millis(250);
/// Objects between two looks at the clock, which take half a microsecond.
const BETWEEN_LOOKS: usize = 64;
/// How often a table that changes meanwhile is read.
const ATTEMPTS: usize = 8;

/// A namespace is not looked at to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// It has too many objects of a kind.
    #[error("more than {bound} {kind}")]
    Objects {
        /// How many are too many.
        bound: usize,
        /// The kind, in the plural.
        kind: String,
    },
    /// Its objects are too large together.
    #[error("more than {bound} bytes, the last of them {kind}")]
    Bytes {
        /// How many are too many.
        bound: usize,
        /// The kind that was being listed, in the plural.
        kind: String,
    },
    /// Listing its objects takes too long.
    #[error("more than {bound:?} of computing to look at it, the last of it for {kind}")]
    Time {
        /// How long is too long.
        bound: Duration,
        /// The kind that was being listed, in the plural.
        kind: String,
    },
}

/// What may still be spent on looking at a namespace.
#[derive(Debug)]
pub(in crate::slot) struct Budget {
    objects: usize,
    bytes: usize,
    spent: usize,
    /// CPU time of this thread.
    began: Duration,
}

impl Budget {
    /// For a namespace that is expected to have `lines`, of `bytes`.
    pub(in crate::slot) fn beside(lines: usize, bytes: usize) -> Self {
        let bytes = BYTES.saturating_add(bytes.saturating_mul(2));
        Self { objects: OBJECTS.saturating_add(lines), bytes, spent: 0, began: computed() }
    }

    /// For a namespace that has had no user.
    pub(super) fn unlimited() -> Self {
        Self { objects: usize::MAX, bytes: usize::MAX, spent: 0, began: Duration::MAX }
    }

    /// Begins another look: forgets the counted bytes, keeps the CPU time.
    pub(super) fn look_again(&mut self) {
        self.spent = 0;
    }

    /// Most bytes that may still be seen.
    pub(super) fn bytes_left(&self) -> u64 {
        u64::try_from(self.bytes.saturating_sub(self.spent)).unwrap_or(u64::MAX)
    }

    /// Counts an object.
    pub(super) fn spend(&mut self, kind: &str, number: usize, bytes: usize) -> Result<(), TooMuch> {
        self.spent = self.spent.saturating_add(bytes);
        if number > self.objects {
            return Err(TooMuch::Objects { bound: self.objects, kind: plural(kind) });
        }
        if self.spent > self.bytes {
            return Err(TooMuch::Bytes { bound: self.bytes, kind: plural(kind) });
        }
        if number.is_multiple_of(BETWEEN_LOOKS) && computed().saturating_sub(self.began) > COMPUTING
        {
            return Err(TooMuch::Time { bound: COMPUTING, kind: plural(kind) });
        }
        Ok(())
    }

    /// All objects of a kind. After an error that is [`FingerprintError::TooMuch`] the socket is of no
    /// more use.
    pub(in crate::slot) fn list(
        &mut self,
        socket: &mut UntypedSocket,
        kind: &str,
        request: &UntypedMessage,
    ) -> Result<Vec<Vec<u8>>, FingerprintError> {
        let what = format!("list every {kind}");
        let spent = self.spent;
        for _ in 0..ATTEMPTS {
            self.spent = spent;
            let mut objects = Vec::new();
            let listed = socket.dump_each(&what, request.clone(), |object| {
                self.spend(kind, objects.len() + 1, object.payload.len())?;
                objects.push(object.payload);
                Ok::<_, TooMuch>(())
            })?;
            if listed? {
                return Ok(objects);
            }
        }
        let reason = format!("the table changed during each of {ATTEMPTS} readings");
        Err(NetlinkError::Answer { what, reason }.into())
    }
}

fn plural(kind: &str) -> String {
    if kind.ends_with('s') { format!("{kind}es") } else { format!("{kind}s") }
}

/// CPU time of the calling thread.
fn computed() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// Waits for an RCU grace period. Work that the kernel has left to its own threads takes about as long.
/// Where the kernel cannot wait for one, the function returns at once.
pub(super) fn wait_for_kernel() {
    _ = membarrier(MembarrierCommand::Global);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_and_bytes_end_at_their_bounds() {
        let mut budget = Budget::beside(0, 0);
        assert_eq!(budget.spend("route", OBJECTS, 1), Ok(()));
        let error = budget.spend("route", OBJECTS + 1, 1).unwrap_err();
        assert_eq!(error.to_string(), "more than 4096 routes");
        let error = budget.spend("address", 1, BYTES).unwrap_err();
        assert_eq!(error.to_string(), "more than 1048576 bytes, the last of them addresses");
        budget.look_again();
        assert_eq!(budget.spend("address", 1, BYTES), Ok(()));
    }

    #[test]
    fn a_slot_that_is_built_with_much_may_have_more() {
        let mut budget = Budget::beside(10_000, 0);
        assert_eq!(budget.spend("route", 14_000, 1), Ok(()));
    }
}
