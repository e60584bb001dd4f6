//! Keys `ipam.ranges`, `ipam.subnet` and its fellows, and `runtimeConfig.ipRanges`.

use std::net::IpAddr;

use crate::{
    cni::{
        CniVersion,
        json::{KeyError, Node, Object},
    },
    ipam::{Range, RangeSet},
};

const RANGE: &str = "a range such as {\"subnet\": \"10.1.0.0/16\"}";
const RANGES: &str = "a list of ranges such as [{\"subnet\": \"10.1.0.0/16\"}]";
/// What is right for a list of range sets.
pub(super) const SETS: &str = "a list of lists of ranges such as [[{\"subnet\": \"10.1.0.0/16\"}]]";
const SUBNET: &str = "a prefix such as \"10.1.0.0/16\" or \"fd00:1::/64\"";
const ADDRESS: &str = "an address such as \"10.1.0.5\"";

/// The range sets that were read, which share no address.
#[derive(Debug)]
pub(super) struct RangeSets {
    version: CniVersion,
    sets: Vec<RangeSet>,
}

impl RangeSets {
    pub(super) fn new(version: CniVersion) -> Self {
        Self { version, sets: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    pub(super) fn into_sets(self) -> Vec<RangeSet> {
        self.sets
    }

    /// A list of sets, which are lists of ranges.
    pub(super) fn read_list(&mut self, node: &Node<'_>) -> Result<(), KeyError> {
        let mut sets = node.items(SETS)?;
        if sets.len() == 0 && self.is_empty() {
            return Err(node.bad_value(format!("it must be {SETS}")));
        }
        sets.try_for_each(|set| {
            let read = |item: Node<'_>| range(&item.object(RANGE)?);
            let ranges = set.items(RANGES)?.map(read).collect::<Result<_, _>>()?;
            self.add(&set, ranges)
        })
    }

    /// A single range, whose keys stand in `ipam` itself. Without `subnet` there is none, whatever
    /// stands beside it, as for host-local.
    pub(super) fn read_shorthand(&mut self, ipam: &Object<'_>) -> Result<(), KeyError> {
        for key in ["rangeStart", "rangeEnd", "gateway"] {
            address(ipam, key)?;
        }
        match ipam.get("subnet") {
            Some(node) => self.add(&node, vec![range(ipam)?]),
            None => Ok(()),
        }
    }

    fn add(&mut self, node: &Node<'_>, ranges: Vec<Range>) -> Result<(), KeyError> {
        let set = RangeSet::new(ranges).map_err(|error| node.bad_value(error))?;
        for other in &self.sets {
            other.check_apart(&set).map_err(|error| node.bad_value(error))?;
        }
        let second = || self.sets.iter().any(|other| other.is_ipv4() == set.is_ipv4());
        if !self.version.lists_interfaces() && second() {
            let why = "results of CNI version {} hold one address of each family";
            return Err(node.bad_value(why.replace("{}", self.version.as_str())));
        }
        self.sets.push(set);
        Ok(())
    }
}

fn range(range: &Object<'_>) -> Result<Range, KeyError> {
    let subnet = range.require("subnet", SUBNET)?.parse(SUBNET)?;
    let start = address(range, "rangeStart")?;
    let end = address(range, "rangeEnd")?;
    let gateway = address(range, "gateway")?;
    Range::new(subnet, start, end, gateway).map_err(|error| range.bad_value(error.key(), &error))
}

fn address(object: &Object<'_>, key: &str) -> Result<Option<IpAddr>, KeyError> {
    object.get(key).map(|node| node.parse(ADDRESS)).transpose()
}
