//! Exit statuses, for scripts: `docs/operations.md` lists them.

use std::{error::Error, io, iter, process::ExitCode};

use repoint::node::{NodeError, PoolError, StoredTemplateError};

use crate::output::CommandError;

/// The node, the kernel or the database refused.
pub(crate) const FAILED: u8 = 1;
/// `sweep --dry-run` found something that a sweep would repair.
pub(crate) const DUE: u8 = 2;
/// What the command line names does not exist.
pub(crate) const NOT_FOUND: u8 = 3;
/// The folders hold nothing of repoint.
pub(crate) const NO_NODE: u8 = 4;
/// The user may not do that.
pub(crate) const NOT_PERMITTED: u8 = 5;
/// The command line is wrong (`EX_USAGE`, sysexits.h). Not 2, which many programs use: it is `DUE`.
pub(crate) const USAGE: u8 = 64;

/// The exit status of a command that failed.
pub(crate) fn status(error: &CommandError) -> ExitCode {
    ExitCode::from(match error {
        CommandError::NotRoot { .. } => NOT_PERMITTED,
        CommandError::NoNode { .. }
        | CommandError::NotLoaded { .. }
        | CommandError::NoTemplates { .. }
        | CommandError::NoPolicies { .. }
        | CommandError::NothingToUnload { .. } => NO_NODE,
        CommandError::WhichNetwork
        | CommandError::NoPolicyNamed
        | CommandError::NoPolicyShown
        | CommandError::Node(NodeError::WhichNetwork { .. } | NodeError::WhichAddress)
        | CommandError::NotLabel { .. }
        | CommandError::GivenLabel { .. }
        | CommandError::Label(_)
        | CommandError::FunctionIsNoId { .. }
        | CommandError::FileIsNoName { .. }
        | CommandError::MoreWarmThanMax { .. } => USAGE,
        other if is_not_found(other) => NOT_FOUND,
        other if is_not_permitted(other) => NOT_PERMITTED,
        _ => FAILED,
    })
}

fn is_not_found(error: &CommandError) -> bool {
    match error {
        CommandError::NoPool { .. }
        | CommandError::NoSlot { .. }
        | CommandError::NoAttachment { .. }
        | CommandError::NoTenant { .. }
        | CommandError::NoPolicy { .. }
        | CommandError::NoNetwork { .. }
        | CommandError::NoTemplate { .. }
        | CommandError::NeitherNameNorFile { .. }
        | CommandError::Node(
            NodeError::Pool(PoolError::NoPool { .. })
            | NodeError::StoredTemplate(StoredTemplateError::NotStored { .. }),
        ) => true,
        CommandError::ReadConfig { source, .. } | CommandError::ReadTemplate { source, .. } => {
            source.kind() == io::ErrorKind::NotFound
        }
        CommandError::ReadPolicies { source, .. } => source.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

/// Whether the kernel refused a permission, or a folder is another user's.
fn is_not_permitted(error: &CommandError) -> bool {
    // Transparent errors hide this one.
    if matches!(error, CommandError::Node(error) if error.is_foreign()) {
        return true;
    }
    let first: &dyn Error = error;
    iter::successors(Some(first), |&error| error.source()).any(|error| {
        let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        error.downcast_ref().is_some_and(denied)
    })
}
