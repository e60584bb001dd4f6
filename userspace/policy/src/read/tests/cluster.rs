//! `ClusterNetworkPolicy`.

use std::fmt::Write as _;

use super::{assert_refused, cluster, cluster_text, labelled, only, refusal};
use crate::{
    object::{Action, ClusterPolicy, ClusterRule, Peer, Pods, Port, Ports, Protocol, Spec, Tier},
    selector::Selector,
};

const GUARD: &str = "ClusterNetworkPolicy guard";

/// A policy with these sections.
fn with(sections: &str) -> String {
    cluster_text(&format!(
        "{{tier: Admin, priority: 1, subject: {{namespaces: {{}}}}, {sections}}}"
    ))
}

/// A policy with one egress rule that has these fields.
fn with_rule(fields: &str) -> String {
    with(&format!("egress: [{{action: Deny, to: [{{namespaces: {{}}}}], {fields}}}]"))
}

/// A policy with one egress rule to this peer.
fn with_peer(peer: &str) -> String {
    with(&format!("egress: [{{action: Deny, to: [{peer}]}}]"))
}

/// A policy with one egress rule for this protocol.
fn with_protocol(protocol: &str) -> String {
    with_rule(&format!("protocols: [{protocol}]"))
}

fn policy(text: &str) -> ClusterPolicy {
    match only(text).spec {
        Spec::Cluster(policy) => policy,
        Spec::Network(_) => panic!("{text}"),
    }
}

fn in_namespaces(namespaces: Selector) -> Pods {
    Pods { namespaces: Some(namespaces), pods: Selector::default() }
}

#[test]
fn a_policy_in_the_style_of_the_documentation_is_read() {
    let text = "\
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata:
  name: cluster-wide-deny-example
spec:
  tier: Admin
  priority: 10
  subject:
    pods:
      namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: sensitive-ns
      podSelector: {}
  ingress:
    - action: Pass
      name: monitoring
      from:
      - namespaces:
          matchLabels:
            kubernetes.io/metadata.name: monitoring-ns
      protocols:
      - tcp:
          destinationPort:
            number: 7564
      - udp:
          destinationPort:
            range:
              start: 9000
              end: 9010
  egress:
    - action: Deny
      to:
      - networks:
        - 10.0.0.1/8
        - fd00::/8
      - pods:
          namespaceSelector: {}
          podSelector:
            matchLabels: {app: kube-dns}
";
    let name = "kubernetes.io/metadata.name";
    let expected = ClusterPolicy {
        tier: Tier::Admin,
        priority: 10,
        subject: in_namespaces(labelled(name, "sensitive-ns")),
        ingress: vec![ClusterRule {
            name: "monitoring".to_owned(),
            action: Action::Pass,
            peers: vec![Peer::Pods(in_namespaces(labelled(name, "monitoring-ns")))],
            ports: Some(vec![
                Ports { protocol: Protocol::Tcp, port: Port::Range(7564, 7564) },
                Ports { protocol: Protocol::Udp, port: Port::Range(9000, 9010) },
            ]),
        }],
        egress: vec![ClusterRule {
            name: String::new(),
            action: Action::Deny,
            peers: vec![
                Peer::Network("10.0.0.0/8".parse().unwrap()),
                Peer::Network("fd00::/8".parse().unwrap()),
                Peer::Pods(Pods {
                    namespaces: Some(Selector::default()),
                    pods: labelled("app", "kube-dns"),
                }),
            ],
            ports: None,
        }],
    };
    let object = only(text);
    assert_eq!(object.id.to_string(), "ClusterNetworkPolicy cluster-wide-deny-example");
    assert_eq!(object.id.namespace, None);
    assert_eq!(object.spec, Spec::Cluster(expected));
    let beta = only(&text.replace("v1alpha2", "v1beta1"));
    assert_eq!(beta, object);
}

#[test]
fn a_policy_may_have_no_rules() {
    let policy =
        cluster("{tier: Baseline, priority: 1000, subject: {namespaces: {}}, ingress: []}");
    assert_eq!((policy.tier, policy.priority), (Tier::Baseline, 1000));
    assert_eq!(policy.subject, in_namespaces(Selector::default()));
    assert!(policy.ingress.is_empty() && policy.egress.is_empty());
}

#[test]
fn a_protocol_without_a_port_means_any_port() {
    let rule = policy(&with_protocol("{sctp: {}}")).egress.remove(0);
    assert_eq!(rule.ports, Some(vec![Ports { protocol: Protocol::Sctp, port: Port::Any }]));
}

