//! Objects that are written, and read again.

use std::slice::from_ref;

use ipnet::IpNet;
use repoint_policy::{
    Object, ObjectId,
    object::{Action, ClusterPolicy, ClusterRule, Kind, Peer, Pods, Spec, Tier},
    read::read,
    selector::Selector,
    write::to_json,
};

use crate::{CASES, draw::Draw, objects, settings};

/// The object as text, and read from it.
fn read_again(object: &Object) -> (String, Vec<Object>) {
    let text = to_json(object).to_string();
    let objects = read(text.as_bytes(), "text").unwrap_or_else(|error| panic!("{error}\n{text}"));
    (text, objects)
}

#[test]
fn objects_are_read_as_they_were_before_they_were_written() {
    let seed = settings::seed();
    let mut count = 0;
    for case in 0..settings::cases(CASES) / 50 {
        let mut draw = Draw::new(seed, case);
        for object in [objects::network_object(&mut draw), objects::cluster_object(&mut draw)] {
            let (text, objects) = read_again(&object);
            assert_eq!(objects, from_ref(&object), "case {case} of seed {seed}: {text}");
            let stored = serde_json::to_vec(&object).unwrap();
            assert_eq!(serde_json::from_slice::<Object>(&stored).unwrap(), object);
            count += 1;
        }
    }
    println!("{count} objects are read as they were");
}

/// The reader takes 25 peers, of which each has 25 networks.
#[test]
fn a_rule_with_more_networks_than_peers_may_be_is_read_as_it_was() {
    let networks = (0..60).map(|number| format!("10.0.{}.0/24", number % 50));
    let peers = networks.map(|text| Peer::Network(text.parse::<IpNet>().unwrap())).collect();
    let all = || Pods { namespaces: Some(Selector::default()), pods: Selector::default() };
    let rule = ClusterRule { name: String::new(), action: Action::Deny, peers, ports: None };
    let policy = ClusterPolicy {
        tier: Tier::Admin,
        priority: 0,
        subject: all(),
        ingress: Vec::new(),
        egress: vec![rule],
    };
    let id =
        ObjectId { kind: Kind::ClusterNetworkPolicy, namespace: None, name: "networks".to_owned() };
    let object = Object { id, audit: false, spec: Spec::Cluster(policy) };
    let (_, objects) = read_again(&object);
    assert_eq!(objects, [object]);
}
