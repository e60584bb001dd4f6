//! Every key in wrong case, and one letter off.

use serde_json::{Value, json};

use super::{
    is_item,
    keys::{full, keys},
    least, parse, path_of,
};
use crate::{
    cni::{CniArgs, CniError},
    conf::{ConfError, Document, NetConf, Purpose, UserError},
};

/// A name in wrong case, and one letter off, in each way.
fn misspelt(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let (last, middle) = (letters.len() - 1, letters.len() / 2);
    let change = |at: usize, with: &str| -> String {
        let begin: String = letters[..at].iter().collect();
        let end: String = letters[at + 1..].iter().collect();
        format!("{begin}{with}{end}")
    };
    let flip = |at: usize| {
        let letter = letters[at];
        let other = if letter.is_uppercase() {
            letter.to_ascii_lowercase()
        } else {
            letter.to_ascii_uppercase()
        };
        change(at, &other.to_string())
    };
    let swapped = {
        let mut letters = letters.clone();
        letters.swap(last - 1, last);
        letters.into_iter().collect()
    };
    vec![
        name.to_uppercase(),
        flip(0),
        flip(last),
        change(last, ""),
        change(middle, ""),
        change(middle, "q"),
        format!("{name}s"),
        format!("x{name}"),
        swapped,
    ]
}

/// The error about a configuration, or about the slot's user.
fn error(conf: &Value) -> Option<CniError> {
    match parse(conf).map(|conf| conf.user(&CniArgs::default())) {
        Err(error) => Some(error),
        Ok(Err(UserError::Key(error))) => Some(ConfError::from(error).to_cni()),
        Ok(_) => None,
    }
}

/// The configuration with a key under another name; none where that is a key as well.
fn renamed(pointer: &str, name: &str) -> Option<Value> {
    let mut conf = full();
    let (parent, known) = pointer.rsplit_once('/').unwrap();
    let parent = conf.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    let value = parent.remove(&known.replace("~1", "/")).unwrap();
    if parent.contains_key(name) {
        return None;
    }
    parent.insert(name.to_owned(), value);
    Some(conf)
}

#[test]
fn every_key_in_wrong_case_or_one_letter_off_is_named_with_the_right_one() {
    let mut tried = 0;
    for key in keys().into_iter().filter(|key| !is_item(key.pointer)) {
        // Results are other plugins' documents.
        if key.pointer.starts_with("/prevResult/") {
            continue;
        }
        let (parent, known) = key.pointer.rsplit_once('/').unwrap();
        let known = known.replace("~1", "/");
        for name in misspelt(&known) {
            // That is another key of the spec.
            if name == known || name == "cniVersions" {
                continue;
            }
            let Some(conf) = renamed(key.pointer, &name) else { continue };
            let pointer = format!("{parent}/{}", name.replace('/', "~1"));
            let error = error(&conf).unwrap_or_else(|| panic!("{pointer} is accepted"));
            assert_eq!(error.code.0, 7, "{pointer}: {error}");
            let expected = if parent.starts_with("/cni.dev~1") {
                format!("{} is missing", path_of(key.pointer))
            } else {
                format!("{} is ", path_of(&pointer))
            };
            assert!(error.msg.starts_with(&expected), "{pointer}: {error}");
            let right = known.strip_prefix("repoint.dev/").unwrap_or(&known);
            assert!(error.msg.contains(right), "{pointer}: {error}");
            tried += 1;
        }
    }
    println!("{tried} misspelt keys");
    assert!(tried > 500, "{tried}");
}

#[test]
fn the_error_has_the_key_its_value_and_the_right_key() {
    let mut conf = least();
    conf["ipmasq"] = json!(true);
    let expected = "ipmasq is true: there is no such key: correct it to ipMasq";
    assert_eq!(parse(&conf).unwrap_err().msg, expected);
    let mut conf = least();
    conf["ipam"]["ranges"] = json!([[{"subnet": "10.2.0.0/24", "rangestart": "10.2.0.9"}]]);
    let expected = "ipam.ranges[0][0].rangestart is \"10.2.0.9\": there is no such key: correct it \
                    to rangeStart";
    assert_eq!(parse(&conf).unwrap_err().msg, expected);
}

/// Keys of the reference plugins, of libcni and of runtimes.
#[test]
fn keys_of_others_are_ignored() {
    let mut conf = least();
    let more = json!({
        "cniVersions": ["1.0.0"], "disableCheck": true, "disableGC": false, "isGateway": true,
        "isDefaultGateway": true, "hairpinMode": true, "ipMasqBackend": "nftables", "vlan": 7,
        "promiscMode": true, "bridge": "cni0", "dataDir": "/x", "snat": true, "backend": "iptables",
        "sysctl": {}, "kubeconfig": "/x", "delegates": [], "logLevel": "debug", "mode": "l2",
        "master": "eth0", "macspoofchk": true, "ipMasqRandomFully": true, "ipv4": {}, "ipv6": {},
        "runtimeConfig": {
            "portMappings": [], "bandwidth": {}, "infinibandGUID": "x", "deviceID": "x",
            "aliases": {}, "cgroupPath": "/x", "CNIDeviceInfoFile": "/x",
            "io.kubernetes.cri.pod-annotations": {"app": "x", "sidecar.istio.io/inject": "true"},
        },
        "capabilities": {"portMappings": true, "bandwidth": true, "deviceID": true},
        "args": {"labels": [], "cni": {"labels": [], "mac": "x", "podName": "x"}},
    });
    conf.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    conf["ipam"]["dataDir"] = json!("/x");
    conf["ipam"]["name"] = json!("x");
    parse(&conf).unwrap().user(&CniArgs::default()).unwrap();
    conf["ipam"] = json!({"type": "whereabouts", "range": "10.1.0.0/24", "range_start": "x"});
    conf["prevResult"] = json!({"Interfaces": [], "ip": [], "dns": {"nameserver": "x"}});
    parse(&conf).unwrap();
}

/// A recorded configuration stays valid: a later version may know a key of a similar name.
#[test]
fn a_configuration_on_record_is_read_with_misspelt_keys() {
    let mut conf = least();
    conf["ipmasq"] = json!(true);
    let text = conf.to_string();
    assert!(!NetConf::recorded(text.as_bytes()).unwrap().ip_masq);
    let document = Document::parse(text.as_bytes()).unwrap();
    for purpose in [Purpose::Attachment, Purpose::Network] {
        NetConf::read(&document, purpose).unwrap_err();
    }
}
