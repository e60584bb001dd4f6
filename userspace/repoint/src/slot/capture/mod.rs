//! What was changed in a slot's namespace, as operations of a template.
//!
//! Operations that do not depend on the node describe how the namespace differs from what it was when it
//! was built. The capture reports what no operation can describe, and never leaves it out: a template
//! that yields something else than what it was made from would be worse than none.

mod link;
mod neighbour;
mod route;
mod sysctl;

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    net::IpAddr,
};

use ipnet::IpNet;

use super::{
    Difference, Fingerprint, FingerprintError,
    fingerprint::{Class, Kernel, Object, Observation, Occasion, sysctl_of},
};
use crate::{
    model::{SlotId, host_prefix},
    netlink::{Route, RouteOptions},
    netns::{Netns, NetnsError},
    store::Slot,
    template::{NetworkConfig, Operation, RouteTarget, RouteVia, SysctlKey},
};

/// Why no operations can be made.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// It cannot be looked at.
    #[error(transparent)]
    Fingerprint(#[from] FingerprintError),
    /// No operation can describe something in it.
    #[error(transparent)]
    Uncapturable(#[from] Uncapturable),
}

/// What no template can describe of a slot's namespace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Uncapturable {
    /// The slot.
    pub slot: SlotId,
    /// Each thing, and why no operation can describe it.
    pub things: Vec<String>,
}

impl fmt::Display for Uncapturable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let things = self.things.join("; ");
        write!(f, "no template can say what was changed in slot {}: {things}", self.slot)
    }
}

/// The operations that turn a slot's namespace into what it is now. They start from the namespace as it
/// was built, which `config` and the fingerprint of that time describe.
pub fn capture(
    slot: &Slot,
    config: &NetworkConfig,
    netns: &Netns,
    built: &Fingerprint,
) -> Result<Vec<Operation>, CaptureError> {
    let look = || -> Result<_, FingerprintError> {
        Observation::take(slot, &mut Kernel::open(built)?, Occasion::Used)
    };
    let observation = netns.run(look)??;
    Ok(operations(slot, config, built, &observation)?)
}

fn operations(
    slot: &Slot,
    config: &NetworkConfig,
    built: &Fingerprint,
    observation: &Observation,
) -> Result<Vec<Operation>, Uncapturable> {
    let now = observation.fingerprint();
    let Some(difference) = built.difference(&now) else {
        return Ok(Vec::new());
    };
    let own = observation.links.iter().find(|link| link.name == slot.ifname.as_str().as_bytes());
    let mut capture = Capture {
        slot,
        now: &now,
        difference: &difference,
        routes: config.routes.iter().map(RouteKey::of).collect(),
        ifindex: own.map(|link| link.ifindex),
        sysctls: BTreeMap::new(),
        operations: Vec::new(),
        own_subnets: Vec::new(),
        things: Vec::new(),
    };
    for line in &difference.added {
        capture.added(line, observation.objects.iter().find(|object| object.line == *line));
    }
    for line in &difference.missing {
        capture.missing(line);
    }
    capture.finish()
}

/// A route to one of the slot's own subnets.
struct OwnSubnet {
    subnet: IpNet,
    via: RouteVia,
    options: RouteOptions,
    line: String,
}

/// What identifies a route of a template: destination, table and metric.
#[derive(Debug, PartialEq, Eq, Hash)]
struct RouteKey(IpNet, Option<u32>, Option<u32>);

impl RouteKey {
    fn of(route: &Route) -> Self {
        Self(route.destination, route.options.table, route.options.priority)
    }
}

/// What is known so far.
struct Capture<'a> {
    slot: &'a Slot,
    now: &'a Fingerprint,
    difference: &'a Difference,
    /// The routes that it was built with, and those that were taken in.
    routes: HashSet<RouteKey>,
    /// Index of the slot's link in its namespace; none where it has another name by now.
    ifindex: Option<u32>,
    /// Values by path. In that order, what is of all interfaces comes before what is of one.
    sysctls: BTreeMap<String, (SysctlKey, String)>,
    operations: Vec<Operation>,
    own_subnets: Vec<OwnSubnet>,
    things: Vec<String>,
}

