//! Networks for functions, prepared ahead of time and repointed by eBPF map writes.
//!
//! What a program that starts functions needs stands here: it opens a [`Node`] once, activates a slot for each
//! container ([`Node::activate`]) and parks it afterwards ([`Node::park`]). `examples/gateway.rs` is such a program.
//! The modules are for the plugin, the CLI and the agent; they change without notice.

#[doc(hidden)]
pub mod agent_socket;
#[doc(hidden)]
pub mod boot;
#[doc(hidden)]
pub mod cni;
#[doc(hidden)]
pub mod conf;
#[doc(hidden)]
pub mod datapath;
#[doc(hidden)]
pub mod failpoint;
#[doc(hidden)]
pub mod ipam;
#[doc(hidden)]
pub mod lock;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod netlink;
#[doc(hidden)]
pub mod netns;
#[doc(hidden)]
pub mod node;
#[doc(hidden)]
pub mod pool;
#[doc(hidden)]
pub mod private;
#[doc(hidden)]
pub mod retire;
#[doc(hidden)]
pub mod serve;
#[doc(hidden)]
pub mod slot;
#[doc(hidden)]
pub mod store;
#[doc(hidden)]
pub mod sweep;
#[doc(hidden)]
pub mod template;
#[doc(hidden)]
pub mod threads;
#[doc(hidden)]
pub mod verbs;

#[doc(inline)]
pub use conf::{ConfError, Directories, NetConf, User};
#[doc(inline)]
pub use model::{
    AttachmentId, ContainerId, Decision, Decline, FunctionKey, IfName, InvalidValue, Mac, Mode,
    NetworkName, Outcome, Scope, Served, SlotId, TemplateName, Tenant,
};
#[doc(inline)]
pub use netns::Netns;
#[doc(inline)]
pub use node::{Node, NodeError};
#[doc(inline)]
pub use store::Slot;
#[doc(inline)]
pub use template::Template;
#[doc(inline)]
pub use verbs::{
    ActivateRequest, Activation, Source, confirm_template, delete_template, prepare_for, replicate,
    store_template,
};
