//! Networks for functions, prepared ahead of time and repointed by eBPF map writes.

pub mod cni;
pub mod conf;
pub mod datapath;
pub mod failpoint;
pub mod ipam;
pub mod lifecycle;
pub mod netlink;
pub mod netns;
pub mod slot;
pub mod store;
pub mod template;
pub mod types;
