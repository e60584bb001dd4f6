//! The operations of a template.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::SysctlKey;
use crate::{model::Mac, netlink::RouteOptions};

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
    /// Add a permanent neighbour, the same on every node.
    ///
    /// The container gets it if it has an address of its family.
    AddNeighbour {
        /// The neighbour's IP address.
        address: IpAddr,
        /// The neighbour's Ethernet address.
        mac: Mac,
    },
    /// Set a sysctl of the container's namespace.
    SetSysctl {
        /// Which.
        key: SysctlKey,
        /// What is written to it.
        value: String,
    },
    /// Run the data plane's programs on the host's end.
    AttachPrograms,
    /// Let the container reach the outside under the node's address.
    Masquerade,
}

fn is_default(options: &RouteOptions) -> bool {
    *options == RouteOptions::default()
}

impl Operation {
    pub(super) const CREATE_LINK: &'static str = "createLink";
    pub(super) const ASSIGN_ADDRESS: &'static str = "assignAddress";
    pub(super) const ADD_GATEWAY: &'static str = "addGateway";
    pub(super) const ATTACH_PROGRAMS: &'static str = "attachPrograms";

    /// Names of all operations.
    pub const NAMES: [&'static str; 8] = [
        Self::CREATE_LINK,
        Self::ASSIGN_ADDRESS,
        Self::ADD_GATEWAY,
        "addRoute",
        "addNeighbour",
        "setSysctl",
        Self::ATTACH_PROGRAMS,
        "masquerade",
    ];

    /// Its name, as in JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateLink { .. } => Self::CREATE_LINK,
            Self::AssignAddress { .. } => Self::ASSIGN_ADDRESS,
            Self::AddGateway => Self::ADD_GATEWAY,
            Self::AddRoute { .. } => "addRoute",
            Self::AddNeighbour { .. } => "addNeighbour",
            Self::SetSysctl { .. } => "setSysctl",
            Self::AttachPrograms => Self::ATTACH_PROGRAMS,
            Self::Masquerade => "masquerade",
        }
    }

    /// Whether its JSON has no key but the name.
    pub(super) fn has_no_fields(&self) -> bool {
        matches!(self, Self::AddGateway | Self::AttachPrograms | Self::Masquerade)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::CreateLink { mtu: Some(mtu) } => write!(f, " mtu {mtu}"),
            Self::AssignAddress { from: AddressSource::Ipam } => f.write_str(" from ipam"),
            Self::AddRoute { to, via, options } => {
                write!(f, " to {to} via {via}")?;
                write_options(f, options)
            }
            Self::AddNeighbour { address, mac } => write!(f, " {address} mac {mac}"),
            Self::SetSysctl { key, value } => write!(f, " {key} = {value}"),
            Self::CreateLink { mtu: None }
            | Self::AddGateway
            | Self::AttachPrograms
            | Self::Masquerade => Ok(()),
        }
    }
}

fn write_options(f: &mut fmt::Formatter<'_>, options: &RouteOptions) -> fmt::Result {
    let RouteOptions { mtu, advmss, priority, table, scope } = *options;
    let numbers = [
        ("mtu", mtu),
        ("advmss", advmss),
        ("priority", priority),
        ("table", table),
        ("scope", scope.map(Into::into)),
    ];
    let mut given = numbers.into_iter().filter_map(|(name, number)| Some((name, number?)));
    given.try_for_each(|(name, number)| write!(f, " {name} {number}"))
}

/// Where addresses come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AddressSource {
    /// From the node's address management for the network.
    Ipam,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteTarget {
    /// The subnets of the instance's own addresses.
    OwnSubnets,
    /// A prefix, the same on every node.
    Prefix(IpNet),
}

impl fmt::Display for RouteTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnSubnets => f.write_str("ownSubnets"),
            Self::Prefix(prefix) => prefix.fmt(f),
        }
    }
}

/// Which way a route goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteVia {
    /// The link-local gateway that every container has.
    Gateway,
    /// A router of this address, the same on every node.
    Router(IpAddr),
}

impl fmt::Display for RouteVia {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway => f.write_str("gateway"),
            Self::Router(router) => router.fmt(f),
        }
    }
}
