//! Every key absent, null and empty: what means "none", and what does not.

use serde_json::{Map, Value, json};

use super::{
    assert_refused, is_item,
    keys::{Key, full, keys},
    least, parse, path_of, set,
};
use crate::{
    cni::CniArgs,
    conf::{Document, IpamConf, NetConf, Purpose},
};

/// What an empty value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Empty {
    /// The same as if the key were absent.
    None,
    /// A value of its own.
    Value,
    /// Nothing that can be used.
    Wrong,
}

/// The empty value of a key's type, and what it means; none of a boolean.
fn empty(key: &Key) -> Option<(Value, Empty)> {
    let full = full();
    match full.pointer(key.pointer).unwrap() {
        Value::Bool(_) | Value::Null => None,
        Value::String(_) => Some((json!(""), empty_text(key))),
        Value::Number(_) => Some((json!(0), zero(key))),
        Value::Array(_) => Some((json!([]), empty_list(key))),
        Value::Object(_) => Some((json!({}), empty_object(key))),
    }
}

fn empty_text(key: &Key) -> Empty {
    match key.pointer {
        // The name that another plugin gives is passed on as it is, and so are the lists of `dns`.
        "/prevResult/interfaces/0/name" => Empty::Value,
        pointer if pointer.contains("dns/") && is_item(pointer) => match pointer {
            "/dns/nameservers/0" | "/runtimeConfig/dns/servers/0" => Empty::Wrong,
            _ => Empty::Value,
        },
        pointer if key.required || is_item(pointer) => Empty::Wrong,
        _ => Empty::None,
    }
}

fn zero(key: &Key) -> Empty {
    match key.pointer {
        "/maxConcurrentBuilds" | "/pool/maxSlots" | "/pool/maxSlotsPerTenant" => Empty::Wrong,
        "/pool/warm"
        | "/pool/maxParkedPerFunction"
        | "/pool/maxParkedPerTenant"
        | "/ipam/routes/0/scope"
        | "/prevResult/routes/0/scope"
        | "/prevResult/ips/0/interface" => Empty::Value,
        _ => Empty::None,
    }
}

fn empty_list(key: &Key) -> Empty {
    match key.pointer {
        "/cni.dev~1valid-attachments" | "/cni.dev~1attachments" | "/pool/annotations" => {
            Empty::Value
        }
        // Sets without any range.
        pointer if is_item(pointer) => Empty::Wrong,
        _ => Empty::None,
    }
}

fn empty_object(key: &Key) -> Empty {
    match key.pointer {
        // The ranges of `runtimeConfig` are there.
        "/pool" | "/prevResult" | "/ipam" => Empty::Value,
        pointer if is_item(pointer) => Empty::Wrong,
        _ => Empty::None,
    }
}

/// The configuration as read, without its text.
fn meaning(conf: &Value) -> Result<NetConf, String> {
    let mut read = parse(conf).map_err(|error| error.to_string())?;
    read.document = Document::parse(b"{}").unwrap();
    Ok(read)
}

fn with(key: &Key, value: &Value) -> Value {
    let mut conf = full();
    set(&mut conf, key.pointer, value.clone());
    conf
}

fn without(key: &Key) -> Value {
    let mut conf = full();
    let (parent, name) = key.pointer.rsplit_once('/').unwrap();
    let parent = conf.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    parent.remove(&name.replace("~1", "/")).unwrap();
    conf
}

#[test]
fn every_required_key_that_is_absent_null_or_empty_is_named() {
    for key in keys().into_iter().filter(|key| key.required) {
        assert_refused(&without(&key), key.pointer, "absent");
        assert_refused(&with(&key, &Value::Null), key.pointer, "null");
        if let Some((value, Empty::Wrong)) = empty(&key) {
            assert_refused(&with(&key, &value), key.pointer, &format!("empty, {value}"));
        }
    }
}

#[test]
fn null_is_absent() {
    for key in keys() {
        // An element of a list is there.
        if is_item(key.pointer) {
            assert_refused(&with(&key, &Value::Null), key.pointer, "null");
        } else if !key.pointer.starts_with("/cni.dev~1") {
            let (absent, null) = (meaning(&without(&key)), meaning(&with(&key, &Value::Null)));
            assert_eq!(absent, null, "{}", key.pointer);
        }
    }
}

