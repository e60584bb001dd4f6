//! Facts that policies are asked about: functions, the node, addresses outside, flows.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use repoint_policy::{
    Declared, Labels, NamedPort, Object, Party,
    object::Protocol,
    party::{FUNCTION, NAMESPACE, NETWORK},
    write::to_json,
};

use super::{
    draw::Draw,
    objects::{self, LABEL_VALUES, PORT_NAMES, PORTS, PROTOCOLS},
};

/// Namespaces. No function is in the last one.
pub const TENANTS: [&str; 3] = ["shop", "1", "empty"];
/// Networks of functions.
pub const NETWORKS: [&str; 2] = ["blue", "green"];
/// Most functions of a world.
pub const MAX_FUNCTIONS: usize = 6;
/// Last byte of the node's addresses.
const NODE: u8 = 200;
/// Keys of labels that functions may have.
const POD_KEYS: [&str; 2] = ["app", "tier"];
/// Keys of labels that namespaces may have.
const NAMESPACE_KEYS: [&str; 2] = ["team", "env"];

/// Objects, and the functions that they are about.
pub struct World {
    /// The policies.
    pub objects: Vec<Object>,
    /// The functions of the node.
    pub functions: Vec<Function>,
}

/// A function of the node.
#[derive(Debug)]
pub struct Function {
    /// Its tenant, labels and named ports.
    pub party: Party,
    /// Its IPv4 and its IPv6 address.
    pub addresses: [IpAddr; 2],
}

/// An end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The function of this number.
    Function(usize),
    /// The node, by one of its addresses.
    Node(IpAddr),
    /// An address that is neither a function's nor the node's.
    Outside(IpAddr),
}

/// A flow between two places, of which one is a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// The place that opens it.
    pub from: Place,
    /// The other end.
    pub to: Place,
    /// Whether it is IPv6.
    pub is_v6: bool,
    /// Protocol of IP.
    pub protocol: u8,
    /// Destination port, or type of ICMP.
    pub port: u16,
}

impl World {
    /// Random functions and objects.
    pub fn draw(draw: &mut Draw) -> Self {
        let namespaces: Vec<Labels> = TENANTS.iter().map(|_| namespace_labels(draw)).collect();
        let count = 2 + draw.below(MAX_FUNCTIONS - 1);
        let functions = (0..count).map(|number| Function::draw(draw, number, &namespaces));
        Self { functions: functions.collect(), objects: objects::draw_all(draw) }
    }

    /// A random flow.
    pub fn flow(&self, draw: &mut Draw) -> Flow {
        let is_v6 = draw.chance(40);
        let mut numbers: Vec<_> = (0..self.functions.len()).collect();
        let own = Place::Function(numbers.swap_remove(draw.below(numbers.len())));
        let other = match draw.below(100) {
            0..60 => Place::Function(*draw.one(&numbers)),
            60..70 => Place::Node(node_address(draw, is_v6)),
            _ => Place::Outside(self.outside_address(draw, is_v6)),
        };
        let (from, to) = if draw.chance(50) { (own, other) } else { (other, own) };
        let (protocol, port) = self.traffic(draw, to, is_v6);
        Flow { from, to, is_v6, protocol, port }
    }

    /// An address outside, mostly one at the end of a prefix that an object names.
    fn outside_address(&self, draw: &mut Draw, is_v6: bool) -> IpAddr {
        let edges = self.objects.iter().flat_map(objects::edges);
        let is_free = |address: &IpAddr| address.is_ipv6() == is_v6 && !is_inside(*address);
        let edges: Vec<_> = edges.filter(is_free).collect();
        if edges.is_empty() || draw.chance(30) {
            return outside_address(draw, is_v6);
        }
        *draw.one(&edges)
    }

    /// A protocol with a port or type, often one that the receiver declares by a name.
    fn traffic(&self, draw: &mut Draw, to: Place, is_v6: bool) -> (u8, u16) {
        let Place::Function(number) = to else { return traffic(draw, is_v6) };
        let ports = &self.functions[number].party.ports;
        if ports.is_empty() || draw.chance(50) {
            return traffic(draw, is_v6);
        }
        let port = draw.one(ports);
        (port.protocol.number(), port.number)
    }

    /// Whether a place is a function of a tenant.
    pub fn has_tenant(&self, place: Place) -> bool {
        match place {
            Place::Function(number) => self.functions[number].party.tenant.is_some(),
            Place::Node(_) | Place::Outside(_) => false,
        }
    }

    /// The address of a place, of the family of a flow.
    pub fn address(&self, place: Place, is_v6: bool) -> IpAddr {
        match place {
            Place::Function(number) => self.functions[number].addresses[usize::from(is_v6)],
            Place::Node(address) | Place::Outside(address) => address,
        }
    }
}

