//! Every key: read where it is right, refused by its path where it is not.

mod annotations;
mod documents;
mod keys;
mod none;
mod removal;
mod spelling;

use std::net::IpAddr;

use serde_json::{Value, json};

use self::keys::{full, keys};
use super::*;
use crate::{
    cni::{CniError, ErrorCode, Route},
    model::TemplateDigest,
};

fn parse(conf: &Value) -> Result<NetConf, CniError> {
    NetConf::parse(conf.to_string().as_bytes()).map_err(|error| error.to_cni())
}

/// `/ipam/ranges/0/0` as `ipam.ranges[0][0]`.
fn path_of(pointer: &str) -> String {
    let part = |part: &str| match part.parse::<usize>() {
        Ok(index) => format!("[{index}]"),
        Err(_) => format!(".{}", part.replace("~1", "/")),
    };
    let path: String = pointer.split('/').skip(1).map(part).collect();
    path.trim_start_matches('.').to_owned()
}

fn set(conf: &mut Value, pointer: &str, value: Value) {
    *conf.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is not in the configuration")) =
        value;
}

/// Whether it is an element of a list.
fn is_item(pointer: &str) -> bool {
    pointer.ends_with(|c: char| c.is_ascii_digit())
}

fn assert_refused(conf: &Value, pointer: &str, what: &str) {
    let asked = |conf: NetConf| match conf.user(&CniArgs::default()) {
        Err(UserError::Key(error)) => Err(ConfError::from(error).to_cni()),
        _ => Ok(conf),
    };
    let error = parse(conf).and_then(asked).expect_err(&format!("{pointer}: {what} was accepted"));
    let expected = format!("{} is ", path_of(pointer));
    assert_eq!(error.code, ErrorCode::INVALID_CONFIGURATION, "{pointer}: {what}: {error}");
    assert!(error.msg.starts_with(&expected), "{pointer}: {what}: {error}");
}

#[test]
fn every_key_of_a_wrong_type_is_named() {
    for key in keys() {
        let mut conf = full();
        set(&mut conf, key.pointer, key.wrong_type.clone());
        assert_refused(&conf, key.pointer, &format!("wrong type {}", key.wrong_type));
    }
}

#[test]
fn every_key_of_a_bad_value_is_named() {
    for key in keys() {
        for bad in key.bad {
            let mut conf = full();
            set(&mut conf, key.pointer, bad.clone());
            assert_refused(&conf, key.pointer, &format!("bad value {bad}"));
        }
    }
}

/// The table above would not notice a key that is read but not listed.
#[test]
fn every_key_of_the_full_configuration_is_in_the_table() {
    fn walk(value: &Value, pointer: &str, seen: &mut Vec<String>) {
        let children: Vec<(String, &Value)> = match value {
            Value::Object(map) => map.iter().map(|(k, v)| (k.replace('/', "~1"), v)).collect(),
            Value::Array(list) => {
                list.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect()
            }
            _ => Vec::new(),
        };
        for (name, child) in children {
            let pointer = format!("{pointer}/{name}");
            walk(child, &pointer, seen);
            seen.push(pointer);
        }
    }
    /// Pointers of the elements of a list are the same key.
    fn anywhere(pointer: &str) -> String {
        let part = |part: &str| if part.parse::<usize>().is_ok() { "*" } else { part }.to_owned();
        pointer.split('/').map(part).collect::<Vec<_>>().join("/")
    }
    let listed: HashSet<_> = keys().iter().map(|key| anywhere(key.pointer)).collect();
    let mut seen = Vec::new();
    walk(&full(), "", &mut seen);
    seen.retain(|pointer| pointer != "/capabilities/mac" && !listed.contains(&anywhere(pointer)));
    assert_eq!(seen, Vec::<String>::new(), "keys without a row in the table");
}

