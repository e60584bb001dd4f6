//! Choosing from small ranges.

use serde_json::json;

use super::*;
use crate::ipam::tests::sets;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn choose(
    sets: &[RangeSet],
    last: &[Option<IpAddr>],
    requested: &[IpAddr],
    taken: &[IpAddr],
) -> Result<Vec<String>, AllocateError> {
    let network = "net".parse().unwrap();
    let pool = Pool {
        network: &network,
        sets,
        last,
        node: &NodeAddresses::default(),
        cooldown_yields: false,
    };
    let available = |address| {
        if taken.contains(&address) { Availability::Taken } else { Availability::Free }
    };
    let chosen = allocate(&pool, requested, |address| Ok(available(address)));
    chosen.map(|chosen: Vec<IpNet>| chosen.iter().map(ToString::to_string).collect())
}

fn dual_stack() -> Vec<RangeSet> {
    sets(&json!([[{"subnet": "10.1.0.0/29"}], [{"subnet": "fd00::/64"}]]))
}

#[test]
fn one_address_of_each_set_with_its_subnets_prefix() {
    let chosen = choose(&dual_stack(), &[], &[], &[]).unwrap();
    assert_eq!(chosen, ["10.1.0.2/29", "fd00::2/64"]);
}

#[test]
fn the_search_goes_on_after_the_last_and_round() {
    let last = [Some(ip("10.1.0.5")), None];
    let chosen = choose(&dual_stack(), &last, &[], &[]).unwrap();
    assert_eq!(chosen, ["10.1.0.6/29", "fd00::2/64"]);
    let chosen = choose(&dual_stack(), &last, &[], &[ip("10.1.0.6")]).unwrap();
    assert_eq!(chosen[0], "10.1.0.2/29");
}

#[test]
fn what_has_rested_longest_is_given_where_nothing_else_is_left() {
    let (network, sets) = ("net".parse().unwrap(), dual_stack());
    let mut pool = Pool {
        network: &network,
        sets: &sets[..1],
        last: &[],
        node: &NodeAddresses::default(),
        cooldown_yields: true,
    };
    let rests = |address: IpAddr| match address {
        address if address == ip("10.1.0.3") => Availability::CoolingDown(5),
        address if address == ip("10.1.0.4") => Availability::CoolingDown(4),
        address if address == ip("10.1.0.5") => Availability::CoolingDown(9),
        _ => Availability::Taken,
    };
    let chosen =
        |pool: &Pool<'_>| allocate(pool, &[], |address| Ok::<_, AllocateError>(rests(address)));
    assert_eq!(chosen(&pool).unwrap()[0].to_string(), "10.1.0.4/29");
    pool.cooldown_yields = false;
    assert!(matches!(chosen(&pool), Err(AllocateError::Exhausted { in_use: 5, .. })));
    // A requested address may be in cooldown.
    let asked =
        allocate(&pool, &[ip("10.1.0.5")], |address| Ok::<_, AllocateError>(rests(address)));
    assert_eq!(asked.unwrap()[0].to_string(), "10.1.0.5/29");
}

#[test]
fn an_exhausted_network_tells_how_many_are_in_use() {
    let taken: Vec<_> = (2..=6).map(|host| IpAddr::from([10, 1, 0, host])).collect();
    let error = choose(&dual_stack(), &[], &[], &taken).unwrap_err();
    assert_eq!(
        error.to_string(),
        "network net has no address left in 10.1.0.1-10.1.0.6: 5 of 5 are in use or rest"
    );
    assert_eq!(error.to_cni().code, ErrorCode::NO_ADDRESS);
}

