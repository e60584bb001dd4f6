//! Address management: this plugin's own, as pure functions, and by another plugin.
//!
//! The caller knows which addresses are in use; this module keeps no records.

pub mod allocate;
pub mod delegate;
mod execute;
pub mod range;
pub mod range_set;
pub mod reserved;
pub mod resolv_conf;
#[cfg(test)]
mod tests;

pub use allocate::{AllocateError, Availability, Pool, allocate};
pub use delegate::{AttachmentLock, Delegate, DelegateError};
pub use range::{Range, RangeError};
pub use range_set::{RangeSet, RangeSetError};
pub use reserved::{Block, NodeAddresses, Reserved, unusable};
