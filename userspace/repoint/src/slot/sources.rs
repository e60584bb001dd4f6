//! Several interfaces in one namespace: packets leave by the interface that has their source address.
//!
//! The eBPF programs drop packets that leave by another interface. So when a namespace gets a further
//! interface, each of repoint's interfaces there gets a table of its own with a way out through its
//! gateway, and each of its addresses a rule that leads to that table. Packets without a source address
//! yet are routed as before: the first interface's routes come first.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_route::RouteNetlinkMessage;
use repoint_common::{GATEWAY_V4, GATEWAY_V6, mac::GATEWAY_MAC};

use super::container_end::LOOPBACK;
use crate::{
    failpoint,
    model::{IfName, Mac},
    netlink::{
        NetlinkError, Request, Route, RouteOptions, RouteSocket, SourceRule, add_route,
        add_source_rule, addresses, delete_route, delete_source_rule, links, neighbours,
        source_rules,
    },
    netns::guard,
};

/// Number of the table of the interface with index 0.
const TABLES: u32 = 0x7270_0000;

/// An interface of repoint's, and its addresses.
struct Own {
    ifindex: u32,
    addresses: Vec<IpAddr>,
}

impl Own {
    fn rules(&self) -> impl Iterator<Item = SourceRule> {
        let table = table(self.ifindex);
        self.addresses.iter().map(move |source| SourceRule { source: *source, table })
    }

    /// The way out for each family that it has addresses of, and then the rules.
    fn additions(&self) -> Vec<Request<RouteNetlinkMessage>> {
        let mut requests = Vec::new();
        for way in [way_out_v4(self.ifindex), way_out_v6(self.ifindex)] {
            let is_v4 = way.destination.addr().is_ipv4();
            if self.addresses.iter().any(|address| address.is_ipv4() == is_v4) {
                requests.push(add_route(self.ifindex, &way));
            }
        }
        requests.extend(self.rules().map(add_source_rule));
        requests
    }
}

/// Number of the table of an interface.
fn table(ifindex: u32) -> u32 {
    TABLES + ifindex
}

fn way_out(ifindex: u32, destination: IpNet, gateway: IpAddr) -> Route {
    let options = RouteOptions { table: Some(table(ifindex)), ..RouteOptions::default() };
    Route { destination, gateway: Some(gateway), options }
}

fn way_out_v4(ifindex: u32) -> Route {
    way_out(ifindex, Ipv4Net::default().into(), GATEWAY_V4.into())
}

fn way_out_v6(ifindex: u32) -> Route {
    way_out(ifindex, Ipv6Net::default().into(), GATEWAY_V6.into())
}

/// Adds tables and rules if the namespace has further interfaces. The namespace is the calling thread's.
/// Returns whether it has.
pub(super) fn add(
    socket: &mut RouteSocket,
    (ifname, ifindex): (&IfName, u32),
    own: &[IpNet],
) -> Result<bool, NetlinkError> {
    if matches!(guard::holds_others(Some(ifname.as_str())), Ok(false)) {
        return Ok(false);
    }
    let links = links(socket)?;
    let others: Vec<u32> = links
        .iter()
        .map(|link| link.ifindex)
        .filter(|it| ![LOOPBACK, ifindex].contains(it))
        .collect();
    if others.is_empty() {
        return Ok(false);
    }
    let mut all = vec![Own { ifindex, addresses: own.iter().map(IpNet::addr).collect() }];
    for other in others {
        all.extend(find(socket, other)?);
    }
    let requests = all.iter().flat_map(Own::additions).collect();
    let refusals = socket.execute_each(requests)?;
    failpoint::hit("build:sources");
    match refusals.into_iter().find(|refusal| !refusal.is_present()) {
        Some(refusal) => Err(refusal),
        None => Ok(true),
    }
}

/// The interface, if it is one of repoint's: its gateway has the Ethernet address that only our
/// interfaces' gateways have.
fn find(socket: &mut RouteSocket, ifindex: u32) -> Result<Option<Own>, NetlinkError> {
    let is_gateway = |entry: &(IpAddr, Mac)| entry.1 == Mac(GATEWAY_MAC);
    if !neighbours(socket, ifindex)?.iter().any(is_gateway) {
        return Ok(None);
    }
    let addresses = addresses(socket, ifindex)?.iter().map(IpNet::addr).collect();
    Ok(Some(Own { ifindex, addresses }))
}

/// Removes the rules of an interface, and of interfaces that are gone. If one interface is left, it
/// removes its rules, too, because that interface needs none. Tables go with their interfaces.
pub fn remove_sources(ifname: &IfName) -> Result<(), NetlinkError> {
    let mut socket = RouteSocket::open()?;
    let rules = source_rules(&mut socket)?;
    if rules.is_empty() {
        return Ok(());
    }
    let links = links(&mut socket)?;
    let stay = |rule: &SourceRule| {
        let is_there = links.iter().find(|link| table(link.ifindex) == rule.table);
        is_there.is_some_and(|link| link.name != ifname.as_str())
    };
    let (mut staying, mut going): (Vec<_>, Vec<_>) = rules.into_iter().partition(stay);
    let tables: BTreeSet<u32> = staying.iter().map(|rule| rule.table).collect();
    let mut requests = Vec::new();
    if let (1, Some(last)) = (tables.len(), tables.first()) {
        going.append(&mut staying);
        let ifindex = last - TABLES;
        requests.extend(
            [way_out_v4(ifindex), way_out_v6(ifindex)].map(|way| delete_route(ifindex, &way)),
        );
    }
    requests.extend(going.into_iter().map(delete_source_rule));
    let refusals = socket.execute_each(requests)?;
    failpoint::hit("release:sources");
    refusals.into_iter().find(|refusal| !refusal.is_absent()).map_or(Ok(()), Err)
}

/// The first of an interface's addresses that has no rule.
pub(super) fn missing(
    socket: &mut RouteSocket,
    ifindex: u32,
    own: &[IpNet],
) -> Result<Option<IpAddr>, NetlinkError> {
    let rules = source_rules(socket)?;
    let has = |source: IpAddr| rules.contains(&SourceRule { source, table: table(ifindex) });
    Ok(own.iter().map(IpNet::addr).find(|source| !has(*source)))
}