#[test]
fn what_the_node_has_itself_is_not_given_and_named() {
    let node = NodeAddresses { own: vec![ip("10.1.0.2")], routers: vec![ip("10.1.0.3")] };
    let (network, sets) = ("net".parse().unwrap(), dual_stack());
    let pool = Pool {
        network: &network,
        sets: &sets[..1],
        last: &[],
        node: &node,
        cooldown_yields: false,
    };
    let choose = |requested: &[IpAddr], availability| {
        allocate::<AllocateError>(&pool, requested, |_| Ok(availability))
    };
    assert_eq!(choose(&[], Availability::Free).unwrap()[0].to_string(), "10.1.0.4/29");
    let error = choose(&[], Availability::Taken).unwrap_err().to_string();
    let expected = "3 of 3 are in use or rest; 10.1.0.2 is an address of the node; \
                    10.1.0.3 is the gateway of the node";
    assert!(error.ends_with(expected), "{error}");
    for (address, named) in [("10.1.0.2", "an address of"), ("10.1.0.3", "the gateway of the node")]
    {
        let error = choose(&[ip(address)], Availability::Free).unwrap_err().to_string();
        assert!(error.contains(address) && error.contains(named), "{error}");
    }
}

#[test]
fn the_gateway_of_all_containers_is_no_containers() {
    let sets = sets(&json!([[{"subnet": "169.254.1.0/29", "gateway": "169.254.1.2"}]]));
    assert_eq!(choose(&sets, &[], &[], &[]).unwrap(), ["169.254.1.3/29"]);
    let error = choose(&sets, &[], &[ip("169.254.1.1")], &[]).unwrap_err().to_string();
    assert!(error.contains("169.254.1.1") && error.contains("all containers"), "{error}");
}

#[test]
fn a_network_without_ranges_is_misconfigured() {
    let error = choose(&[], &[], &[], &[]).unwrap_err().to_cni();
    assert_eq!(error.code, ErrorCode::INVALID_CONFIGURATION, "{error}");
}

#[test]
fn a_requested_address_is_given_from_its_set() {
    let chosen = choose(&dual_stack(), &[], &[ip("fd00::7"), ip("fd00::7")], &[]).unwrap();
    assert_eq!(chosen, ["10.1.0.2/29", "fd00::7/64"]);
}

#[test]
fn a_requested_address_that_cannot_be_had_is_an_error() {
    let choose = |requested: &[&str]| {
        let requested: Vec<_> = requested.iter().map(|text| ip(text)).collect();
        choose(&dual_stack(), &[], &requested, &[ip("10.1.0.3")]).unwrap_err()
    };
    let error = choose(&["192.0.2.1"]);
    assert!(matches!(error, AllocateError::RequestedNotInRange { .. }), "{error}");
    let error = choose(&["10.1.0.3"]);
    assert!(matches!(error, AllocateError::RequestedTaken { .. }), "{error}");
    let error = choose(&["10.1.0.1"]);
    assert!(matches!(error, AllocateError::RequestedReserved { .. }), "{error}");
    let error = choose(&["10.1.0.4", "10.1.0.5"]);
    assert!(matches!(error, AllocateError::RequestedTwice { .. }), "{error}");
}

#[test]
fn a_gateway_in_another_range_of_its_subnet_is_reserved_there() {
    let sets = sets(&json!([
        [{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.10", "rangeEnd": "10.1.0.11"}],
        [{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.20", "gateway": "10.1.0.10"}],
    ]));
    assert_eq!(choose(&sets, &[], &[], &[]).unwrap(), ["10.1.0.11/24", "10.1.0.20/24"]);
}

#[test]
fn the_records_own_error_comes_through() {
    #[derive(Debug, PartialEq)]
    struct Broken;
    impl From<AllocateError> for Broken {
        fn from(error: AllocateError) -> Self {
            panic!("{error}")
        }
    }
    let (network, sets) = ("net".parse().unwrap(), dual_stack());
    let pool = Pool {
        network: &network,
        sets: &sets,
        last: &[],
        node: &NodeAddresses::default(),
        cooldown_yields: false,
    };
    assert_eq!(allocate(&pool, &[], |_| Err(Broken)), Err(Broken));
}
