//! What the black-box suites, the demonstration and the benchmark stand on: nodes in namespaces of
//! their own, plugins run as a runtime runs them, traffic, and snapshots that show what is left.
//!
//! Everything but [`node`] works in the namespaces of the calling thread; [`Node::run`] is how a
//! thread gets into a node's.

pub mod agent;
pub mod bench;
pub mod cli;
pub mod command;
pub mod container;
pub mod dist;
pub mod download;
pub mod endurance;
mod folder;
pub mod functions;
pub mod hostile;
pub mod inherited;
pub mod kernel;
pub mod netns;
pub mod networks;
pub mod node;
pub mod packet;
pub mod pins;
pub mod plugin;
pub mod policies;
pub mod pooled;
mod processes;
pub mod program;
pub mod sctp;
pub mod services;
pub mod share;
pub mod simulation;
pub mod snapshot;
pub mod stream;
pub mod tap;
pub mod template;
pub mod traffic;
pub mod trust;
pub mod wait;
pub mod web;

pub use agent::Agent;
pub use container::Container;
pub use dist::{dist, example, missing};
pub use netns::Netns;
pub use node::Node;
pub use pooled::{Pooled, with_network, with_pool};
pub use snapshot::Snapshot;
