//! What holds for arbitrary templates and nodes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::{collection::vec, option, prelude::*};
use serde_json::{Map, Value};

use crate::{
    model::Mac,
    netlink::RouteOptions,
    template::{
        AddressSource, Change, NetworkConfig, NodeContext, Operation, RouteTarget, RouteVia,
        Template, TemplateError, VERSION,
    },
};

/// Addresses that templates name: 192.168.0.0/16 and `fd00:a8::/32`, which no node uses.
fn common_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0_u8..=255, 1_u8..=254).prop_map(|(c, d)| Ipv4Addr::new(192, 168, c, d).into()),
        (1_u16..).prop_map(|last| Ipv6Addr::new(0xfd00, 0xa8, 0, 0, 0, 0, 0, last).into()),
    ]
}

fn common_prefix() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        Just("0.0.0.0/0".parse().unwrap()),
        Just("::/0".parse().unwrap()),
        (common_address(), 0_u8..=16).prop_map(|(address, less)| {
            let longest = if address.is_ipv4() { 32 } else { 128 };
            IpNet::new(address, longest - less).unwrap()
        }),
    ]
}

fn options() -> impl Strategy<Value = RouteOptions> {
    let number = || option::of(1_u32..100_000);
    (number(), number(), number(), number(), option::of(any::<u8>())).prop_map(
        |(mtu, advmss, priority, table, scope)| RouteOptions {
            mtu,
            advmss,
            priority,
            table,
            scope,
        },
    )
}

fn target_and_way() -> impl Strategy<Value = (RouteTarget, RouteVia)> {
    let target =
        prop_oneof![Just(RouteTarget::OwnSubnets), common_prefix().prop_map(RouteTarget::Prefix),];
    let via = prop_oneof![Just(RouteVia::Gateway), common_address().prop_map(RouteVia::Router)];
    (target, via).prop_filter("a router of the prefix's family", |(to, via)| match (to, via) {
        (RouteTarget::Prefix(prefix), RouteVia::Router(router)) => {
            prefix.addr().is_ipv4() == router.is_ipv4()
        }
        _ => true,
    })
}

/// Operations of which any number may follow the operations that are always there.
fn more() -> impl Strategy<Value = Operation> {
    let mac = any::<[u8; 5]>().prop_map(|rest| {
        let mut octets = [2; 6];
        octets[1..].copy_from_slice(&rest);
        Mac(octets)
    });
    let key = prop_oneof![
        "net\\.ipv4\\.[a-z_]{1,20}",
        "net\\.ipv6\\.conf\\.\\{interface\\}\\.[a-z]{1,9}"
    ];
    prop_oneof![
        (target_and_way(), options()).prop_map(|((to, via), options)| Operation::AddRoute {
            to,
            via,
            options
        }),
        (common_address(), mac).prop_map(|(address, mac)| Operation::AddNeighbour { address, mac }),
        (key, "[a-z0-9]([ a-z0-9]{0,30}[a-z0-9])?")
            .prop_map(|(key, value)| { Operation::SetSysctl { key: key.parse().unwrap(), value } }),
        Just(Operation::Masquerade),
    ]
}

prop_compose! {
    fn template()(
        mtu in option::of(1280_u32..=65_535),
        origin in "[ -~]{0,60}",
        more in vec(more(), 0..12),
    ) -> Template {
        let mut template = Template {
            version: VERSION,
            origin,
            operations: vec![
                Operation::CreateLink { mtu },
                Operation::AssignAddress { from: AddressSource::Ipam },
                Operation::AddGateway,
                Operation::AttachPrograms,
            ],
        };
        for operation in more {
            template.operations.push(operation);
            if template.validate().is_err() {
                // The same once more.
                template.operations.pop();
            }
        }
        template
    }
}

/// The context of a node, with subnets and MTUs that no other node has.
fn node(number: u8) -> impl Strategy<Value = NodeContext> {
    let v4 = (any::<u8>(), 1_u8..=254, 16_u8..=32).prop_map(move |(c, d, length)| {
        IpNet::new(Ipv4Addr::new(10, number, c, d).into(), length).unwrap()
    });
    let v6 = (any::<u16>(), 32_u8..=128).prop_map(move |(last, length)| {
        IpNet::new(Ipv6Addr::new(0xfd01, number.into(), 0, 0, 0, 0, 1, last).into(), length)
            .unwrap()
    });
    let lowest = 1280 + u32::from(number) * 1000;
    (vec(prop_oneof![v4, v6], 1..4), lowest..lowest + 1000)
        .prop_map(|(addresses, mtu)| NodeContext { addresses, mtu })
}

