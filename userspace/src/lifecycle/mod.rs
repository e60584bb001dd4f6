//! The verbs: what happens to an attachment, each told top-down in a file of its own.

mod add;
mod check;
mod configuration;
mod del;
mod error;
mod gc;
mod node;
mod release;
mod request;
mod status;

pub use add::add;
pub use check::check;
pub use del::del;
pub use error::LifecycleError;
pub use gc::gc;
pub use node::Node;
pub use release::release;
pub use request::{NetworkRequest, Request};
pub use status::status;
