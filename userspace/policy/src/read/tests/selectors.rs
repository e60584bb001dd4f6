//! Label selectors.

use super::{assert_refused, is_in, network, network_text};
use crate::selector::{Requirement, Selector};

const OBJECT: &str = "NetworkPolicy shop/web";

fn text(selector: &str) -> String {
    network_text(&format!("{{podSelector: {selector}}}"))
}

fn selector(selector: &str) -> Selector {
    network(&format!("{{podSelector: {selector}}}")).pods
}

#[test]
fn selectors_are_read() {
    let owned = |text: &str| text.to_owned();
    for all in ["{}", "null", "{matchLabels: {}}", "{matchLabels: null, matchExpressions: []}"] {
        assert!(selector(all).is_all(), "{all}");
    }
    let longest = format!("{}/{}", ["a"; 127].join("."), "B".repeat(63));
    assert_eq!(
        selector(&format!("{{matchLabels: {{app.kubernetes.io/name: 'true', {longest}: ''}}}}")),
        Selector::new(vec![is_in("app.kubernetes.io/name", &["true"]), is_in(&longest, &[""])])
    );
    assert_eq!(
        selector(
            "{matchLabels: {a: b}, matchExpressions: [{key: a, operator: In, values: [c, b, c]}, \
             {key: d, operator: NotIn, values: ['1']}, {key: e, operator: Exists, values: []}, \
             {key: f, operator: DoesNotExist, values: null}]}"
        ),
        Selector::new(vec![
            is_in("a", &["b"]),
            is_in("a", &["b", "c"]),
            Requirement::NotIn(owned("d"), vec![owned("1")]),
            Requirement::Exists(owned("e")),
            Requirement::DoesNotExist(owned("f")),
        ])
    );
}

#[test]
fn values_that_are_no_strings_must_be_quoted() {
    let quote = |kind: &str| {
        format!("spec.podSelector.matchLabels.a: {kind} where a string is wanted: put it in quotes")
    };
    let (boolean, number) = (quote("a boolean"), quote("a number"));
    assert_refused(
        OBJECT,
        text,
        [
            ("{matchLabels: {a: true}}", boolean.as_str()),
            ("{matchLabels: {a: yes}}", &boolean),
            ("{matchLabels: {a: off}}", &boolean),
            ("{matchLabels: {a: 1}}", &number),
            ("{matchLabels: {a: 1.10}}", &number),
            ("{matchLabels: {a: 007}}", &number),
            (
                "{matchLabels: {a: }}",
                "spec.podSelector.matchLabels.a: nothing where a string is wanted: write the string, \
             or \"\" for an empty one",
            ),
            (
                "{matchLabels: {a: [b]}}",
                "spec.podSelector.matchLabels.a: a list where a string is wanted",
            ),
            (
                "{matchLabels: {true: a}}",
                "spec.podSelector.matchLabels: a boolean where a string is wanted: put it in quotes",
            ),
            (
                "{matchExpressions: [{key: a, operator: In, values: [1]}]}",
                "spec.podSelector.matchExpressions[0].values[0]: a number where a string is wanted: put \
             it in quotes",
            ),
        ],
    );
}

#[test]
fn wrong_keys_and_values_are_refused() {
    const KEY: &str = "is not the key of a label: an optional DNS subdomain and \"/\", then at most \
                       63 letters, digits, \"-\", \"_\" and \".\", with a letter or digit at both \
                       ends";
    const VALUE: &str = "is not the value of a label: at most 63 letters, digits, \"-\", \"_\" and \
                         \".\", with a letter or digit at both ends";
    for key in ["", "-a", "a-", "a/b/c", "/a", "a/", "A.io/a", "a b", "ä"] {
        let label = format!("{{matchLabels: {{'{key}': b}}}}");
        let expression = format!("{{matchExpressions: [{{key: '{key}', operator: Exists}}]}}");
        let of_label = format!("spec.podSelector.matchLabels: {key:?} {KEY}");
        let of_expression = format!("spec.podSelector.matchExpressions[0].key: {key:?} {KEY}");
        assert_refused(OBJECT, text, [(&label, &of_label), (&expression, &of_expression)]);
    }
    for value in ["-a", "a.", "a b", "a/b", "ä"] {
        let label = format!("{{matchLabels: {{x.io/a: '{value}'}}}}");
        let of_label = format!("spec.podSelector.matchLabels[x.io/a]: {value:?} {VALUE}");
        assert_refused(OBJECT, text, [(&label, &of_label)]);
    }
    let long = "b".repeat(64);
    let shown = "b".repeat(60);
    let of_value = format!("spec.podSelector.matchLabels.a: \"{shown}\"... {VALUE}");
    let of_key = format!("spec.podSelector.matchLabels: \"{shown}\"... {KEY}");
    assert_refused(
        OBJECT,
        text,
        [
            (&format!("{{matchLabels: {{a: {long}}}}}"), &of_value),
            (&format!("{{matchLabels: {{{long}: a}}}}"), &of_key),
            (
                &format!("{{matchLabels: {{a: {}}}}}", "b".repeat(513)),
                "spec.podSelector.matchLabels.a: a string of more than 512 bytes: write a shorter one",
            ),
        ],
    );
}

#[test]
fn wrong_expressions_are_refused() {
    fn text(expression: &str) -> String {
        network_text(&format!("{{podSelector: {{matchExpressions: [{expression}]}}}}"))
    }
    let at = |rest: &str| format!("spec.podSelector.matchExpressions[0]{rest}");
    assert_refused(
        OBJECT,
        text,
        [
            ("{key: a, operator: In}", at(": operator In needs at least one value").as_str()),
            (
                "{key: a, operator: NotIn, values: []}",
                &at(": operator NotIn needs at least one value"),
            ),
            (
                "{key: a, operator: Exists, values: [b]}",
                &at(": operator Exists takes no values: remove them"),
            ),
            (
                "{key: a, operator: DoesNotExist, values: [b]}",
                &at(": operator DoesNotExist takes no values: remove them"),
            ),
            (
                "{key: a, operator: Gt, values: ['1']}",
                &at(".operator: \"Gt\" is not an operator: In, NotIn, Exists or DoesNotExist"),
            ),
            ("{key: a}", &at(".operator: missing: add it")),
            ("{operator: Exists}", &at(".key: missing: add it")),
            (
                "{key: a, operator: In, value: [b]}",
                &at(": unknown field \"value\": the fields here are key, operator, values"),
            ),
        ],
    );
    assert_refused(
        OBJECT,
        network_text,
        [(
            "{podSelector: {app: web}}",
            "spec.podSelector: unknown field \"app\": the fields here are matchLabels, matchExpressions",
        )],
    );
}
