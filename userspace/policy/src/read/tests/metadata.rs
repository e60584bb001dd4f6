//! Field `metadata`.

use super::{only, refusal};

/// A `NetworkPolicy` with this metadata, in flow style.
fn network(metadata: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {metadata}\nspec: {{}}\n"
    )
}

/// A `ClusterNetworkPolicy` with this metadata, in flow style.
fn cluster(metadata: &str) -> String {
    format!(
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\n\
         metadata: {metadata}\n\
         spec: {{tier: Admin, priority: 1, subject: {{namespaces: {{}}}}}}\n"
    )
}

#[test]
fn an_object_without_a_namespace_is_of_the_default_one() {
    for metadata in ["{name: web}", "{name: web, namespace: null}", "{name: web, namespace: ''}"] {
        let id = only(&network(metadata)).id;
        assert_eq!(id.to_string(), "NetworkPolicy default/web", "{metadata}");
    }
    assert_eq!(only(&cluster("{name: a.b-c, namespace: ''}")).id.namespace, None);
}

#[test]
fn what_the_server_adds_is_accepted() {
    let metadata = "{name: web, namespace: shop, uid: 0-1, resourceVersion: '7', generation: 1, \
                    creationTimestamp: 2024-01-01T00:00:00Z, labels: {a: b}, finalizers: [x], \
                    ownerReferences: [{uid: y}], managedFields: [{fieldsV1: {'f:spec': {}}}], \
                    annotations: {kubectl.kubernetes.io/last-applied-configuration: '{}', x: 1}}";
    let text = format!("{}status: {{conditions: [{{any: thing}}]}}\n", network(metadata));
    assert_eq!(only(&text).id.to_string(), "NetworkPolicy shop/web");
}

#[test]
fn an_annotation_makes_a_policy_an_audit() {
    let text = |value: &str| {
        network(&format!("{{name: web, annotations: {{repoint.dev/audit: {value}}}}}"))
    };
    assert!(only(&text("\"true\"")).audit);
    assert!(!only(&text("\"false\"")).audit);
    assert!(!only(&network("{name: web, annotations: null}")).audit);
    assert_eq!(
        refusal(&text("true")),
        "a.yaml:3:56: NetworkPolicy default/web: metadata.annotations[repoint.dev/audit]: a boolean \
         where a string is wanted: put it in quotes"
    );
    assert_eq!(
        refusal(&text("'yes'")),
        "a.yaml:3:56: NetworkPolicy default/web: metadata.annotations[repoint.dev/audit]: \"yes\" is \
         not \"true\" or \"false\""
    );
    assert_eq!(
        refusal(&network("{name: web, annotations: {repoint.dev/adit: 'true'}}")),
        "a.yaml:3:37: NetworkPolicy default/web: metadata.annotations: unknown annotation \
         \"repoint.dev/adit\": repoint.dev/audit is the only one"
    );
}

#[test]
fn wrong_names_are_refused() {
    const NAME: &str = "is not a DNS subdomain: at most 253 lowercase letters, digits, \"-\" and \
                        \".\", with a letter or digit at both ends of each part";
    const NAMESPACE: &str = "is not a DNS label: at most 63 lowercase letters, digits and \"-\", \
                             with a letter or digit at both ends";
    for name in ["Web", "-a", "a-", "a..b", ".a", "a_b", "ä", ""] {
        let error = refusal(&network(&format!("{{name: '{name}'}}")));
        assert!(error.ends_with(&format!("metadata.name: {name:?} {NAME}")), "{error}");
    }
    for namespace in ["Shop", "a.b", "-a"] {
        let error = refusal(&network(&format!("{{name: web, namespace: '{namespace}'}}")));
        let expected = format!("metadata.namespace: {namespace:?} {NAMESPACE}");
        assert!(error.ends_with(&expected), "{error}");
    }
    let longest = ["a"; 127].join(".");
    assert_eq!(only(&network(&format!("{{name: {longest}}}"))).id.name, longest);
    let error = refusal(&network(&format!("{{name: {longest}a}}")));
    assert!(error.contains("metadata.name: \"a.a.a") && error.ends_with(NAME), "{error}");
    let error = refusal(&network(&format!("{{name: web, namespace: {}}}", "a".repeat(64))));
    assert!(error.ends_with(NAMESPACE), "{error}");
}

#[test]
fn wrong_metadata_is_refused() {
    let cases = [
        (network("{}"), "a.yaml:3:11: metadata.name: missing: add it"),
        (network("{generateName: web-}"), "a.yaml:3:11: metadata.name: missing: add it"),
        (network("null"), "a.yaml:1:1: metadata: missing: add it"),
        (
            network("{name: 12}"),
            "a.yaml:3:18: metadata.name: a number where a string is wanted: put it in quotes",
        ),
        (
            network("{name: web, namesapce: shop}"),
            "a.yaml:3:23: NetworkPolicy default/web: metadata: unknown field \"namesapce\": the \
             fields here are name, namespace, labels, annotations, uid, resourceVersion, \
             generation, generateName, creationTimestamp, deletionTimestamp, \
             deletionGracePeriodSeconds, ownerReferences, finalizers, managedFields, selfLink",
        ),
        (
            cluster("{name: guard, namespace: shop}"),
            "a.yaml:3:36: ClusterNetworkPolicy shop/guard: metadata.namespace: a \
             ClusterNetworkPolicy belongs to no namespace: remove the field",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refusal(&text), expected, "{text}");
    }
}