#[test]
fn lists_have_25_elements_at_most() {
    let repeated = |element: &str, count| vec![element; count].join(", ");
    let networks = |count| {
        (0..count).fold(String::new(), |mut list, index| {
            write!(list, "10.{index}.0.0/16, ").unwrap();
            list
        })
    };
    let rule = "{action: Deny, to: [{namespaces: {}}]}";
    let texts = |count| {
        [
            ("egress", with(&format!("egress: [{}]", repeated(rule, count)))),
            ("egress[0].to", with_peer(&repeated("{namespaces: {}}", count))),
            ("egress[0].protocols", with_protocol(&repeated("{tcp: {}}", count))),
            (
                "egress[0].to[0].networks",
                with_peer(&format!("{{networks: [{}]}}", networks(count))),
            ),
        ]
    };
    for (field, text) in texts(25) {
        assert_eq!(policy(&text).tier, Tier::Admin, "{field}");
    }
    for (field, text) in texts(26) {
        let low = u8::from(field != "egress");
        let expected = format!("spec.{field}: 26 elements, where {low} to 25 are allowed");
        let error = refusal(&text);
        assert!(error.ends_with(&expected), "{error}");
    }
}

#[test]
fn a_name_of_a_rule_has_100_characters_at_most() {
    let name = |length| format!("name: {}", "ü".repeat(length));
    assert_eq!(policy(&with_rule(&name(100))).egress[0].name, "ü".repeat(100));
    let error = refusal(&with_rule(&name(101)));
    assert!(error.contains("ü\"...") && error.contains("at most 100 characters"), "{error}");
}

#[test]
fn fields_of_the_experimental_channel_are_refused_by_name() {
    let nodes = "spec.egress[0].to[0].nodes: not supported, so the whole object is refused: use \
                 networks, with the addresses of the nodes";
    let domains = "spec.egress[0].to[0].domainNames: not supported, so the whole object is \
                   refused: use networks, with the addresses of the domains";
    assert_refused(
        GUARD,
        with_peer,
        [
            ("{nodes: {}}", nodes),
            ("{nodes: null}", nodes),
            ("{domainNames: ['*.example.org']}", domains),
            ("{namespaces: {}, nodes: {}}", nodes),
        ],
    );
    assert_refused(
        GUARD,
        with_protocol,
        [(
            "{destinationNamedPort: web}",
            "spec.egress[0].protocols[0].destinationNamedPort: not supported, so the whole object is \
         refused: use tcp, udp or sctp, with the number of the port",
        )],
    );
    assert_refused(
        GUARD,
        with,
        [(
            "ingress: [{action: Deny, from: [{nodes: {}}]}]",
            "spec.ingress[0].from[0].nodes: not supported, so the whole object is refused: use \
         networks, with the addresses of the nodes",
        )],
    );
}

#[test]
fn wrong_peers_are_refused() {
    assert_refused(
        GUARD,
        with_peer,
        [
            (
                "{services: {}}",
                "spec.egress[0].to[0]: unknown field \"services\": the fields here are namespaces, \
             pods, networks",
            ),
            (
                "{}",
                "spec.egress[0].to[0]: 0 fields, where exactly one of namespaces, pods and networks is \
             wanted",
            ),
            (
                "{namespaces: {}, networks: [10.0.0.0/8]}",
                "spec.egress[0].to[0]: 2 fields, where exactly one of namespaces, pods and networks is \
             wanted",
            ),
            (
                "{namespaces: null}",
                "spec.egress[0].to[0].namespaces: nothing where a mapping is wanted",
            ),
            (
                "{namespaces: {matchLabels: null}}",
                "spec.egress[0].to[0].namespaces.matchLabels: nothing where a mapping is wanted",
            ),
            (
                "{pods: {namespaceSelector: {}}}",
                "spec.egress[0].to[0].pods.podSelector: missing: add it",
            ),
            (
                "{networks: []}",
                "spec.egress[0].to[0].networks: 0 elements, where 1 to 25 are allowed",
            ),
            (
                "{networks: [10.0.0.0/8, 10.0.0.0/8]}",
                "spec.egress[0].to[0].networks[1]: \"10.0.0.0/8\" appears twice: remove one of them",
            ),
            (
                "{networks: [10.0.0.1]}",
                "spec.egress[0].to[0].networks[0]: \"10.0.0.1\" is not a prefix such as 10.0.0.0/8, or \
             10.0.0.1/32 for one address",
            ),
        ],
    );
    assert_refused(
        GUARD,
        with,
        [
            (
                "ingress: [{action: Deny, from: [{networks: [10.0.0.0/8]}]}]",
                "spec.ingress[0].from[0]: unknown field \"networks\": the fields here are namespaces, \
             pods; it is a field of spec.egress[].to[] of a ClusterNetworkPolicy",
            ),
            (
                "ingress: [{action: Deny, from: []}]",
                "spec.ingress[0].from: 0 elements, where 1 to 25 are allowed",
            ),
            ("ingress: [{action: Deny}]", "spec.ingress[0].from: missing: add it"),
        ],
    );
}

