//! Routes of results and of address management.

use std::net::IpAddr;

use ipnet::IpNet;

use super::json::{KeyError, Object};

/// The expected form of `dst`, for errors.
const DESTINATION: &str = "a prefix such as \"0.0.0.0/0\" or \"fd00::/8\"";
/// The expected form of `gw`, for errors.
const GATEWAY: &str = "an address such as \"10.1.0.1\"";

/// The expected form of `routes`, for errors.
pub(crate) const ROUTES: &str = "a list of routes such as [{\"dst\": \"0.0.0.0/0\"}]";
/// The expected form of an element of `routes`, for errors.
pub(crate) const ROUTE: &str = "a route such as {\"dst\": \"0.0.0.0/0\"}";

/// A route in the container (CNI spec, section 5, `routes`).
///
/// The keys after `gw` are of version 1.1.0; a 0 means "not given", but for `scope`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// The destination prefix.
    pub dst: IpNet,
    /// The next hop; the network's gateway where it is not given.
    pub gw: Option<IpAddr>,
    /// Largest packet on the route, bytes.
    pub mtu: Option<u32>,
    /// TCP's maximal segment size to announce, bytes.
    pub advmss: Option<u32>,
    /// Metric: lower is preferred.
    pub priority: Option<u32>,
    /// The kernel's number of the routing table; the main one where it is not given.
    pub table: Option<u32>,
    /// The kernel's `RT_SCOPE_*`; what follows from the gateway where it is not given.
    pub scope: Option<u8>,
}

impl Route {
    /// A route with nothing but destination and gateway.
    #[must_use]
    pub fn new(dst: IpNet, gw: Option<IpAddr>) -> Self {
        Self { dst, gw, mtu: None, advmss: None, priority: None, table: None, scope: None }
    }

    /// Reads an element of `routes`.
    pub fn read(route: &Object<'_>) -> Result<Self, KeyError> {
        let number = |key: &str| {
            let number = route.get(key).map(|node| node.integer(0..=u32::MAX)).transpose();
            number.map(|number| number.filter(|number| *number != 0))
        };
        Ok(Self {
            dst: route.require("dst", DESTINATION)?.parse(DESTINATION)?,
            gw: route.text("gw").map(|node| node.parse(GATEWAY)).transpose()?,
            mtu: number("mtu")?,
            advmss: number("advmss")?,
            priority: number("priority")?,
            table: number("table")?,
            scope: route.get("scope").map(|node| node.integer(0..=u8::MAX)).transpose()?,
        })
    }
}
