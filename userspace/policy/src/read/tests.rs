//! What texts are read as, and why they are refused.

mod bounds;
mod cases;
mod cluster;
mod documents;
mod metadata;
mod network;
mod selectors;
mod yaml;

use super::read;
use crate::{
    object::{ClusterPolicy, NetworkPolicy, Object, Spec},
    selector::{Requirement, Selector},
};

/// The objects of a text, or the error as people see it.
fn objects(text: &str) -> Result<Vec<Object>, String> {
    read(text.as_bytes(), "a.yaml").map_err(|error| error.to_string())
}

/// The error of a text.
fn refusal(text: &str) -> String {
    objects(text).expect_err(text)
}

/// A `NetworkPolicy` with this `spec`, in flow style.
fn network_text(spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{name: web, namespace: shop}}\nspec: {spec}\n"
    )
}

/// A `ClusterNetworkPolicy` with this `spec`, in flow style.
fn cluster_text(spec: &str) -> String {
    format!(
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\n\
         metadata: {{name: guard}}\nspec: {spec}\n"
    )
}

/// The policy of a `spec` that is accepted.
fn network(spec: &str) -> NetworkPolicy {
    match only(&network_text(spec)).spec {
        Spec::Network(policy) => policy,
        Spec::Cluster(_) => panic!("{spec} is a ClusterNetworkPolicy"),
    }
}

/// The policy of a `spec` that is accepted.
fn cluster(spec: &str) -> ClusterPolicy {
    match only(&cluster_text(spec)).spec {
        Spec::Cluster(policy) => policy,
        Spec::Network(_) => panic!("{spec} is a NetworkPolicy"),
    }
}

/// The only object of a text.
fn only(text: &str) -> Object {
    let mut objects = objects(text).unwrap();
    assert_eq!(objects.len(), 1, "{text}");
    objects.remove(0)
}

/// Checks the errors of texts, without file, line, column and object.
fn assert_refused<const N: usize>(
    object: &str,
    text: fn(&str) -> String,
    cases: [(&str, &str); N],
) {
    let mut wrong = Vec::new();
    for (spec, expected) in cases {
        let found = match objects(&text(spec)) {
            Ok(objects) => format!("accepted: {objects:?}"),
            Err(error) => error,
        };
        let (_, found) = found.split_once(&format!(": {object}: ")).unwrap_or(("", &found));
        if found != expected {
            wrong.push(format!("{spec}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn is_in(key: &str, values: &[&str]) -> Requirement {
    Requirement::In(key.to_owned(), values.iter().map(|value| (*value).to_owned()).collect())
}

/// Selector of one label.
fn labelled(key: &str, value: &str) -> Selector {
    Selector::new(vec![is_in(key, &[value])])
}
