//! Why an attachment is not as ADD left it.

use crate::{cni::ErrorCode, model::AttachmentId, slot::InspectError};

/// Why an attachment is not as ADD left it.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// CHECK came without the result of ADD.
    #[error("prevResult is missing: CHECK compares with the result of ADD")]
    NoPrevResult,
    /// CHECK's attachment does not exist.
    #[error("{attachment} is not attached")]
    NotAttached {
        /// The attachment.
        attachment: Box<AttachmentId>,
    },
    /// CHECK found a difference.
    #[error("{attachment} is not as ADD left it: {difference}")]
    Differs {
        /// The attachment.
        attachment: Box<AttachmentId>,
        /// What differs.
        difference: String,
    },
    /// CHECK cannot inspect the slot, or finds a difference in it.
    #[error(transparent)]
    Inspect(#[from] InspectError),
}

impl CheckError {
    pub(super) const fn code(&self) -> ErrorCode {
        match self {
            Self::NoPrevResult => ErrorCode::INVALID_CONFIGURATION,
            Self::NotAttached { .. } => ErrorCode::UNKNOWN_CONTAINER,
            Self::Differs { .. } | Self::Inspect(_) => ErrorCode::CHECK_FAILED,
        }
    }
}
