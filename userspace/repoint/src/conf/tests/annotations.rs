//! The user of a slot: what the user asks for, and what a pod may ask for.

use std::time::Duration;

use serde_json::{Value, json};

use super::{least, parse};
use crate::{
    conf::{Annotation, ConfError, NetConf, User, UserError},
    model::{Mode, Scope},
};

const CAPABILITY: &str = "io.kubernetes.cri.pod-annotations";

fn annotated(mut conf: Value, annotations: Value) -> Value {
    conf["runtimeConfig"][CAPABILITY] = annotations;
    conf
}

fn user(conf: &Value, args: &str) -> Result<User, UserError> {
    parse(conf).unwrap().user(&args.parse().unwrap())
}

fn named(function: &str, tenant: &str) -> User {
    User {
        function: Some(function.parse().unwrap()),
        tenant: Some(tenant.parse().unwrap()),
        ..User::default()
    }
}

#[test]
fn annotations_count_before_arguments_and_arguments_before_the_configuration() {
    let conf = least();
    assert_eq!(user(&conf, "").unwrap(), User::default());
    let mut conf = least();
    conf["args"]["cni"] = json!({
        "repoint.dev/function": "f3", "repoint.dev/tenant": "t3", "repoint.dev/mode": "none",
        "repoint.dev/scope": "function", "repoint.dev/idle-ttl": "3s", "repoint.dev/template": "p3",
    });
    let third = User {
        mode: Some(Mode::None),
        scope: Some(Scope::Function),
        idle_ttl: Some(Duration::from_secs(3)),
        template: Some("p3".parse().unwrap()),
        ..named("f3", "t3")
    };
    assert_eq!(user(&conf, "K8S_POD_NAMESPACE=ns").unwrap(), third);
    let args = "repoint.dev/function=f2;repoint.dev/tenant=t2;repoint.dev/mode=replicate;\
                repoint.dev/scope=tenant;repoint.dev/idle-ttl=2s;repoint.dev/template=p2";
    let second = User {
        mode: Some(Mode::Replicate),
        scope: Some(Scope::Tenant),
        idle_ttl: Some(Duration::from_secs(2)),
        template: Some("p2".parse().unwrap()),
        ..named("f2", "t2")
    };
    assert_eq!(user(&conf, args).unwrap(), second);
    conf["pool"]["templates"] = json!(["p1"]);
    let conf = annotated(
        conf,
        json!({
            "repoint.dev/function": "f1", "repoint.dev/mode": "reuse", "repoint.dev/scope": "network",
            "repoint.dev/idle-ttl": "1s", "repoint.dev/template": "p1", "example.org/other": "x",
        }),
    );
    let first = User {
        mode: Some(Mode::Reuse),
        scope: Some(Scope::Network),
        idle_ttl: Some(Duration::from_secs(1)),
        template: Some("p1".parse().unwrap()),
        ..named("f1", "t2")
    };
    assert_eq!(user(&conf, args).unwrap(), first);
}

#[test]
fn the_pods_namespace_is_the_tenant_where_none_is_named() {
    let expected = User { tenant: Some("ns".parse().unwrap()), ..User::default() };
    assert_eq!(user(&least(), "K8S_POD_NAMESPACE=ns").unwrap(), expected);
}

#[test]
fn a_pod_names_its_tenant_only_where_the_network_lets_it() {
    let mut conf = annotated(least(), json!({"repoint.dev/tenant": "victim"}));
    for args in ["", "K8S_POD_NAMESPACE=mine", "repoint.dev/tenant=mine"] {
        let error = user(&conf, args).unwrap_err();
        assert!(matches!(error, UserError::NotAllowed { .. }), "{args}: {error}");
        let reported = error.to_string();
        assert!(reported.contains("repoint.dev/tenant=victim"), "{reported}");
        assert!(reported.contains("pool.annotations"), "{reported}");
    }
    // A pod may repeat the node's own value.
    let same = user(&conf, "K8S_POD_NAMESPACE=victim").unwrap();
    assert_eq!(same.tenant, Some("victim".parse().unwrap()));
    conf["pool"]["annotations"] = json!(["repoint.dev/tenant"]);
    let reported = user(&conf, "K8S_POD_NAMESPACE=mine").unwrap();
    assert_eq!(reported.tenant, Some("victim".parse().unwrap()));
}

