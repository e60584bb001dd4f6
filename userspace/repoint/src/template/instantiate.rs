//! Makes a node's configuration from a template.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use repoint_common::{GATEWAY_V4, GATEWAY_V6, mac::GATEWAY_MAC};

use super::{Operation, RouteTarget, RouteVia, Sysctl, Template};
use crate::{
    model::{Mac, host_prefix},
    netlink::{Route, RouteOptions},
};

/// What is particular to a node, for one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeContext {
    /// Addresses of the instance, out of the node's ranges, with their subnets' prefix lengths.
    pub addresses: Vec<IpNet>,
    /// Largest packet of the node's uplink, in bytes.
    pub mtu: u32,
}

/// A configuration of one node, ready to be built.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkConfig {
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Addresses of the container's interface.
    pub addresses: Vec<IpNet>,
    /// Routes in the container, in the order in which they can be added.
    pub routes: Vec<Route>,
    /// Permanent neighbours in the container.
    pub neighbours: Vec<(IpAddr, Mac)>,
    /// Sysctls of the container's namespace, in the order in which they are set.
    pub sysctls: Vec<Sysctl>,
    /// Whether the data plane's programs run on the host's end.
    pub programs: bool,
    /// Whether the container reaches the outside under the node's address.
    pub masquerade: bool,
}

/// The gateway of the family that `address` is of.
#[must_use]
pub fn gateway(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::from(GATEWAY_V4).into(),
        IpAddr::V6(_) => Ipv6Addr::from(GATEWAY_V6).into(),
    }
}

impl Template {
    /// The configuration that this template means on this node: a pure function of both.
    #[must_use]
    pub fn instantiate(&self, node: &NodeContext) -> NetworkConfig {
        let mut config = NetworkConfig::default();
        for operation in &self.operations {
            config.apply(operation, node);
        }
        config
    }
}

impl NetworkConfig {
    fn apply(&mut self, operation: &Operation, node: &NodeContext) {
        match operation {
            Operation::CreateLink { mtu } => self.mtu = mtu.unwrap_or(node.mtu),
            Operation::AssignAddress { .. } => self.addresses.clone_from(&node.addresses),
            Operation::AddGateway => self.add_gateways(),
            Operation::AddRoute { to, via, options } => self.add_routes(to, via, options),
            Operation::AddNeighbour { address, mac } => self.add_neighbour(*address, *mac),
            Operation::SetSysctl { key, value } => {
                self.sysctls.push(Sysctl { key: key.clone(), value: value.clone() });
            }
            Operation::AttachPrograms => self.programs = true,
            Operation::Masquerade => self.masquerade = true,
        }
    }

    fn add_routes(&mut self, to: &RouteTarget, via: &RouteVia, options: &RouteOptions) {
        for destination in self.destinations(to) {
            let gateway = match via {
                RouteVia::Gateway => gateway(destination.addr()),
                // A router serves only subnets of its own family.
                RouteVia::Router(router) if !is_of_family(destination.addr(), *router) => continue,
                RouteVia::Router(router) => self.add_router(*router),
            };
            self.add_route(Route { destination, gateway: Some(gateway), options: *options });
        }
    }

    /// Adds a route, unless an earlier route takes its place.
    ///
    /// The kernel has one route for a destination, table and metric.
    fn add_route(&mut self, route: Route) {
        let key = |route: &Route| (route.destination, route.options.table, route.options.priority);
        if !self.routes.iter().any(|known| key(known) == key(&route)) {
            self.routes.push(route);
        }
    }

    /// Adds a neighbour of the template, in place of a router's entry.
    fn add_neighbour(&mut self, address: IpAddr, mac: Mac) {
        if self.has_family(address) {
            self.neighbours.retain(|(known, _)| *known != address);
            self.neighbours.push((address, mac));
        }
    }

    /// Adds the neighbour entry of a router, and returns the router's address.
    ///
    /// Every router that a container can see is the node: the entry has the gateway's Ethernet address.
    fn add_router(&mut self, address: IpAddr) -> IpAddr {
        if !self.neighbours.iter().any(|(known, _)| *known == address) {
            self.neighbours.push((address, Mac(GATEWAY_MAC)));
        }
        address
    }

