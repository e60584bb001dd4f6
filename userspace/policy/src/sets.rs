//! Sets of peers that rules ask for, and their numbers in the maps.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    iter,
};

use ipnet::IpNet;
use repoint_common::policy::{
    GROUP_WORDS, MAX_GROUPS, MAX_NETWORKS, NETWORK_GROUPS, TENANT_GROUPS,
};
use serde::{Deserialize, Serialize};

use crate::{
    compile::CompileError,
    object::{Object, Peer, Pods, Port, Protocol, Spec},
    party::{NamedPort, Party},
    selector::Selector,
};

/// Groups as the maps have them: group N is bit N % 32 of word N / 32.
pub type Words = [u32; GROUP_WORDS];

/// A set of peers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Set {
    /// Functions.
    Pods {
        /// The tenant, where all are of one.
        tenant: Option<String>,
        /// Choice of their namespaces.
        namespaces: Selector,
        /// Choice of functions in these.
        pods: Selector,
        /// A port that they must have declared.
        port: Option<NamedPort>,
    },
    /// Addresses that are no function's of this node.
    Block {
        /// The addresses.
        cidr: IpNet,
        /// Of these, those that are not meant.
        except: Vec<IpNet>,
    },
    /// Addresses, those of functions included.
    Network(IpNet),
}

/// Sets of one kind share a range of numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Networks,
    Node,
    Tenant(String),
}

impl Scope {
    const fn range(&self) -> std::ops::Range<u32> {
        match self {
            Self::Networks => 0..NETWORK_GROUPS,
            Self::Node => NETWORK_GROUPS..TENANT_GROUPS,
            Self::Tenant(_) => TENANT_GROUPS..MAX_GROUPS,
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::Networks => "networks of ClusterNetworkPolicy objects".to_owned(),
            Self::Node => "ipBlocks and choices of functions by namespace".to_owned(),
            Self::Tenant(tenant) => format!("choices of functions in namespace {tenant}"),
        }
    }
}

impl Set {
    /// The set of an object's peer; none: all functions of the object's own namespace.
    pub(crate) fn of(peer: &Peer, tenant: Option<&str>) -> Option<Self> {
        match peer {
            Peer::Block { cidr, except } => {
                Some(Self::Block { cidr: *cidr, except: except.clone() })
            }
            Peer::Network(cidr) => Some(Self::Network(*cidr)),
            Peer::Pods(Pods { namespaces: None, pods }) if pods.is_all() => None,
            Peer::Pods(pods) => Some(Self::of_pods(pods, tenant)),
        }
    }

    fn of_pods(Pods { namespaces, pods }: &Pods, tenant: Option<&str>) -> Self {
        let tenant = if namespaces.is_none() { tenant.map(str::to_owned) } else { None };
        let namespaces = namespaces.clone().unwrap_or_default();
        Self::Pods { tenant, namespaces, pods: pods.clone(), port: None }
    }

    /// The functions of a rule's peer that have declared a port; none: the peer is no function.
    pub(crate) fn with_port(
        peer: Option<&Peer>,
        tenant: Option<&str>,
        port: &NamedPort,
    ) -> Option<Self> {
        let all = Pods { namespaces: Some(Selector::default()), pods: Selector::default() };
        let chosen = match peer {
            None => &all,
            Some(Peer::Pods(pods)) => pods,
            Some(Peer::Block { .. } | Peer::Network(_)) => return None,
        };
        match Self::of_pods(chosen, tenant) {
            Self::Pods { tenant, namespaces, pods, .. } => {
                Some(Self::Pods { tenant, namespaces, pods, port: Some(port.clone()) })
            }
            _ => None,
        }
    }

    /// Whether a function is in it.
    #[must_use]
    pub fn has(&self, party: &Party) -> bool {
        let Self::Pods { tenant, namespaces, pods, port } = self else { return false };
        (tenant.is_none() || *tenant == party.tenant)
            && namespaces.matches(&party.namespace_labels)
            && pods.matches(&party.labels)
            && port.as_ref().is_none_or(|port| party.ports.contains(port))
    }

