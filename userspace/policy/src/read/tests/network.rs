//! `NetworkPolicy`.

use ipnet::IpNet;

use super::{assert_refused, labelled, network, network_text, only, refusal};
use crate::{
    object::{AllowRule, NetworkPolicy, Peer, Pods, Port, Ports, Protocol, Spec},
    selector::Selector,
};

const ANY: AllowRule = AllowRule { peers: None, ports: None };

fn prefix(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn tcp(port: u16) -> Ports {
    Ports { protocol: Protocol::Tcp, port: Port::Range(port, port) }
}

/// The ports of the only ingress rule, with this `ports`.
fn ports(list: &str) -> Option<Vec<Ports>> {
    let policy = network(&format!("{{ingress: [{{ports: {list}}}]}}"));
    policy.ingress.unwrap().remove(0).ports
}

/// The peers of the only ingress rule, with this `from`.
fn peers(list: &str) -> Option<Vec<Peer>> {
    let policy = network(&format!("{{ingress: [{{from: {list}}}]}}"));
    policy.ingress.unwrap().remove(0).peers
}

#[test]
fn the_example_of_the_documentation_is_read() {
    let text = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: test-network-policy
  namespace: default
spec:
  podSelector:
    matchLabels:
      role: db
  policyTypes:
  - Ingress
  - Egress
  ingress:
  - from:
    - ipBlock:
        cidr: 172.17.0.0/16
        except:
        - 172.17.1.0/24
    - namespaceSelector:
        matchLabels:
          project: myproject
    - podSelector:
        matchLabels:
          role: frontend
    ports:
    - protocol: TCP
      port: 6379
  egress:
  - to:
    - ipBlock:
        cidr: 10.0.0.0/24
    ports:
    - protocol: TCP
      port: 5978
";
    let ingress = AllowRule {
        peers: Some(vec![
            Peer::Block { cidr: prefix("172.17.0.0/16"), except: vec![prefix("172.17.1.0/24")] },
            Peer::Pods(Pods {
                namespaces: Some(labelled("project", "myproject")),
                pods: Selector::default(),
            }),
            Peer::Pods(Pods { namespaces: None, pods: labelled("role", "frontend") }),
        ]),
        ports: Some(vec![tcp(6379)]),
    };
    let egress = AllowRule {
        peers: Some(vec![Peer::Block { cidr: prefix("10.0.0.0/24"), except: vec![] }]),
        ports: Some(vec![tcp(5978)]),
    };
    let object = only(text);
    assert_eq!(object.id.to_string(), "NetworkPolicy default/test-network-policy");
    assert!(!object.audit);
    let policy = NetworkPolicy {
        pods: labelled("role", "db"),
        ingress: Some(vec![ingress]),
        egress: Some(vec![egress]),
    };
    assert_eq!(object.spec, Spec::Network(policy));
}

#[test]
fn types_follow_the_sections_unless_they_are_listed() {
    let cases = [
        ("{}", Some(0), None),
        ("{podSelector: {}}", Some(0), None),
        ("{podSelector: null, ingress: null, egress: null, policyTypes: null}", Some(0), None),
        ("{policyTypes: []}", Some(0), None),
        ("{ingress: []}", Some(0), None),
        ("{ingress: [{}]}", Some(1), None),
        // Defaults ask for rules of egress, not for the section.
        ("{egress: []}", Some(0), None),
        ("{egress: [{}]}", Some(0), Some(1)),
        ("{policyTypes: [Ingress]}", Some(0), None),
        ("{policyTypes: [Egress]}", None, Some(0)),
        ("{policyTypes: [Ingress, Egress]}", Some(0), Some(0)),
        ("{policyTypes: [Egress, Egress]}", None, Some(0)),
        ("{policyTypes: [Egress], ingress: [{}]}", None, Some(0)),
        ("{policyTypes: [Ingress], egress: [{}]}", Some(0), None),
        ("{policyTypes: [Egress], egress: [{}, {}]}", None, Some(2)),
    ];
    for (spec, ingress, egress) in cases {
        let policy = network(spec);
        let count = |rules: Option<Vec<AllowRule>>| rules.map(|rules| rules.len());
        assert_eq!((count(policy.ingress), count(policy.egress)), (ingress, egress), "{spec}");
        assert!(policy.pods.is_all(), "{spec}");
    }
}

#[test]
fn a_rule_without_conditions_allows_all() {
    for rule in ["{}", "{from: []}", "{from: null, ports: null}", "{ports: []}"] {
        assert_eq!(network(&format!("{{ingress: [{rule}]}}")).ingress, Some(vec![ANY]), "{rule}");
    }
}

#[test]
fn peers_choose_functions_or_addresses() {
    let pods = |namespaces, pods| Some(vec![Peer::Pods(Pods { namespaces, pods })]);
    let all = Selector::default;
    assert_eq!(peers("[{podSelector: {}}]"), pods(None, all()));
    assert_eq!(peers("[{namespaceSelector: {}}]"), pods(Some(all()), all()));
    assert_eq!(
        peers("[{namespaceSelector: {matchLabels: {a: b}}, podSelector: {matchLabels: {c: d}}}]"),
        pods(Some(labelled("a", "b")), labelled("c", "d"))
    );
    assert_eq!(
        peers("[{ipBlock: {cidr: 10.1.2.3/8, except: [10.9.9.9/16, 10.0.0.1/32]}}]"),
        Some(vec![Peer::Block {
            cidr: prefix("10.0.0.0/8"),
            except: vec![prefix("10.9.0.0/16"), prefix("10.0.0.1/32")],
        }])
    );
    assert_eq!(
        peers("[{ipBlock: {cidr: '::/0', except: ['fd00::1/8']}}]"),
        Some(vec![Peer::Block { cidr: prefix("::/0"), except: vec![prefix("fd00::/8")] }])
    );
}

#[test]
fn ports_are_numbers_ranges_names_or_any() {
    let one = |protocol, port| Some(vec![Ports { protocol, port }]);
    assert_eq!(ports("[{}]"), one(Protocol::Tcp, Port::Any));
    assert_eq!(ports("[{protocol: UDP}]"), one(Protocol::Udp, Port::Any));
    assert_eq!(ports("[{port: 1}]"), one(Protocol::Tcp, Port::Range(1, 1)));
    assert_eq!(ports("[{port: 65535}]"), one(Protocol::Tcp, Port::Range(65535, 65535)));
    assert_eq!(
        ports("[{protocol: SCTP, port: 80, endPort: 80}]"),
        one(Protocol::Sctp, Port::Range(80, 80))
    );
    assert_eq!(ports("[{port: 80, endPort: 90}]"), one(Protocol::Tcp, Port::Range(80, 90)));
    assert_eq!(ports("[{port: web-1}]"), one(Protocol::Tcp, Port::Named("web-1".to_owned())));
    assert_eq!(ports("[{port: 1a}]"), one(Protocol::Tcp, Port::Named("1a".to_owned())));
}

#[test]
fn unknown_fields_are_refused() {
    assert_refused(
        "NetworkPolicy shop/web",
        network_text,
        [
            (
                "{ingres: []}",
                "spec: unknown field \"ingres\": the fields here are podSelector, policyTypes, \
             ingress, egress",
            ),
            (
                "{ports: []}",
                "spec: unknown field \"ports\": the fields here are podSelector, policyTypes, \
             ingress, egress; it is a field of spec.ingress[] and spec.egress[] of a NetworkPolicy",
            ),
            (
                "{ingress: [{to: []}]}",
                "spec.ingress[0]: unknown field \"to\": the fields here are from, ports; it is a \
             field of spec.egress[]",
            ),
            (
                "{egress: [{}, {from: null}]}",
                "spec.egress[1]: unknown field \"from\": the fields here are to, ports; it is a field \
             of spec.ingress[]",
            ),
            (
                "{ingress: [{from: [{pods: {}}]}]}",
                "spec.ingress[0].from[0]: unknown field \"pods\": the fields here are ipBlock, \
             podSelector, namespaceSelector; it is a field of subject, from[] and to[] of a \
             ClusterNetworkPolicy",
            ),
            (
                "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, expect: []}}]}]}",
                "spec.ingress[0].from[0].ipBlock: unknown field \"expect\": the fields here are cidr, \
             except",
            ),
            (
                "{ingress: [{ports: [{Port: 80}]}]}",
                "spec.ingress[0].ports[0]: unknown field \"Port\": the fields here are protocol, \
             port, endPort",
            ),
        ],
    );
}

#[test]
fn wrong_peers_are_refused() {
    const A_PREFIX: &str = "is not a prefix such as 10.0.0.0/8, or 10.0.0.1/32 for one address";
    let from = |peers: &str| network_text(&format!("{{ingress: [{{from: {peers}}}]}}"));
    let block = |block: &str| format!("[{{ipBlock: {block}}}]");
    let outside = [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.0/8", "11.0.0.0/16"),
        ("10.0.0.0/16", "10.0.0.0/8"),
        ("10.0.0.0/8", "fd00::/64"),
    ];
    for (cidr, except) in outside {
        let error = refusal(&from(&block(&format!("{{cidr: {cidr}, except: ['{except}']}}"))));
        let expected =
            format!("from[0].ipBlock.except[0]: {except} is not a smaller part of {cidr}");
        assert!(error.ends_with(&expected), "{error}");
    }
    for cidr in ["10.0.0.1", "10.0.0.0/33", "10.0.0/8", "::ffff:10.0.0.0/104", "010.0.0.0/8", ""] {
        let error = refusal(&from(&block(&format!("{{cidr: '{cidr}'}}"))));
        assert!(error.ends_with(&format!("ipBlock.cidr: {cidr:?} {A_PREFIX}")), "{error}");
    }
    assert_refused(
        "NetworkPolicy shop/web",
        network_text,
        [
            (
                "{ingress: [{from: [{}]}]}",
                "spec.ingress[0].from[0]: a peer without fields: write ipBlock, podSelector or \
             namespaceSelector",
            ),
            (
                "{ingress: [{from: [{podSelector: null}]}]}",
                "spec.ingress[0].from[0]: a peer without fields: write ipBlock, podSelector or \
             namespaceSelector",
            ),
            (
                "{egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}]}",
                "spec.egress[0].to[0]: ipBlock excludes podSelector and namespaceSelector: use two \
             peers",
            ),
            (
                "{egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}, namespaceSelector: {}}]}]}",
                "spec.egress[0].to[0]: ipBlock excludes podSelector and namespaceSelector: use two \
             peers",
            ),
            (
                "{egress: [{to: [{ipBlock: {}}]}]}",
                "spec.egress[0].to[0].ipBlock.cidr: missing: add it",
            ),
            (
                "{egress: [{to: {ipBlock: {}}}]}",
                "spec.egress[0].to: a mapping where a list is wanted",
            ),
        ],
    );
}

#[test]
fn an_empty_element_is_refused() {
    // Kubernetes takes it as a rule that allows all.
    assert_refused(
        "NetworkPolicy shop/web",
        network_text,
        [
            ("\n  ingress:\n  -", "spec.ingress[0]: nothing where a mapping is wanted"),
            (
                "{ingress: [{ports: [null]}]}",
                "spec.ingress[0].ports[0]: nothing where a mapping is wanted",
            ),
            (
                "{ingress: [{from: [~]}]}",
                "spec.ingress[0].from[0]: nothing where a mapping is wanted",
            ),
        ],
    );
}

#[test]
fn wrong_ports_are_refused() {
    fn text(port: &str) -> String {
        network_text(&format!("{{ingress: [{{ports: [{port}]}}]}}"))
    }
    const RANGE: &str = "must be a whole number from 1 to 65535";
    const NAME: &str = "is not the name of a port: at most 15 lowercase letters, digits and single \
                        \"-\", of which one is a letter and none at an end is \"-\"";
    for number in ["0", "-1", "65536", "99999999999999999999", "1.5", "080"] {
        let error = refusal(&text(&format!("{{port: {number}}}")));
        assert!(error.ends_with(&format!("ports[0].port: {RANGE}")), "{number}: {error}");
    }
    let names = ["'65536'", "Web", "a--b", "-a", "a-", "''", "a_b", "abcdefghijklmnop", "1-2"];
    for name in names {
        let error = refusal(&text(&format!("{{port: {name}}}")));
        let expected = format!("ports[0].port: {:?} {NAME}", name.trim_matches('\''));
        assert!(error.ends_with(&expected), "{error}");
    }
    assert_refused(
        "NetworkPolicy shop/web",
        text,
        [
            (
                "{port: '80'}",
                "spec.ingress[0].ports[0].port: \"80\" is the name of a port: remove the quotes to \
             mean the number",
            ),
            ("{port: true}", "spec.ingress[0].ports[0].port: a boolean where a number is wanted"),
            (
                "{port: 443, endPort: 80}",
                "spec.ingress[0].ports[0].endPort: 80 is lower than port 443",
            ),
            (
                "{port: 443, endPort: 65536}",
                "spec.ingress[0].ports[0].endPort: must be a whole number from 1 to 65535",
            ),
            (
                "{port: 443, endPort: '500'}",
                "spec.ingress[0].ports[0].endPort: a string where a number is wanted",
            ),
            (
                "{port: web, endPort: 80}",
                "spec.ingress[0].ports[0].endPort: needs a number in field port: write one, or remove \
             endPort",
            ),
            (
                "{endPort: 80}",
                "spec.ingress[0].ports[0].endPort: needs a number in field port: write one, or remove \
             endPort",
            ),
            (
                "{protocol: tcp}",
                "spec.ingress[0].ports[0].protocol: \"tcp\" is not a protocol: TCP, UDP or SCTP",
            ),
            (
                "{protocol: 6}",
                "spec.ingress[0].ports[0].protocol: a number where a string is wanted: put it in quotes",
            ),
        ],
    );
}

#[test]
fn wrong_types_are_refused() {
    const TYPE: &str = "is not a type of policy: Ingress or Egress";
    let ingress = format!("spec.policyTypes[0]: \"ingress\" {TYPE}");
    let empty = format!("spec.policyTypes[1]: \"\" {TYPE}");
    assert_refused(
        "NetworkPolicy shop/web",
        network_text,
        [
            ("{policyTypes: [ingress]}", &ingress),
            ("{policyTypes: [Ingress, '']}", &empty),
            (
                "{policyTypes: [Ingress, Egress, Egress]}",
                "spec.policyTypes: 3 elements, where 0 to 2 are allowed",
            ),
            ("{policyTypes: Ingress}", "spec.policyTypes: a string where a list is wanted"),
            ("[]", "spec: a list where a mapping is wanted"),
            ("null", "spec: missing: add it"),
        ],
    );
}

#[test]
fn a_section_that_does_not_count_is_checked() {
    assert_refused(
        "NetworkPolicy shop/web",
        network_text,
        [(
            "{policyTypes: [Ingress], egress: [{ports: [{port: 0}]}]}",
            "spec.egress[0].ports[0].port: must be a whole number from 1 to 65535",
        )],
    );
}
