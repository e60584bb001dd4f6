//! Differences that are faults of network-config-analyzer 2.1.0.

use repoint_policy::{
    Object,
    object::{Peer, Pods, Spec},
    selector::{Requirement, Selector},
};

use crate::cases::Case;

/// Beside a namespaceSelector, it asks `Exists` and `DoesNotExist` of a podSelector in the policy's namespace only.
const KEY_OF_PODS: &str = "podSelector with Exists or DoesNotExist beside a namespaceSelector";
/// It takes a namespace's missing label for one with the value "".
const EMPTY_VALUE: &str = "namespaceSelector with In or NotIn and the value \"\"";
/// Both.
const BOTH: &str = "both faults of selectors";

/// The fault that objects of a set meet.
pub fn fault_of_selectors(case: &Case) -> Option<&'static str> {
    let peers: Vec<_> = case.objects().iter().flat_map(peers).collect();
    let has_key = peers.iter().any(|(_, Selector(pods))| pods.iter().any(is_of_key));
    let has_empty = peers.iter().any(|(Selector(namespaces), _)| namespaces.iter().any(has_empty));
    match (has_key, has_empty) {
        (true, true) => Some(BOTH),
        (true, false) => Some(KEY_OF_PODS),
        (false, true) => Some(EMPTY_VALUE),
        (false, false) => None,
    }
}

/// The selectors of an object's peers that have one for namespaces.
fn peers(object: &Object) -> Vec<(&Selector, &Selector)> {
    let Spec::Network(policy) = &object.spec else { return Vec::new() };
    let rules = policy.ingress.iter().chain(&policy.egress).flatten();
    let peers = rules.filter_map(|rule| rule.peers.as_ref()).flatten();
    let chosen = peers.filter_map(|peer| match peer {
        Peer::Pods(Pods { namespaces: Some(namespaces), pods }) => Some((namespaces, pods)),
        _ => None,
    });
    chosen.collect()
}

const fn is_of_key(requirement: &Requirement) -> bool {
    matches!(requirement, Requirement::Exists(_) | Requirement::DoesNotExist(_))
}

fn has_empty(requirement: &Requirement) -> bool {
    match requirement {
        Requirement::In(_, values) | Requirement::NotIn(_, values) => {
            values.contains(&String::new())
        }
        Requirement::Exists(_) | Requirement::DoesNotExist(_) => false,
    }
}
