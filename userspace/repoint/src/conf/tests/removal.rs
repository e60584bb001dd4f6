//! DEL and GC read what they need, and nothing else.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::{
    keys::{full, keys},
    set,
};
use crate::conf::{ConfError, Document, IpamConf, NetConf, Purpose};

/// Keys that say what to remove, and where.
const NEEDED: [&str; 5] = ["/cniVersion", "/name", "/runDir", "/bpfDir", "/cni.dev~1"];

fn read(conf: &Value) -> Result<NetConf, ConfError> {
    NetConf::read(&Document::parse(conf.to_string().as_bytes())?, Purpose::Removal)
}

fn is_needed(pointer: &str) -> bool {
    NEEDED.iter().any(|needed| pointer.starts_with(needed))
}

#[test]
fn keys_that_are_not_needed_may_be_of_a_wrong_type_or_value() {
    let mut tried = 0;
    for key in keys().into_iter().filter(|key| !is_needed(key.pointer)) {
        for value in key.bad.into_iter().chain([key.wrong_type, Value::Null]) {
            let mut conf = full();
            set(&mut conf, key.pointer, value.clone());
            let read =
                read(&conf).unwrap_or_else(|error| panic!("{} {value}: {error}", key.pointer));
            assert_eq!(read.name.as_str(), "functions");
            assert_eq!(read.directories.run, Path::new("/run/r1"));
            assert_eq!(read.valid_attachments.unwrap().len(), 2);
            tried += 1;
        }
    }
    println!("{tried} keys of wrong types and values");
    assert!(tried > 200, "{tried}");
}

#[test]
fn keys_that_are_needed_are_checked() {
    for key in keys().into_iter().filter(|key| is_needed(key.pointer)) {
        let mut conf = full();
        set(&mut conf, key.pointer, key.wrong_type.clone());
        read(&conf).expect_err(key.pointer);
    }
    for misspelt in ["cni.dev/valid-attachment", "cni.dev/Attachments"] {
        let mut conf = full();
        conf[misspelt] = json!([]);
        let error = read(&conf).unwrap_err().to_string();
        assert!(error.starts_with(misspelt) && error.contains("correct it to"), "{error}");
    }
}

#[test]
fn misspelt_keys_are_no_concern_of_a_removal() {
    let mut conf = full();
    conf["ipmasq"] = json!(true);
    conf["ipam"]["Subnet"] = json!("x");
    read(&conf).unwrap();
}

#[test]
fn the_least_is_a_name() {
    let read = read(&json!({"cniVersion": "1.1.0", "name": "n"})).unwrap();
    assert_eq!(read.ipam, IpamConf::Own(crate::conf::OwnIpam::default()));
    assert!(read.valid_attachments.is_none() && read.pool.is_none());
}

#[test]
fn the_delegated_plugin_and_the_cooldown_are_read_where_they_can_be() {
    let cooldown = |pool: Value| {
        let read = read(&json!({"cniVersion": "1.1.0", "name": "n", "pool": pool})).unwrap();
        read.pool.and_then(|pool| pool.cooldown)
    };
    let hour = Some(Duration::from_hours(1));
    assert_eq!(cooldown(json!({"cooldown": "1h", "warm": "many"})), hour);
    for none in [json!(7), json!({}), json!({"cooldown": 1}), json!({"cooldown": "soon"})] {
        assert_eq!(cooldown(none.clone()), None, "{none}");
    }
    let plugin = |ipam: Value| match read(&json!({"name": "n", "ipam": ipam})).unwrap().ipam {
        IpamConf::Delegated(plugin) => Some(plugin.as_str().to_owned()),
        IpamConf::Own(_) => None,
    };
    let dhcp = json!({"type": "dhcp", "ranges": 7});
    assert_eq!(plugin(dhcp).as_deref(), Some("dhcp"));
    for none in [json!("dhcp"), json!({"type": 7}), json!({"type": "a/b"}), json!({"type": ""})] {
        assert_eq!(plugin(none.clone()), None, "{none}");
    }
}
