//! What objects say of a flow, by their definitions alone.
//!
//! Nothing here knows rules of maps, groups or their numbers. The sources are the documentation of
//! `NetworkPolicy` (`networking.k8s.io/v1`) and the comments of `ClusterNetworkPolicy`
//! (`apis/v1alpha2` of kubernetes-sigs/network-policy-api). What they leave open is as follows:
//!
//! - `ipBlock` matches addresses that no function of the node has.
//! - `networks` match addresses of functions as well.
//! - A function without a tenant is in a namespace that has neither a name nor labels.
//! - The node may open any flow.
//! - Of objects with the same priority, the one with the lower name comes first.
//! - In tier `Baseline`, `Pass` allows the flow.
//! - An object in audit mode changes no verdict. A `ClusterNetworkPolicy` in this mode reports what it
//!   would deny at its place, if no other object were in audit mode. Those `NetworkPolicy` objects
//!   report what they would deny together, because such objects add to each other.

use repoint_policy::{
    Direction, Labels, Object, Party,
    object::{
        Action, AllowRule, ClusterPolicy, ClusterRule, NetworkPolicy, Peer, Pods, Port, Ports,
        Spec, Tier,
    },
    selector::{Requirement, Selector},
};

use super::world::{Flow, Place, World};

/// The verdict on a flow, by both ends.
#[derive(Debug, Clone, Copy)]
pub struct Verdict<'a> {
    /// By the objects about its opener.
    pub egress: Side<'a>,
    /// By the objects about the other end; none: the opener's deny it.
    pub ingress: Option<Side<'a>>,
}

/// What the objects about one end say of a flow.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// Whether it is allowed.
    pub allows: bool,
    /// The rule that decides; none: no rule does.
    pub by: Option<Match<'a>>,
    /// The rule of tier `Admin` that passed it on to the next tier.
    pub passed: Option<Match<'a>>,
    /// The first of those that report it.
    pub audited: Option<Match<'a>>,
}

/// An object's rule that matches a flow.
#[derive(Debug, Clone, Copy)]
pub struct Match<'a> {
    /// The object.
    pub object: &'a Object,
    /// The place of the rule in its direction, from 0; none: all that the object does not allow.
    pub place: Option<usize>,
    /// What it does, if it is of a `ClusterNetworkPolicy`.
    pub action: Option<Action>,
    /// The first peer that matches; none: the rule is for any.
    pub peer: Option<&'a Peer>,
    /// The first ports that match; none: the rule is for any.
    pub ports: Option<&'a Ports>,
}

/// What `NetworkPolicy` objects say of a flow.
enum Isolation<'a> {
    /// None of them is about the function.
    None,
    /// A rule allows it.
    Allowed(Match<'a>),
    /// No rule allows it.
    Denied,
}

/// A flow, seen from a function that objects are about.
struct Question<'a> {
    world: &'a World,
    flow: Flow,
    direction: Direction,
    subject: &'a Party,
    peer: Place,
}

/// What the objects of a world say of a flow.
pub fn judge(world: &World, flow: Flow) -> Verdict<'_> {
    let ask = |direction, subject: Place, peer| match subject {
        Place::Function(number) => {
            let subject = &world.functions[number].party;
            Question { world, flow, direction, subject, peer }.ask()
        }
        Place::Node(_) | Place::Outside(_) => Side::open(),
    };
    let egress = ask(Direction::Egress, flow.from, flow.to);
    let ingress = match flow.from {
        _ if !egress.allows => None,
        Place::Node(_) => Some(Side::open()),
        _ => Some(ask(Direction::Ingress, flow.to, flow.from)),
    };
    Verdict { egress, ingress }
}

impl Verdict<'_> {
    /// Whether the flow is allowed.
    pub fn allows(&self) -> bool {
        self.ingress.as_ref().is_some_and(|ingress| ingress.allows)
    }
}

