//! Networks for functions, prepared ahead of time and repointed by eBPF map writes.

pub mod agent_socket;
pub mod boot;
pub mod cni;
pub mod conf;
pub mod datapath;
pub mod failpoint;
pub mod ipam;
pub mod lifecycle;
pub mod lock;
pub mod netlink;
pub mod netns;
pub mod policy;
pub mod private;
pub mod slot;
pub mod store;
pub mod sweep;
pub mod template;
pub mod threads;
pub mod types;

pub use lifecycle::Node;
