//! Names, numbers and outcomes that need neither the kernel nor the database.

mod decision;
mod digest;
mod domain;
mod ids;
mod isolation;
mod labels;
mod outcome;
mod path;
mod pool;
mod subject;

pub use decision::{Decision, Mode, Served};
pub use digest::{FingerprintDigest, TemplateDigest};
pub use domain::Domain;
pub use ids::{
    AttachmentId, ContainerId, FunctionKey, Identity, IfName, InvalidValue, Mac, NetnsPath,
    NetworkName, PoolKey, SlotId, TemplateName, Tenant, TenantNumber, host_prefix,
};
pub use isolation::Isolation;
pub use labels::GivenLabels;
pub use outcome::{Decline, Outcome};
pub use path::{Hook, LinkLocal, LocalPath};
pub use pool::{PoolId, PoolOverride, PoolPolicy, SOFT_COOLDOWN, Scope};
pub use subject::Subject;
