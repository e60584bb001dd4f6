//! What was decided about a container, told.

use super::{Decline, Outcome};
use crate::{
    store::{Decision, Mode, Served},
    types::FunctionKey,
};

/// Why a network without a pool serves nobody from one.
pub const NO_POOL: &str = "the network has no pool";

/// What is told of an attachment that was given a slot, which somebody `used` before or nobody.
pub(super) fn decision(
    mode: Mode,
    function: Option<&FunctionKey>,
    outcome: Outcome,
    used: bool,
) -> Decision {
    let waits = |function: &FunctionKey| format!("no slot waits for function {function}: ");
    let nothing = match (mode, function) {
        (Mode::Replicate, _) => "mode replicate: ".to_owned(),
        (_, Some(function)) => waits(function),
        (_, None) => String::new(),
    };
    let (served, reason) = match outcome {
        Outcome::Reused => {
            let function = function.map_or("", FunctionKey::as_str);
            let reason = if used {
                format!("function {function} had it before")
            } else {
                format!("it was prepared for function {function}")
            };
            (Served::Reused, reason)
        }
        Outcome::Warm if used => (Served::Reused, format!("{nothing}one that another left")),
        Outcome::Warm => (Served::Replicated, format!("{nothing}a ready instance")),
        Outcome::Built => (Served::Replicated, format!("{nothing}none was ready, one was built")),
        Outcome::Declined(decline) => (Served::None, decline.to_string()),
    };
    Decision { served, reason }
}

/// What is told of an attachment in its own namespace.
pub(super) fn ordinary(decline: Option<Decline>) -> Decision {
    let reason = decline.map_or_else(|| NO_POOL.to_owned(), |decline| decline.to_string());
    Decision { served: Served::None, reason }
}
