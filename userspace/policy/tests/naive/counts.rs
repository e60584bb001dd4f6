//! How often each kind of case was seen, to show that the draw is not one-sided.

use std::{collections::BTreeMap, fmt};

use repoint_policy::object::{Action, Peer, Port, Spec, Tier};

use super::{
    evaluate::{Match, Side, Verdict},
    world::{Flow, Place},
};

/// Kinds that every large draw must have seen.
const WANTED: [&str; 44] = [
    "action Accept of Admin",
    "action Accept of Baseline",
    "action Deny of Admin",
    "action Deny of Baseline",
    "action Pass of Admin",
    "action Pass of Baseline",
    "allowed",
    "audited by ClusterNetworkPolicy",
    "audited by NetworkPolicy",
    "audited, and allowed",
    "audited, and denied",
    "denied for egress",
    "denied for ingress",
    "family IPv4",
    "family IPv6",
    "flow function to function",
    "flow function to node",
    "flow function to outside",
    "flow node to function",
    "flow outside to function",
    "no rule decides",
    "NetworkPolicy allows",
    "NetworkPolicy isolates",
    "peer any",
    "peer ipBlock has node",
    "peer ipBlock has outside",
    "peer ipBlock with except",
    "peer networks has function",
    "peer networks has node",
    "peer networks has outside",
    "peer of chosen namespaces",
    "peer of no tenant",
    "peer of own namespace, all",
    "peer of own namespace, chosen",
    "ports any",
    "ports by name, egress",
    "ports by name, ingress",
    "ports by protocol",
    "ports of one number",
    "ports of a range",
    "protocol ICMP",
    "protocol SCTP",
    "protocol TCP",
    "protocol UDP",
];

/// Cases by their kinds.
#[derive(Default)]
pub struct Counts(BTreeMap<String, u64>);

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(kind, count)| writeln!(f, "  {kind}: {count}"))
    }
}

impl Counts {
    /// Kinds that were seen less often than they must be.
    pub fn rare(&self, least: u64) -> Vec<&'static str> {
        let is_rare = |kind: &&&str| self.0.get(**kind).copied().unwrap_or_default() < least;
        WANTED.iter().filter(is_rare).copied().collect()
    }

    /// Counts a flow.
    pub fn add(&mut self, flow: Flow, verdict: &Verdict<'_>, has_tenant: impl Fn(Place) -> bool) {
        let protocol = match flow.protocol {
            6 => "TCP",
            17 => "UDP",
            132 => "SCTP",
            1 | 58 => "ICMP",
            _ => "other",
        };
        self.one(format!("protocol {protocol}"));
        self.one(format!("family {}", if flow.is_v6 { "IPv6" } else { "IPv4" }));
        self.one(format!("flow {} to {}", place(flow.from), place(flow.to)));
        match &verdict.ingress {
            None => self.one("denied for egress"),
            Some(ingress) if !ingress.allows => self.one("denied for ingress"),
            Some(_) => self.one("allowed"),
        }
        self.add_side(&verdict.egress, flow.to, true, has_tenant(flow.to));
        if let Some(ingress) = &verdict.ingress {
            self.add_side(ingress, flow.from, false, has_tenant(flow.from));
        }
    }

    fn one(&mut self, kind: impl Into<String>) {
        *self.0.entry(kind.into()).or_default() += 1;
    }

    fn add_side(&mut self, side: &Side<'_>, peer: Place, is_egress: bool, has_tenant: bool) {
        if let Some(audited) = &side.audited {
            self.one(format!("audited by {}", audited.object.id.kind.name()));
            self.one(if side.allows { "audited, and allowed" } else { "audited, and denied" });
        }
        match &side.by {
            None if side.allows => self.one("no rule decides"),
            None => self.one("NetworkPolicy isolates"),
            Some(_) => {}
        }
        for by in [side.passed, side.by].into_iter().flatten() {
            self.add_effect(&by);
            self.add_peer(&by, peer, has_tenant);
            self.add_ports(&by, is_egress);
        }
    }

    fn add_effect(&mut self, by: &Match<'_>) {
        let Spec::Cluster(policy) = &by.object.spec else {
            self.one("NetworkPolicy allows");
            return;
        };
        let action = match by.action.unwrap() {
            Action::Accept => "Accept",
            Action::Deny => "Deny",
            Action::Pass => "Pass",
        };
        let tier = match policy.tier {
            Tier::Admin => "Admin",
            Tier::Baseline => "Baseline",
        };
        self.one(format!("action {action} of {tier}"));
    }

    fn add_peer(&mut self, by: &Match<'_>, place_of_peer: Place, has_tenant: bool) {
        let place = place(place_of_peer);
        match by.peer {
            None => self.one("peer any"),
            Some(Peer::Network(_)) => self.one(format!("peer networks has {place}")),
            Some(Peer::Block { except, .. }) => {
                self.one(format!("peer ipBlock has {place}"));
                if !except.is_empty() {
                    self.one("peer ipBlock with except");
                }
            }
            Some(Peer::Pods(pods)) => {
                if !has_tenant {
                    self.one("peer of no tenant");
                }
                self.one(match (&pods.namespaces, pods.pods.0.is_empty()) {
                    (Some(_), _) => "peer of chosen namespaces",
                    (None, true) => "peer of own namespace, all",
                    (None, false) => "peer of own namespace, chosen",
                });
            }
        }
    }

    fn add_ports(&mut self, by: &Match<'_>, is_egress: bool) {
        let Some(ports) = by.ports else {
            self.one("ports any");
            return;
        };
        self.one(match &ports.port {
            Port::Any => "ports by protocol",
            Port::Range(low, high) if low == high => "ports of one number",
            Port::Range(..) => "ports of a range",
            Port::Named(_) if is_egress => "ports by name, egress",
            Port::Named(_) => "ports by name, ingress",
        });
    }
}

const fn place(place: Place) -> &'static str {
    match place {
        Place::Function(_) => "function",
        Place::Node(_) => "node",
        Place::Outside(_) => "outside",
    }
}
