//! Checks that a template makes sense.

use std::{collections::HashMap, net::IpAddr, ops::RangeInclusive};

use super::{Operation, RouteTarget, RouteVia, Template, TemplateError, gateway};
use crate::netlink::RouteOptions;

/// Smallest and largest MTU of a veth, in bytes (the kernel's `ETH_MIN_MTU` and `ETH_MAX_MTU`).
pub const MTU: RangeInclusive<u32> = 68..=65_535;
/// Longest origin, in bytes.
const LONGEST_ORIGIN: usize = 500;
/// Longest value of a sysctl, in bytes: the kernel takes less than a page (`proc_dointvec`).
const LONGEST_VALUE: usize = 4095;
/// The kernel's number of the main routing table, which is meant where none is named.
const MAIN: u32 = 254;

/// The operations that every template has.
///
/// A network needs a link and an address. Without the programs, nothing drops the traffic of a slot that
/// is not in use.
const NEEDED: [&str; 3] =
    [Operation::CREATE_LINK, Operation::ASSIGN_ADDRESS, Operation::ATTACH_PROGRAMS];

impl Template {
    /// Checks the values and the order of the operations, and refuses duplicates.
    pub fn validate(&self) -> Result<(), TemplateError> {
        if self.origin.len() > LONGEST_ORIGIN || self.origin.contains(char::is_control) {
            return Err(TemplateError::Origin { most: LONGEST_ORIGIN });
        }
        let mut earlier = HashMap::new();
        for (number, operation) in (1..).zip(&self.operations) {
            if let Some(why) = fault(operation, &earlier) {
                return Err(TemplateError::Invalid { number, name: operation.name(), why });
            }
            earlier.insert(subject(operation), number);
        }
        let missing = NEEDED.into_iter().find(|name| !earlier.contains_key(&Subject::Once(name)));
        missing.map_or(Ok(()), |operation| Err(TemplateError::Incomplete { operation }))
    }
}

/// The subject of an operation; a template has one operation for each.
#[derive(PartialEq, Eq, Hash)]
enum Subject<'a> {
    /// An operation that makes sense once, by its name.
    Once(&'static str),
    /// The routes of a table and metric.
    Route(RouteTarget, u32, Option<u32>),
    Neighbour(IpAddr),
    Sysctl(&'a str),
}

fn subject(operation: &Operation) -> Subject<'_> {
    match operation {
        Operation::AddRoute { to, options, .. } => {
            let to = match to {
                RouteTarget::OwnSubnets => RouteTarget::OwnSubnets,
                RouteTarget::Prefix(prefix) => RouteTarget::Prefix(prefix.trunc()),
            };
            Subject::Route(to, options.table.unwrap_or(MAIN), options.priority)
        }
        Operation::AddNeighbour { address, .. } => Subject::Neighbour(*address),
        Operation::SetSysctl { key, .. } => Subject::Sysctl(key.as_str()),
        other => Subject::Once(other.name()),
    }
}

/// What is wrong with an operation that follows the `earlier` operations.
fn fault(operation: &Operation, earlier: &HashMap<Subject<'_>, usize>) -> Option<String> {
    if let Some(number) = earlier.get(&subject(operation)) {
        return Some(format!("operation {number} does that already"));
    }
    let behind = |name| earlier.contains_key(&Subject::Once(name));
    if let Some(needed) = needs(operation).iter().find(|name| !behind(**name)) {
        return Some(format!("it must come after {needed}"));
    }
    match operation {
        Operation::CreateLink { mtu: Some(mtu) } if !MTU.contains(mtu) => {
            Some(format!("mtu {mtu} is not between {} and {}", MTU.start(), MTU.end()))
        }
        Operation::AddRoute { to, via, options } => route_fault(to, via, options),
        Operation::AddNeighbour { address, .. } => neighbour_fault(*address),
        Operation::SetSysctl { value, .. } => value_fault(value),
        _ => None,
    }
}

/// Names of the operations that must come before this one.
fn needs(operation: &Operation) -> &'static [&'static str] {
    match operation {
        Operation::CreateLink { .. } => &[],
        Operation::AddRoute { via: RouteVia::Gateway, .. } => {
            &[Operation::ASSIGN_ADDRESS, Operation::ADD_GATEWAY]
        }
        Operation::AddGateway | Operation::AddRoute { .. } | Operation::AddNeighbour { .. } => {
            &[Operation::ASSIGN_ADDRESS]
        }
        Operation::AssignAddress { .. }
        | Operation::SetSysctl { .. }
        | Operation::AttachPrograms
        | Operation::Masquerade => &[Operation::CREATE_LINK],
    }
}

fn route_fault(to: &RouteTarget, via: &RouteVia, options: &RouteOptions) -> Option<String> {
    if let (RouteTarget::Prefix(prefix), RouteVia::Router(router)) = (to, via)
        && prefix.addr().is_ipv4() != router.is_ipv4()
    {
        return Some(format!("router {router} is of another family than {prefix}"));
    }
    if let RouteVia::Router(router) = via
        && !is_of_a_host(*router)
    {
        return Some(format!("router {router} is no address of a host"));
    }
    let RouteOptions { mtu, advmss, priority, table, scope: _ } = options;
    let numbers = [("mtu", mtu), ("advmss", advmss), ("priority", priority), ("table", table)];
    let zero = numbers.into_iter().find(|(_, number)| **number == Some(0));
    zero.map(|(name, _)| format!("{name} 0 is none: leave it out"))
}

fn neighbour_fault(address: IpAddr) -> Option<String> {
    if address == gateway(address) {
        return Some(format!("{address} is the gateway, which is the same everywhere"));
    }
    (!is_of_a_host(address)).then(|| format!("{address} is no address of a host"))
}

fn is_of_a_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast)
}

fn value_fault(value: &str) -> Option<String> {
    let right = (1..=LONGEST_VALUE).contains(&value.len())
        && value.trim() == value
        && !value.contains(char::is_control);
    let why = || {
        format!(
            "the value must be of 1 to {LONGEST_VALUE} bytes, without control characters, and \
             without spaces around it"
        )
    };
    (!right).then(why)
}
