//! Random policy objects, as the reader may return them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use repoint_policy::{
    Object, ObjectId,
    object::{
        Action, AllowRule, ClusterPolicy, ClusterRule, Kind, NetworkPolicy, Peer, Pods, Port,
        Ports, Protocol, Spec, Tier,
    },
    selector::{Requirement, Selector},
};

use super::{
    draw::Draw,
    world::{self, MAX_FUNCTIONS, TENANTS, namespace_key, outside_address, pod_key, prefixed},
};

/// Numbers of ports, in objects, functions and flows.
pub const PORTS: [u16; 6] = [1, 80, 81, 443, 8080, 65535];
/// Names of ports.
pub const PORT_NAMES: [&str; 3] = ["http", "dns", "web-1"];
/// Protocols with ports.
pub const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
/// Values of labels.
pub const LABEL_VALUES: [&str; 4] = ["a", "b", "c", ""];
/// Values that YAML takes for another type where they are not quoted.
const ODD_VALUES: [&str; 6] = ["true", "null", "1", "0x1F", "1e3", "No"];
/// Priorities: few, so that objects often have the same.
const PRIORITIES: [u16; 4] = [0, 7, 7, 1000];
/// Names of rules.
const RULE_NAMES: [&str; 6] = ["", "", "web", "true", "\"quoted\": {#", "r\u{e9}gle \u{1f6aa}"];

/// Random objects, each with a name of its own.
pub fn draw_all(draw: &mut Draw) -> Vec<Object> {
    let [most, most_of_cluster] = [*draw.one(&[2, 8, 24]), *draw.one(&[1, 5, 10])];
    let mut objects = draw.many(0, most, network_object);
    objects.extend(draw.many(0, most_of_cluster, cluster_object));
    for (number, object) in (0..).zip(&mut objects) {
        let name = char::from(b'a' + u8::try_from(draw.below(26)).unwrap());
        object.id.name = format!("{name}{number}");
    }
    objects
}

/// A random `NetworkPolicy`.
pub fn network_object(draw: &mut Draw) -> Object {
    let id = ObjectId {
        kind: Kind::NetworkPolicy,
        namespace: Some(draw.text(&TENANTS)),
        name: draw.text(&["a.b", "true", "1"]),
    };
    Object { id, audit: draw.chance(25), spec: Spec::Network(network_policy(draw)) }
}

/// A random `ClusterNetworkPolicy`.
pub fn cluster_object(draw: &mut Draw) -> Object {
    let id = ObjectId {
        kind: Kind::ClusterNetworkPolicy,
        namespace: None,
        name: draw.text(&["a.b", "null", "1"]),
    };
    Object { id, audit: draw.chance(25), spec: Spec::Cluster(cluster_policy(draw)) }
}

/// The content of a random `NetworkPolicy`, about one direction at least.
pub fn network_policy(draw: &mut Draw) -> NetworkPolicy {
    let (ingress, egress) = *draw.one(&[(true, false), (false, true), (true, true)]);
    let pods = selector(draw, pod_key);
    let mut rules = |is_about: bool| is_about.then(|| draw.many(0, 3, allow_rule));
    NetworkPolicy { pods, ingress: rules(ingress), egress: rules(egress) }
}

fn allow_rule(draw: &mut Draw) -> AllowRule {
    AllowRule {
        peers: draw.chance(85).then(|| draw.many(1, 3, network_peer)),
        ports: draw.chance(65).then(|| draw.many(1, 3, |draw| ports(draw, true))),
    }
}

fn network_peer(draw: &mut Draw) -> Peer {
    if draw.chance(40) {
        return block(draw);
    }
    let namespaces = draw.chance(60).then(|| selector(draw, namespace_key));
    Peer::Pods(Pods { namespaces, pods: selector(draw, pod_key) })
}

fn cluster_policy(draw: &mut Draw) -> ClusterPolicy {
    ClusterPolicy {
        tier: *draw.one(&[Tier::Admin, Tier::Baseline]),
        priority: *draw.one(&PRIORITIES),
        subject: cluster_pods(draw),
        ingress: draw.many(0, 2, |draw| cluster_rule(draw, false)),
        egress: draw.many(0, 2, |draw| cluster_rule(draw, true)),
    }
}

fn cluster_rule(draw: &mut Draw, is_egress: bool) -> ClusterRule {
    ClusterRule {
        name: draw.text(&RULE_NAMES),
        action: *draw.one(&[Action::Accept, Action::Deny, Action::Pass]),
        peers: draw.many(1, 3, |draw| match draw.below(2) {
            0 if is_egress => Peer::Network(prefix(draw)),
            _ => Peer::Pods(cluster_pods(draw)),
        }),
        ports: draw.chance(60).then(|| draw.many(1, 3, |draw| ports(draw, false))),
    }
}

