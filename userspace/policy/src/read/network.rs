//! Field `spec` of a `NetworkPolicy`, as `pkg/apis/networking/validation` of Kubernetes checks it.

use super::{
    Problem, ReadError, address,
    cursor::{Cursor, Object},
    names::{A_PORT_NAME, is_port_name},
    problem::shown,
    selector,
};
use crate::object::{AllowRule, NetworkPolicy, Peer, Pods, Port, Ports, Protocol};

const SPEC: [&str; 4] = ["podSelector", "policyTypes", "ingress", "egress"];
const INGRESS_RULE: [&str; 2] = ["from", "ports"];
const EGRESS_RULE: [&str; 2] = ["to", "ports"];
const PEER: [&str; 3] = ["ipBlock", "podSelector", "namespaceSelector"];
const BLOCK: [&str; 2] = ["cidr", "except"];
const PORT: [&str; 3] = ["protocol", "port", "endPort"];
const A_TYPE: &str = "a type of policy: Ingress or Egress";
const A_PROTOCOL: &str = "a protocol: TCP, UDP or SCTP";

/// A direction of field `policyTypes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Ingress,
    Egress,
}

/// The policy. A section whose type is not listed is checked, and does not count.
pub(super) fn read(spec: Cursor<'_>) -> Result<NetworkPolicy, ReadError> {
    let spec = spec.object(&SPEC)?;
    let ingress = rules(&spec, "ingress", ingress_rule)?;
    let egress = rules(&spec, "egress", egress_rule)?;
    let types = types(&spec, !egress.is_empty())?;
    Ok(NetworkPolicy {
        pods: spec.optional("podSelector", selector::read)?.unwrap_or_default(),
        ingress: types.contains(&Type::Ingress).then_some(ingress),
        egress: types.contains(&Type::Egress).then_some(egress),
    })
}

/// The directions. Without a list, ingress always counts, and egress if it has rules.
fn types(spec: &Object<'_>, has_egress: bool) -> Result<Vec<Type>, ReadError> {
    let listed = spec.optional("policyTypes", |types| types.some_items(0..=2, policy_type))?;
    Ok(match listed.unwrap_or_default() {
        listed if !listed.is_empty() => listed,
        _ if has_egress => vec![Type::Ingress, Type::Egress],
        _ => vec![Type::Ingress],
    })
}

fn policy_type(text: Cursor<'_>) -> Result<Type, ReadError> {
    text.parse(A_TYPE, |text| match text {
        "Ingress" => Some(Type::Ingress),
        "Egress" => Some(Type::Egress),
        _ => None,
    })
}

fn rules(
    spec: &Object<'_>,
    section: &str,
    rule: fn(Cursor<'_>) -> Result<AllowRule, ReadError>,
) -> Result<Vec<AllowRule>, ReadError> {
    spec.optional(section, |rules| rules.items(rule)).map(Option::unwrap_or_default)
}

fn ingress_rule(rule: Cursor<'_>) -> Result<AllowRule, ReadError> {
    allow_rule(&rule.object(&INGRESS_RULE)?, "from")
}

fn egress_rule(rule: Cursor<'_>) -> Result<AllowRule, ReadError> {
    allow_rule(&rule.object(&EGRESS_RULE)?, "to")
}

/// A rule. Empty lists of peers and ports mean any, as absent ones do.
fn allow_rule(rule: &Object<'_>, peers: &str) -> Result<AllowRule, ReadError> {
    let peers = rule.optional(peers, |peers| peers.items(peer))?;
    let ports = rule.optional("ports", |ports| ports.items(port))?;
    Ok(AllowRule {
        peers: peers.filter(|peers| !peers.is_empty()),
        ports: ports.filter(|ports| !ports.is_empty()),
    })
}

fn peer(peer: Cursor<'_>) -> Result<Peer, ReadError> {
    let peer = peer.object(&PEER)?;
    let block = peer.optional("ipBlock", block)?;
    let namespaces = peer.optional("namespaceSelector", selector::read)?;
    let pods = peer.optional("podSelector", selector::read)?;
    match (block, namespaces, pods) {
        (Some(block), None, None) => Ok(block),
        (Some(_), ..) => Err(peer.error(Problem::BlockWithSelector)),
        (None, None, None) => Err(peer.error(Problem::EmptyPeer)),
        (None, namespaces, pods) => {
            Ok(Peer::Pods(Pods { namespaces, pods: pods.unwrap_or_default() }))
        }
    }
}

fn block(block: Cursor<'_>) -> Result<Peer, ReadError> {
    let block = block.object(&BLOCK)?;
    let cidr = block.required("cidr", address::read)?;
    let except = block.optional("except", |list| {
        list.items(|item| {
            let except = address::read(item)?;
            let is_part = cidr.contains(&except) && cidr.prefix_len() < except.prefix_len();
            is_part.then_some(except).ok_or_else(|| item.error(Problem::NotWithin { except, cidr }))
        })
    })?;
    Ok(Peer::Block { cidr, except: except.unwrap_or_default() })
}

fn port(ports: Cursor<'_>) -> Result<Ports, ReadError> {
    let ports = ports.object(&PORT)?;
    let protocol = ports.optional("protocol", protocol)?.unwrap_or(Protocol::Tcp);
    let port = match ports.get("port") {
        Some(name) if name.is_text() => Port::Named(port_name(name)?),
        Some(number) => {
            let first = number.integer(1..=u16::MAX)?;
            Port::Range(
                first,
                ports.optional("endPort", |end| end_port(end, first))?.unwrap_or(first),
            )
        }
        None => Port::Any,
    };
    match ports.get("endPort") {
        Some(end) if !matches!(port, Port::Range(..)) => Err(end.error(Problem::EndPortAlone)),
        _ => Ok(Ports { protocol, port }),
    }
}

fn protocol(protocol: Cursor<'_>) -> Result<Protocol, ReadError> {
    protocol.parse(A_PROTOCOL, |text| match text {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        _ => None,
    })
}

fn port_name(name: Cursor<'_>) -> Result<String, ReadError> {
    let text = name.text()?;
    if text.parse::<u16>().is_ok() {
        return Err(name.error(Problem::QuotedPort(shown(text))));
    }
    name.parse(A_PORT_NAME, |text| is_port_name(text).then(|| text.to_owned()))
}

fn end_port(field: Cursor<'_>, port: u16) -> Result<u16, ReadError> {
    let end = field.integer(1..=u16::MAX)?;
    if end < port {
        return Err(field.error(Problem::EndPortTooLow { end, port }));
    }
    Ok(end)
}