#[test]
fn the_full_configuration_is_read() {
    let conf = parse(&full()).unwrap();
    assert_eq!(conf.cni_version, CniVersion::V1_1_0);
    assert_eq!(conf.name.as_str(), "functions");
    assert_eq!((conf.ip_masq, conf.mtu, conf.max_concurrent_builds), (true, Some(1400), 3));
    assert_eq!(conf.directories.bpf, Path::new("/sys/fs/bpf/r1"));
    assert_eq!(conf.mac, Some(Mac([2, 0, 0, 0, 0, 7])));
    assert_eq!(conf.prev_result.unwrap().interfaces[0].name, "prev0");
    let valid = conf.valid_attachments.unwrap();
    let mut valid: Vec<_> = valid.iter().map(ToString::to_string).collect();
    valid.sort();
    assert_eq!(valid, ["functions/a1/eth0", "functions/a2/net1"]);
    let IpamConf::Own(ipam) = conf.ipam else { panic!("{:?}", conf.ipam) };
    assert_eq!(ipam.routes[1], Route::new("::/0".parse().unwrap(), None));
    assert_eq!(ipam.routes[0].table, Some(100));
    let sets: Vec<_> = ipam.range_sets.iter().map(ToString::to_string).collect();
    assert_eq!(
        sets,
        [
            "10.9.0.2-10.9.0.9",
            "10.3.1.0-10.3.1.255",
            "fd00:1::1-fd00:1::ffff:ffff:ffff:ffff",
            "10.1.0.10-10.1.0.20, 10.2.0.1-10.2.0.254",
        ]
    );
}

fn least() -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "n", "type": "repoint-cni",
        "ipam": {"subnet": "10.1.0.0/24"},
    })
}

#[test]
fn what_is_absent_takes_its_default() {
    let conf = parse(&least()).unwrap();
    assert_eq!((conf.ip_masq, conf.mtu, conf.max_concurrent_builds), (false, None, 2));
    assert_eq!(conf.directories, Directories::default());
    assert_eq!((conf.mac, conf.prev_result, conf.valid_attachments), (None, None, None));
}

#[test]
fn unknown_keys_are_accepted() {
    let mut conf = least();
    conf["x-unknown"] = json!({"a": [1, null, {"b": "c"}]});
    conf["args"] = json!({"labels": {"app": "x"}, "other": [1]});
    conf["runtimeConfig"] = json!({"x-unknown": {"a": 1}, "portMappings": [{"hostPort": 80}]});
    conf["ipam"]["dataDir"] = json!("/tmp");
    let (found, mut expected) = (parse(&conf).unwrap(), parse(&least()).unwrap());
    expected.document = found.document.clone();
    assert_eq!(found, expected);
}

#[test]
fn what_is_common_to_all_attachments_is_kept_for_the_pool() {
    let mut with_more = least();
    with_more["args"] = json!({"cni": {"ips": ["10.1.0.9"]}});
    with_more["runtimeConfig"] = json!({"mac": "02:00:00:00:00:07"});
    with_more["cni.dev/attachments"] = json!([]);
    let common = parse(&with_more).unwrap().common();
    assert_eq!(serde_json::from_slice::<Value>(&common).unwrap(), least());
}

