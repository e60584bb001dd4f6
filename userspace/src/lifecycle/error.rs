//! Why a verb failed, and what the caller is told.

use crate::{
    cni::{CniError, ErrorCode},
    datapath::DatapathError,
    ipam::{AllocateError, DelegateError, resolv_conf::ResolvConfError},
    netlink::NetlinkError,
    netns::NetnsError,
    slot::{BuildError, InspectError, MasqueradeError, PermitError, TeardownError},
    store::StoreError,
    template::TemplateError,
    types::AttachmentId,
};

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// No address can be had.
    #[error(transparent)]
    Allocate(#[from] AllocateError),
    /// The IPAM plugin failed.
    #[error(transparent)]
    Delegate(#[from] DelegateError),
    /// The IPAM plugin gave no address.
    #[error("IPAM plugin {plugin} gave no address: repoint needs at least one")]
    NoAddress {
        /// The plugin.
        plugin: String,
    },
    /// The file that `ipam.resolvConf` names cannot be used.
    #[error(transparent)]
    ResolvConf(#[from] ResolvConfError),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The container's namespace cannot be used.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// ADD and CHECK came without a namespace.
    #[error("CNI_NETNS is missing: the path of the container's network namespace")]
    NoNetns,
    /// The namespace is the node's own.
    #[error(
        "CNI_NETNS {path} is the node's own network namespace: a container needs one of its own"
    )]
    OwnNetns {
        /// The path.
        path: String,
    },
    /// The programs or maps refused.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// The kernel refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// There is no turn to build.
    #[error(transparent)]
    Permit(#[from] PermitError),
    /// The masquerade rule cannot be seen to.
    #[error(transparent)]
    Masquerade(#[from] MasqueradeError),
    /// The interface cannot be built.
    #[error("cannot attach {attachment}: {source}")]
    Build {
        /// The attachment.
        attachment: Box<AttachmentId>,
        /// Why not.
        source: Box<BuildError>,
    },
    /// Something of an attachment is left.
    #[error("cannot remove all of {what}: {first}{}", others(.rest))]
    Release {
        /// The attachment, or the slot.
        what: String,
        /// The first thing that failed.
        first: Box<LifecycleError>,
        /// The others.
        rest: Vec<LifecycleError>,
    },
    /// STATUS: ADD would not be served.
    #[error("not ready for ADD: {0}")]
    NotReady(#[source] Box<Self>),
    /// A step of taking a slot down failed.
    #[error(transparent)]
    Teardown(#[from] TeardownError),
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
    /// CHECK could not look.
    #[error(transparent)]
    Inspect(#[from] InspectError),
}

fn others(rest: &[LifecycleError]) -> String {
    rest.iter().fold(String::new(), |text, error| text + "; " + &error.to_string())
}

impl LifecycleError {
    /// The error as the protocol has it.
    #[must_use]
    pub fn to_cni(&self) -> CniError {
        match self {
            Self::Allocate(error) => error.to_cni(),
            Self::Delegate(error) => error.to_cni(),
            Self::Release { first, .. } => CniError { msg: self.to_string(), ..first.to_cni() },
            Self::NotReady(_) => CniError::new(ErrorCode::NOT_AVAILABLE, self.to_string()),
            other => CniError::from_error(other.code(), other),
        }
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::Netns(NetnsError::Open { .. } | NetnsError::NotNetns { .. })
            | Self::OwnNetns { .. }
            | Self::NoNetns => ErrorCode::INVALID_ENVIRONMENT,
            Self::NoPrevResult | Self::ResolvConf(_) => ErrorCode::INVALID_CONFIGURATION,
            Self::NoAddress { .. } | Self::Store(StoreError::AddressTaken { .. }) => {
                ErrorCode::NO_ADDRESS
            }
            Self::Store(StoreError::AttachmentTaken { .. }) => ErrorCode::ALREADY_EXISTS,
            Self::Build { source, .. } if source.is_present() => ErrorCode::ALREADY_EXISTS,
            Self::NotAttached { .. } => ErrorCode::UNKNOWN_CONTAINER,
            Self::Differs { .. } | Self::Inspect(_) => ErrorCode::CHECK_FAILED,
            _ => ErrorCode::NODE_FAILURE,
        }
    }
}
