//! Routes that were added.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::Parseable as _;
use netlink_packet_route::{
    AddressFamily,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric,
        RoutePreference, RouteProtocol, RouteScope, RouteType,
    },
};

use super::{Capture, OwnSubnet, Refusal, RouteKey};
use crate::{
    netlink::{Route, RouteOptions},
    template::{Operation, RouteTarget, RouteVia, gateway},
};

/// Metric of IPv6 routes that are added without one (`IP6_RT_PRIO_USER`).
const USUAL_PRIORITY_V6: u32 = 1024;
/// The table of the node's own addresses (`RT_TABLE_LOCAL`).
const LOCAL_TABLE: u8 = 255;

impl Capture<'_> {
    pub(super) fn route(&mut self, payload: &[u8], line: &str) -> Result<(), Refusal> {
        let message = RouteMessage::parse(payload).map_err(|error| error.to_string())?;
        if self.follows_from_forwarding(&message) {
            return Ok(());
        }
        let route = read(&message, self.ifindex)?;
        let via = self.way(&route)?;
        let destination = route.destination;
        if !self.routes.insert(RouteKey::of(&route)) {
            return Err("there is another one to this destination".into());
        }
        if self.subnets().contains(&destination) {
            let (options, line) = (route.options, line.to_owned());
            self.own_subnets.push(OwnSubnet { subnet: destination, via, options, line });
            return Ok(());
        }
        if self.slot.addresses.iter().any(|own| own.contains(&destination)) {
            return Err("its destination is in a subnet of this node".into());
        }
        let to = RouteTarget::Prefix(destination);
        self.operations.push(Operation::AddRoute { to, via, options: route.options });
        Ok(())
    }

    /// The route's next hop, if it is the same on every node.
    fn way(&self, route: &Route) -> Result<RouteVia, Refusal> {
        match route.gateway {
            None => Err("it has no gateway".into()),
            Some(hop) if hop == gateway(hop) => Ok(RouteVia::Gateway),
            Some(hop) if self.is_own(hop) => {
                Err(format!("router {hop} is in a subnet of this node").into())
            }
            Some(hop) => Ok(RouteVia::Router(hop)),
        }
    }

    /// Whether a route is to the subnet-router anycast address of an own subnet (RFC 4291, section
    /// 2.6.1). The kernel adds this route by itself when the sysctl makes the namespace a router
    /// (`dev_forward_change`), and would do so again.
    fn follows_from_forwarding(&self, message: &RouteMessage) -> bool {
        let RouteHeader { kind, protocol, table, .. } = &message.header;
        let is_routers = |attribute: &RouteAttribute| match attribute {
            RouteAttribute::Destination(RouteAddress::Inet6(to)) => {
                self.subnets().iter().any(|subnet| subnet.network() == IpAddr::V6(*to))
            }
            _ => false,
        };
        *kind == RouteType::Anycast
            && *protocol == RouteProtocol::Kernel
            && *table == LOCAL_TABLE
            && message.attributes.iter().any(is_routers)
    }
}

/// Reads a route of which everything can be said by an operation.
fn read(message: &RouteMessage, own: Option<u32>) -> Result<Route, Refusal> {
    let header = &message.header;
    check(header)?;
    let everything: IpAddr = match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        _ => Ipv6Addr::UNSPECIFIED.into(),
    };
    let (mut destination, mut gateway) = (everything, None);
    let mut options = RouteOptions { table: table(header.table.into()), ..scope(header) };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => destination = address(to)?,
            RouteAttribute::Gateway(via) => gateway = Some(address(via)?),
            RouteAttribute::Oif(ifindex) if Some(*ifindex) == own => {}
            RouteAttribute::Priority(USUAL_PRIORITY_V6) if everything.is_ipv6() => {}
            RouteAttribute::Priority(priority) => options.priority = Some(*priority),
            RouteAttribute::Table(number) => options.table = table(*number),
            RouteAttribute::Metrics(metrics) => read_metrics(metrics, &mut options)?,
            RouteAttribute::CacheInfo(cache) if cache.expires == 0 => {}
            RouteAttribute::Preference(RoutePreference::Medium) => {}
            other => return Err(format!("no operation can say {other:?}").into()),
        }
    }
    let destination = IpNet::new(destination, header.destination_prefix_length)
        .map_err(|error| error.to_string())?;
    Ok(Route { destination, gateway, options })
}

fn check(header: &RouteHeader) -> Result<(), Refusal> {
    /// What the kernel sets by itself, and what templates' routes have.
    const FLAGS: [RouteFlags; 8] = [
        RouteFlags::Onlink,
        RouteFlags::Dead,
        RouteFlags::Linkdown,
        RouteFlags::Offload,
        RouteFlags::Trap,
        RouteFlags::RtOffload,
        RouteFlags::RtTrap,
        RouteFlags::OffloadFailed,
    ];
    let known = FLAGS.into_iter().fold(RouteFlags::empty(), |all, flag| all | flag);
    if header.kind != RouteType::Unicast {
        return Err("it is not a unicast route".into());
    }
    if header.tos != 0 || header.source_prefix_length != 0 {
        return Err("it depends on more than the destination".into());
    }
    if header.protocol != RouteProtocol::Boot {
        return Err("its protocol is not boot, as that of templates' routes is".into());
    }
    if !header.flags.difference(known).is_empty() {
        return Err(format!("no operation can say {:?}", header.flags.difference(known)).into());
    }
    Ok(())
}

/// The scope, where it is not what follows from the gateway.
fn scope(header: &RouteHeader) -> RouteOptions {
    let scope = (header.scope != RouteScope::Universe).then(|| header.scope.into());
    RouteOptions { scope, ..RouteOptions::default() }
}

/// A table as templates name it: none is the main table.
fn table(number: u32) -> Option<u32> {
    (number != u32::from(RouteHeader::RT_TABLE_MAIN)).then_some(number)
}

fn read_metrics(metrics: &[RouteMetric], options: &mut RouteOptions) -> Result<(), Refusal> {
    for metric in metrics {
        match metric {
            RouteMetric::Mtu(mtu) => options.mtu = Some(*mtu),
            RouteMetric::Advmss(advmss) => options.advmss = Some(*advmss),
            other => return Err(format!("no operation can say {other:?}").into()),
        }
    }
    Ok(())
}

fn address(address: &RouteAddress) -> Result<IpAddr, Refusal> {
    match address {
        RouteAddress::Inet(ip) => Ok(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Ok(IpAddr::V6(*ip)),
        other => Err(format!("{other:?} is not an IP address").into()),
    }
}