#[test]
fn a_network_may_allow_no_annotation_at_all() {
    for (annotation, value) in [
        ("repoint.dev/mode", "none"),
        ("repoint.dev/function", "f"),
        ("repoint.dev/template", "t"),
        ("repoint.dev/idle-ttl", "1s"),
        ("repoint.dev/scope", "function"),
    ] {
        let mut conf = annotated(least(), json!({annotation: value}));
        conf["pool"]["templates"] = json!(["t"]);
        user(&conf, "").unwrap();
        conf["pool"]["annotations"] = json!([]);
        let error = user(&conf, "").unwrap_err().to_string();
        assert!(error.contains(annotation), "{error}");
        // The node itself may ask for it.
        let mut conf = least();
        conf["pool"]["annotations"] = json!([]);
        user(&conf, &format!("{annotation}={value}")).unwrap();
    }
}

#[test]
fn what_is_misspelt_is_an_error() {
    for (annotation, value) in [
        ("repoint.dev/mode", "recycle"),
        ("repoint.dev/scope", "node"),
        ("repoint.dev/idle-ttl", "10"),
        ("repoint.dev/template", "../x"),
        ("repoint.dev/function", "a\nb"),
        ("repoint.dev/Mode", "none"),
        ("Repoint.dev/mode", "none"),
        ("repont.dev/mode", "none"),
        ("repoint.dev/mdoe", "none"),
        ("repoint.dev/scop", "function"),
        ("repoint.dev/count", "7"),
    ] {
        let conf = annotated(least(), json!({annotation: value}));
        // Only a call that needs the user fails: the container can be detached.
        let error = user(&conf, "").unwrap_err();
        assert!(matches!(error, UserError::Key(_)), "{error}");
        assert!(error.to_string().contains(annotation), "{error}");
    }
    for args in [
        "repoint.dev/mode=recycle",
        "repoint.dev/scope=node",
        "repoint.dev/idle-ttl=10",
        "repoint.dev/count=many",
        "repoint.dev/scop=function",
        "Repoint.dev/scope=function",
        "repont.dev/scope=function",
    ] {
        let reported = user(&least(), args).and_then(|_| {
            parse(&least()).unwrap().count(&args.parse().unwrap()).map(|_| User::default())
        });
        let error = reported.unwrap_err().to_string();
        assert!(error.contains("CNI_ARGS") && error.contains("repoint.dev/"), "{error}");
    }
    user(&least(), "IgnoreUnknown=1;repoint.dev/scop=function").unwrap();
}

#[test]
fn a_name_in_cni_args_that_is_nearly_known_is_an_error() {
    for (args, right) in [
        ("ip=10.1.0.5", "IP"),
        ("K8S_POD_NAMESPCE=ns", "K8S_POD_NAMESPACE"),
        ("k8s_pod_name=pod", "K8S_POD_NAME"),
        ("IgnoreUnkown=1", "IgnoreUnknown"),
    ] {
        let error = user(&least(), args).unwrap_err();
        assert!(matches!(error, UserError::Misspelt { known, .. } if known == right), "{error}");
        user(&least(), &format!("{args};IgnoreUnknown=true")).unwrap();
    }
    // Other programs' names, and those of two letters.
    for args in ["ID=1;MAC=02:00:00:00:00:07;IPS=x", "K8S_POD_UID=u;K8S_POD_INFRA_CONTAINER_ID=c"] {
        user(&least(), args).unwrap();
    }
}

/// As in `CNI_ARGS`: a pod template may write an annotation without a value.
#[test]
fn an_empty_annotation_says_nothing() {
    for annotation in Annotation::ALL.map(Annotation::name) {
        let conf = annotated(least(), json!({annotation: ""}));
        assert_eq!(user(&conf, "").unwrap(), User::default(), "{annotation}");
        assert_eq!(user(&least(), &format!("{annotation}=")).unwrap(), User::default());
        let mut conf = least();
        conf["args"]["cni"][annotation] = json!("");
        assert_eq!(user(&conf, "").unwrap(), User::default(), "{annotation}");
    }
}

