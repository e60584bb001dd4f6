//! Documents, lists, and objects that are not policies.

use super::{cluster_text, network_text, objects, refusal};

const READ: &str = "is not read: use NetworkPolicy of networking.k8s.io/v1, ClusterNetworkPolicy of \
                    policy.networking.k8s.io/v1alpha2 or v1beta1, or a List of these";

/// The names of the objects of a text.
fn names(text: &str) -> Vec<String> {
    objects(text).unwrap().iter().map(|object| object.id.to_string()).collect()
}

#[test]
fn a_text_has_any_number_of_documents() {
    for nothing in ["", "\n", "# a comment\n", "---\n", "---\n---\n...\n", "null\n", "\u{feff}"] {
        assert!(names(nothing).is_empty(), "{nothing:?}");
    }
    let (network, cluster) =
        (network_text("{}"), cluster_text("{tier: Admin, priority: 1, subject: {namespaces: {}}}"));
    assert_eq!(
        names(&format!("---\n# one\n{network}---\n---\n{cluster}...\n---\n# no more\n")),
        ["NetworkPolicy shop/web", "ClusterNetworkPolicy guard"]
    );
    assert_eq!(names(&network.replace('\n', "\r\n")), ["NetworkPolicy shop/web"]);
}

#[test]
fn json_is_read() {
    let text = "{\n\t\"apiVersion\": \"networking.k8s.io/v1\",\n\t\"kind\": \"NetworkPolicy\",\n\
                \t\"metadata\": {\"name\": \"w\\u0065b\"},\n\t\"spec\": {\"podSelector\": {},\n\
                \t\t\"ingress\": [{\"ports\": [{\"port\": 80}]}]}\n}\n";
    assert_eq!(names(text), ["NetworkPolicy default/web"]);
    assert_eq!(names(&text.replace(['\n', '\t'], "")), ["NetworkPolicy default/web"]);
    assert_eq!(
        refusal(&text.replace("80", "0")),
        "a.yaml:6:35: NetworkPolicy default/web: spec.ingress[0].ports[0].port: must be a whole \
         number from 1 to 65535"
    );
}

#[test]
fn lists_are_read() {
    let items = "items:\n- apiVersion: networking.k8s.io/v1\n  kind: NetworkPolicy\n  \
                 metadata: {name: a}\n  spec: {}\n";
    let bare = "items:\n- metadata: {name: a}\n  spec: {}\n- metadata: {name: b}\n  spec: {}\n";
    let list = |api_version: &str, kind: &str, items: &str| {
        format!(
            "apiVersion: {api_version}\nkind: {kind}\nmetadata: {{resourceVersion: '1'}}\n{items}"
        )
    };
    let a = ["NetworkPolicy default/a"];
    assert_eq!(names(&list("v1", "List", items)), a);
    assert_eq!(names(&list("networking.k8s.io/v1", "NetworkPolicyList", items)), a);
    assert_eq!(
        names(&list("networking.k8s.io/v1", "NetworkPolicyList", bare)),
        ["NetworkPolicy default/a", "NetworkPolicy default/b"]
    );
    assert!(names(&list("v1", "List", "items: []\n")).is_empty());
    assert!(names(&list("v1", "List", "items: null\n")).is_empty());
    let guards = bare.replace("{}", "{tier: Admin, priority: 1, subject: {namespaces: {}}}");
    assert_eq!(
        names(&list("policy.networking.k8s.io/v1beta1", "ClusterNetworkPolicyList", &guards)),
        ["ClusterNetworkPolicy a", "ClusterNetworkPolicy b"]
    );

    let wrong = bare.replace("name: b}\n  spec: {}", "name: b}\n  spec: {egres: []}");
    assert_eq!(
        refusal(&list("networking.k8s.io/v1", "NetworkPolicyList", &wrong)),
        "a.yaml:8:10: NetworkPolicy default/b: spec: unknown field \"egres\": the fields here are \
         podSelector, policyTypes, ingress, egress"
    );
    assert_eq!(refusal(&list("v1", "List", bare)), "a.yaml:5:3: apiVersion: missing: add it");
    assert_eq!(
        refusal(&list("policy.networking.k8s.io/v1beta1", "ClusterNetworkPolicyList", items)),
        "a.yaml:6:9: NetworkPolicy default/a: kind: \"NetworkPolicy\" where ClusterNetworkPolicy is \
         wanted: lists of several kinds are of kind List"
    );
    assert_eq!(
        refusal(&list("v1", "List", "items: [{apiVersion: v1, kind: List, items: []}]\n")),
        "a.yaml:4:9: a list in a list: put its objects into the outer one"
    );
    assert_eq!(
        refusal(&list("v1", "List", "item: []\n")),
        "a.yaml:4:1: unknown field \"item\": the fields here are apiVersion, kind, metadata, items"
    );
}