impl<'a> Side<'a> {
    /// No object says anything.
    const fn open() -> Self {
        Self { allows: true, by: None, passed: None, audited: None }
    }

    fn report(&mut self, by: Match<'a>) {
        self.audited = self.audited.or(Some(by));
    }
}

impl<'a> Question<'a> {
    fn ask(&self) -> Side<'a> {
        let mut side = Side::open();
        match self.tier(Tier::Admin, &mut side) {
            Some((Action::Pass, by)) => side.passed = Some(by),
            Some((action, by)) => return decided(side, action == Action::Accept, Some(by)),
            None => {}
        }
        match self.network_policies(&mut side) {
            Isolation::None => {}
            Isolation::Allowed(by) => return decided(side, true, Some(by)),
            Isolation::Denied => return decided(side, false, None),
        }
        match self.tier(Tier::Baseline, &mut side) {
            Some((action, by)) => decided(side, action != Action::Deny, Some(by)),
            None => side,
        }
    }

    /// What the first object of a tier with a rule for the flow does.
    fn tier(&self, tier: Tier, side: &mut Side<'a>) -> Option<(Action, Match<'a>)> {
        let mut of_tier: Vec<(&Object, &ClusterPolicy)> = Vec::new();
        for object in &self.world.objects {
            match &object.spec {
                Spec::Cluster(policy) if policy.tier == tier => of_tier.push((object, policy)),
                _ => {}
            }
        }
        of_tier.sort_by_key(|(object, policy)| (policy.priority, &object.id.name));
        for (object, policy) in of_tier {
            match self.first_rule(object, policy) {
                Some((Action::Deny, by)) if object.audit => side.report(by),
                Some(decision) if !object.audit => return Some(decision),
                _ => {}
            }
        }
        None
    }

    /// The first rule of an object that matches.
    fn first_rule(
        &self,
        object: &'a Object,
        policy: &'a ClusterPolicy,
    ) -> Option<(Action, Match<'a>)> {
        if !pods_match(&policy.subject, None, self.subject) {
            return None;
        }
        let rules = match self.direction {
            Direction::Egress => &policy.egress,
            Direction::Ingress => &policy.ingress,
        };
        rules.iter().enumerate().find_map(|(place, ClusterRule { action, peers, ports, .. })| {
            let by = self.rule(object, place, Some(peers), ports.as_deref())?;
            Some((*action, Match { action: Some(*action), ..by }))
        })
    }

    /// What `NetworkPolicy` objects say.
    fn network_policies(&self, side: &mut Side<'a>) -> Isolation<'a> {
        let mut about: Vec<(&Object, &[AllowRule])> = Vec::new();
        for object in &self.world.objects {
            let Spec::Network(policy) = &object.spec else { continue };
            if let Some(rules) = self.rules_about(object, policy) {
                about.push((object, rules));
            }
        }
        about.sort_by_key(|(object, _)| &object.id.name);
        let (audited, enforced): (Vec<_>, Vec<_>) =
            about.into_iter().partition(|(object, _)| object.audit);
        if !enforced.is_empty() {
            return self.allowed(&enforced).map_or(Isolation::Denied, Isolation::Allowed);
        }
        if let Some((object, _)) = audited.first()
            && self.allowed(&audited).is_none()
        {
            side.report(Match { object, place: None, action: None, peer: None, ports: None });
        }
        Isolation::None
    }

    /// The rules of an object in the direction; none: it is not about the function in it.
    fn rules_about(&self, object: &Object, policy: &'a NetworkPolicy) -> Option<&'a [AllowRule]> {
        let is_about = self.subject.tenant.is_some()
            && self.subject.tenant == object.id.namespace
            && selects(&policy.pods, &self.subject.labels);
        let rules = match self.direction {
            Direction::Egress => &policy.egress,
            Direction::Ingress => &policy.ingress,
        };
        rules.as_deref().filter(|_| is_about)
    }

    /// The first rule of these that allows the flow.
    fn allowed(&self, objects: &[(&'a Object, &'a [AllowRule])]) -> Option<Match<'a>> {
        objects.iter().find_map(|(object, rules)| {
            rules.iter().enumerate().find_map(|(place, AllowRule { peers, ports })| {
                self.rule(object, place, peers.as_deref(), ports.as_deref())
            })
        })
    }

    /// A rule, if one of its peers and one of its ports match.
    fn rule(
        &self,
        object: &'a Object,
        place: usize,
        peers: Option<&'a [Peer]>,
        ports: Option<&'a [Ports]>,
    ) -> Option<Match<'a>> {
        let namespace = object.id.namespace.as_deref();
        let peer = match peers {
            None => None,
            Some(peers) => Some(peers.iter().find(|peer| self.peer_matches(peer, namespace))?),
        };
        let ports = match ports {
            None => None,
            Some(ports) => Some(ports.iter().find(|ports| self.ports_match(ports))?),
        };
        Some(Match { object, place: Some(place), action: None, peer, ports })
    }

    fn peer_matches(&self, peer: &Peer, namespace: Option<&str>) -> bool {
        let address = self.world.address(self.peer, self.flow.is_v6);
        match (peer, self.peer) {
            (Peer::Pods(pods), Place::Function(number)) => {
                pods_match(pods, namespace, &self.world.functions[number].party)
            }
            (Peer::Pods(_), Place::Node(_) | Place::Outside(_))
            | (Peer::Block { .. }, Place::Function(_)) => false,
            (Peer::Block { cidr, except }, Place::Node(_) | Place::Outside(_)) => {
                cidr.contains(&address) && !except.iter().any(|except| except.contains(&address))
            }
            (Peer::Network(cidr), _) => cidr.contains(&address),
        }
    }

    fn ports_match(&self, Ports { protocol, port }: &Ports) -> bool {
        let is_of = protocol.number() == self.flow.protocol;
        is_of
            && match port {
                Port::Any => true,
                Port::Range(low, high) => (*low..=*high).contains(&self.flow.port),
                Port::Named(name) => match self.flow.to {
                    Place::Function(number) => {
                        let declared = &self.world.functions[number].party.ports;
                        declared.iter().any(|declared| {
                            declared.name == *name
                                && declared.protocol == *protocol
                                && declared.number == self.flow.port
                        })
                    }
                    Place::Node(_) | Place::Outside(_) => false,
                },
            }
    }
}

