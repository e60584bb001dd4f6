//! The verbs: what happens to an attachment, each top-down in a file of its own.

mod activate;
mod add;
mod check;
pub(crate) mod del;
mod park;
mod prepare;
mod replicate;
mod status;
mod target;

pub use activate::{ActivateRequest, Activation, activate_request};
pub use add::add;
pub use check::check;
pub use del::del;
pub use park::park_request;
pub use prepare::{OperationRequest, prepare_for, prepare_request};
pub use replicate::{
    Made, Source, confirm_template, delete_template, follow_templates, replicate,
    replicate_request, store_template,
};
pub use status::status;
