//! What the syntax allows, and errors of it.

use super::{network, network_text, objects, refusal};

#[test]
fn texts_that_are_no_yaml_are_refused() {
    let cases = [
        (
            "a: b: c\n",
            "a.yaml:1:5: not valid YAML or JSON: mapping values are not allowed in this context",
        ),
        (
            "a:\n\tb: 1\n",
            "a.yaml:2:2: not valid YAML or JSON: tabs disallowed within this context (block \
             indentation)",
        ),
        ("a: [1,\n", "a.yaml:1:4: not valid YAML or JSON: unclosed bracket '['"),
        ("a: *b\n", "a.yaml:1:4: not valid YAML or JSON: reference to unknown value"),
        (
            "a: &b [*b]\n",
            "a.yaml:1:8: not valid YAML or JSON: the alias is inside of what it stands for",
        ),
        (
            "a: !include /etc/passwd\n",
            "a.yaml:1:13: not valid YAML or JSON: unsupported tag `!include`",
        ),
        ("a: .nan\n", "a.yaml:1:4: not valid YAML or JSON: value `.nan` is not a finite number"),
    ];
    for (text, expected) in cases {
        assert_eq!(refusal(text), expected, "{text}");
    }
}

#[test]
fn bytes_that_are_no_utf8_are_refused() {
    let error = super::read(b"a: \xc3\xa4\nb: \xc3\xa4\xff\n", "a.yaml").unwrap_err();
    assert_eq!(error.to_string(), "a.yaml:2:5: not UTF-8: save the file as UTF-8");
}

#[test]
fn a_field_that_is_there_twice_is_refused() {
    let block = network_text("\n  podSelector: {}\n  ingress: []\n  podSelector: {}");
    assert_eq!(
        refusal(&block),
        "a.yaml:7:3: field \"podSelector\" appears twice: remove one of them"
    );
    let json = "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [], \"items\": []}";
    assert_eq!(refusal(json), "a.yaml:1:51: field \"items\" appears twice: remove one of them");
    let quoted = network_text("{ingress: [], 'ingress': []}");
    assert!(refusal(&quoted).ends_with("field \"ingress\" appears twice: remove one of them"));
}

#[test]
fn aliases_and_merge_keys_stand_for_their_values() {
    let text =
        "{podSelector: &web {matchLabels: {app: web}}, ingress: [{from: [{podSelector: *web}]}]}";
    let plain = "{podSelector: {matchLabels: {app: web}}, \
                 ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}";
    assert_eq!(network(text), network(plain));
    let merged = "{ingress: [{ports: [&port {protocol: UDP, port: 1}, {<<: *port, port: 2}]}]}";
    let plain = "{ingress: [{ports: [{protocol: UDP, port: 1}, {protocol: UDP, port: 2}]}]}";
    assert_eq!(network(merged), network(plain));
}

#[test]
fn an_error_behind_an_alias_is_at_the_alias() {
    let text =
        network_text("\n  podSelector: &all {}\n  ingress:\n  - from:\n    - ipBlock: *all\n");
    assert_eq!(
        refusal(&text),
        "a.yaml:8:16: NetworkPolicy shop/web: spec.ingress[0].from[0].ipBlock.cidr: missing: add it"
    );
}

#[test]
fn a_string_may_have_any_style() {
    let text = |value: &str| {
        network_text(&format!("\n  podSelector:\n    matchLabels:\n      a: {value}\n"))
    };
    for value in [
        "web",
        "\"web\"",
        "'web'",
        "\"w\\x65b\"",
        "!!str web",
        ">-\n        web",
        "|-\n        web",
    ] {
        assert_eq!(objects(&text(value)), objects(&text("web")), "{value}");
    }
    assert!(refusal(&text("|\n        web")).contains("\"web\\n\" is not the value of a label"));
}
