//! Plugins and chains of plugins, run as libcni runs them.

mod call;
mod network;

pub use call::{Call, CniError, Outcome};
pub use network::{Attachment, Network};