impl Capture<'_> {
    /// Takes in a line that was not there when the slot was built, and its object where it has one.
    fn added(&mut self, line: &str, object: Option<&Object>) {
        if self.follows(line, &self.difference.added) {
            return;
        }
        let taken = match object {
            Some(Object { class: Class::Link, .. }) => return self.link(line),
            Some(Object { class: Class::Route, payload, .. }) => self.route(payload, line),
            Some(Object { class: Class::Neighbour, payload, .. }) => self.neighbour(payload),
            _ => match sysctl_of(line) {
                Some((path, value)) => return self.sysctl(path, value),
                None => Err(Refusal::from("there is no such operation")),
            },
        };
        if let Err(Refusal(why)) = taken {
            self.things.push(format!("added: {line} ({why})"));
        }
    }

    /// Takes in a line that was there, and is not.
    fn missing(&mut self, line: &str) {
        let reported_already = match sysctl_of(line) {
            Some((path, _)) => self.is_set(path) || self.is_of(path, &self.difference.missing),
            None => {
                link::name(line).is_some_and(|name| self.has_link(name))
                    || self.follows(line, &self.difference.missing)
            }
        };
        if !reported_already {
            let reported =
                link::name(line).map_or_else(|| line.to_owned(), |name| format!("link {name}"));
            self.things.push(format!("removed: {reported}"));
        }
    }

    /// Whether an address is in a subnet of this node's.
    fn is_own(&self, address: IpAddr) -> bool {
        self.slot.addresses.iter().any(|own| own.contains(&address))
    }

    /// The slot's subnets, without those of one address.
    fn subnets(&self) -> Vec<IpNet> {
        let mut subnets: Vec<_> = self.slot.addresses.iter().map(IpNet::trunc).collect();
        subnets.retain(|subnet| subnet.prefix_len() < host_prefix(subnet.addr()));
        subnets.sort_unstable();
        subnets.dedup();
        subnets
    }

    /// Joins the routes to the slot's own subnets into one operation. It does so if the namespace has all
    /// routes that the operation would add.
    fn join_own_subnets(&mut self) {
        let subnets = self.subnets();
        while let Some(first) = self.own_subnets.first() {
            let (via, options) = (first.via, first.options);
            let alike = |route: &mut OwnSubnet| route.via == via && route.options == options;
            let group: Vec<_> = self.own_subnets.extract_if(.., alike).collect();
            let reaches = |subnet: &&IpNet| match via {
                RouteVia::Gateway => true,
                RouteVia::Router(router) => router.is_ipv4() == subnet.addr().is_ipv4(),
            };
            let there = |subnet: &IpNet| group.iter().any(|route| route.subnet == *subnet);
            if subnets.iter().filter(reaches).all(there) {
                self.operations.push(Operation::AddRoute {
                    to: RouteTarget::OwnSubnets,
                    via,
                    options,
                });
            } else {
                let thing = |route: OwnSubnet| {
                    format!("added: {} (there is none to the slot's other subnet)", route.line)
                };
                self.things.extend(group.into_iter().map(thing));
            }
        }
    }

    fn finish(mut self) -> Result<Vec<Operation>, Uncapturable> {
        self.join_own_subnets();
        if self.things.is_empty() {
            let sysctls = self.sysctls.into_values();
            let sysctls = sysctls.map(|(key, value)| Operation::SetSysctl { key, value });
            Ok(sysctls.chain(self.operations).collect())
        } else {
            Err(Uncapturable { slot: self.slot.id, things: self.things })
        }
    }
}

/// Why no operation can describe an object.
struct Refusal(String);

impl<T: Into<String>> From<T> for Refusal {
    fn from(why: T) -> Self {
        Self(why.into())
    }
}
