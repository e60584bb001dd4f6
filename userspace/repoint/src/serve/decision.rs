//! The decision about a container, in words.

use crate::model::{Decision, Decline, FunctionKey, Mode, Outcome, Served};

/// The reason in decisions about containers of a network without a pool.
pub const NO_POOL: &str = "the network has no pool";

/// The decision about an attachment that got a slot of a pool. `used` says whether the slot had a
/// container before. `own` says whether the same function had it last, or the slot was prepared for it.
pub(super) fn decision(
    mode: Mode,
    function: Option<&FunctionKey>,
    outcome: Outcome,
    used: bool,
    own: bool,
) -> Decision {
    let waits = |function: &FunctionKey| format!("no slot waits for function {function}: ");
    let nothing = match (mode, function) {
        (Mode::Replicate, _) => "mode replicate: ".to_owned(),
        (_, Some(function)) => waits(function),
        (_, None) => String::new(),
    };
    let (served, reason) = match outcome {
        Outcome::Reused => (Served::Reused, reused(function, used, own)),
        Outcome::Warm => (Served::Replicated, format!("{nothing}a ready instance")),
        Outcome::Built => (Served::Replicated, format!("{nothing}none was ready, one was built")),
        Outcome::Declined(decline) => (Served::None, decline.to_string()),
    };
    Decision { served, reason }
}

fn reused(function: Option<&FunctionKey>, used: bool, own: bool) -> String {
    match function {
        Some(function) if own && used => format!("function {function} had it before"),
        Some(function) if own => format!("it was prepared for function {function}"),
        Some(function) => {
            format!(
                "no slot waits for function {function}: another of its trust domain had it before"
            )
        }
        None => "another of its trust domain had it before".to_owned(),
    }
}

/// The decision about an attachment in its own namespace.
pub(super) fn direct(decline: Option<Decline>) -> Decision {
    let reason = decline.map_or_else(|| NO_POOL.to_owned(), |decline| decline.to_string());
    Decision { served: Served::None, reason }
}
