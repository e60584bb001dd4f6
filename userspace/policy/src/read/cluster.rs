//! Field `spec` of a `ClusterNetworkPolicy`, as its `CustomResourceDefinition` checks it (standard
//! channel of kubernetes-sigs/network-policy-api).

use std::collections::BTreeSet;

use super::{
    Problem, ReadError, address,
    cursor::{Cursor, Object},
    problem::shown,
    selector,
};
use crate::{
    object::{Action, ClusterPolicy, ClusterRule, Peer, Pods, Port, Ports, Protocol, Tier},
    selector::Selector,
};

const SPEC: [&str; 5] = ["tier", "priority", "subject", "ingress", "egress"];
const INGRESS_RULE: [&str; 4] = ["name", "action", "from", "protocols"];
const EGRESS_RULE: [&str; 4] = ["name", "action", "to", "protocols"];
const PODS: [&str; 2] = ["namespaces", "pods"];
const EGRESS_PEER: [&str; 3] = ["namespaces", "pods", "networks"];
const NAMESPACED_PODS: [&str; 2] = ["namespaceSelector", "podSelector"];
const PROTOCOL: [&str; 3] = ["tcp", "udp", "sctp"];
const PORT: [&str; 2] = ["number", "range"];
const RANGE: [&str; 2] = ["start", "end"];

/// Fields of the experimental channel, and what to use instead.
const EXPERIMENTAL: [(&str, &str); 3] = [
    ("nodes", "networks, with the addresses of the nodes"),
    ("domainNames", "networks, with the addresses of the domains"),
    ("destinationNamedPort", "tcp, udp or sctp, with the number of the port"),
];

/// Highest priority.
const LOWEST_PRECEDENCE: u16 = 1000;
/// Most rules of a direction, and most peers, protocols and networks of a rule or peer.
const MAX_ITEMS: usize = 25;
/// Longest name of a rule, in characters.
const MAX_NAME: usize = 100;
const A_RULE_NAME: &str = "the name of a rule: at most 100 characters, and no control characters";

/// The policy.
pub(super) fn read(spec: Cursor<'_>) -> Result<ClusterPolicy, ReadError> {
    let spec = spec.object(&SPEC)?;
    Ok(ClusterPolicy {
        tier: spec.required("tier", tier)?,
        priority: spec.required("priority", |field| field.integer(0..=LOWEST_PRECEDENCE))?,
        subject: spec.required("subject", subject)?,
        ingress: rules(&spec, "ingress", ingress_rule)?,
        egress: rules(&spec, "egress", egress_rule)?,
    })
}

fn tier(tier: Cursor<'_>) -> Result<Tier, ReadError> {
    tier.parse("a tier: Admin or Baseline", |text| match text {
        "Admin" => Some(Tier::Admin),
        "Baseline" => Some(Tier::Baseline),
        _ => None,
    })
}

fn subject(subject: Cursor<'_>) -> Result<Pods, ReadError> {
    let subject = subject.object(&PODS)?;
    pods(subject.only_field("namespaces and pods")?)
}

