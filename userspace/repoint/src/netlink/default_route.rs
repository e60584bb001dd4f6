//! Reading default routes, nexthop objects and links as far as the uplink needs them.

use super::attributes;

/// `RTA_OIF`, `RTA_PRIORITY`, `RTA_METRICS`, `RTA_MULTIPATH`, `RTA_TABLE` and `RTA_NH_ID`
const OUTPUT: u16 = 4;
const PRIORITY: u16 = 6;
const METRICS: u16 = 8;
const MULTIPATH: u16 = 9;
const TABLE: u16 = 15;
const NEXTHOP: u16 = 30;
/// `RTAX_MTU`
const METRIC_MTU: u16 = 2;
/// `NHA_GROUP` and `NHA_OIF`
const GROUP: u16 = 2;
const GROUP_OUTPUT: u16 = 5;
/// `IFLA_IFNAME` and `IFLA_MTU`
const LINK_NAME: u16 = 3;
const LINK_MTU: u16 = 4;
/// `IFF_LOOPBACK`
const LOOPBACK: u32 = 0x8;
/// `RTN_UNICAST`
const UNICAST: u8 = 1;
/// `RTNH_F_DEAD`
const DEAD: u8 = 1;
/// Lengths of `struct rtmsg`, `rtnexthop`, `nhmsg`, `nexthop_grp` and `ifinfomsg`.
const ROUTE_HEADER: usize = 12;
const PATH_HEADER: usize = 8;
const NEXTHOP_HEADER: usize = 8;
const GROUP_MEMBER: usize = 8;
const LINK_HEADER: usize = 16;

/// Where a packet may leave the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    /// By the interface of this index.
    Interface(u32),
    /// By the nexthop object of this number.
    Nexthop(u32),
}

/// A unicast route to everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DefaultRoute {
    pub table: u32,
    /// Metric: the lowest wins.
    pub priority: u32,
    /// Largest packet that the route itself allows, in bytes.
    pub mtu: Option<u32>,
    pub paths: Vec<Path>,
}

/// The route of a message of `RTM_NEWROUTE`, if it is a unicast route to everywhere, for all sources.
pub(super) fn default_route(payload: &[u8]) -> Option<DefaultRoute> {
    let header = payload.get(..ROUTE_HEADER)?;
    if header[1] != 0 || header[2] != 0 || header[7] != UNICAST {
        return None;
    }
    let mut route =
        DefaultRoute { table: u32::from(header[4]), priority: 0, mtu: None, paths: Vec::new() };
    let mut nexthop = None;
    for (kind, value) in attributes(payload.get(ROUTE_HEADER..)?) {
        match kind {
            OUTPUT => route.paths.extend(number(value).map(Path::Interface)),
            MULTIPATH => route.paths.extend(paths(value)),
            NEXTHOP => nexthop = number(value).map(Path::Nexthop),
            PRIORITY => route.priority = number(value)?,
            TABLE => route.table = number(value)?,
            METRICS => route.mtu = mtu(value),
            _ => {}
        }
    }
    if route.paths.is_empty() {
        route.paths.extend(nexthop);
    }
    Some(route)
}

/// The paths of a route that has several, without those whose interface is down.
fn paths(mut bytes: &[u8]) -> Vec<Path> {
    let mut found = Vec::new();
    while let Some(header) = bytes.get(..PATH_HEADER) {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        if header[2] & DEAD == 0 {
            found.extend(number(&header[4..]).map(Path::Interface));
        }
        let next = length.next_multiple_of(4).max(PATH_HEADER);
        bytes = bytes.get(next..).unwrap_or_default();
    }
    found
}

/// A route's own largest packet; none where it names none.
fn mtu(metrics: &[u8]) -> Option<u32> {
    let found = attributes(metrics).find(|(kind, _)| *kind == METRIC_MTU);
    found.and_then(|(_, value)| number(value)).filter(|mtu| *mtu > 0)
}

/// The paths of a nexthop object: its interface, or the members of its group.
pub(super) fn nexthop(payload: &[u8]) -> Vec<Path> {
    let rest = payload.get(NEXTHOP_HEADER..).unwrap_or_default();
    let mut found = Vec::new();
    for (kind, value) in attributes(rest) {
        match kind {
            GROUP_OUTPUT => found.extend(number(value).map(Path::Interface)),
            GROUP => {
                let members = value.chunks_exact(GROUP_MEMBER);
                found.extend(members.filter_map(number).map(Path::Nexthop));
            }
            _ => {}
        }
    }
    found
}

