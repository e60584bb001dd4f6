//! Key `ipam`.

use std::path::PathBuf;

use super::{
    object, path,
    ranges::{RangeSets, SETS},
};
use crate::{
    cni::{
        CniVersion, PluginName, Route,
        json::{KeyError, Node, Object},
        route::{ROUTE, ROUTES},
    },
    ipam::RangeSet,
};

/// The value of `ipam.type` that means this plugin's own address management.
const OWN: &str = "repoint";
const IPAM: &str = "address management such as {\"ranges\": [[{\"subnet\": \"10.1.0.0/16\"}]]}";
const TYPE: &str = "\"repoint\" or the name of an executable such as \"host-local\"";
const RESOLV_CONF: &str = "an absolute path such as \"/etc/resolv.conf\"";

/// Who gives addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IpamConf {
    /// This plugin: `ipam.type` is `repoint` or absent.
    Own(OwnIpam),
    /// Another plugin, which knows the other keys of `ipam`.
    Delegated(PluginName),
}

/// The keys of this plugin's own address management, which are those of the `host-local` plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnIpam {
    /// A container gets one address of each: `runtimeConfig.ipRanges`, then the range that
    /// `ipam.subnet` describes, then `ipam.ranges`. They share no address.
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
        version: CniVersion,
    ) -> Result<Self, KeyError> {
        let node = conf.require("ipam", IPAM)?;
        let ipam = node.object(IPAM)?;
        match ipam.get("type") {
            Some(node) if node.string(TYPE)? != OWN => node.parse(TYPE).map(Self::Delegated),
            _ => Ok(Self::Own(OwnIpam {
                range_sets: range_sets(conf, &ipam, runtime, version)?,
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

fn range_sets(
    conf: &Object<'_>,
    ipam: &Object<'_>,
    runtime: Option<&Object<'_>>,
    version: CniVersion,
) -> Result<Vec<RangeSet>, KeyError> {
    let mut sets = RangeSets::new(version);
    if let Some(node) = runtime.and_then(|runtime| runtime.get("ipRanges")) {
        sets.read_list(&node)?;
    }
    sets.read_shorthand(ipam)?;
    // GC and STATUS come without runtimeConfig, which may hold all the ranges there are.
    let may_be_absent = ranges_come_later(conf)? || !sets.is_empty();
    match ipam.get("ranges") {
        Some(node) => sets.read_list(&node)?,
        None if may_be_absent => {}
        None => return Err(ipam.missing("ranges", SETS)),
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
    Ok(())
}
