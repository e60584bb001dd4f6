//! Keys `ipam.ranges`, `ipam.subnet` and its fellows, and `runtimeConfig.ipRanges`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Purpose;
use crate::{
    cni::{
        CniVersion,
        json::{KeyError, Node, Object},
    },
    ipam::{Block, Range, RangeSet},
};

const RANGE: &str = "a range such as {\"subnet\": \"10.1.0.0/16\"}";
const RANGES: &str = "a list of ranges such as [{\"subnet\": \"10.1.0.0/16\"}]";
/// The expected form of a list of range sets, for errors.
pub(super) const SETS: &str = "a list of lists of ranges such as [[{\"subnet\": \"10.1.0.0/16\"}]]";
const SUBNET: &str = "a prefix such as \"10.1.0.0/16\" or \"fd00:1::/64\"";
const ADDRESS: &str = "an address such as \"10.1.0.5\"";

/// The range sets that were read, which share no address.
#[derive(Debug)]
pub(super) struct RangeSets {
    version: CniVersion,
    /// Whether the configuration is on record: a subnet may then have unusable addresses.
    recorded: bool,
    sets: Vec<RangeSet>,
}

impl RangeSets {
    pub(super) fn new(version: CniVersion, purpose: Purpose) -> Self {
        Self { version, recorded: purpose == Purpose::Recorded, sets: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    pub(super) fn into_sets(self) -> Vec<RangeSet> {
        self.sets
    }

    /// Reads a list of sets, each of them a list of ranges.
    pub(super) fn read_list(&mut self, node: &Node<'_>) -> Result<(), KeyError> {
        node.items(SETS)?.try_for_each(|set| {
            let read = |item: Node<'_>| self.range(&item.object(RANGE)?);
            let ranges = set.items(RANGES)?.map(read).collect::<Result<_, _>>()?;
            self.add(&set, ranges)
        })
    }

    /// Reads a single range, whose keys stand in `ipam` itself.
    ///
    /// Without `subnet` there is no range, as for host-local.
    pub(super) fn read_shorthand(&mut self, ipam: &Object<'_>) -> Result<(), KeyError> {
        for key in ["rangeStart", "rangeEnd", "gateway"] {
            address(ipam, key)?;
        }
        match ipam.text("subnet") {
            Some(node) => {
                let range = self.range(ipam)?;
                self.add(&node, vec![range])
            }
            None => Ok(()),
        }
    }

    fn range(&self, range: &Object<'_>) -> Result<Range, KeyError> {
        let subnet: IpNet = range.require("subnet", SUBNET)?.parse(SUBNET)?;
        let start = address(range, "rangeStart")?;
        let end = address(range, "rangeEnd")?;
        let gateway = address(range, "gateway")?;
        let block = Block::of(subnet).filter(|_| !self.recorded);
        if let Some(block) = block {
            let why = format!("no container can have an address of {block}");
            return Err(range.bad_value("subnet", why));
        }
        Range::new(subnet, start, end, gateway)
            .map_err(|error| range.bad_value(error.key(), &error))
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

/// Whether the runtime gives ranges: key `runtimeConfig.ipRanges`. An empty list is none.
pub(super) fn are_given(runtime: Option<&Object<'_>>) -> bool {
    let given = runtime.and_then(|runtime| runtime.get("ipRanges"));
    given.is_some_and(|node| node.items(SETS).is_ok_and(|sets| sets.len() > 0))
}

fn address(object: &Object<'_>, key: &str) -> Result<Option<IpAddr>, KeyError> {
    object.text(key).map(|node| node.parse(ADDRESS)).transpose()
}
