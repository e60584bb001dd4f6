//! Files of cases.

use super::super::read_cases;
use crate::cases::CaseEnd;

const FILE: &str = "\
apiVersion: repoint.dev/v1
kind: PolicyTest
functions:
- {name: shop/web, labels: {app: web}}
- {name: lone}
cases:
- {from: shop/web, to: lone, traffic: 80/TCP, allow: true}
- {from: lone, to: host, traffic: icmp, allow: false}
---
apiVersion: repoint.dev/v1
kind: PolicyTest
namespaces:
- {name: shop, labels: {team: a}}
cases:
- {from: \"2001:db8::1\", to: shop/web, traffic: 53/UDP, allow: false}
";

#[test]
fn functions_have_the_labels_of_namespaces_of_later_documents() {
    let file = read_cases(FILE.as_bytes(), "file").unwrap();
    let web = &file.functions[0].party;
    assert_eq!(web.namespace_labels["team"], "a");
    assert_eq!(web.labels["repoint.dev/function"], "web");
    assert_eq!(file.functions[1].party.tenant, None);
    let ends: Vec<_> = file.cases.iter().map(|case| (&case.from, &case.to)).collect();
    let outside = CaseEnd::Address("2001:db8::1".parse().unwrap());
    assert_eq!(
        ends,
        [
            (&CaseEnd::Function(0), &CaseEnd::Function(1)),
            (&CaseEnd::Function(1), &CaseEnd::Host),
            (&outside, &CaseEnd::Function(0)),
        ]
    );
    let outcomes = file.judge().unwrap();
    let shown: Vec<_> =
        outcomes.iter().filter(|it| !it.is_as_wanted()).map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "line 8: lone to host, ICMP is allowed, wanted denied: no policy is asked",
            "line 15: 2001:db8::1 to shop/web, 53/UDP is allowed, wanted denied: no policy is asked",
        ]
    );
}

#[test]
fn names_that_mean_two_things_are_errors() {
    for (name, column) in [("shop/web", 10), ("host", 10), ("192.0.2.1", 10)] {
        let text = FILE.replace("name: lone", &format!("name: {name}"));
        let error = read_cases(text.as_bytes(), "file").unwrap_err().to_string();
        let wanted =
            format!("file:5:{column}: functions[1].name: \"{name}\" is not the name of a function");
        assert!(error.starts_with(&wanted), "{error}");
    }
    let text = FILE.replace("to: lone", "to: typo");
    let error = read_cases(text.as_bytes(), "file").unwrap_err().to_string();
    assert!(error.starts_with("file:7:24: cases[0].to: \"typo\" is not an end"), "{error}");
}
