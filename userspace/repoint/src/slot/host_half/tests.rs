use std::num::NonZeroU32;

use super::*;
use crate::{
    model::SlotId,
    netlink::Ipv6Settings,
    slot::{Alias, Owner},
    store::Built,
};

fn slot() -> Slot {
    let mut slot = Slot::building(SlotId(7), "n".parse().unwrap(), "eth0".parse().unwrap(), 1);
    slot.addresses = ["10.0.0.5/24", "fd00::5/64"].map(|text| text.parse().unwrap()).to_vec();
    slot.built = Some(Built {
        host_ifindex: NonZeroU32::new(9).unwrap(),
        mtu: 1400,
        nsid: None,
        fingerprint: None,
        source_routed: false,
    });
    slot
}

fn whole(slot: &Slot) -> SeenHalf {
    let link = LinkInfo {
        ifindex: 9,
        name: slot.id.host_ifname(),
        alias: Alias::new(slot, Owner::default()).to_string(),
        mac: Some(Mac(GATEWAY_MAC)),
        mtu: 1400,
        group: GROUP,
        up: true,
        qdisc: "noqueue".to_owned(),
        master: None,
        arp: true,
        forwarding: Some(true),
        ipv6: Some(Ipv6Settings { disabled: false, link_local: false }),
    };
    SeenHalf {
        link: Some(link),
        routes: vec![Some(9); 2],
        neighbours: vec![Some(slot.mac); 2],
        programs: [Some(1), Some(2)],
    }
}

/// What differs where `damage` was done to a half that was whole.
fn differs(damage: impl FnOnce(&mut SeenHalf, &mut LinkInfo)) -> Compared {
    let slot = slot();
    let mut seen = whole(&slot);
    let mut link = seen.link.take().unwrap();
    damage(&mut seen, &mut link);
    seen.link = Some(link);
    compare_half(&slot, &seen, Some([1, 2]))
}

#[test]
fn a_whole_half_differs_in_nothing() {
    assert_eq!(differs(|_, _| ()), Compared::Own(Vec::new()));
    let slot = slot();
    let others = SeenHalf { programs: [Some(8), None], ..whole(&slot) };
    assert_eq!(compare_half(&slot, &others, None), Compared::Own(Vec::new()));
    assert_eq!(compare_half(&slot, &SeenHalf::default(), None), Compared::Gone);
    let mut unbuilt = slot.clone();
    unbuilt.built = None;
    assert_eq!(compare_half(&unbuilt, &whole(&slot), None), Compared::Strange);
}

#[test]
fn each_part_is_compared() {
    let [v4, v6]: [IpAddr; 2] = ["10.0.0.5", "fd00::5"].map(|text| text.parse().unwrap());
    let only = |part| Compared::Own(vec![part]);
    assert_eq!(differs(|_, link| link.mac = None), only(Part::Mac(None)));
    assert_eq!(differs(|_, link| link.mtu = 1500), only(Part::Mtu(1500)));
    assert_eq!(differs(|_, link| link.group = 0), only(Part::Group(0)));
    assert_eq!(differs(|_, link| link.group = GROUP_MASQUERADED), only(Part::Group(0x7271)));
    assert_eq!(differs(|_, link| link.master = Some(3)), only(Part::Master(3)));
    assert_eq!(differs(|_, link| link.up = false), only(Part::Down));
    assert_eq!(differs(|_, link| link.arp = false), only(Part::Arp));
    assert_eq!(differs(|_, link| link.forwarding = Some(false)), only(Part::Forwarding));
    let settings = |disabled, link_local| Some(Ipv6Settings { disabled, link_local });
    assert_eq!(differs(|_, link| link.ipv6 = settings(true, false)), only(Part::Ipv6Disabled));
    assert_eq!(differs(|_, link| link.ipv6 = settings(false, true)), only(Part::LinkLocal));
    assert_eq!(differs(|seen, _| seen.routes[0] = None), only(Part::Route(v4)));
    assert_eq!(differs(|seen, _| seen.routes[1] = Some(2)), only(Part::Route(v6)));
    let other = Some(Mac([2; 6]));
    assert_eq!(differs(|seen, _| seen.neighbours[0] = other), only(Part::Neighbour(v4)));
    assert_eq!(differs(|seen, _| seen.neighbours[1] = None), only(Part::Neighbour(v6)));
    let missing = only(Part::Programs(ProgramFault::Missing));
    assert_eq!(differs(|seen, _| seen.programs[1] = None), missing);
    let others = only(Part::Programs(ProgramFault::Others));
    assert_eq!(differs(|seen, _| seen.programs[1] = Some(5)), others);
    assert_eq!(differs(|_, link| link.alias.clear()), Compared::Strange);
    assert_eq!(differs(|_, link| link.ifindex = 10), Compared::Strange);
    assert_eq!(differs(|_, link| link.name = "x".to_owned()), Compared::Strange);
}

/// A node without IPv6 has no such settings, and a network without IPv6 addresses needs none.
#[test]
fn settings_of_a_family_count_where_the_slot_has_addresses_of_it() {
    let mut slot = slot();
    let mut seen = whole(&slot);
    slot.addresses.truncate(1);
    let link = seen.link.as_mut().unwrap();
    link.ipv6 = Some(Ipv6Settings { disabled: true, link_local: true });
    assert_eq!(compare_half(&slot, &seen, None), Compared::Own(Vec::new()));
    seen.link.as_mut().unwrap().ipv6 = None;
    assert_eq!(compare_half(&slot, &seen, None), Compared::Own(Vec::new()));
}
