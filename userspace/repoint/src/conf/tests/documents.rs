//! Other documents in the place of a configuration.

use serde_json::json;

use super::least;
use crate::{
    cni::ErrorCode,
    conf::{Document, NetConf, Purpose},
};

/// Asserts the same error for every purpose of reading.
fn assert_named(text: &[u8], code: ErrorCode, named: &str) {
    for purpose in [Purpose::Attachment, Purpose::Network, Purpose::Removal] {
        let read = Document::parse(text).and_then(|document| NetConf::read(&document, purpose));
        let error = read.unwrap_err().to_cni();
        let given = String::from_utf8_lossy(text);
        assert_eq!(error.code, code, "{given:?}: {error}");
        assert!(error.msg.contains(named), "{given:?}: {error}");
    }
}

#[test]
fn what_is_not_json_is_named() {
    let good = least().to_string();
    let cut = &good.as_bytes()[..good.len() - 1];
    let marked = [b"\xef\xbb\xbf", good.as_bytes()].concat();
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (text, named) in [
        (b"".as_slice(), "no network configuration was given"),
        (b" \n", "no network configuration was given"),
        (b"{", "begins with \"{\""),
        (cut, "begins with \"{"),
        (b"not json", "begins with \"not json\""),
        (b"{} {}", "begins with \"{} {}\""),
        (b"\xff\xfe{}", "no UTF-8"),
        (&marked, "byte order mark"),
        (&utf16, "UTF-16"),
        (b"cniVersion: 1.0.0\nname: n\n", "YAML"),
        (b"---\nname: n\n", "YAML"),
        (b"# a network\n\nname: n\n", "YAML"),
        (b"- type: repoint-cni\n", "YAML"),
        (b"/etc/cni/net.d/10-n.conflist\n", "is the path \"/etc/cni/net.d/10-n.conflist\""),
    ] {
        assert_named(text, ErrorCode::DECODING_FAILURE, named);
    }
}

#[test]
fn json_that_is_no_plugins_configuration_is_named() {
    let list = json!({"cniVersion": "1.0.0", "name": "n", "plugins": [least()]});
    for (document, named) in [
        (json!([]), "is [], a list"),
        (json!([least()]), ", a list"),
        (json!("x"), "is \"x\", a string"),
        (json!(least().to_string()), "encoded twice"),
        (json!(42), "is 42, a number"),
        (json!(true), "is true, a boolean"),
        (json!(null), "is null: it must be"),
        (list, "is a network configuration list (key plugins)"),
        (json!({"plugins": []}), "is a network configuration list (key plugins)"),
        (json!({"cniVersion": "1.0.0", "ips": [], "interfaces": []}), "is a CNI result"),
        (json!({"cniVersion": "0.2.0", "ip4": {}}), "is a CNI result"),
        (json!({"cniVersion": "1.0.0", "code": 7, "msg": "x"}), "is a CNI error"),
        (json!({"cniVersion": "1.0.0", "supportedVersions": []}), "answer to VERSION"),
        (
            json!({"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition"}),
            "Kubernetes object of kind \"NetworkAttachmentDefinition\"",
        ),
    ] {
        assert_named(document.to_string().as_bytes(), ErrorCode::INVALID_CONFIGURATION, named);
    }
}

/// Keys of other documents beside `type` are other programs'.
#[test]
fn a_plugins_configuration_is_taken_for_one() {
    let mut conf = least();
    conf["plugins"] = json!([]);
    conf["kind"] = json!("x");
    conf["ips"] = json!(["10.1.0.5"]);
    NetConf::parse(conf.to_string().as_bytes()).unwrap();
}