const fn decided<'a>(side: Side<'a>, allows: bool, by: Option<Match<'a>>) -> Side<'a> {
    Side { allows, by, ..side }
}

/// Whether a choice has a function. Without a choice of namespaces, it is of one namespace.
fn pods_match(pods: &Pods, namespace: Option<&str>, party: &Party) -> bool {
    let is_namespace = match &pods.namespaces {
        Some(namespaces) if party.tenant.is_none() => selects(namespaces, &Labels::new()),
        Some(namespaces) => selects(namespaces, &party.namespace_labels),
        None => party.tenant.is_some() && party.tenant.as_deref() == namespace,
    };
    is_namespace && selects(&pods.pods, &party.labels)
}

fn selects(Selector(requirements): &Selector, labels: &Labels) -> bool {
    requirements.iter().all(|requirement| {
        let (key, values) = match requirement {
            Requirement::In(key, values) | Requirement::NotIn(key, values) => (key, &values[..]),
            Requirement::Exists(key) | Requirement::DoesNotExist(key) => (key, &[][..]),
        };
        let value = labels.get(key);
        let is_listed = value.is_some_and(|value| values.iter().any(|listed| listed == value));
        match requirement {
            Requirement::In(..) => is_listed,
            Requirement::NotIn(..) => !is_listed,
            Requirement::Exists(_) => value.is_some(),
            Requirement::DoesNotExist(_) => value.is_none(),
        }
    })
}