#[test]
fn other_kinds_are_refused_by_name() {
    for (api_version, kind) in [
        ("v1", "Pod"),
        ("v1", "NetworkPolicy"),
        ("extensions/v1beta1", "NetworkPolicy"),
        ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy"),
        ("policy.networking.k8s.io/v1alpha1", "BaselineAdminNetworkPolicy"),
        ("policy.networking.k8s.io/v1alpha1", "ClusterNetworkPolicy"),
        ("cilium.io/v2", "CiliumNetworkPolicy"),
        ("networking.k8s.io/v1", "networkpolicy"),
    ] {
        let text = format!(
            "apiVersion: {api_version}\nkind: {kind}\nmetadata:\n  name: x\n  \
                            namespace: z\nspec: {{any: thing}}\n"
        );
        let expected = format!("a.yaml:1:1: {kind} z/x: {kind:?} of {api_version:?} {READ}");
        assert_eq!(refusal(&text), expected);
    }
}

#[test]
fn documents_that_are_no_objects_are_refused() {
    let cases = [
        ("text", "a.yaml:1:1: a string where a mapping is wanted"),
        ("[]", "a.yaml:1:1: a list where a mapping is wanted"),
        ("---\n{}\n", "a.yaml:2:1: apiVersion: missing: add it"),
        ("apiVersion: networking.k8s.io/v1\n", "a.yaml:1:1: kind: missing: add it"),
        (
            "apiVersion: 1\nkind: List\n",
            "a.yaml:1:13: apiVersion: a number where a string is wanted: put it in quotes",
        ),
        (
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web}\n",
            "a.yaml:1:1: NetworkPolicy default/web: spec: missing: add it",
        ),
        (
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web}\n\
             sepc: {}\nspec: {}\n",
            "a.yaml:4:1: NetworkPolicy default/web: unknown field \"sepc\": the fields here are \
             apiVersion, kind, metadata, spec, status",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refusal(text), expected, "{text}");
    }
}

#[test]
fn two_objects_of_one_name_are_refused() {
    let text = network_text("{}");
    assert_eq!(
        refusal(&format!("{text}---\n{text}")),
        "a.yaml:6:1: NetworkPolicy shop/web: the same object is at line 1: remove one of them"
    );
    let other = text.replace("shop", "other");
    assert_eq!(objects(&format!("{text}---\n{other}")).unwrap().len(), 2);
}

#[test]
fn an_error_names_file_line_column_object_and_field() {
    let text = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: web
  namespace: shop
spec:
  podSelector: {}
  ingress:
  - ports:
    - protocol: TCP
      port: 443
      endPort: 80
";
    let error = super::read(text.as_bytes(), "dir/policies\n.yaml").unwrap_err();
    assert_eq!(
        error.to_string(),
        "dir/policies\\n.yaml:12:16: NetworkPolicy shop/web: spec.ingress[0].ports[0].endPort: 80 \
         is lower than port 443"
    );
}

#[test]
fn an_error_is_one_line_whatever_the_text_holds() {
    let named = |name: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\n"
        )
    };
    for text in [
        named("\"a\\nb\""),
        network_text("{\"in\\ngress\": []}"),
        network_text("{podSelector: {matchLabels: {\"a\\nb\": c}}}"),
        network_text("{ingress: [{ports: [{port: \"\\e[2J\\u2028\"}]}]}"),
        "apiVersion: v1\nkind: \"Po\\nd\"\n".to_owned(),
        "a: &x\n  b: *\"\u{7}\n".to_owned(),
        "\"a\\nb\": 1\n\"a\\nb\": 2\n".to_owned(),
    ] {
        let error = refusal(&text);
        assert!(!error.contains(|character: char| character.is_control()), "{error:?}");
        assert!(error.len() < 600, "{error}");
    }
}
