//! Names, numbers and outcomes that need neither the kernel nor the database.

mod ids;
mod outcome;

pub use ids::{
    AttachmentId, ContainerId, FunctionKey, Identity, IfName, InvalidValue, Mac, NetnsPath,
    NetworkName, PoolKey, SlotId, TemplateName, Tenant, host_prefix,
};
pub use outcome::{Decline, Outcome};