#[test]
fn every_empty_value_means_none_or_itself_or_is_refused() {
    for key in keys() {
        let Some((value, expected)) = empty(&key) else { continue };
        let conf = with(&key, &value);
        match expected {
            Empty::Wrong => {
                let error = parse(&conf).expect_err(key.pointer);
                assert!(error.msg.starts_with(&path_of(key.pointer)), "{}: {error}", key.pointer);
            }
            Empty::Value => {
                let found =
                    meaning(&conf).unwrap_or_else(|error| panic!("{}: {error}", key.pointer));
                // Of two lists of attachments one is enough; each by itself is looked at below.
                if !is_item(key.pointer) && !key.pointer.starts_with("/cni.dev~1") {
                    assert_ne!(Ok(found), meaning(&without(&key)), "{}", key.pointer);
                }
            }
            Empty::None => {
                assert_eq!(meaning(&conf), meaning(&without(&key)), "{} {value}", key.pointer);
            }
        }
    }
}

/// All at once, as from a runtime that writes out keys without a value.
#[test]
fn a_runtime_that_asks_for_nothing_asks_for_nothing() {
    let asked = |conf: &Value| {
        let conf = parse(conf).unwrap();
        conf.asks_for_its_own(&CniArgs::default())
    };
    for none in [json!(null), json!([]), json!("")] {
        let list = if none == json!("") { json!([]) } else { none.clone() };
        let text = if none == json!([]) { json!("") } else { none };
        let mut conf = least();
        conf["mtu"] = json!(0);
        conf["runtimeConfig"] = json!({
            "ips": list, "ipRanges": list, "mac": text, "io.kubernetes.cri.pod-annotations": {},
            "dns": {"servers": list, "searches": list, "options": list},
        });
        conf["args"] = json!({"cni": {"ips": list, "repoint.dev/function": text}});
        conf["prevResult"] = json!(null);
        assert!(!asked(&conf), "{conf}");
        assert_eq!(meaning(&conf), meaning(&least()), "{conf}");
    }
    let mut conf = least();
    conf["runtimeConfig"] = json!({"ipRanges": [[{"subnet": "10.2.0.0/24"}]]});
    assert!(asked(&conf));
}

/// The one place where null and absent differ.
#[test]
fn an_empty_list_of_valid_attachments_is_not_the_same_as_no_list() {
    let read = |lists: Value| {
        let mut conf = least();
        let lists: Map<String, Value> = serde_json::from_value(lists).unwrap();
        conf.as_object_mut().unwrap().extend(lists);
        let document = Document::parse(conf.to_string().as_bytes()).unwrap();
        let conf = NetConf::read(&document, Purpose::Removal).unwrap();
        conf.valid_attachments.map(|valid| valid.len())
    };
    let (spec, libcni) = ("cni.dev/valid-attachments", "cni.dev/attachments");
    let one = json!([{"containerID": "a1", "ifname": "eth0"}]);
    for (lists, expected) in [
        (json!({}), None),
        (json!({spec: null}), Some(0)),
        (json!({spec: []}), Some(0)),
        (json!({libcni: null}), Some(0)),
        (json!({spec: null, libcni: null}), Some(0)),
        (json!({spec: null, libcni: []}), Some(0)),
        (json!({spec: one, libcni: null}), Some(1)),
        (json!({spec: one}), Some(1)),
    ] {
        assert_eq!(read(lists.clone()), expected, "{lists}");
    }
}

#[test]
fn ranges_of_any_key_will_do() {
    let sets = |ipam: Value| {
        let mut conf = least();
        conf["ipam"] = ipam;
        match parse(&conf).unwrap().ipam {
            IpamConf::Own(own) => own.range_sets.len(),
            IpamConf::Delegated(plugin) => panic!("{plugin}"),
        }
    };
    let range = "10.1.0.0/24";
    for none in [json!(null), json!([])] {
        assert_eq!(sets(json!({"subnet": range, "ranges": none})), 1);
        assert_eq!(sets(json!({"subnet": "", "ranges": [[{"subnet": range}]], "routes": none})), 1);
    }
}