    fn scope(&self) -> Scope {
        match self {
            Self::Network(_) => Scope::Networks,
            Self::Pods { tenant: Some(tenant), .. } => Scope::Tenant(tenant.clone()),
            Self::Pods { .. } | Self::Block { .. } => Scope::Node,
        }
    }

    /// The tenant that has a number for it by itself.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        match self {
            Self::Pods { tenant, .. } => tenant.as_deref(),
            Self::Block { .. } | Self::Network(_) => None,
        }
    }
}

/// Sets with their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups(BTreeMap<Set, u32>);

impl FromIterator<(Set, u32)> for Groups {
    fn from_iter<I: IntoIterator<Item = (Set, u32)>>(sets: I) -> Self {
        Self(sets.into_iter().collect())
    }
}

impl Groups {
    /// The groups that objects need. A set keeps the number that it has, and no other gets a number that is in use
    /// now: while the maps are written, a number means one set.
    ///
    /// # Errors
    /// [`CompileError::Groups`] where a kind of sets has no number left.
    pub fn renew<'a>(
        &self,
        objects: impl IntoIterator<Item = &'a Object>,
        ports: &BTreeSet<NamedPort>,
    ) -> Result<Self, CompileError> {
        let wanted: BTreeSet<Set> =
            objects.into_iter().flat_map(|object| sets_of(object, ports)).collect();
        let mut taken: BTreeMap<Scope, BTreeSet<u32>> = BTreeMap::new();
        for (set, number) in &self.0 {
            taken.entry(set.scope()).or_default().insert(*number);
        }
        let mut groups = BTreeMap::new();
        for set in wanted {
            let scope = set.scope();
            let number = if let Some(number) = self.0.get(&set) {
                *number
            } else {
                let taken = taken.entry(scope.clone()).or_default();
                let free = scope.range().find(|number| !taken.contains(number));
                let number = free.ok_or_else(|| CompileError::Groups {
                    what: scope.in_words(),
                    most: scope.range().len(),
                })?;
                taken.insert(number);
                number
            };
            groups.insert(set, number);
        }
        let groups = Self(groups);
        // While the maps are written they hold those of before and after.
        groups.ensure_networks(self)?;
        Ok(groups)
    }

    fn ensure_networks(&self, former: &Self) -> Result<(), CompileError> {
        let mut prefixes = self.prefixes();
        prefixes.extend(former.prefixes());
        for (family, is_v4) in [("IPv4", true), ("IPv6", false)] {
            let count = prefixes.iter().filter(|it| matches!(it, IpNet::V4(_)) == is_v4).count();
            if count > MAX_NETWORKS {
                return Err(CompileError::Networks { family, count });
            }
        }
        Ok(())
    }

    /// The prefixes that objects name.
    fn prefixes(&self) -> BTreeSet<IpNet> {
        let mut prefixes = BTreeSet::new();
        for set in self.0.keys() {
            match set {
                Set::Pods { .. } => {}
                Set::Network(cidr) => drop(prefixes.insert(cidr.trunc())),
                Set::Block { cidr, except } => {
                    prefixes.insert(cidr.trunc());
                    prefixes.extend(except.iter().map(IpNet::trunc));
                }
            }
        }
        prefixes
    }

    /// The sets with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (&Set, u32)> {
        self.0.iter().map(|(set, number)| (set, *number))
    }

    pub(crate) fn number(&self, set: &Set) -> Option<u32> {
        self.0.get(set).copied()
    }

    /// The groups that a function is in.
    #[must_use]
    pub fn of_party(&self, party: &Party) -> Words {
        words(self.iter().filter(|(set, _)| set.has(party)).map(|(_, number)| number))
    }

    /// Each prefix that objects name, with the groups of addresses that have no longer one.
    #[must_use]
    pub fn networks(&self) -> BTreeMap<IpNet, Words> {
        let covers: Vec<_> = self.iter().filter_map(Cover::of).collect();
        let of =
            |prefix: &IpNet| words(covers.iter().filter(|it| it.has(prefix)).map(|it| it.number));
        self.prefixes().into_iter().map(|prefix| (prefix, of(&prefix))).collect()
    }
}