/// The functions that field `namespaces` or `pods` chooses.
fn pods((field, value): (&str, Cursor<'_>)) -> Result<Pods, ReadError> {
    if field == "namespaces" {
        return Ok(Pods { namespaces: Some(selector::read(value)?), pods: Selector::default() });
    }
    let pods = value.object(&NAMESPACED_PODS)?;
    Ok(Pods {
        namespaces: Some(pods.optional("namespaceSelector", selector::read)?.unwrap_or_default()),
        pods: pods.required("podSelector", selector::read)?,
    })
}

fn rules(
    spec: &Object<'_>,
    section: &str,
    rule: fn(Cursor<'_>) -> Result<ClusterRule, ReadError>,
) -> Result<Vec<ClusterRule>, ReadError> {
    let rules = spec.optional(section, |rules| rules.some_items(0..=MAX_ITEMS, rule))?;
    Ok(rules.unwrap_or_default())
}

fn ingress_rule(field: Cursor<'_>) -> Result<ClusterRule, ReadError> {
    let fields = field.object(&INGRESS_RULE)?;
    rule(&fields, "from", ingress_peer)
}

fn egress_rule(field: Cursor<'_>) -> Result<ClusterRule, ReadError> {
    let fields = field.object(&EGRESS_RULE)?;
    rule(&fields, "to", egress_peer)
}

fn rule(
    rule: &Object<'_>,
    peers: &str,
    peer: fn(Cursor<'_>) -> Result<Vec<Peer>, ReadError>,
) -> Result<ClusterRule, ReadError> {
    let peers = rule.required(peers, |peers| peers.some_items(1..=MAX_ITEMS, peer))?;
    let protocols = |list: Cursor<'_>| list.some_items(1..=MAX_ITEMS, protocol);
    Ok(ClusterRule {
        name: rule.optional("name", rule_name)?.unwrap_or_default(),
        action: rule.required("action", action)?,
        peers: peers.into_iter().flatten().collect(),
        ports: rule.optional("protocols", protocols)?,
    })
}

/// The name of a rule. Logs and tables show it, so that it has no control characters.
fn rule_name(name: Cursor<'_>) -> Result<String, ReadError> {
    name.parse(A_RULE_NAME, |text| {
        let is_name = text.chars().count() <= MAX_NAME && !text.contains(char::is_control);
        is_name.then(|| text.to_owned())
    })
}

fn action(action: Cursor<'_>) -> Result<Action, ReadError> {
    action.parse("an action: Accept, Deny or Pass", |text| match text {
        "Accept" => Some(Action::Accept),
        "Deny" => Some(Action::Deny),
        "Pass" => Some(Action::Pass),
        _ => None,
    })
}

fn ingress_peer(peer: Cursor<'_>) -> Result<Vec<Peer>, ReadError> {
    let peer = standard(peer, &PODS)?;
    Ok(vec![Peer::Pods(pods(peer.only_field("namespaces and pods")?)?)])
}

/// A peer of egress; several for field `networks`.
fn egress_peer(peer: Cursor<'_>) -> Result<Vec<Peer>, ReadError> {
    let peer = standard(peer, &EGRESS_PEER)?;
    match peer.only_field("namespaces, pods and networks")? {
        ("networks", list) => networks(list),
        field => Ok(vec![Peer::Pods(pods(field)?)]),
    }
}

/// Networks, of which none is written twice.
fn networks(list: Cursor<'_>) -> Result<Vec<Peer>, ReadError> {
    let mut texts = BTreeSet::new();
    list.some_items(1..=MAX_ITEMS, |item| {
        let text = item.text()?;
        if !texts.insert(text.to_owned()) {
            return Err(item.error(Problem::SameElement(shown(text))));
        }
        address::read(item).map(Peer::Network)
    })
}

/// The value as a mapping with these fields, of which none is experimental.
fn standard<'a>(
    value: Cursor<'a>,
    fields: &'static [&'static str],
) -> Result<Object<'a>, ReadError> {
    let object = value.map()?;
    for (field, instead) in EXPERIMENTAL {
        if let Some(value) = object.get(field) {
            return Err(value.error(Problem::NotSupported { instead }));
        }
    }
    object.allow(fields).map(|()| object)
}

fn protocol(protocol: Cursor<'_>) -> Result<Ports, ReadError> {
    let protocol = standard(protocol, &PROTOCOL)?;
    let (name, fields) = protocol.only_field("tcp, udp and sctp")?;
    let port = fields.object(&["destinationPort"])?.optional("destinationPort", port)?;
    let protocol = match name {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => Protocol::Sctp,
    };
    Ok(Ports { protocol, port: port.unwrap_or(Port::Any) })
}

fn port(port: Cursor<'_>) -> Result<Port, ReadError> {
    let port = port.object(&PORT)?;
    match port.only_field("number and range")? {
        ("number", number) => {
            number.integer(1..=u16::MAX).map(|number| Port::Range(number, number))
        }
        (_, range) => port_range(range),
    }
}

fn port_range(field: Cursor<'_>) -> Result<Port, ReadError> {
    let range = field.object(&RANGE)?;
    let start = range.required("start", |start| start.integer(1..=u16::MAX))?;
    let end = range.required("end", |end| end.integer(1..=u16::MAX))?;
    if start < end {
        return Ok(Port::Range(start, end));
    }
    Err(field.error(Problem::RangeTooShort { start, end }))
}
