//! From objects to the rules of one function.

use std::collections::BTreeSet;

use repoint_common::policy::{
    ALLOW, AUDIT, DENY, FLAG_NETWORKS, MAX_NETWORKS, MAX_RULES, NETWORK_GROUPS, PASS, PEER_ANY,
    PEER_GROUP, PEER_TENANT, Policy, Rule, SKIP,
};
use thiserror::Error;

use crate::{
    object::{
        Action, AllowRule, ClusterPolicy, ClusterRule, NetworkPolicy, Object, Peer, Pods, Port,
        Ports, Protocol, Spec, Tier,
    },
    party::{NamedPort, Party},
    sets::{Groups, Set, Words, named},
};

/// The side of a function's flows that rules are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Flows that it opens.
    Egress,
    /// Flows that others open to it.
    Ingress,
}

impl Direction {
    /// `egress` or `ingress`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        }
    }
}

/// An object with its number, by which events and rules name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// From 1 to [`Self::LAST`].
    pub number: u32,
    /// The object.
    pub object: Object,
}

impl Numbered {
    /// The highest number.
    pub const LAST: u32 = (1 << 24) - 1;

    /// The place of no rule, in numbers of rules: what the object does not allow, or a rule behind the 254th.
    pub(crate) const REST: u32 = 0xfe;

    /// The number of its rule at this place, from 0.
    fn rule(&self, place: usize) -> u32 {
        let place = u32::try_from(place).unwrap_or(Self::REST).min(Self::REST);
        self.number << 8 | (place + 1)
    }
}

/// The number of the object whose rule has this number, and the place of the rule in its direction, from 0; none: the
/// number is of no object's rule.
#[must_use]
pub const fn object_of_rule(rule: u32) -> Option<(u32, u32)> {
    let (object, place) = (rule >> 8, rule & 0xff);
    if object == 0 || place == 0 { None } else { Some((object, place - 1)) }
}

/// The policies that are in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicySet {
    /// The objects.
    pub objects: Vec<Numbered>,
    /// The sets of peers that they name.
    pub groups: Groups,
    /// The ports that functions declare by name.
    pub ports: BTreeSet<NamedPort>,
}

/// The rules of one direction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rules {
    /// In order, at most [`MAX_RULES`].
    pub rules: Vec<Rule>,
    /// What applies where none matches: [`ALLOW`] or [`DENY`].
    pub default: u8,
}

impl Rules {
    /// As the maps have them.
    #[must_use]
    pub fn to_policy(&self) -> Policy {
        const NONE: Rule = Rule {
            peer: 0,
            port_low: 0,
            port_high: 0,
            protocol: 0,
            peer_kind: 0,
            action: 0,
            next: 0,
            number: 0,
        };
        let mut rules = [NONE; MAX_RULES];
        for (place, rule) in rules.iter_mut().zip(&self.rules) {
            *place = *rule;
        }
        let count = u16::try_from(self.rules.len().min(MAX_RULES)).unwrap_or_default();
        let is_network = |rule: &Rule| rule.peer_kind == PEER_GROUP && rule.peer < NETWORK_GROUPS;
        let flags = if self.rules.iter().any(is_network) { FLAG_NETWORKS } else { 0 };
        Policy { count, default: self.default, flags, rules }
    }
}

/// What a function is for policies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compiled {
    /// For flows that it opens; none: it may open any.
    pub egress: Option<Rules>,
    /// For flows that others open to it; none: they may open any.
    pub ingress: Option<Rules>,
    /// The groups that it is in.
    pub groups: Words,
}

/// Why objects cannot be enforced.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CompileError {
    /// No number is left for a set of peers.
    #[error(
        "policies name more than {most} different {what}: use the same choice in several \
         policies, or delete policies first, in a step of its own"
    )]
    Groups {
        /// Which sets.
        what: String,
        /// How many there may be.
        most: usize,
    },
    /// Objects name too many prefixes.
    #[error(
        "policies name {count} prefixes of {family}, exceptions and those of before included, and {MAX_NETWORKS} \
         is the most: use shorter prefixes, or delete policies first, in a step of its own"
    )]
    Networks {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// How many.
        count: usize,
    },
    /// A function has too many rules.
    #[error(
        "{direction} of {party} would need {count} rules, and {MAX_RULES} is the most: {objects}; \
         use fewer peers and ports, or ranges of them",
        direction = .direction.name()
    )]
    Rules {
        /// The direction.
        direction: Direction,
        /// The function.
        party: String,
        /// How many rules there would be.
        count: usize,
        /// The objects that they are of.
        objects: String,
    },
}

impl PolicySet {
    /// What a function is for the policies in force. `name` is the function's, for errors.
    ///
    /// # Errors
    /// [`CompileError::Rules`] where the objects about it have more rules together than a policy has room for.
    pub fn compile(&self, party: &Party, name: &str) -> Result<Compiled, CompileError> {
        let rules = |direction| {
            let compiler = Compiler { set: self, party, direction, rules: Vec::new() };
            compiler.run(name)
        };
        Ok(Compiled {
            egress: rules(Direction::Egress)?,
            ingress: rules(Direction::Ingress)?,
            groups: self.groups.of_party(party),
        })
    }