#[test]
fn wrong_protocols_are_refused() {
    let port = "spec.egress[0].protocols[0].tcp.destinationPort";
    let expect = |rest: &str| format!("{port}{rest}");
    assert_refused(
        GUARD,
        with_protocol,
        [
            (
                "{}",
                "spec.egress[0].protocols[0]: 0 fields, where exactly one of tcp, udp and sctp is wanted",
            ),
            (
                "{tcp: {}, udp: {}}",
                "spec.egress[0].protocols[0]: 2 fields, where exactly one of tcp, udp and sctp is wanted",
            ),
            (
                "{icmp: {}}",
                "spec.egress[0].protocols[0]: unknown field \"icmp\": the fields here are tcp, udp, sctp",
            ),
            ("{tcp: null}", "spec.egress[0].protocols[0].tcp: nothing where a mapping is wanted"),
            (
                "{tcp: {port: 80}}",
                "spec.egress[0].protocols[0].tcp: unknown field \"port\": the fields here are \
             destinationPort; it is a field of ports[]",
            ),
            (
                "{tcp: {destinationPort: {}}}",
                &expect(": 0 fields, where exactly one of number and range is wanted"),
            ),
            (
                "{tcp: {destinationPort: {number: 80, range: {start: 1, end: 2}}}}",
                &expect(": 2 fields, where exactly one of number and range is wanted"),
            ),
            ("{tcp: {destinationPort: 80}}", &expect(": a number where a mapping is wanted")),
            (
                "{tcp: {destinationPort: {number: 0}}}",
                &expect(".number: must be a whole number from 1 to 65535"),
            ),
            (
                "{tcp: {destinationPort: {range: {start: 80, end: 80}}}}",
                &expect(".range: end 80 is not higher than start 80: use number for a single port"),
            ),
            (
                "{tcp: {destinationPort: {range: {start: 81, end: 80}}}}",
                &expect(".range: end 80 is not higher than start 81: use number for a single port"),
            ),
            (
                "{tcp: {destinationPort: {range: {start: 80}}}}",
                &expect(".range.end: missing: add it"),
            ),
        ],
    );
    assert_refused(
        GUARD,
        with_rule,
        [
            ("protocols: []", "spec.egress[0].protocols: 0 elements, where 1 to 25 are allowed"),
            ("protocols: ", "spec.egress[0].protocols: nothing where a list is wanted"),
            (
                "ports: []",
                "spec.egress[0]: unknown field \"ports\": the fields here are name, action, to, \
             protocols; it is a field of spec.ingress[] and spec.egress[] of a NetworkPolicy",
            ),
        ],
    );
}

#[test]
fn wrong_fields_of_the_policy_are_refused() {
    assert_refused(
        GUARD,
        cluster_text,
        [
            ("{priority: 1, subject: {namespaces: {}}}", "spec.tier: missing: add it"),
            ("{tier: Admin, subject: {namespaces: {}}}", "spec.priority: missing: add it"),
            ("{tier: Admin, priority: 1}", "spec.subject: missing: add it"),
            ("{tier: admin}", "spec.tier: \"admin\" is not a tier: Admin or Baseline"),
            (
                "{tier: Admin, priority: 1001}",
                "spec.priority: must be a whole number from 0 to 1000",
            ),
            ("{tier: Admin, priority: -1}", "spec.priority: must be a whole number from 0 to 1000"),
            (
                "{tier: Admin, priority: 1.5}",
                "spec.priority: must be a whole number from 0 to 1000",
            ),
            ("{tier: Admin, priority: high}", "spec.priority: a string where a number is wanted"),
            (
                "{tier: Admin, priority: 1, subject: {}}",
                "spec.subject: 0 fields, where exactly one of namespaces and pods is wanted",
            ),
            (
                "{tier: Admin, priority: 1, subject: {namespaces: {}, pods: {podSelector: {}}}}",
                "spec.subject: 2 fields, where exactly one of namespaces and pods is wanted",
            ),
            (
                "{podSelector: {}}",
                "spec: unknown field \"podSelector\": the fields here are tier, priority, subject, \
             ingress, egress; it is a field of spec, from[] and to[] of a NetworkPolicy, and of pods",
            ),
        ],
    );
    assert_refused(
        GUARD,
        with,
        [
            ("ingress: null", "spec.ingress: nothing where a list is wanted"),
            (
                "egress: [{action: Allow, to: [{namespaces: {}}]}]",
                "spec.egress[0].action: \"Allow\" is not an action: Accept, Deny or Pass",
            ),
            ("egress: [{to: [{namespaces: {}}]}]", "spec.egress[0].action: missing: add it"),
            (
                "egress: [{name: \"a\\nb\", action: Deny, to: [{namespaces: {}}]}]",
                "spec.egress[0].name: \"a\\nb\" is not the name of a rule: at most 100 characters, and \
             no control characters",
            ),
        ],
    );
}