#[test]
fn slots_of_one_key_are_alike_and_those_of_another_are_not() {
    let (eth0, net1) = ("eth0".parse().unwrap(), "net1".parse().unwrap());
    let key = |conf: &Value| parse(conf).unwrap().pool_key(&eth0, None);
    let first = key(&least());
    assert_ne!(parse(&least()).unwrap().pool_key(&net1, None), first);
    let of = |name: &str, digest: u8| {
        let (name, digest) = (name.parse().unwrap(), TemplateDigest([digest; 32]));
        parse(&least()).unwrap().pool_key(&eth0, Some((&name, &digest)))
    };
    let keys = [first, of("one", 0), of("one", 1), of("two", 0)];
    assert!((1..keys.len()).all(|at| !keys[..at].contains(&keys[at])), "{keys:?}");
    let same = [
        ("cniVersion", json!("1.1.0")),
        ("pool", json!({"warm": 3})),
        ("maxConcurrentBuilds", json!(9)),
        ("isolation", json!("tenant")),
    ];
    let others = [
        ("mtu", json!(1400)),
        ("ipMasq", json!(true)),
        ("linkLocal", json!("allow")),
        ("localPath", json!("stack")),
        ("hook", json!("tcx")),
        ("name", json!("m")),
        ("ipam", json!({"subnet": "10.2.0.0/24"})),
        ("ipam", json!({"subnet": "10.1.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]})),
    ];
    let with = |(name, value): (&str, Value)| {
        let mut conf = least();
        conf[name] = value;
        key(&conf)
    };
    assert!(same.into_iter().all(|change| with(change) == first));
    assert!(others.into_iter().all(|change| with(change) != first));
}

#[test]
fn a_version_that_is_absent_is_the_first() {
    let mut conf = least();
    for absent in [Value::Null, json!("")] {
        conf["cniVersion"] = absent;
        assert_eq!(parse(&conf).unwrap().cni_version, CniVersion::V0_1_0);
    }
    conf["cniVersion"] = json!("9.9.9");
    let error = parse(&conf).unwrap_err();
    assert_eq!(error.code, ErrorCode::INCOMPATIBLE_VERSION);
    assert!(error.to_string().contains("9.9.9"), "{error}");
}

#[test]
fn ranges_that_cannot_be_are_named() {
    let mut conf = least();
    conf["ipam"]["rangeStart"] = json!("10.1.0.255");
    assert_refused(&conf, "/ipam/rangeStart", "after the default end");
    let mut conf = least();
    conf["ipam"]["ranges"] = json!([[{"subnet": "fd00::/64"}], [{"subnet": "10.1.0.128/25"}]]);
    assert_refused(&conf, "/ipam/ranges/1", "overlap of two sets");
    conf["ipam"] = json!({"ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "10.1.0.0/25"}]]});
    assert_refused(&conf, "/ipam/ranges/0", "overlap in a set");
    conf["ipam"] = json!({"ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "fd00::/64"}]]});
    assert_refused(&conf, "/ipam/ranges/0", "two families in a set");
}

#[test]
fn early_versions_give_one_address_a_family() {
    let mut conf = least();
    conf["ipam"]["ranges"] = json!([[{"subnet": "fd00::/64"}], [{"subnet": "10.2.0.0/24"}]]);
    parse(&conf).unwrap();
    conf["cniVersion"] = json!("0.2.0");
    assert_refused(&conf, "/ipam/ranges/1", "second IPv4 address");
}

#[test]
fn ranges_are_required_unless_the_runtime_is_to_give_them() {
    let mut conf = least();
    for ipam in [json!({}), json!({"rangeStart": "10.1.0.5"}), json!({"ranges": []})] {
        conf["ipam"] = ipam;
        assert_refused(&conf, "/ipam/ranges", "no ranges");
    }
    conf["ipam"] = json!({});
    conf["capabilities"] = json!({"ipRanges": true});
    parse(&conf).unwrap();
}

#[test]
fn another_plugin_reads_its_own_keys() {
    let mut conf = least();
    conf["ipam"] = json!({"type": "dhcp", "subnet": 7, "routes": "x"});
    let IpamConf::Delegated(plugin) = parse(&conf).unwrap().ipam else { panic!("own") };
    assert_eq!(plugin.as_str(), "dhcp");
}

#[test]
fn args_override_the_environment() {
    let requested = |conf: &Value| {
        let args: CniArgs = "IP=10.1.0.9".parse().unwrap();
        parse(conf).unwrap().requested_addresses(&args)
    };
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let mut conf = least();
    assert_eq!(requested(&conf), [ip("10.1.0.9")]);
    conf["runtimeConfig"] = json!({"ips": ["fd00::5/64"]});
    assert_eq!(requested(&conf), [ip("fd00::5"), ip("10.1.0.9")]);
    conf["args"] = json!({"cni": {"ips": ["10.1.0.8"]}});
    assert_eq!(requested(&conf), [ip("fd00::5"), ip("10.1.0.8")]);
}

#[test]
fn dns_settings_of_the_runtime_come_first() {
    let from_ipam = Dns { nameservers: vec!["192.0.2.1".to_owned()], ..Dns::default() };
    let resolved = |conf: &Value| parse(conf).unwrap().resolve_dns(from_ipam.clone());
    let mut conf = least();
    assert_eq!(resolved(&conf), from_ipam);
    conf["dns"] = json!({"domain": "example.org", "search": ["a.example"]});
    assert_eq!(resolved(&conf).nameservers, Vec::<String>::new());
    conf["runtimeConfig"] = json!({"dns": {"servers": ["192.0.2.2"]}});
    let dns = resolved(&conf);
    assert_eq!(dns.nameservers, ["192.0.2.2"]);
    assert_eq!(dns.search, ["a.example"]);
    assert_eq!(dns.domain.as_deref(), Some("example.org"));
}
