//! Policies as people write them, read and checked.

use std::{collections::BTreeMap, fmt};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::selector::Selector;

/// A policy object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its name.
    pub id: ObjectId,
    /// Whether it only reports what it would drop (annotation `repoint.dev/audit: "true"`).
    #[serde(default)]
    pub audit: bool,
    /// What it says.
    pub spec: Spec,
}

/// The kind of a policy object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// `NetworkPolicy` of `networking.k8s.io/v1`.
    NetworkPolicy,
    /// `ClusterNetworkPolicy` of `policy.networking.k8s.io`.
    ClusterNetworkPolicy,
}

impl Kind {
    /// As objects have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "NetworkPolicy",
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
        }
    }
}

/// Kind, namespace and name of an object. `Display` shows them as `NetworkPolicy shop/allow-web`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId {
    /// Its kind.
    pub kind: Kind,
    /// The namespace, which is a tenant, of a [`Kind::NetworkPolicy`].
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind.name(), self.name),
            None => write!(f, "{} {}", self.kind.name(), self.name),
        }
    }
}

/// What an object says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spec {
    /// Field `spec` of a `NetworkPolicy`.
    Network(NetworkPolicy),
    /// Field `spec` of a `ClusterNetworkPolicy`.
    Cluster(ClusterPolicy),
}

/// A policy of one namespace: it allows flows, and denies all others in its directions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPolicy {
    /// The functions of the namespace that it is about.
    pub pods: Selector,
    /// Flows that others may open to them; none: it does not speak of these.
    pub ingress: Option<Vec<AllowRule>>,
    /// Flows that they may open; none: it does not speak of these.
    pub egress: Option<Vec<AllowRule>>,
}

/// Flows that a [`NetworkPolicy`] allows: from any of the peers, to any of the ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowRule {
    /// The peers; none: any.
    pub peers: Option<Vec<Peer>>,
    /// The ports; none: any, and protocols without ports.
    pub ports: Option<Vec<Ports>>,
}

/// A policy of the node, which allows, denies or passes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterPolicy {
    /// Its tier.
    pub tier: Tier,
    /// 0 to 1000; lower ones come first.
    pub priority: u16,
    /// The functions that it is about.
    pub subject: Pods,
    /// About flows that others open to them, in order.
    pub ingress: Vec<ClusterRule>,
    /// About flows that they open, in order.
    pub egress: Vec<ClusterRule>,
}

/// When a [`ClusterPolicy`] is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Tier {
    /// Before `NetworkPolicy` objects.
    Admin,
    /// After them, where none of them is about the function.
    Baseline,
}

/// A rule of a [`ClusterPolicy`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRule {
    /// Its name; empty: it has none.
    pub name: String,
    /// What becomes of flows that match.
    pub action: Action,
    /// The peers, of which one must match.
    pub peers: Vec<Peer>,
    /// The ports; none: any, and protocols without ports.
    pub ports: Option<Vec<Ports>>,
}

/// What a [`ClusterRule`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// The flow is allowed.
    Accept,
    /// The flow is denied.
    Deny,
    /// The next tier decides.
    Pass,
}

/// Who may be at the other end of a flow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Peer {
    /// Functions.
    Pods(Pods),
    /// Field `ipBlock`: addresses that are no function's of this node.
    Block {
        /// The addresses.
        cidr: IpNet,
        /// Of these, those that are not meant.
        except: Vec<IpNet>,
    },
    /// An element of field `networks`: addresses, those of functions included.
    Network(IpNet),
}

/// A choice of functions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pods {
    /// Their namespaces; none: the one of the object.
    pub namespaces: Option<Selector>,
    /// Which functions of these.
    pub pods: Selector,
}

/// A protocol, and ports of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// The protocol.
    pub protocol: Protocol,
    /// The destination port.
    pub port: Port,
}

/// A destination port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Port {
    /// Any.
    Any,
    /// From the first to the second, both included.
    Range(u16, u16),
    /// The one that the receiving function declares by this name.
    Named(String),
}

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The number in IP headers (RFC 5237).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// Labels: keys with values.
pub type Labels = BTreeMap<String, String>;
