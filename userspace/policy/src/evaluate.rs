//! What rules say of a flow: the same as the eBPF programs say.

use std::net::IpAddr;

use ipnet::IpNet;
use repoint_common::policy::{
    ALLOW, AUDIT, HOST, PASS, PEER_ANY, PEER_GROUP, PEER_IDENTITY, PEER_TENANT, Rule, SKIP,
    TENANT_GROUPS,
};

use crate::{
    compile::{Compiled, Direction, Rules},
    sets::{Groups, Words, longest},
};

/// A flow's protocol and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Protocol of IP.
    pub protocol: u8,
    /// Destination port, or type of ICMP.
    pub port: u16,
}

/// One end of a flow.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// Its rules and groups, if it is a function.
    pub function: Option<&'a Compiled>,
    /// Its tenant.
    pub tenant: Option<&'a str>,
    /// Its address, if it is known.
    pub address: Option<IpAddr>,
    /// Whether it is the node itself.
    pub is_host: bool,
}

/// What the rules of one direction say of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allows: bool,
    /// Number of the rule that decided; 0: no rule matches, and the default decides.
    pub rule: u32,
    /// The first rule that reports the flow as one that it would deny.
    pub audited: Option<u32>,
}

/// What became of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// What the rules of its opener say; none: nothing is enforced.
    pub egress: Option<Decision>,
    /// What the rules of the other end say; none: nothing is enforced, or the egress rules deny it.
    pub ingress: Option<Decision>,
}

impl Verdict {
    /// Whether the flow is allowed.
    #[must_use]
    pub fn allows(&self) -> bool {
        [self.egress, self.ingress].iter().flatten().all(|decision| decision.allows)
    }
}

/// Judges a flow by the rules of both ends.
#[must_use]
pub fn judge(groups: &Groups, from: &End<'_>, to: &End<'_>, traffic: Traffic) -> Verdict {
    let rules = from.function.and_then(|function| function.egress.as_ref());
    let egress = rules.map(|rules| evaluate(rules, from, to, Direction::Egress, groups, traffic));
    if egress.is_some_and(|decision| !decision.allows) {
        return Verdict { egress, ingress: None };
    }
    let rules = to.function.and_then(|function| function.ingress.as_ref());
    // The node reaches its containers.
    let rules = rules.filter(|_| !from.is_host);
    let ingress = rules.map(|rules| evaluate(rules, to, from, Direction::Ingress, groups, traffic));
    Verdict { egress, ingress }
}

fn evaluate(
    rules: &Rules,
    own: &End<'_>,
    peer: &End<'_>,
    direction: Direction,
    groups: &Groups,
    traffic: Traffic,
) -> Decision {
    let is_same = own.tenant.is_some() && own.tenant == peer.tenant;
    let of_peer = groups_of(peer, direction, groups);
    let identity = if peer.is_host { HOST } else { 0 };
    let mut audited = None;
    let mut place = 0;
    while let Some(rule) = rules.rules.get(place) {
        place += 1;
        if !names(rule, &of_peer, is_same, identity) || !is_of(rule, traffic) {
            continue;
        }
        match rule.action {
            PASS | SKIP => place = place.max(usize::from(rule.next)),
            AUDIT => audited = audited.or(Some(rule.number)),
            action => return Decision { allows: action == ALLOW, rule: rule.number, audited },
        }
    }
    Decision { allows: rules.default == ALLOW, rule: 0, audited }
}

fn names(rule: &Rule, groups: &Words, is_same_tenant: bool, identity: u32) -> bool {
    match rule.peer_kind {
        PEER_ANY => true,
        PEER_IDENTITY => rule.peer == identity,
        PEER_TENANT => is_same_tenant,
        PEER_GROUP => {
            let word = groups.get(rule.peer as usize / 32).copied().unwrap_or_default();
            word & 1 << (rule.peer % 32) != 0 && (rule.peer < TENANT_GROUPS || is_same_tenant)
        }
        _ => false,
    }
}

fn is_of(rule: &Rule, Traffic { protocol, port }: Traffic) -> bool {
    [0, protocol].contains(&rule.protocol) && (rule.port_low..=rule.port_high).contains(&port)
}

/// The groups that a flow's other end is in.
fn groups_of(peer: &End<'_>, direction: Direction, groups: &Groups) -> Words {
    let of_address = || {
        let address = peer.address?;
        longest(&groups.networks(), &IpNet::from(address)).copied()
    };
    match (peer.function, direction) {
        (None, _) => of_address().unwrap_or_default(),
        (Some(function), Direction::Ingress) => function.groups,
        (Some(function), Direction::Egress) => {
            let mut words = function.groups;
            let networks = of_address().unwrap_or_default();
            words[0] |= networks[0];
            words[1] |= networks[1];
            words
        }
    }
}