    /// The routes to report to the runtime: all but those that only make the gateway work.
    pub fn reported_routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().filter(|route| route.gateway.is_some())
    }

    /// Adds one gateway for each family.
    ///
    /// The IPv6 gateway is link-local, and so on the link without a route.
    fn add_gateways(&mut self) {
        let mut gateways: Vec<_> = self.addresses.iter().map(|own| gateway(own.addr())).collect();
        gateways.sort_unstable();
        gateways.dedup();
        for gateway in gateways {
            if gateway.is_ipv4() {
                self.routes.push(Route::new(host_net(gateway), None));
            }
            self.add_router(gateway);
        }
    }

    /// Whether the instance has an address of the family that `address` is of.
    fn has_family(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| is_of_family(own.addr(), address))
    }

    /// The prefixes that a target means here, of families that the instance has addresses of.
    fn destinations(&self, target: &RouteTarget) -> Vec<IpNet> {
        match target {
            RouteTarget::Prefix(prefix) => {
                let reachable = self.has_family(prefix.addr());
                reachable.then_some(prefix.trunc()).into_iter().collect()
            }
            RouteTarget::OwnSubnets => {
                let mut subnets: Vec<_> = self.addresses.iter().map(IpNet::trunc).collect();
                subnets.retain(|subnet| subnet.prefix_len() < host_prefix(subnet.addr()));
                subnets.sort_unstable();
                subnets.dedup();
                subnets
            }
        }
    }
}

fn is_of_family(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

/// The prefix that holds one address only.
#[must_use]
pub fn host_net(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(v4) => IpNet::V4(v4.into()),
        IpAddr::V6(v6) => IpNet::V6(v6.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::{AddressSource, VERSION};

    fn template() -> Template {
        let route = |to, via| Operation::AddRoute { to, via, options: RouteOptions::default() };
        Template {
            version: VERSION,
            origin: "network test".to_owned(),
            operations: vec![
                Operation::CreateLink { mtu: None },
                Operation::AssignAddress { from: AddressSource::Ipam },
                Operation::AddGateway,
                route(RouteTarget::OwnSubnets, RouteVia::Gateway),
                route(RouteTarget::Prefix("0.0.0.0/0".parse().unwrap()), RouteVia::Gateway),
                route(RouteTarget::Prefix("::/0".parse().unwrap()), RouteVia::Gateway),
                Operation::AttachPrograms,
            ],
        }
    }

    fn node(addresses: &[&str], mtu: u32) -> NodeContext {
        NodeContext { addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(), mtu }
    }

    fn shown(config: &NetworkConfig) -> Vec<String> {
        config
            .routes
            .iter()
            .map(|r| {
                format!(
                    "{} {}",
                    r.destination,
                    r.gateway.map_or("link".to_owned(), |g| g.to_string())
                )
            })
            .collect()
    }

    #[test]
    fn each_node_gets_its_own_values() {
        let one = template().instantiate(&node(&["10.1.0.5/24", "fd01::5/64"], 1500));
        let two = template().instantiate(&node(&["10.2.0.9/16"], 9000));
        assert_eq!(
            shown(&one),
            [
                "169.254.1.1/32 link",
                "10.1.0.0/24 169.254.1.1",
                "fd01::/64 fe80::1",
                "0.0.0.0/0 169.254.1.1",
                "::/0 fe80::1"
            ]
        );
        assert_eq!(
            shown(&two),
            ["169.254.1.1/32 link", "10.2.0.0/16 169.254.1.1", "0.0.0.0/0 169.254.1.1"]
        );
        assert_eq!((one.mtu, two.mtu), (1500, 9000));
    }

    #[test]
    fn neighbours_that_are_named_count_and_families_that_are_missing_do_not() {
        let mac: Mac = "02:00:00:00:00:09".parse().unwrap();
        let router = "192.0.2.1".parse().unwrap();
        let neighbour =
            |address: &str| Operation::AddNeighbour { address: address.parse().unwrap(), mac };
        let mut template = template();
        let via = RouteVia::Router(router);
        let to = RouteTarget::OwnSubnets;
        let options = RouteOptions { table: Some(9), ..RouteOptions::default() };
        template.operations.push(Operation::AddRoute { to, via, options });
        template.operations.extend([neighbour("192.0.2.1"), neighbour("2001:db8::7")]);
        let both = template.instantiate(&node(&["10.1.0.5/24", "fd01::5/64"], 1500));
        assert_eq!(both.neighbours[2..], [(router, mac), ("2001:db8::7".parse().unwrap(), mac)]);
        let own = both.routes.iter().filter(|route| route.options.table == Some(9));
        let own: Vec<_> = own.map(|route| route.destination.to_string()).collect();
        assert_eq!(own, ["10.1.0.0/24"], "the router is of IPv4");
        let v4 = template.instantiate(&node(&["10.1.0.5/24"], 1500));
        assert_eq!(v4.neighbours[1..], [(router, mac)]);
    }
}
