//! Isolation: which slots of the node do not reach each other.
//!
//! The network of either may keep two slots apart, and a packet is judged by the slots that send and receive
//! it, whatever addresses it has. So isolation needs no connection tracking: the answer to a packet that
//! passed passes as well.

use repoint_common::{
    endpoint::{self, Endpoint},
    interface::{FLAG_ISOLATE_FUNCTION, FLAG_ISOLATE_TENANT, Interface},
};

const _: () = {
    assert!(endpoint::FLAG_ISOLATE_TENANT as u32 == FLAG_ISOLATE_TENANT);
    assert!(endpoint::FLAG_ISOLATE_FUNCTION as u32 == FLAG_ISOLATE_FUNCTION);
};

/// One end of a packet: what a slot is for isolation.
#[derive(Clone, Copy)]
pub struct Party {
    identity: u32,
    tenant: u32,
    flags: u32,
}

impl From<&Interface> for Party {
    fn from(interface: &Interface) -> Self {
        let Interface { identity, tenant, flags, .. } = *interface;
        Self { identity, tenant, flags }
    }
}

impl From<&Endpoint> for Party {
    fn from(endpoint: &Endpoint) -> Self {
        let Endpoint { identity, tenant, flags, .. } = *endpoint;
        Self { identity, tenant, flags: u32::from(flags) }
    }
}

/// Whether two slots do not reach each other. A slot always reaches itself, and those of its function.
pub const fn is_between(one: Party, other: Party) -> bool {
    let flags = one.flags | other.flags;
    if flags & (FLAG_ISOLATE_TENANT | FLAG_ISOLATE_FUNCTION) == 0 || one.identity == other.identity
    {
        return false;
    }
    let is_one_tenant = one.tenant == other.tenant && one.tenant != 0;
    flags & FLAG_ISOLATE_FUNCTION != 0 || !is_one_tenant
}
