//! Why a pool does not give or keep a slot.

use crate::{
    cni::ErrorCode,
    conf::{Annotation, ConfError},
    model::{AttachmentId, Decline, FunctionKey, NetworkName, Tenant},
};

/// Why a pool does not give or keep a slot.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// What the container asks for is more than the network allows.
    #[error(
        "annotation {annotation}={value} asks for more than network {network} allows, {limit}: \
         ask for less, or change key pool of the network's configuration"
    )]
    TooWide {
        /// The network.
        network: NetworkName,
        /// What is asked for.
        annotation: Annotation,
        /// How much.
        value: String,
        /// What is allowed.
        limit: String,
    },
    /// The requested mode needs a pool.
    #[error(
        "repoint.dev/mode={mode} cannot be had in network {network}, which has no pool: \
         set key `pool` in its configuration, or run `repoint pool set`"
    )]
    ModeWithoutPool {
        /// The network.
        network: NetworkName,
        /// The mode.
        mode: &'static str,
    },
    /// The pool has no slot that waits.
    #[error(
        "pool {pool} has no waiting slot that this container may have: PREPARE one first, or ADD"
    )]
    NonePrepared {
        /// The pool.
        pool: String,
    },
    /// A pool has no room for so many slots.
    #[error(
        "pool {pool} has room for {room} more slots, not for {count}: raise its maximum (key pool.maxSlots, or `repoint pool set --max`)"
    )]
    NoRoom {
        /// The pool.
        pool: String,
        /// How many are asked for.
        count: u32,
        /// How many it has room for.
        room: u32,
    },
    /// A tenant has as many slots as it may have.
    #[error(
        "tenant {tenant} has {limit} slots of network {network}, as many as it may have \
         ({lingering} of them are namespaces that live on without a slot, because a process holds \
         them): stop a container of it, or raise key pool.maxSlotsPerTenant"
    )]
    TenantLimit {
        /// The network.
        network: NetworkName,
        /// The tenant.
        tenant: Tenant,
        /// How many it may have.
        limit: u32,
        /// How many of them are namespaces without a slot.
        lingering: usize,
    },
    /// The function has no trust domain, so no slot can wait for it.
    #[error(
        "network {network} keeps nothing for function {function} without a tenant: name the tenant, \
         or set key pool.shareWithoutTenant"
    )]
    NoDomain {
        /// The network.
        network: NetworkName,
        /// The function.
        function: FunctionKey,
    },
    /// The network has no pool.
    #[error(
        "network {network} has no pool: set key `pool` in its configuration, or run `repoint pool set`"
    )]
    NoPool {
        /// The network.
        network: String,
    },
    /// The pool could not serve a request.
    #[error("cannot attach {attachment}: {reason}")]
    Declined {
        /// The attachment.
        attachment: Box<AttachmentId>,
        /// Why not.
        reason: Decline,
    },
    /// An attachment in a namespace of the caller's cannot be parked.
    #[error("{attachment} is in a namespace of its runtime's: DEL it, it cannot be parked")]
    NotOfPool {
        /// The attachment.
        attachment: Box<AttachmentId>,
    },
    /// A pool needs own address management.
    #[error(
        "network {network} takes its addresses from another plugin: repoint can keep no pool for it"
    )]
    NoPoolIpam {
        /// The network.
        network: String,
    },
    /// The recorded configuration of a pool cannot be read.
    #[error("the recorded configuration of a pool: {0}")]
    Conf(#[from] ConfError),
}

impl PoolError {
    pub(super) const fn code(&self) -> ErrorCode {
        match self {
            Self::TenantLimit { .. } => ErrorCode::TENANT_FULL,
            Self::NonePrepared { .. } => ErrorCode::NONE_PREPARED,
            Self::NoRoom { .. } => ErrorCode::POOL_FULL,
            Self::TooWide { .. }
            | Self::ModeWithoutPool { .. }
            | Self::NoPool { .. }
            | Self::NoDomain { .. } => ErrorCode::INVALID_CONFIGURATION,
            Self::Declined { .. }
            | Self::NotOfPool { .. }
            | Self::NoPoolIpam { .. }
            | Self::Conf(_) => ErrorCode::NODE_FAILURE,
        }
    }
}
