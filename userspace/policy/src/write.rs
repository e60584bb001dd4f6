//! Objects as Kubernetes has them, in JSON.

use std::mem::take;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::{
    object::{
        Action, AllowRule, ClusterPolicy, ClusterRule, NetworkPolicy, Object, Peer, Pods, Port,
        Ports, Spec, Tier,
    },
    selector::{Requirement, Selector},
};

/// Annotation of objects that only report.
pub(crate) const AUDIT: &str = "repoint.dev/audit";

/// Most networks of a peer.
const MAX_NETWORKS: usize = 25;

/// The object as `repoint policy apply` reads it.
#[must_use]
pub fn to_json(object: &Object) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(object.id.name));
    if let Some(namespace) = &object.id.namespace {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    if object.audit {
        metadata.insert("annotations".to_owned(), json!({ AUDIT: "true" }));
    }
    let (version, spec) = match &object.spec {
        Spec::Network(policy) => ("networking.k8s.io/v1", network(policy)),
        Spec::Cluster(policy) => ("policy.networking.k8s.io/v1alpha2", cluster(policy)),
    };
    json!({ "apiVersion": version, "kind": object.id.kind.name(), "metadata": metadata, "spec": spec })
}

fn network(policy: &NetworkPolicy) -> Value {
    let mut spec = Map::new();
    spec.insert("podSelector".to_owned(), selector(&policy.pods));
    let mut types = Vec::new();
    for (kind, key, peers, rules) in [
        ("Ingress", "ingress", "from", &policy.ingress),
        ("Egress", "egress", "to", &policy.egress),
    ] {
        let Some(rules) = rules else { continue };
        types.push(kind);
        let rules: Vec<_> = rules.iter().map(|rule| allow_rule(rule, peers)).collect();
        spec.insert(key.to_owned(), Value::Array(rules));
    }
    spec.insert("policyTypes".to_owned(), json!(types));
    Value::Object(spec)
}

fn allow_rule(AllowRule { peers, ports }: &AllowRule, key: &str) -> Value {
    let mut rule = Map::new();
    if let Some(peers) = peers {
        let peers = peers.iter().map(network_peer).collect();
        rule.insert(key.to_owned(), Value::Array(peers));
    }
    if let Some(ports) = ports {
        rule.insert("ports".to_owned(), ports.iter().map(network_port).collect());
    }
    Value::Object(rule)
}

fn network_peer(peer: &Peer) -> Value {
    match peer {
        Peer::Block { cidr, except } if except.is_empty() => json!({ "ipBlock": { "cidr": cidr } }),
        Peer::Block { cidr, except } => json!({ "ipBlock": { "cidr": cidr, "except": except } }),
        Peer::Network(cidr) => json!({ "ipBlock": { "cidr": cidr } }),
        Peer::Pods(Pods { namespaces: None, pods }) => json!({ "podSelector": selector(pods) }),
        Peer::Pods(Pods { namespaces: Some(namespaces), pods }) => {
            json!({ "namespaceSelector": selector(namespaces), "podSelector": selector(pods) })
        }
    }
}

fn network_port(Ports { protocol, port }: &Ports) -> Value {
    match port {
        Port::Any => json!({ "protocol": protocol }),
        Port::Named(name) => json!({ "protocol": protocol, "port": name }),
        Port::Range(low, high) if low == high => json!({ "protocol": protocol, "port": low }),
        Port::Range(low, high) => json!({ "protocol": protocol, "port": low, "endPort": high }),
    }
}

fn cluster(policy: &ClusterPolicy) -> Value {
    let ClusterPolicy { tier, priority, subject, ingress, egress } = policy;
    let tier = match tier {
        Tier::Admin => "Admin",
        Tier::Baseline => "Baseline",
    };
    let rules = |rules: &[ClusterRule], key| -> Value {
        rules.iter().map(|rule| cluster_rule(rule, key)).collect()
    };
    json!({
        "tier": tier,
        "priority": priority,
        "subject": pods_of_cluster(subject),
        "ingress": rules(ingress, "from"),
        "egress": rules(egress, "to"),
    })
}

fn pods_of_cluster(Pods { namespaces, pods }: &Pods) -> Value {
    let namespaces = selector(&namespaces.clone().unwrap_or_default());
    if pods.is_all() {
        json!({ "namespaces": namespaces })
    } else {
        json!({ "pods": { "namespaceSelector": namespaces, "podSelector": selector(pods) } })
    }
}

fn cluster_rule(ClusterRule { name, action, peers, ports }: &ClusterRule, key: &str) -> Value {
    let action = match action {
        Action::Accept => "Accept",
        Action::Deny => "Deny",
        Action::Pass => "Pass",
    };
    let mut rule = Map::new();
    if !name.is_empty() {
        rule.insert("name".to_owned(), json!(name));
    }
    rule.insert("action".to_owned(), json!(action));
    rule.insert(key.to_owned(), cluster_peers(peers));
    if let Some(ports) = ports {
        rule.insert("protocols".to_owned(), ports.iter().map(cluster_port).collect());
    }
    Value::Object(rule)
}

/// The peers. Networks that follow each other share one, because a rule may have more of these than peers.
fn cluster_peers(peers: &[Peer]) -> Value {
    let mut written = Vec::new();
    let mut networks: Vec<IpNet> = Vec::new();
    for peer in peers {
        let cidr = match peer {
            Peer::Network(cidr) | Peer::Block { cidr, .. } => *cidr,
            Peer::Pods(pods) => {
                written.extend(networks_peer(&mut networks));
                written.push(pods_of_cluster(pods));
                continue;
            }
        };
        if networks.len() == MAX_NETWORKS || networks.contains(&cidr) {
            written.extend(networks_peer(&mut networks));
        }
        networks.push(cidr);
    }
    written.extend(networks_peer(&mut networks));
    Value::Array(written)
}

/// A peer of these networks, if there are any, which are then none.
fn networks_peer(networks: &mut Vec<IpNet>) -> Option<Value> {
    let networks = take(networks);
    (!networks.is_empty()).then(|| json!({ "networks": networks }))
}

fn cluster_port(Ports { protocol, port }: &Ports) -> Value {
    let port = match port {
        Port::Any | Port::Named(_) => json!({}),
        Port::Range(low, high) if low == high => json!({ "destinationPort": { "number": low } }),
        Port::Range(low, high) => {
            json!({ "destinationPort": { "range": { "start": low, "end": high } } })
        }
    };
    let name = format!("{protocol:?}").to_lowercase();
    json!({ name: port })
}

fn selector(Selector(requirements): &Selector) -> Value {
    let expressions = requirements.iter().map(|requirement| match requirement {
        Requirement::In(key, values) => {
            json!({ "key": key, "operator": "In", "values": values })
        }
        Requirement::NotIn(key, values) => {
            json!({ "key": key, "operator": "NotIn", "values": values })
        }
        Requirement::Exists(key) => json!({ "key": key, "operator": "Exists" }),
        Requirement::DoesNotExist(key) => json!({ "key": key, "operator": "DoesNotExist" }),
    });
    let expressions: Vec<_> = expressions.collect();
    if expressions.is_empty() { json!({}) } else { json!({ "matchExpressions": expressions }) }
}
