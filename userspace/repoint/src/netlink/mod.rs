//! Netlink, blocking and in batches: many requests, one `sendmsg`, one answer.
//!
//! The plugin lives for a millisecond, so there is no runtime to wait in; and a batch of requests costs
//! one system call to send and one to receive the acknowledgement of the last request.

mod address;
mod conntrack;
mod default_route;
mod filter;
mod generic;
mod if_inet6;
mod link;
mod monitor;
mod neighbour;
mod netfilter;
mod nftables;
mod nsid;
mod policy;
mod route;
mod rule;
mod sock_diag;
mod socket;
mod untyped;
mod uplink;
mod xfrm;

pub use address::{add_address, addresses, delete_address};
pub use conntrack::forget_connections_of;
pub use filter::{
    Direction, add_clsact, add_filter, attached_programs, filter_names, filters, replace_filter,
};
pub use generic::{
    GENERIC_HEADER, built_in_family, families, forget_tcp_metrics, generic_message, open_generic,
};
pub use if_inet6::local_addresses_v6;
pub use link::{
    Ipv6Settings, LinkChange, LinkInfo, Veth, announce_changes, bring_up, change_link,
    configure_link, create_veth, delete_group, delete_link, delete_no_link, find_link, find_links,
    get_link, kernel_has_ipv6, links, move_to_group, peer_of,
};
pub use monitor::{Change, Monitor, Notice};
pub use neighbour::{add_neighbour, neighbours, permanent_neighbours};
pub use netfilter::{
    NetfilterObject, delete_nftables_tables, forget_connections, is_unknown, open_netfilter_untyped,
};
pub use nftables::{add_masquerade, masquerades, remove_masquerade};
pub use nsid::{assign, namespaces_alive, nsid_of, number_of};
pub use route::{
    Route, RouteOptions, add_route, append_route, default_routers, delete_route,
    interfaces_towards, is_local, local_addresses_v4, replace_route, routes,
};
pub use rule::{SourceRule, add_source_rule, delete_source_rule, source_rules};
pub use sock_diag::{Connection, destroy_connections, each_tcp_connection, open_sock_diag};
pub use socket::{NetfilterSocket, NetlinkError, Request, RouteSocket, Socket};
pub use untyped::{UntypedMessage, UntypedSocket, attributes};
pub use uplink::{Uplink, uplink};
pub use xfrm::{flush_xfrm, open_xfrm, xfrm_counts, xfrm_defaults, xfrm_thresholds};
