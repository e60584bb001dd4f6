//! What a container lacks: an address, or a slot.

use std::net::IpAddr;

use crate::{ipam::AllocateError, model::Tenant, node::LifecycleError};

/// What a container lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lack {
    /// Any address, or any slot.
    Any,
    /// One address, which it asks for.
    Address(IpAddr),
    /// A slot less of its tenant's.
    Tenant(Tenant),
}

/// What would have to be had for `error` not to be.
pub(crate) fn lack(error: &LifecycleError) -> Option<Lack> {
    match error {
        LifecycleError::Allocate(AllocateError::Exhausted { .. }) => Some(Lack::Any),
        LifecycleError::Allocate(AllocateError::RequestedTaken { address, .. }) => {
            Some(Lack::Address(*address))
        }
        LifecycleError::TenantLimit { tenant, .. } => Some(Lack::Tenant(tenant.clone())),
        _ => None,
    }
}
