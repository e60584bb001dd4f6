//! Whether a slot's kernel objects are what its record and configuration say.

use std::{fmt, net::IpAddr};

use repoint_common::{GATEWAY_V4, GATEWAY_V6};

use super::{
    hook::{HookError, PLACES, attached_names, sorted},
    is_alias_of, sources,
};
use crate::{
    datapath::{DatapathError, Maps},
    netlink::{self, LinkInfo, NetlinkError, Route, RouteSocket},
    netns::{Netns, NetnsError},
    store::Slot,
    template::{NetworkConfig, host_net},
    types::Mac,
};

/// Why a slot cannot be inspected, or what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Something is not as it should be.
    #[error("{0}")]
    Differs(String),
    /// The kernel does not answer.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The namespace cannot be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The maps cannot be read.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
}

impl From<HookError> for InspectError {
    fn from(error: HookError) -> Self {
        match error {
            HookError::Netlink(error) => error.into(),
            HookError::Datapath(error) => error.into(),
        }
    }
}

fn differs(what: impl fmt::Display) -> InspectError {
    InspectError::Differs(what.to_string())
}

/// Compares both ends and the map entries. What others added beside is none of our business.
pub fn inspect(
    slot: &Slot,
    config: &NetworkConfig,
    netns: &Netns,
    maps: &Maps,
) -> Result<(), InspectError> {
    let host = host_end(slot, config)?;
    netns.run(|| container_end(slot, config))??;
    entries(slot, host.ifindex, maps)
}

fn host_end(slot: &Slot, config: &NetworkConfig) -> Result<LinkInfo, InspectError> {
    let mut socket = RouteSocket::open()?;
    let link = find(&mut socket, &slot.id.host_ifname(), "on the node")?;
    if !is_alias_of(&link.alias, slot) {
        return Err(differs(format!(
            "interface {} is another's: its alias is {:?}",
            link.name, link.alias
        )));
    }
    require_up(&link)?;
    if config.programs {
        for (direction, program) in PLACES {
            let found = attached_names(&mut socket, link.ifindex, direction)?;
            let (attached, _) = sorted(slot.hook, found);
            if !attached.iter().any(|name| name == program) {
                return Err(differs(format!("program {program} is not attached to {}", link.name)));
            }
        }
    }
    let routes = netlink::routes(&mut socket)?;
    for address in config.addresses.iter().map(ipnet::IpNet::addr) {
        let leads_there = |(oif, route): &(u32, Route)| {
            *oif == link.ifindex && route.destination == host_net(address)
        };
        if !routes.iter().any(leads_there) {
            return Err(differs(format!("the node has no route to {address} by {}", link.name)));
        }
    }
    Ok(link)
}

fn container_end(slot: &Slot, config: &NetworkConfig) -> Result<(), InspectError> {
    let mut socket = RouteSocket::open()?;
    let link = find(&mut socket, slot.ifname.as_str(), "in the container")?;
    require_up(&link)?;
    if link.mac != Some(slot.mac) {
        let found = link.mac.map_or_else(|| "none".to_owned(), |mac| mac.to_string());
        return Err(differs(format!("{} has MAC address {found}, not {}", link.name, slot.mac)));
    }
    let addresses = netlink::addresses(&mut socket, link.ifindex)?;
    if let Some(lost) = config.addresses.iter().find(|address| !addresses.contains(address)) {
        return Err(differs(format!("address {lost} is gone from {}", link.name)));
    }
    let routes = netlink::routes(&mut socket)?;
    if let Some(lost) = config.routes.iter().find(|wanted| !is_served(wanted, &routes)) {
        return Err(differs(format!("the route to {} is gone", lost.destination)));
    }
    if slot.source_routed
        && let Some(source) = sources::missing(&mut socket, link.ifindex, &config.addresses)?
    {
        return Err(differs(format!("the rule that routes packets from {source} is gone")));
    }
    let neighbours = netlink::neighbours(&mut socket, link.ifindex)?;
    match config.neighbours.iter().find(|wanted| !is_known(wanted, &neighbours)) {
        Some((lost, _)) => {
            Err(differs(format!("the neighbour entry of gateway {lost} is gone, or another")))
        }
        None => Ok(()),
    }
}

/// Whether a router has its entry. The gateway needs none, as the programs answer for it; the kernel
/// removes them when the interface gets another Ethernet address.
fn is_known(wanted: &(IpAddr, Mac), neighbours: &[(IpAddr, Mac)]) -> bool {
    let gateways = [IpAddr::from(GATEWAY_V4), IpAddr::from(GATEWAY_V6)];
    let has_another = || neighbours.iter().any(|(router, _)| *router == wanted.0);
    neighbours.contains(wanted) || gateways.contains(&wanted.0) && !has_another()
}

/// Whether there is the route, maybe of another interface that was there first; or, where another
/// plugin of the chain moved routes into a table of its own, one there that leads the same way.
/// sbr does so, and keeps the default route but not those that it covers.
fn is_served(wanted: &Route, routes: &[(u32, Route)]) -> bool {
    routes.iter().any(|(_, route)| {
        let moved = route.options.table != wanted.options.table;
        let same_way = route.gateway == wanted.gateway;
        same_way
            && (route.destination == wanted.destination
                || moved && route.destination.contains(&wanted.destination))
    })
}

fn find(socket: &mut RouteSocket, name: &str, whereabouts: &str) -> Result<LinkInfo, InspectError> {
    match netlink::get_link(socket, name) {
        Err(error) if error.is_absent() => {
            Err(differs(format!("interface {name} {whereabouts} is gone")))
        }
        other => Ok(other?),
    }
}

fn require_up(link: &LinkInfo) -> Result<(), InspectError> {
    if link.up { Ok(()) } else { Err(differs(format!("interface {} is down", link.name))) }
}

fn entries(slot: &Slot, ifindex: u32, maps: &Maps) -> Result<(), InspectError> {
    match maps.interface(ifindex)? {
        Some(entry) if entry.slot == slot.id.0 && entry.identity == slot.identity.0 => {}
        other => {
            return Err(differs(format!("map entry of interface {ifindex} is {other:?}")));
        }
    }
    for address in slot.addresses.iter().map(ipnet::IpNet::addr) {
        match maps.endpoint(address)? {
            Some(entry) if entry.ifindex == ifindex && entry.identity == slot.identity.0 => {}
            other => {
                return Err(differs(format!("map entry of address {address} is {other:?}")));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::RouteOptions;

    fn route(destination: &str, gateway: &str, table: Option<u32>) -> Route {
        let options = RouteOptions { table, ..RouteOptions::default() };
        let gateway = Some(gateway.parse().unwrap());
        Route { destination: destination.parse().unwrap(), gateway, options }
    }

    #[test]
    fn a_route_may_be_moved_but_not_missed() {
        let wanted = route("10.1.0.0/24", "169.254.1.1", None);
        let served = |route: Route| is_served(&wanted, &[(2, route)]);
        assert!(served(wanted.clone()));
        assert!(served(route("0.0.0.0/0", "169.254.1.1", Some(100))), "sbr's table");
        assert!(!served(route("0.0.0.0/0", "169.254.1.1", None)), "gone from the same table");
        assert!(!served(route("10.1.0.0/24", "10.1.0.9", None)), "another gateway");
        assert!(!served(route("10.2.0.0/16", "169.254.1.1", Some(100))), "another way");
    }
}