/// A choice of functions whose namespaces are chosen, as these objects always have it.
fn cluster_pods(draw: &mut Draw) -> Pods {
    Pods { namespaces: Some(selector(draw, namespace_key)), pods: selector(draw, pod_key) }
}

/// A random selector; the empty one in most draws.
fn selector(
    draw: &mut Draw,
    key: fn(&mut Draw) -> (&'static str, &'static [&'static str]),
) -> Selector {
    let most = *draw.one(&[0, 0, 0, 1, 1, 2]);
    Selector::new(draw.many(0, most, |draw| requirement(draw, key)))
}

fn requirement(
    draw: &mut Draw,
    key: fn(&mut Draw) -> (&'static str, &'static [&'static str]),
) -> Requirement {
    let (key, of) = key(draw);
    let key = key.to_owned();
    match draw.below(6) {
        0..3 => Requirement::In(key, draw.many(1, 3, |draw| value(draw, of))),
        3 => Requirement::NotIn(key, draw.many(1, 3, |draw| value(draw, of))),
        4 => Requirement::Exists(key),
        _ => Requirement::DoesNotExist(key),
    }
}

/// The value of a label, sometimes one that YAML takes for another type.
pub fn value(draw: &mut Draw, of: &[&str]) -> String {
    if draw.chance(3) { draw.text(&ODD_VALUES) } else { draw.text(of) }
}

fn ports(draw: &mut Draw, has_names: bool) -> Ports {
    let protocol = world::protocol(draw);
    let port = match draw.below(4) {
        0 => Port::Any,
        1 if has_names => Port::Named(draw.text(&PORT_NAMES)),
        2 => {
            let (one, other) = (*draw.one(&PORTS), *draw.one(&PORTS));
            Port::Range(one.min(other), one.max(other))
        }
        _ => {
            let port = *draw.one(&PORTS);
            Port::Range(port, port)
        }
    };
    Ports { protocol, port }
}

/// A prefix of a family that has an address which flows may have, functions' included.
fn prefix(draw: &mut Draw) -> IpNet {
    let is_v6 = draw.chance(40);
    let address = if draw.chance(50) {
        let last = 1 + draw.below(MAX_FUNCTIONS);
        prefixed(draw, is_v6, u8::try_from(last).unwrap())
    } else {
        outside_address(draw, is_v6)
    };
    let length = if is_v6 { *draw.one(&[0, 32, 48, 64, 128]) } else { *draw.one(&LENGTHS_V4) };
    IpNet::new(address, length).unwrap().trunc()
}

/// Lengths of IPv4 prefixes.
const LENGTHS_V4: [u8; 7] = [0, 8, 16, 23, 24, 25, 32];

fn block(draw: &mut Draw) -> Peer {
    let cidr = prefix(draw);
    let is_one_address = cidr.prefix_len() == cidr.max_prefix_len();
    let most = if is_one_address || draw.chance(50) { 0 } else { 3 };
    Peer::Block { cidr, except: draw.many(0, most, |draw| part_of(draw, &cidr)) }
}

/// A part of a prefix that has more than one address.
fn part_of(draw: &mut Draw, cidr: &IpNet) -> IpNet {
    for _ in 0..8 {
        let part = prefix(draw);
        if cidr.contains(&part) && cidr.prefix_len() < part.prefix_len() {
            return part;
        }
    }
    match cidr {
        IpNet::V4(cidr) => Ipv4Net::new(cidr.network(), cidr.prefix_len() + 1).unwrap().into(),
        IpNet::V6(cidr) => Ipv6Net::new(cidr.network(), cidr.prefix_len() + 1).unwrap().into(),
    }
}

/// Addresses at both ends of the prefixes of an object, and beside them.
pub fn edges(object: &Object) -> Vec<IpAddr> {
    let peers: Vec<&Peer> = match &object.spec {
        Spec::Network(policy) => {
            let rules = policy.ingress.iter().chain(&policy.egress).flatten();
            rules.filter_map(|rule| rule.peers.as_ref()).flatten().collect()
        }
        Spec::Cluster(policy) => policy.egress.iter().flat_map(|rule| &rule.peers).collect(),
    };
    let prefixes = peers.into_iter().flat_map(|peer| match peer {
        Peer::Pods(_) => Vec::new(),
        Peer::Network(cidr) => vec![cidr],
        Peer::Block { cidr, except } => std::iter::once(cidr).chain(except).collect(),
    });
    prefixes.flat_map(edges_of).collect()
}

fn edges_of(prefix: &IpNet) -> [IpAddr; 4] {
    let [first, last] = [prefix.network(), prefix.broadcast()];
    let before = |address: IpAddr| match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits().wrapping_sub(1)).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits().wrapping_sub(1)).into(),
    };
    let behind = |address: IpAddr| match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits().wrapping_add(1)).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits().wrapping_add(1)).into(),
    };
    [before(first), first, last, behind(last)]
}