impl Function {
    fn draw(draw: &mut Draw, number: usize, namespaces: &[Labels]) -> Self {
        let tenant = draw.below(TENANTS.len() - 1);
        let declared = Declared {
            labels: pod_labels(draw),
            ports: draw.many(0, 3, |draw| NamedPort {
                name: draw.text(&PORT_NAMES),
                protocol: protocol(draw),
                number: *draw.one(&PORTS),
            }),
        };
        let party = Party::new(
            &draw.text(&NETWORKS),
            draw.chance(85).then_some(TENANTS[tenant]),
            draw.chance(90).then_some(format!("f{number}").as_str()),
            declared,
            // Without a tenant, they must not count.
            namespaces[tenant].clone(),
        );
        let last = u8::try_from(number + 1).unwrap();
        let [v4, v6] = [prefixed(draw, false, last), prefixed(draw, true, last)];
        Self { party, addresses: [v4, v6] }
    }
}

/// A choice among the protocols with ports, TCP more often than others.
pub fn protocol(draw: &mut Draw) -> Protocol {
    if draw.chance(40) { Protocol::Tcp } else { *draw.one(&PROTOCOLS) }
}

/// Random labels with some of these keys.
fn labels(draw: &mut Draw, keys: &[&str]) -> Labels {
    let mut labels = Labels::new();
    for key in keys {
        if draw.chance(75) {
            labels.insert((*key).to_owned(), objects::value(draw, &LABEL_VALUES));
        }
    }
    labels
}

/// Random labels of a function.
pub fn pod_labels(draw: &mut Draw) -> Labels {
    labels(draw, &POD_KEYS)
}

/// Random labels of a namespace.
pub fn namespace_labels(draw: &mut Draw) -> Labels {
    labels(draw, &NAMESPACE_KEYS)
}

/// The key of a label that functions may have, with values that it may have.
pub fn pod_key(draw: &mut Draw) -> (&'static str, &'static [&'static str]) {
    match draw.below(10) {
        0 => (FUNCTION, &["f0", "f1", "f2"]),
        1 => (NETWORK, &NETWORKS),
        place => (POD_KEYS[place % 2], &LABEL_VALUES),
    }
}

/// The key of a label that namespaces may have, with values that it may have.
pub fn namespace_key(draw: &mut Draw) -> (&'static str, &'static [&'static str]) {
    match draw.below(5) {
        0 => (NAMESPACE, &TENANTS),
        place => (NAMESPACE_KEYS[place % 2], &LABEL_VALUES),
    }
}

/// An address that a function may have, by its last byte, in one of few networks.
pub fn prefixed(draw: &mut Draw, is_v6: bool, last: u8) -> IpAddr {
    let (first, second) = (1 + draw.below(2), draw.below(3));
    let [first, second] = [first, second].map(|number| u8::try_from(number).unwrap());
    if is_v6 {
        let [first, second, last] = [first, second, last].map(u16::from);
        return Ipv6Addr::new(0x2001, 0xdb8, first, second, 0, 0, 0, last).into();
    }
    Ipv4Addr::new(10, first, second, last).into()
}

fn node_address(draw: &mut Draw, is_v6: bool) -> IpAddr {
    prefixed(draw, is_v6, NODE)
}

/// Whether an address may be a function's or the node's.
fn is_inside(address: IpAddr) -> bool {
    let is_taken = |last: u8| last == NODE || (1..=MAX_FUNCTIONS).contains(&last.into());
    match address {
        IpAddr::V4(address) => is_taken(address.octets()[3]),
        IpAddr::V6(address) => is_taken(address.octets()[15]),
    }
}

/// An address that no function has: near one, at the end of a range, or far away.
pub fn outside_address(draw: &mut Draw, is_v6: bool) -> IpAddr {
    let far: [[IpAddr; 3]; 2] = [
        [
            Ipv4Addr::new(8, 8, 8, 8).into(),
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv4Addr::BROADCAST.into(),
        ],
        [
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9).into(),
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv6Addr::from_bits(u128::MAX).into(),
        ],
    ];
    if draw.chance(25) {
        return *draw.one(&far[usize::from(is_v6)]);
    }
    let last = *draw.one(&[0, 100, 127, 128, 255]);
    prefixed(draw, is_v6, last)
}

/// A protocol with a port or type.
fn traffic(draw: &mut Draw, is_v6: bool) -> (u8, u16) {
    match draw.below(100) {
        0..80 => (protocol(draw).number(), *draw.one(&PORTS)),
        80..95 if is_v6 => (58, *draw.one(&[128, 129, 135])),
        80..95 => (1, *draw.one(&[0, 3, 8])),
        _ => (47, 0),
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, function) in self.functions.iter().enumerate() {
            writeln!(f, "function {number}: {function:?}")?;
        }
        self.objects.iter().try_for_each(|object| writeln!(f, "{}", to_json(object)))
    }
}
