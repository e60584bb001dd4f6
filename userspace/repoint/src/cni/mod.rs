//! The data of the CNI protocol: versions, results, errors, arguments. No input or output.
//!
//! Source: <https://github.com/containernetworking/cni/blob/main/SPEC.md>.

pub mod args;
pub mod dns;
pub mod error;
pub mod json;
pub mod plugin;
pub mod result;
pub mod route;
pub mod version;

pub use args::{CniArgs, RequestedAddress};
pub use dns::Dns;
pub use error::{CniError, ErrorCode};
pub use plugin::PluginName;
pub use result::{CniResult, Interface, IpConfig};
pub use route::Route;
pub use version::CniVersion;