/// Index, name and MTU of a link, unless it is one from which no packet leaves the node: `lo`.
pub(super) fn way_out(payload: &[u8]) -> Option<(u32, String, u32)> {
    let header = payload.get(..LINK_HEADER)?;
    let (ifindex, flags) = (number(&header[4..])?, number(&header[8..])?);
    let (mut name, mut mtu) = (String::new(), None);
    for (kind, value) in attributes(payload.get(LINK_HEADER..)?) {
        match kind {
            LINK_NAME => {
                let plain = value.strip_suffix(&[0]).unwrap_or(value);
                name = String::from_utf8_lossy(plain).into_owned();
            }
            LINK_MTU => mtu = number(value),
            _ => {}
        }
    }
    (flags & LOOPBACK == 0).then_some((ifindex, name, mtu?))
}

/// The number that some bytes begin with.
pub(super) fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|octets| u32::from_ne_bytes(*octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::UntypedMessage;

    fn message(destination_length: u8, kind: u8) -> UntypedMessage {
        let mut header = [0; ROUTE_HEADER];
        (header[0], header[1], header[4], header[7]) = (2, destination_length, 254, kind);
        UntypedMessage::new(24, &header)
    }

    fn path(flags: u8, ifindex: u32) -> Vec<u8> {
        // With a gateway of IPv6 (`RTA_VIA`), 22 bytes, behind the header.
        let mut bytes = vec![30, 0, flags, 0];
        bytes.extend(ifindex.to_ne_bytes());
        bytes.extend([22, 0, 18, 0, 10, 0]);
        bytes.extend([0xfe; 16]);
        bytes.resize(32, 0);
        bytes
    }

    #[test]
    fn only_unicast_routes_to_everywhere_are_default_routes() {
        let via = |message: UntypedMessage| message.attribute(OUTPUT, &7_u32.to_ne_bytes()).payload;
        let found = default_route(&via(message(0, UNICAST))).unwrap();
        assert_eq!((found.table, found.paths), (254, vec![Path::Interface(7)]));
        for (length, kind) in [(1, UNICAST), (32, UNICAST), (0, 2), (0, 6), (0, 7)] {
            assert_eq!(
                default_route(&via(message(length, kind))),
                None,
                "/{length} of type {kind}"
            );
        }
        assert_eq!(default_route(&[]), None);
    }

    #[test]
    fn each_path_counts_but_those_that_are_down() {
        let several = [path(0, 3), path(DEAD, 4), path(0, 5)].concat();
        let metrics = UntypedMessage::new(0, &[]).attribute(METRIC_MTU, &1400_u32.to_ne_bytes());
        let route = message(0, UNICAST)
            .attribute(METRICS, &metrics.payload)
            .attribute(NEXTHOP, &9_u32.to_ne_bytes())
            .attribute(TABLE, &1000_u32.to_ne_bytes())
            .attribute(PRIORITY, &50_u32.to_ne_bytes())
            .attribute(MULTIPATH, &several);
        let paths = vec![Path::Interface(3), Path::Interface(5)];
        let wanted = DefaultRoute { table: 1000, priority: 50, mtu: Some(1400), paths };
        assert_eq!(default_route(&route.payload), Some(wanted));
        assert_eq!(super::paths(&[0; 6]), []);
        assert_eq!(super::paths(&[0; 8]), [Path::Interface(0)]);
    }

    #[test]
    fn nexthop_objects_are_named_where_the_kernel_does_not_spell_them_out() {
        let route = message(0, UNICAST).attribute(NEXTHOP, &9_u32.to_ne_bytes());
        assert_eq!(default_route(&route.payload).unwrap().paths, [Path::Nexthop(9)]);
        let member = |id: u32| [id.to_ne_bytes(), [0; 4]].concat();
        let group = UntypedMessage::new(104, &[0; NEXTHOP_HEADER])
            .attribute(GROUP, &[member(1), member(2)].concat());
        assert_eq!(nexthop(&group.payload), [Path::Nexthop(1), Path::Nexthop(2)]);
        let one = UntypedMessage::new(104, &[0; NEXTHOP_HEADER])
            .attribute(GROUP_OUTPUT, &6_u32.to_ne_bytes());
        assert_eq!(nexthop(&one.payload), [Path::Interface(6)]);
    }
}