    /// The objects about a function in a direction, in the order in which they are asked.
    #[must_use]
    pub fn objects_about(&self, party: &Party, direction: Direction) -> Vec<&Numbered> {
        let mut admin = self.cluster(party, direction, Tier::Admin);
        admin.extend(self.network(party, direction).into_iter().map(|(numbered, _)| numbered));
        admin.extend(self.cluster(party, direction, Tier::Baseline));
        admin
    }

    /// Objects of a tier about a function, first the one that is asked first.
    fn cluster(&self, party: &Party, direction: Direction, tier: Tier) -> Vec<&Numbered> {
        let mut found: Vec<_> = self
            .objects
            .iter()
            .filter_map(|numbered| match &numbered.object.spec {
                Spec::Cluster(policy) if policy.tier == tier => Some((numbered, policy)),
                Spec::Cluster(_) | Spec::Network(_) => None,
            })
            .filter(|(_, policy)| {
                !cluster_rules(policy, direction).is_empty() && is_about(&policy.subject, party)
            })
            .collect();
        found.sort_by_key(|(numbered, policy)| (policy.priority, &numbered.object.id));
        found.into_iter().map(|(numbered, _)| numbered).collect()
    }

    /// `NetworkPolicy` objects about a function, with their rules.
    fn network(&self, party: &Party, direction: Direction) -> Vec<(&Numbered, &[AllowRule])> {
        let mut found: Vec<_> = self
            .objects
            .iter()
            .filter_map(|numbered| {
                let Spec::Network(policy) = &numbered.object.spec else { return None };
                let rules = allow_rules(policy, direction)?;
                let is_own = numbered.object.id.namespace == party.tenant;
                (is_own && policy.pods.matches(&party.labels)).then_some((numbered, rules))
            })
            .collect();
        found.sort_by_key(|(numbered, _)| &numbered.object.id);
        found
    }
}

fn is_about(subject: &Pods, party: &Party) -> bool {
    let namespaces = subject.namespaces.as_ref();
    namespaces.is_none_or(|namespaces| namespaces.matches(&party.namespace_labels))
        && subject.pods.matches(&party.labels)
}

fn cluster_rules(policy: &ClusterPolicy, direction: Direction) -> &[ClusterRule] {
    match direction {
        Direction::Egress => &policy.egress,
        Direction::Ingress => &policy.ingress,
    }
}

fn allow_rules(policy: &NetworkPolicy, direction: Direction) -> Option<&[AllowRule]> {
    match direction {
        Direction::Egress => policy.egress.as_deref(),
        Direction::Ingress => policy.ingress.as_deref(),
    }
}

/// Collects the rules of one direction of a function.
struct Compiler<'a> {
    set: &'a PolicySet,
    party: &'a Party,
    direction: Direction,
    rules: Vec<Rule>,
}

/// A rule without its peer and ports.
#[derive(Clone, Copy)]
struct Effect {
    action: u8,
    number: u32,
}

