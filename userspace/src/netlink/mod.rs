//! Netlink, blocking and in batches: many requests, one `sendmsg`, one answer.
//!
//! The plugin lives for a millisecond, so there is no runtime to wait in; and a batch of requests
//! costs one system call to send and one to hear that the last of them went well.

mod address;
mod filter;
mod link;
mod neighbour;
mod nftables;
mod route;
mod socket;

pub use address::{add_address, addresses};
pub use filter::{Direction, add_clsact, add_filter, filters};
pub use link::{
    LinkInfo, Veth, bring_up, configure_link, create_veth, delete_link, delete_no_link, get_link,
    mtu_of,
};
pub use neighbour::{add_neighbour, neighbours};
pub use nftables::{add_masquerade, masquerades, remove_masquerade};
pub use route::{Route, RouteOptions, add_route, append_route, routes, uplink_ifindex};
pub use socket::{NetfilterSocket, NetlinkError, Request, RouteSocket, Socket};
