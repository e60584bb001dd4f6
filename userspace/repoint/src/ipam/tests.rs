//! What holds of allocation from any ranges.

use std::{collections::HashSet, net::IpAddr};

use ipnet::IpNet;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::conf::{IpamConf, NetConf};

/// The range sets of a configuration's `ipam.ranges`.
pub(super) fn sets(ranges: &Value) -> Vec<RangeSet> {
    let conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "repoint-cni",
                      "ipam": {"ranges": ranges}});
    match NetConf::parse(conf.to_string().as_bytes()).unwrap().ipam {
        IpamConf::Own(own) => own.range_sets,
        IpamConf::Delegated(plugin) => panic!("delegated to {plugin}"),
    }
}

/// A subnet, a first and a last address in it, and a gateway, as JSON.
fn any_range(third_octet: u8) -> impl Strategy<Value = Value> {
    let host = 0_u8..=255;
    (any::<bool>(), host.clone(), host.clone(), prop::option::of(host)).prop_map(
        move |(ipv4, a, b, gateway)| {
            let (start, end) = (a.min(b), a.max(b));
            let address = |host: u8| {
                if ipv4 {
                    format!("10.1.{third_octet}.{host}")
                } else {
                    format!("fd00::{third_octet:x}:0:{host:x}")
                }
            };
            let prefix = if ipv4 { 24 } else { 112 };
            let mut range = json!({
                "subnet": format!("{}/{prefix}", address(0)),
                "rangeStart": address(start), "rangeEnd": address(end),
            });
            if let Some(gateway) = gateway {
                range["gateway"] = json!(address(gateway));
            }
            range
        },
    )
}

proptest! {
    #[test]
    fn ranges_are_read_as_they_are_written(range in any_range(7)) {
        let read = sets(&json!([[range.clone()]]))[0].ranges()[0].clone();
        let written = json!({
            "subnet": read.subnet().to_string(),
            "rangeStart": read.start().to_string(),
            "rangeEnd": read.end().to_string(),
            "gateway": read.gateway().to_string(),
        });
        for (key, value) in range.as_object().unwrap() {
            let normal = |text: &Value| {
                let text = text.as_str().unwrap();
                text.parse::<IpNet>().map_or_else(|_| text.parse::<IpAddr>().unwrap().to_string(), |n| n.to_string())
            };
            prop_assert_eq!(normal(value), normal(&written[key]), "{}", key);
        }
        let again = sets(&json!([[written]]))[0].ranges()[0].clone();
        prop_assert_eq!(again, read);
    }

    #[test]
    fn a_set_gives_each_usable_address_once_and_no_other(
        ranges in (any_range(1), any_range(2)),
        last in 0_u8..=255,
    ) {
        let ipv4 = |range: &Value| range["subnet"].to_string().contains("10.");
        let list = if ipv4(&ranges.0) == ipv4(&ranges.1) { json!([[ranges.0, ranges.1]]) } else { json!([[ranges.0]]) };
        let sets = sets(&list);
        let usable: HashSet<IpAddr> = every_address(&sets[0])
            .filter(|address| !sets[0].ranges().iter().any(|range| range.reserves(*address).is_some()))
            .collect();
        let mut given = HashSet::new();
        let mut last = Some(IpAddr::from([10, 1, 1, last]));
        let network = "net".parse().unwrap();
        let error = loop {
            let pool = Pool { network: &network, sets: &sets, last: &[last], node: &NodeAddresses::default(), cooldown_yields: false };
            let available = |address| if given.contains(&address) { Availability::Taken } else { Availability::Free };
            match allocate(&pool, &[], |address| Ok(available(address))) {
                Ok(chosen) => {
                    let address = IpNet::addr(&chosen[0]);
                    prop_assert!(usable.contains(&address), "{} is not usable", address);
                    prop_assert!(given.insert(address), "{} is taken", address);
                    last = Some(address);
                }
                Err(error) => break error,
            }
        };
        prop_assert_eq!(&given, &usable);
        let AllocateError::Exhausted { in_use, .. } = error else { panic!("{error}") };
        prop_assert_eq!(in_use, usable.len() as u64);
    }

    #[test]
    fn an_address_that_was_given_back_rests_longest(range in any_range(1), rounds in 1..600) {
        let sets = sets(&json!([[range]]));
        let network = "net".parse().unwrap();
        let (mut last, mut order) = (None, Vec::new());
        for _ in 0..rounds {
            let pool = Pool { network: &network, sets: &sets, last: &[last], node: &NodeAddresses::default(), cooldown_yields: false };
            let Ok(chosen) = allocate::<AllocateError>(&pool, &[], |_| Ok(Availability::Free)) else { break };
            last = Some(chosen[0].addr());
            order.push(chosen[0].addr());
        }
        let distinct = order.iter().collect::<HashSet<_>>().len();
        // A range may have no address that can be given.
        for window in order.windows(distinct.max(1)) {
            prop_assert_eq!(window.iter().collect::<HashSet<_>>().len(), distinct);
        }
    }
}

/// Every address between the ends of the set's ranges, by another way than the code under test.
fn every_address(set: &RangeSet) -> impl Iterator<Item = IpAddr> {
    set.ranges().iter().flat_map(|range| {
        (0..=255_u8)
            .map(|host| match range.subnet() {
                IpNet::V4(subnet) => {
                    let [a, b, c, _] = subnet.addr().octets();
                    IpAddr::from([a, b, c, host])
                }
                IpNet::V6(subnet) => {
                    let mut octets = subnet.addr().octets();
                    octets[15] = host;
                    IpAddr::from(octets)
                }
            })
            .filter(|address| (range.start()..=range.end()).contains(address))
    })
}