impl Compiler<'_> {
    fn run(mut self, name: &str) -> Result<Option<Rules>, CompileError> {
        let admin = self.set.cluster(self.party, self.direction, Tier::Admin);
        let network = self.set.network(self.party, self.direction);
        let baseline = self.set.cluster(self.party, self.direction, Tier::Baseline);
        if admin.is_empty() && network.is_empty() && baseline.is_empty() {
            return Ok(None);
        }
        self.add_tier(&admin, PASS);
        let (audited, enforced): (Vec<_>, Vec<_>) =
            network.iter().partition(|(numbered, _)| numbered.object.audit);
        let default = if enforced.is_empty() {
            self.add_audited(&audited);
            // Behind the last tier, any flow is allowed.
            self.add_tier(&baseline, ALLOW);
            ALLOW
        } else {
            for (numbered, rules) in &enforced {
                self.add_allowed(numbered, rules, ALLOW);
            }
            DENY
        };
        self.deduplicate();
        if self.rules.len() > MAX_RULES {
            return Err(self.too_many(name));
        }
        Ok(Some(Rules { rules: self.rules, default }))
    }

    fn too_many(&self, name: &str) -> CompileError {
        let about = self.set.objects_about(self.party, self.direction);
        let objects: Vec<_> = about.iter().map(|it| it.object.id.to_string()).collect();
        CompileError::Rules {
            direction: self.direction,
            party: name.to_owned(),
            count: self.rules.len(),
            objects: objects.join(", "),
        }
    }

    /// Adds the objects of a tier. `pass` is what `Pass` becomes: [`PASS`] behind the tier, or [`ALLOW`].
    fn add_tier(&mut self, objects: &[&Numbered], pass: u8) {
        let begin = self.rules.len();
        for numbered in objects {
            let Spec::Cluster(policy) = &numbered.object.spec else { continue };
            let first = self.rules.len();
            for (place, rule) in cluster_rules(policy, self.direction).iter().enumerate() {
                let action = match (rule.action, numbered.object.audit) {
                    (Action::Deny, true) => AUDIT,
                    (Action::Accept | Action::Pass, true) => SKIP,
                    (Action::Accept, false) => ALLOW,
                    (Action::Deny, false) => DENY,
                    (Action::Pass, false) => pass,
                };
                let effect = Effect { action, number: numbered.rule(place) };
                self.add(Some(&rule.peers), rule.ports.as_deref(), None, effect);
            }
            self.send_on(first, SKIP);
        }
        self.send_on(begin, PASS);
    }

    /// Adds what objects that only report would allow, and reports all else.
    fn add_audited(&mut self, audited: &[&(&Numbered, &[AllowRule])]) {
        let Some((first, _)) = audited.first() else { return };
        let begin = self.rules.len();
        for (numbered, rules) in audited {
            self.add_allowed(numbered, rules, SKIP);
        }
        self.add(None, None, None, Effect { action: AUDIT, number: first.rule(usize::MAX) });
        self.send_on(begin, SKIP);
    }

    fn add_allowed(&mut self, numbered: &Numbered, rules: &[AllowRule], action: u8) {
        let tenant = numbered.object.id.namespace.as_deref();
        for (place, rule) in rules.iter().enumerate() {
            let effect = Effect { action, number: numbered.rule(place) };
            self.add(rule.peers.as_deref(), rule.ports.as_deref(), tenant, effect);
        }
    }

    /// Makes the rules from place `begin` that have this action go on behind the last rule.
    fn send_on(&mut self, begin: usize, action: u8) {
        let next = u8::try_from(self.rules.len()).unwrap_or(u8::MAX);
        for rule in &mut self.rules[begin..] {
            if rule.action == action && rule.next == 0 {
                rule.next = next;
            }
        }
    }

    fn add(
        &mut self,
        peers: Option<&[Peer]>,
        ports: Option<&[Ports]>,
        tenant: Option<&str>,
        effect: Effect,
    ) {
        match peers {
            None => self.add_peer(None, ports, tenant, effect),
            Some(peers) => {
                for peer in peers {
                    self.add_peer(Some(peer), ports, tenant, effect);
                }
            }
        }
    }

    fn add_peer(
        &mut self,
        peer: Option<&Peer>,
        ports: Option<&[Ports]>,
        tenant: Option<&str>,
        effect: Effect,
    ) {
        let Some(ports) = ports else {
            self.push(self.peer(peer, tenant), 0, (0, u16::MAX), effect);
            return;
        };
        for Ports { protocol, port } in ports {
            let number = protocol.number();
            match port {
                Port::Any => self.push(self.peer(peer, tenant), number, (0, u16::MAX), effect),
                Port::Range(low, high) => {
                    self.push(self.peer(peer, tenant), number, (*low, *high), effect);
                }
                Port::Named(name) => self.add_named(peer, tenant, (*protocol, name), effect),
            }
        }
    }

    /// Adds a rule for a port that the receiving function declares by name.
    fn add_named(
        &mut self,
        peer: Option<&Peer>,
        tenant: Option<&str>,
        (protocol, name): (Protocol, &str),
        effect: Effect,
    ) {
        let number = protocol.number();
        if self.direction == Direction::Ingress {
            let own = self.party.ports.iter();
            for port in own.filter(|port| port.protocol == protocol && port.name == name) {
                self.push(self.peer(peer, tenant), number, (port.number, port.number), effect);
            }
            return;
        }
        for port in named(&self.set.ports, name, protocol) {
            let set = Set::with_port(peer, tenant, port);
            let group = set.and_then(|set| self.set.groups.number(&set));
            let group = group.map(|group| (PEER_GROUP, group));
            self.push(group, number, (port.number, port.number), effect);
        }
    }

    /// Kind and number of a rule's peer; none: no peer can be meant.
    fn peer(&self, peer: Option<&Peer>, tenant: Option<&str>) -> Option<(u8, u32)> {
        let Some(peer) = peer else { return Some((PEER_ANY, 0)) };
        match Set::of(peer, tenant) {
            None => Some((PEER_TENANT, 0)),
            Some(set) => self.set.groups.number(&set).map(|number| (PEER_GROUP, number)),
        }
    }

    fn push(
        &mut self,
        peer: Option<(u8, u32)>,
        protocol: u8,
        (port_low, port_high): (u16, u16),
        Effect { action, number }: Effect,
    ) {
        let Some((peer_kind, peer)) = peer else { return };
        let next = 0;
        self.rules.push(Rule {
            peer,
            port_low,
            port_high,
            protocol,
            peer_kind,
            action,
            next,
            number,
        });
    }

    /// Leaves out rules for which an earlier one decides. Places change, so it does so only where each rule decides.
    fn deduplicate(&mut self) {
        if self.rules.iter().any(|rule| rule.action != ALLOW && rule.action != DENY) {
            return;
        }
        let mut seen = BTreeSet::new();
        self.rules.retain(|rule| {
            let ports = (rule.protocol, rule.port_low, rule.port_high);
            seen.insert((rule.peer_kind, rule.peer, ports))
        });
    }
}
