//! The verbs: what happens to an attachment, each top-down in a file of its own.

mod activate;
mod add;
mod addresses;
mod blueprint;
mod check;
mod cold;
mod configuration;
mod connections;
mod container;
mod decision;
mod del;
mod destroy;
mod error;
mod gateway;
mod gc;
mod halves;
mod holders;
mod in_force;
mod lost;
mod node;
mod node_addresses;
mod operations;
mod outcome;
mod park;
mod pools;
mod prepare;
mod provide;
mod release;
mod replicate;
mod request;
mod result;
mod reuse;
mod room;
mod scrub;
mod scrub_lock;
mod status;
mod target;
mod template_use;
mod tenants;
mod terms;

pub use add::add;
pub use addresses::COOLDOWN_YIELDED;
pub use check::check;
pub use connections::forget_old_connections;
pub use decision::NO_POOL;
pub use del::del;
pub use destroy::destroy;
pub use error::LifecycleError;
pub use gateway::{ActivateRequest, Activation};
pub use gc::gc;
pub(crate) use halves::half_differs;
pub use halves::{
    HalfFate, Waiting, owners_of, repair_halves, restore_node, slots_on_record, waiting_for_looks,
};
pub use in_force::{mtu_of_pool, record_pool};
pub use node::{Node, mtu_of_uplink, now, uplink_mtu};
pub use node_addresses::reserved_addresses;
pub use operations::{
    OperationRequest, activate_request, park_request, prepare_for, prepare_request,
};
pub use outcome::{Decline, Outcome};
pub(crate) use pools::resume;
pub use pools::{delete_oldest, delete_stale, demanded, drain, resume_scrubbing, supply};
pub use prepare::{Order, prepare, refill};
pub use replicate::{
    Made, Source, confirm_template, delete_template, follow_templates, replicate,
    replicate_request, store_template,
};
pub use request::{NetworkRequest, Request};
pub use scrub::{Fate, PATIENCE, dirty_slots, holders, scrub};
pub(crate) use scrub_lock::ScrubLock;
pub use status::status;
pub use tenants::{Evicted, end_lingering};

#[cfg(test)]
mod tests;
