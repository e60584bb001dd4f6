//! Templates as JSON: what is refused, and how it is reported.

mod properties;

use serde_json::{Value, json};

use super::*;

/// The operations that every template has, and the gateway.
fn least() -> Vec<Value> {
    vec![
        json!({"operation": "createLink"}),
        json!({"operation": "assignAddress", "from": "ipam"}),
        json!({"operation": "addGateway"}),
        json!({"operation": "attachPrograms"}),
    ]
}

fn text(operations: &[Value]) -> String {
    json!({"version": 1, "origin": "test", "operations": operations}).to_string()
}

/// The error of the least template with these operations appended.
fn refused(operations: &[Value]) -> String {
    let all: Vec<_> = least().into_iter().chain(operations.iter().cloned()).collect();
    Template::from_json(&text(&all)).unwrap_err().to_string()
}

#[test]
fn every_operation_has_a_name_and_is_read_by_it() {
    let mac = "02:00:00:00:00:09".parse().unwrap();
    let default = crate::netlink::RouteOptions::default();
    let operations = [
        Operation::CreateLink { mtu: Some(1400) },
        Operation::AssignAddress { from: AddressSource::Ipam },
        Operation::AddGateway,
        Operation::AddRoute {
            to: RouteTarget::OwnSubnets,
            via: RouteVia::Gateway,
            options: default,
        },
        Operation::AddNeighbour { address: "192.0.2.1".parse().unwrap(), mac },
        Operation::SetSysctl { key: "net.core.somaxconn".parse().unwrap(), value: "9".to_owned() },
        Operation::AttachPrograms,
        Operation::Masquerade,
    ];
    assert_eq!(operations.each_ref().map(Operation::name), Operation::NAMES);
    let template = Template { version: 1, origin: String::new(), operations: operations.to_vec() };
    let written: Value = serde_json::from_str(&template.to_json().unwrap()).unwrap();
    for (operation, name) in written["operations"].as_array().unwrap().iter().zip(Operation::NAMES)
    {
        assert_eq!(operation["operation"], name);
    }
    assert_eq!(Template::from_json(&written.to_string()).unwrap(), template);
}

#[test]
fn the_version_is_looked_at_before_all_else() {
    let newer = json!({"version": 2, "author": "me", "operations": [{"makeCoffee": true}]});
    assert_eq!(
        Template::from_json(&newer.to_string()).unwrap_err().to_string(),
        "template version 2 is not supported: this program knows version 1"
    );
    for (version, reported) in [
        (json!(0), "template version 0 is not supported: this program knows version 1"),
        (json!(u64::MAX), "template version 18446744073709551615 is not supported"),
        (json!("1"), "not a template: invalid type: string \"1\", expected u64"),
    ] {
        let text = json!({"version": version, "operations": least()}).to_string();
        let error = Template::from_json(&text).unwrap_err().to_string();
        assert!(error.starts_with(reported), "{error}");
    }
}

#[test]
fn what_is_not_known_is_named() {
    for operation in ["bindPolicy", "mapHostPort", "limitBandwidth", "makeCoffee", ""] {
        assert_eq!(
            refused(&[json!({"operation": operation, "sugar": 2})]),
            format!(
                "operation 5 is {operation:?}, which is not known: known are createLink, \
                 assignAddress, addGateway, addRoute, addNeighbour, setSysctl, attachPrograms, \
                 masquerade"
            )
        );
    }
    assert_eq!(
        refused(&[json!({"operation": "masquerade", "as": "192.0.2.1"})]),
        "operation 5 (masquerade): unknown field `as`: it has none"
    );
    let unknown =
        json!({"operation": "setSysctl", "key": "net.core.somaxconn", "value": "9", "when": 1});
    let reported = refused(&[unknown]);
    assert!(reported.starts_with("operation 5 (setSysctl): unknown field `when`"), "{reported}");
    let author = json!({"version": 1, "author": "me", "operations": least()}).to_string();
    let reported = Template::from_json(&author).unwrap_err().to_string();
    assert!(reported.starts_with("not a template: unknown field `author`"), "{reported}");
}

#[test]
fn a_digest_must_be_that_of_the_operations() {
    let template = Template::from_json(&text(&least())).unwrap();
    let written = template.to_json().unwrap();
    let renamed = written.replace("\"test\"", "\"renamed\"");
    assert_eq!(Template::from_json(&renamed).unwrap().origin, "renamed");
    let digest = template.digest().unwrap().to_string();
    let changed = written.replace(&digest, "0123");
    let reported = Template::from_json(&changed).unwrap_err().to_string();
    assert!(reported.contains(&digest) && reported.contains("\"0123\""), "{reported}");
}