/// All addresses and prefixes of a configuration.
fn prefixes(config: &NetworkConfig) -> Vec<IpNet> {
    let mut all = config.addresses.clone();
    all.extend(config.routes.iter().map(|route| route.destination));
    all.extend(config.routes.iter().filter_map(|route| route.gateway).map(IpNet::from));
    all.extend(config.neighbours.iter().map(|(address, _)| IpNet::from(*address)));
    all
}

/// The same JSON with fields in the opposite order.
fn turned(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().rev();
            let fields: Vec<_> =
                fields.map(|(key, value)| format!("\n\t{key:?} :  {}", turned(value))).collect();
            format!("{{ {} }}", fields.join(" ,"))
        }
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(turned).collect();
            format!("[ {}\r\n]", values.join(", "))
        }
        other => other.to_string(),
    }
}

proptest! {
    #[test]
    fn the_same_node_gets_the_same_always(
        template in template(), one in node(1), two in node(2),
    ) {
        let first = template.instantiate(&one);
        let other = template.instantiate(&two);
        prop_assert_eq!(&template.instantiate(&one), &first);
        prop_assert_eq!(&template.clone().instantiate(&two.clone()), &other);
    }

    #[test]
    fn no_node_gets_anothers_values(template in template(), one in node(1), two in node(2)) {
        for (own, other) in [(&one, &two), (&two, &one)] {
            let config = template.instantiate(own);
            prop_assert_eq!(&config.addresses, &own.addresses);
            prop_assert_ne!(Some(config.mtu), Some(other.mtu).filter(|mtu| {
                template.operations[0] != Operation::CreateLink { mtu: Some(*mtu) }
            }));
            for prefix in prefixes(&config) {
                for foreign in &other.addresses {
                    prop_assert!(
                        prefix.prefix_len() == 0 || !prefix.contains(&foreign.addr()),
                        "{prefix} is of the other node"
                    );
                }
            }
        }
    }

    #[test]
    fn json_keeps_everything_and_the_digest(template in template()) {
        let written = template.to_json().unwrap();
        let read = Template::from_json(&written).unwrap();
        prop_assert_eq!(read.digest().unwrap(), template.digest().unwrap());
        prop_assert_eq!(read, template);
    }

    #[test]
    fn the_form_of_the_json_does_not_change_the_digest(template in template()) {
        let written: Value = serde_json::from_str(&template.to_json().unwrap()).unwrap();
        let turned = turned(&written);
        prop_assert_eq!(&serde_json::from_str::<Value>(&turned).unwrap(), &written);
        let read = Template::from_json(&turned).unwrap();
        prop_assert_eq!(read.digest().unwrap(), template.digest().unwrap());
    }

    #[test]
    fn an_unknown_operation_is_refused_by_name(
        template in template(),
        name in "[a-zA-Z]{1,20}".prop_filter("unknown", |n| !Operation::NAMES.contains(&n.as_str())),
        place in any::<prop::sample::Index>(),
        field in "[a-z]{1,8}",
    ) {
        let mut written: Value = serde_json::from_str(&template.to_json().unwrap()).unwrap();
        let operations = written["operations"].as_array_mut().unwrap();
        let place = place.index(operations.len() + 1);
        let mut unknown = Map::new();
        unknown.insert(field, 7.into());
        unknown.insert("operation".to_owned(), name.clone().into());
        operations.insert(place, unknown.into());
        let error = Template::from_json(&written.to_string()).unwrap_err();
        prop_assert!(error.to_string().contains(&format!("{name:?}")), "{}", error);
        let named = matches!(
            error,
            TemplateError::UnknownOperation { number, name: found }
                if number == place + 1 && found == name
        );
        prop_assert!(named);
    }

    #[test]
    fn a_newer_version_is_refused_by_number(
        template in template(), version in 2_u64.., name in "[a-z]{1,20}",
    ) {
        let mut written: Value = serde_json::from_str(&template.to_json().unwrap()).unwrap();
        written["version"] = version.into();
        written["operations"][0]["operation"] = name.into();
        let error = Template::from_json(&written.to_string()).unwrap_err();
        let reported = matches!(error, TemplateError::Version { found } if found == version);
        prop_assert!(reported);
    }

    #[test]
    fn a_difference_is_empty_where_the_digests_are_equal_and_leads_to_the_other(
        one in template(), two in template(),
    ) {
        let equal = one.digest().unwrap() == two.digest().unwrap();
        let diff = one.diff(&two);
        prop_assert_eq!(diff.changes().is_empty(), equal);
        let kept = |operations: &[Operation]| {
            let changed = |operation: &&Operation| {
                diff.changes().iter().any(|(Change::Removed(changed) | Change::Added(changed))| {
                    std::ptr::eq(*changed, *operation)
                })
            };
            operations.iter().filter(|operation| !changed(operation)).cloned().collect::<Vec<_>>()
        };
        prop_assert_eq!(kept(&one.operations), kept(&two.operations));
    }
}
