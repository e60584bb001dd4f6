//! Where fields are allowed, for errors about fields in the wrong place.

/// Fields, and the places that have them.
const PLACES: [(&str, &str); 40] = [
    ("action", "spec.ingress[] and spec.egress[] of a ClusterNetworkPolicy"),
    ("annotations", "metadata"),
    ("cidr", "ipBlock"),
    ("destinationPort", "tcp, udp and sctp"),
    ("egress", "spec"),
    ("end", "range"),
    ("endPort", "ports[]"),
    ("except", "ipBlock"),
    ("from", "spec.ingress[]"),
    ("ingress", "spec"),
    ("ipBlock", "from[] and to[] of a NetworkPolicy"),
    ("key", "matchExpressions[]"),
    ("labels", "metadata"),
    ("matchExpressions", "podSelector, namespaceSelector and namespaces"),
    ("matchLabels", "podSelector, namespaceSelector and namespaces"),
    ("name", "metadata, and of a rule of a ClusterNetworkPolicy"),
    ("namespace", "metadata"),
    ("namespaceSelector", "from[] and to[] of a NetworkPolicy, and of pods"),
    ("namespaces", "subject, from[] and to[] of a ClusterNetworkPolicy"),
    ("networks", "spec.egress[].to[] of a ClusterNetworkPolicy"),
    ("number", "destinationPort"),
    ("operator", "matchExpressions[]"),
    ("podSelector", "spec, from[] and to[] of a NetworkPolicy, and of pods"),
    ("pods", "subject, from[] and to[] of a ClusterNetworkPolicy"),
    ("policyTypes", "spec of a NetworkPolicy"),
    ("port", "ports[]"),
    ("ports", "spec.ingress[] and spec.egress[] of a NetworkPolicy"),
    ("priority", "spec of a ClusterNetworkPolicy"),
    ("protocol", "ports[]"),
    ("protocols", "spec.ingress[] and spec.egress[] of a ClusterNetworkPolicy"),
    ("range", "destinationPort"),
    ("sctp", "protocols[]"),
    ("spec", "the object itself"),
    ("start", "range"),
    ("subject", "spec of a ClusterNetworkPolicy"),
    ("tcp", "protocols[]"),
    ("tier", "spec of a ClusterNetworkPolicy"),
    ("to", "spec.egress[]"),
    ("udp", "protocols[]"),
    ("values", "matchExpressions[]"),
];

/// The places that have a field of this name.
pub(super) fn place(field: &str) -> Option<&'static str> {
    PLACES.iter().find(|(name, _)| *name == field).map(|(_, place)| *place)
}
