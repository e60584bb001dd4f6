//! From a network's configuration to the template of its slots.

use ipnet::IpNet;

use super::{error::NodeError, uplink_mtu};
use crate::{
    cni::Route,
    conf::{IpamConf, NetConf},
    netlink::RouteOptions,
    slot::NoIpv6,
    template::{
        AddressSource, NetworkConfig, NodeContext, Operation, RouteTarget, RouteVia, Template,
        VERSION,
    },
};

/// The template that a network's slots are built from, with the routes that its address management
/// gives.
pub(crate) fn template(conf: &NetConf, routes: &[Route]) -> Template {
    let mut operations = vec![
        Operation::CreateLink { mtu: conf.mtu },
        Operation::AssignAddress { from: AddressSource::Ipam },
        Operation::AddGateway,
    ];
    // The kernel keeps the first of several routes with one destination, table and metric.
    let key = |route: &Route| (route.dst.trunc(), route.table, route.priority);
    let is_first = |at: &usize| routes[..*at].iter().all(|other| key(other) != key(&routes[*at]));
    operations.extend((0..routes.len()).filter(is_first).map(|at| add_route(&routes[at])));
    operations.push(own_subnets());
    operations.push(Operation::AttachPrograms);
    if conf.ip_masq {
        operations.push(Operation::Masquerade);
    }
    Template { version: VERSION, origin: format!("network {}", conf.name), operations }
}

/// The template of a network's configuration, without routes of a delegated IPAM plugin.
pub(crate) fn template_of(conf: &NetConf) -> Template {
    match &conf.ipam {
        IpamConf::Own(own) => template(conf, &own.routes),
        IpamConf::Delegated(_) => template(conf, &[]),
    }
}

fn add_route(route: &Route) -> Operation {
    Operation::AddRoute {
        to: RouteTarget::Prefix(route.dst),
        via: route.gw.map_or(RouteVia::Gateway, RouteVia::Router),
        options: RouteOptions {
            mtu: route.mtu,
            advmss: route.advmss,
            priority: route.priority,
            table: route.table,
            scope: route.scope,
        },
    }
}

/// The route to the network's own subnets, through the gateway. It comes last, so that a configured
/// route to the same subnet takes precedence.
fn own_subnets() -> Operation {
    Operation::AddRoute {
        to: RouteTarget::OwnSubnets,
        via: RouteVia::Gateway,
        options: RouteOptions::default(),
    }
}

/// Instantiates a template for these addresses, with the MTU of the node's uplink.
pub(crate) fn configuration(
    template: &Template,
    addresses: &[IpNet],
) -> Result<NetworkConfig, NodeError> {
    Ok(template.instantiate(&NodeContext { addresses: addresses.to_vec(), mtu: uplink_mtu()? }))
}

/// Fails if interfaces of this MTU, in bytes, cannot have IPv6 addresses.
pub(crate) fn ensure_ipv6(conf: &NetConf, mtu: u32) -> Result<(), NodeError> {
    let refuse = |why| NodeError::NoIpv6 { network: conf.name.clone(), why };
    NoIpv6::of(mtu).map(refuse).map_or(Ok(()), Err)
}