#[test]
fn a_function_is_named_for_its_pod_only_where_the_network_says_so() {
    let args = "K8S_POD_NAME=resize-6799fc88d8-2wdz4";
    let mut conf = least();
    assert_eq!(user(&conf, args).unwrap().function, None);
    conf["pool"] = json!({"functionFrom": "podName"});
    assert_eq!(user(&conf, args).unwrap().function, Some("resize".parse().unwrap()));
    let conf = annotated(conf, json!({"repoint.dev/function": "convert"}));
    assert_eq!(user(&conf, args).unwrap().function, Some("convert".parse().unwrap()));
}

#[test]
fn the_policy_is_read() {
    let policy = |pool: Value| {
        let mut conf = least();
        conf["pool"] = pool;
        NetConf::parse(conf.to_string().as_bytes()).map(|conf| conf.pool.unwrap())
    };
    let read = policy(json!({
        "warm": 3, "maxSlots": 40, "maxParkedPerFunction": 2, "maxParkedPerTenant": 9,
        "maxSlotsPerTenant": 20, "shareWithoutTenant": true,
        "idleTTL": "1m30s", "cooldown": "5s", "scope": "tenant",
    }))
    .unwrap();
    assert_eq!((read.warm, read.max, read.scope), (3, 40, Scope::Tenant));
    assert_eq!((read.parked_per_function, read.parked_per_tenant), (Some(2), Some(9)));
    assert_eq!((read.slots_per_tenant, read.share_without_tenant), (Some(20), true));
    assert_eq!(read.idle_ttl, Some(Duration::from_secs(90)));
    assert_eq!(read.cooldown, Some(Duration::from_secs(5)));
    assert_eq!(policy(json!({"idleTTL": "forever"})).unwrap().idle_ttl, None);
    let few = policy(json!({"maxSlots": 3})).unwrap();
    assert_eq!((few.warm, few.max), (3, 3));
    let error: ConfError = policy(json!({"warm": 5, "maxSlots": 4})).unwrap_err();
    assert!(error.to_string().contains("pool.warm"), "{error}");
}

#[test]
fn a_pod_names_only_templates_that_its_network_lists() {
    let pod = |conf: &Value, args: &str| parse(conf).unwrap().pod(&args.parse().unwrap());
    let by_annotation = annotated(least(), json!({"repoint.dev/template": "resize"}));
    let mut by_configuration = least();
    by_configuration["args"]["cni"]["repoint.dev/template"] = json!("resize");
    for (conf, args) in
        [(by_annotation, ""), (least(), "repoint.dev/template=resize"), (by_configuration, "")]
    {
        for pool in [json!({}), json!({"templates": ["thumbs"]}), json!({"template": "thumbs"})] {
            let mut conf = conf.clone();
            conf["pool"] = pool;
            let said = pod(&conf, args).unwrap_err().to_string();
            for part in ["annotation repoint.dev/template=resize", "pool.templates"] {
                assert!(said.contains(part), "{said}");
            }
        }
        for pool in [json!({"templates": ["thumbs", "resize"]}), json!({"template": "resize"})] {
            let mut conf = conf.clone();
            conf["pool"] = pool;
            assert_eq!(pod(&conf, args).unwrap().template, Some("resize".parse().unwrap()));
        }
    }
    // A pod need not name a template.
    assert_eq!(pod(&least(), "").unwrap().template, None);
}

/// A caller of PREPARE or ACTIVATE may name any template; an annotation may not.
#[test]
fn a_caller_names_any_template() {
    let asked = user(&least(), "repoint.dev/template=resize").unwrap();
    assert_eq!(asked.template, Some("resize".parse().unwrap()));
    let conf = annotated(least(), json!({"repoint.dev/template": "resize"}));
    let error = user(&conf, "").unwrap_err();
    assert!(matches!(error, UserError::NotListed { .. }), "{error}");
}
