//! Networks for functions, prepared ahead of time and repointed by eBPF map writes.

pub mod agent_socket;
pub mod boot;
pub mod cni;
pub mod conf;
pub mod datapath;
pub mod failpoint;
pub mod ipam;
pub mod lock;
pub mod model;
pub mod netlink;
pub mod netns;
pub mod node;
pub mod pool;
pub mod private;
pub mod retire;
pub mod serve;
pub mod slot;
pub mod store;
pub mod sweep;
pub mod template;
pub mod threads;
pub mod verbs;

pub use node::Node;
