//! Why a stored template cannot be used, or made.

use crate::{
    cni::ErrorCode,
    model::{InvalidValue, SlotId, TemplateDigest, TemplateName},
    slot::CaptureError,
    store::TemplateOwner,
};

/// Why a stored template cannot be used, or made.
#[derive(Debug, thiserror::Error)]
pub enum StoredTemplateError {
    /// The template's name is invalid.
    #[error("name the template by repoint.dev/template: {0}")]
    Name(#[source] InvalidValue),
    /// A slot in its runtime's namespace has no fingerprint to compare with.
    #[error(
        "slot {slot} is in a namespace of its runtime's, where what was set since cannot be reported: \
         replicate the network's configuration, or a container that has a slot of a pool"
    )]
    NotReplicable {
        /// The slot.
        slot: SlotId,
    },
    /// The fingerprint of a slot is not on record.
    #[error("the fingerprint of slot {slot} is not on record")]
    NoFingerprint {
        /// The slot.
        slot: SlotId,
    },
    /// No template can describe what is in a slot.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A template is asked for that is not stored here.
    #[error(
        "template {name} is not stored on this node: see `repoint template list`, and import it by \
         `repoint template import`"
    )]
    NotStored {
        /// Its name.
        name: TemplateName,
    },
    /// A template that a container made is not this user's.
    #[error(
        "template {name} is not confirmed: it was made of a container of {owner}, {}: look at it, and \
         confirm it for all, by `repoint template confirm {name}`",
        if owner.function.is_some() {
            "and only containers of that function may use it"
        } else {
            "and no container may use it"
        }
    )]
    NotConfirmed {
        /// Its name.
        name: TemplateName,
        /// The function and tenant of the container that it was made of.
        owner: TemplateOwner,
    },
    /// The text of a template is not on record.
    #[error("the template with digest {digest}, which slots were made from, is not on record")]
    Gone {
        /// Its digest.
        digest: TemplateDigest,
    },
}

impl StoredTemplateError {
    pub(super) const fn code(&self) -> ErrorCode {
        match self {
            Self::Name(_) | Self::NotStored { .. } | Self::NotConfirmed { .. } => {
                ErrorCode::INVALID_CONFIGURATION
            }
            Self::NotReplicable { .. }
            | Self::NoFingerprint { .. }
            | Self::Capture(_)
            | Self::Gone { .. } => ErrorCode::NODE_FAILURE,
        }
    }
}