fn words(numbers: impl Iterator<Item = u32>) -> Words {
    let mut words = Words::default();
    for number in numbers {
        if let Some(word) = words.get_mut(number as usize / 32) {
            *word |= 1 << (number % 32);
        }
    }
    words
}

/// A set of addresses, to be asked about many prefixes.
struct Cover {
    number: u32,
    cidr: IpNet,
    except: HashSet<IpNet>,
}

impl Cover {
    fn of((set, number): (&Set, u32)) -> Option<Self> {
        let (cidr, except) = match set {
            Set::Pods { .. } => return None,
            Set::Network(cidr) => (cidr, &[][..]),
            Set::Block { cidr, except } => (cidr, except.as_slice()),
        };
        Some(Self { number, cidr: *cidr, except: except.iter().map(IpNet::trunc).collect() })
    }

    /// Whether all addresses of a prefix are in it.
    fn has(&self, prefix: &IpNet) -> bool {
        let is_except = || covering(prefix).any(|covering| self.except.contains(&covering));
        self.cidr.contains(prefix) && (self.except.is_empty() || !is_except())
    }
}

/// A prefix and all shorter ones that have its addresses, the longest first.
fn covering(prefix: &IpNet) -> impl Iterator<Item = IpNet> {
    iter::successors(Some(prefix.trunc()), IpNet::supernet)
}

/// What a table has for the longest of its prefixes that has all addresses of this one.
#[must_use]
pub fn longest<'a, T>(table: &'a BTreeMap<IpNet, T>, prefix: &IpNet) -> Option<&'a T> {
    covering(prefix).find_map(|covering| table.get(&covering))
}

/// The sets that an object's rules ask for.
fn sets_of(object: &Object, ports: &BTreeSet<NamedPort>) -> Vec<Set> {
    let tenant = object.id.namespace.as_deref();
    let mut sets = Vec::new();
    let mut add = |peers: Option<&[Peer]>, named: Vec<&NamedPort>| {
        for peer in peers.unwrap_or_default() {
            sets.extend(Set::of(peer, tenant));
            sets.extend(named.iter().filter_map(|port| Set::with_port(Some(peer), tenant, port)));
        }
        if peers.is_none() {
            sets.extend(named.iter().filter_map(|port| Set::with_port(None, tenant, port)));
        }
    };
    match &object.spec {
        Spec::Network(policy) => {
            for rule in policy.ingress.iter().flatten() {
                add(rule.peers.as_deref(), Vec::new());
            }
            for rule in policy.egress.iter().flatten() {
                let wanted = rule.ports.iter().flatten().filter_map(|of| match &of.port {
                    Port::Named(name) => Some((name, of.protocol)),
                    Port::Any | Port::Range(..) => None,
                });
                let named = wanted.flat_map(|(name, protocol)| named(ports, name, protocol));
                add(rule.peers.as_deref(), named.collect());
            }
        }
        Spec::Cluster(policy) => {
            for rule in policy.ingress.iter().chain(&policy.egress) {
                add(Some(&rule.peers), Vec::new());
            }
        }
    }
    sets
}

/// The ports of a name and protocol that functions declare.
pub(crate) fn named<'a>(
    ports: &'a BTreeSet<NamedPort>,
    name: &str,
    protocol: Protocol,
) -> impl Iterator<Item = &'a NamedPort> {
    ports.iter().filter(move |port| port.name == name && port.protocol == protocol)
}
