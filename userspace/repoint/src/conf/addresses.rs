//! Key `ipam`.

use std::path::PathBuf;

use super::{
    Purpose, object, path,
    ranges::{RangeSets, SETS},
};
use crate::{
    cni::{
        CniVersion, PluginName, Route,
        json::{KeyError, Node, Object},
        route::{ROUTE, ROUTES},
    },
    ipam::{Block, RangeSet},
};

/// The value of `ipam.type` that means this plugin's own address management.
const OWN: &str = "repoint";
const IPAM: &str = "address management such as {\"ranges\": [[{\"subnet\": \"10.1.0.0/16\"}]]}";
const TYPE: &str = "\"repoint\" or the name of an executable such as \"host-local\"";
const RESOLV_CONF: &str = "an absolute path such as \"/etc/resolv.conf\"";

/// The address management of a network.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum IpamConf {
    /// This plugin: `ipam.type` is `repoint` or absent.
    Own(OwnIpam),
    /// Another plugin, which reads the other keys of `ipam`.
    Delegated(PluginName),
}

/// The keys of this plugin's own address management, which are those of the `host-local` plugin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct OwnIpam {
    /// The range sets; a container gets one address of each.
    ///
    /// They are `runtimeConfig.ipRanges`, then the range that `ipam.subnet` describes, then
    /// `ipam.ranges`. The sets share no address.
    pub range_sets: Vec<RangeSet>,
    /// Routes in the container: `ipam.routes`.
    pub routes: Vec<Route>,
    /// A file with DNS settings: `ipam.resolvConf`.
    pub resolv_conf: Option<PathBuf>,
}

impl IpamConf {
    pub(super) fn read(
        conf: &Object<'_>,
        runtime: Option<&Object<'_>>,
        (version, purpose): (CniVersion, Purpose),
    ) -> Result<Self, KeyError> {
        let node = conf.require("ipam", IPAM)?;
        let ipam = node.object(IPAM)?;
        match delegated(&ipam)? {
            Some(plugin) => Ok(Self::Delegated(plugin)),
            None => Ok(Self::Own(OwnIpam {
                range_sets: range_sets(conf, &ipam, runtime, RangeSets::new(version, purpose))?,
                routes: own_routes(&ipam)?,
                resolv_conf: path(&ipam, "resolvConf", RESOLV_CONF)?,
            })),
        }
    }

    /// Whether it is known to give IPv6 addresses.
    #[must_use]
    pub fn gives_ipv6(&self) -> bool {
        match self {
            Self::Own(own) => own.range_sets.iter().any(|set| !set.is_ipv4()),
            Self::Delegated(_) => false,
        }
    }
}

/// The plugin that `ipam.type` names; none where it is this one.
pub(super) fn delegated(ipam: &Object<'_>) -> Result<Option<PluginName>, KeyError> {
    match ipam.text("type") {
        Some(node) if node.string(TYPE)? != OWN => node.parse(TYPE).map(Some),
        _ => Ok(None),
    }
}

fn range_sets(
    conf: &Object<'_>,
    ipam: &Object<'_>,
    runtime: Option<&Object<'_>>,
    mut sets: RangeSets,
) -> Result<Vec<RangeSet>, KeyError> {
    // STATUS comes without runtimeConfig, which may hold all the ranges there are.
    let come_later = ranges_come_later(conf)?;
    if let Some(node) = runtime.and_then(|runtime| runtime.get("ipRanges")) {
        sets.read_list(&node)?;
    }
    sets.read_shorthand(ipam)?;
    if let Some(node) = ipam.get("ranges") {
        sets.read_list(&node)?;
    }
    if sets.is_empty() && !come_later {
        return Err(ipam.missing("ranges", SETS));
    }
    Ok(sets.into_sets())
}

/// Whether the capability `ipRanges` is declared.
fn ranges_come_later(conf: &Object<'_>) -> Result<bool, KeyError> {
    let capabilities = object(conf, "capabilities")?;
    let declared = capabilities.as_ref().and_then(|capabilities| capabilities.get("ipRanges"));
    declared.map_or(Ok(false), |node| node.boolean())
}

/// The routes, without those that the kernel would refuse. Another plugin's result may hold them.
fn own_routes(ipam: &Object<'_>) -> Result<Vec<Route>, KeyError> {
    let Some(node) = ipam.get("routes") else {
        return Ok(Vec::new());
    };
    let own_route = |item: Node<'_>| {
        let object = item.object(ROUTE)?;
        let route = Route::read(&object)?;
        check_route(&object, &route).map(|()| route)
    };
    node.items(ROUTES)?.map(own_route).collect()
}

fn check_route(route: &Object<'_>, read: &Route) -> Result<(), KeyError> {
    let Route { dst, gw, .. } = read;
    if dst.addr() != dst.network() {
        let why = format!("it has host bits set, the network is {}", dst.trunc());
        return Err(route.bad_value("dst", why));
    }
    if gw.is_some_and(|gw| gw.is_ipv4() != dst.addr().is_ipv4()) {
        return Err(route.bad_value("gw", format!("it is not of the family of dst, {dst}")));
    }
    match gw.and_then(Block::of_router) {
        Some(block) => Err(route.bad_value("gw", format!("no router has an address of {block}"))),
        None => Ok(()),
    }
}
