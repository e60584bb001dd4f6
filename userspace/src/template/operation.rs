//! The operations of a template.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::netlink::RouteOptions;

/// One step of making a network configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "camelCase", deny_unknown_fields)]
pub enum Operation {
    /// Make the pair of interfaces.
    #[serde(rename_all = "camelCase")]
    CreateLink {
        /// Largest packet, in bytes; none: the node's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mtu: Option<u32>,
    },
    /// Give the container's interface addresses.
    AssignAddress {
        /// Where they come from.
        from: AddressSource,
    },
    /// Make the gateway known to the container, for each family that it has an address of.
    AddGateway,
    /// Add a route in the container, if it has an address of the destination's family.
    AddRoute {
        /// Where to.
        to: RouteTarget,
        /// Which way.
        via: RouteVia,
        /// What is special about it.
        #[serde(default, skip_serializing_if = "is_default")]
        options: RouteOptions,
    },
    /// Run the data plane's programs on the host's end.
    AttachPrograms,
    /// Let the container reach the outside under the node's address.
    Masquerade,
}

fn is_default(options: &RouteOptions) -> bool {
    *options == RouteOptions::default()
}

/// Where addresses come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AddressSource {
    /// From whatever address management the node has for the network.
    Ipam,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteTarget {
    /// The subnets of the instance's own addresses.
    OwnSubnets,
    /// A prefix, the same on every node.
    Prefix(IpNet),
}

/// Which way a route goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteVia {
    /// The link-local gateway that every container has.
    Gateway,
    /// A router of this address, the same on every node.
    Router(IpAddr),
}
