//! What a container lacks: an address, or a slot.

use std::net::IpAddr;

use crate::{
    ipam::AllocateError,
    model::Tenant,
    node::{NodeError, PoolError},
};

/// What a container lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// Any address, or any slot.
    Any,
    /// One address, which it asks for.
    Address(IpAddr),
    /// A slot, because its tenant has as many as it may have.
    Tenant(Tenant),
}

/// The shortage that caused `error`, if one did.
pub(crate) fn shortage_of(error: &NodeError) -> Option<Shortage> {
    match error {
        NodeError::Allocate(AllocateError::Exhausted { .. }) => Some(Shortage::Any),
        NodeError::Allocate(AllocateError::RequestedTaken { address, .. }) => {
            Some(Shortage::Address(*address))
        }
        NodeError::Pool(PoolError::TenantLimit { tenant, .. }) => {
            Some(Shortage::Tenant(tenant.clone()))
        }
        _ => None,
    }
}