#[test]
fn an_operation_is_missing() {
    for (left_out, name) in [(0, "createLink"), (1, "assignAddress"), (3, "attachPrograms")] {
        let mut operations = least();
        operations.remove(left_out);
        let reported = Template::from_json(&text(&operations)).unwrap_err().to_string();
        assert!(reported.contains(name), "{reported}");
    }
}

#[test]
fn values_that_make_no_sense_are_reported_with_their_operation() {
    let route = |to: &str, via: Value, options: Value| json!({"operation": "addRoute", "to": {"prefix": to}, "via": via, "options": options});
    let neighbour = |address: &str, mac: &str| json!({"operation": "addNeighbour", "address": address, "mac": mac});
    let sysctl =
        |key: &str, value: Value| json!({"operation": "setSysctl", "key": key, "value": value});
    let mac = "02:00:00:00:00:09";
    for (operation, reported) in [
        (json!({"operation": "createLink"}), "operation 1 does that already"),
        (json!({"operation": "attachPrograms"}), "operation 4 does that already"),
        (json!({"operation": "assignAddress", "from": "dhcp"}), "unknown variant `dhcp`"),
        (route("10.0.0.0/8", json!({"router": "fd00::1"}), json!({})), "of another family"),
        (route("10.0.0.0/8", json!({"router": "0.0.0.0"}), json!({})), "no address of a host"),
        (route("10.0.0.0/33", json!("gateway"), json!({})), "invalid IP address"),
        (route("10.0.0.0/8", json!("gateway"), json!({"mtu": 0})), "mtu 0 is none"),
        (route("10.0.0.0/8", json!("gateway"), json!({"metric": 1})), "unknown field `metric`"),
        (neighbour("169.254.1.1", mac), "is the gateway"),
        (neighbour("fe80::1", mac), "is the gateway"),
        (neighbour("224.0.0.1", mac), "no address of a host"),
        (neighbour("192.0.2.1", "01:00:00:00:00:09"), "must be a unicast address"),
        (sysctl("kernel.hostname", json!("x")), "must be a sysctl below net."),
        (sysctl("net.ipv4.conf.eth0.rp_filter", json!("1")), "write {interface}"),
        (sysctl("net.core.somaxconn", json!(9)), "invalid type: integer"),
        (sysctl("net.core.somaxconn", json!("")), "1 to 4095 bytes"),
        (sysctl("net.core.somaxconn", json!("9\n8")), "control characters"),
        (sysctl("net.core.somaxconn", json!(" 9")), "without spaces around it"),
    ] {
        let found = refused(&[operation]);
        assert!(found.starts_with("operation 5 (") && found.contains(reported), "{found}");
    }
    for mtu in [0, 67, 65_536] {
        let mut operations = least();
        operations[0]["mtu"] = json!(mtu);
        let reported = Template::from_json(&text(&operations)).unwrap_err().to_string();
        assert!(
            reported.contains("operation 1 (createLink)") && reported.contains("65535"),
            "{reported}"
        );
    }
}

#[test]
fn what_is_there_twice_or_too_early_is_reported() {
    let default = |mtu| {
        json!({"operation": "addRoute", "to": {"prefix": "0.0.0.0/0"}, "via": "gateway",
               "options": {"mtu": mtu}})
    };
    let neighbour = |mac| json!({"operation": "addNeighbour", "address": "192.0.2.1", "mac": mac});
    let sysctl =
        |value| json!({"operation": "setSysctl", "key": "net.core.somaxconn", "value": value});
    for pair in [
        [default(1300), default(1400)],
        [neighbour("02:00:00:00:00:09"), neighbour("02:00:00:00:00:08")],
        [sysctl("1"), sysctl("2")],
    ] {
        let reported = refused(&pair);
        assert!(
            reported.starts_with("operation 6 (")
                && reported.ends_with("operation 5 does that already")
        );
    }
    let reported = Template::from_json(&text(&[&[default(1300)], least().as_slice()].concat()));
    let reported = reported.unwrap_err().to_string();
    assert_eq!(reported, "operation 1 (addRoute): it must come after assignAddress");
}

#[test]
fn an_origin_is_one_line() {
    for origin in ["two\nlines", "\u{1b}[2J", &"x".repeat(501)] {
        let text = json!({"version": 1, "origin": origin, "operations": least()}).to_string();
        let error = Template::from_json(&text).unwrap_err();
        assert!(matches!(error, TemplateError::Origin { .. }), "{error}");
    }
}
