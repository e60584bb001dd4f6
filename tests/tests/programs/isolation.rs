//! Slots that key `isolation` of either's network keeps apart.

use anyhow::{Result, ensure};
use repoint_common::{
    counter::Reason,
    endpoint::Endpoint,
    interface::{FLAG_ISOLATE_FUNCTION, FLAG_ISOLATE_TENANT, Interface},
};

use super::{
    case::{
        Addresses, Case, Device, OWN, PEER,
        Program::{FromContainer, ToContainer},
        REMOTE, both,
    },
    rig::{Rig, interface},
};

/// What a slot is for isolation: identity, number of its tenant, and flags.
type Party = (u32, u32, u32);

const NONE: u32 = 0;
const TENANT: u32 = FLAG_ISOLATE_TENANT;
const FUNCTION: u32 = FLAG_ISOLATE_FUNCTION;

/// Two slots, and whether they reach each other.
const PAIRS: [(&str, Party, Party, bool); 18] = [
    ("no isolation", (300, 1, NONE), (301, 2, NONE), true),
    ("no isolation, no tenants", (300, 0, NONE), (301, 0, NONE), true),
    ("one function", (300, 1, FUNCTION), (300, 1, FUNCTION), true),
    ("one function, under the tenant's", (300, 1, TENANT), (300, 1, TENANT), true),
    ("functions of a tenant, under the tenant's", (300, 1, TENANT), (301, 1, TENANT), true),
    ("functions of a tenant, the sender's", (300, 1, TENANT), (301, 1, NONE), true),
    ("functions of a tenant", (300, 1, FUNCTION), (301, 1, FUNCTION), false),
    ("functions of a tenant, the sender's", (300, 1, FUNCTION), (301, 1, NONE), false),
    ("functions of a tenant, the receiver's", (300, 1, NONE), (301, 1, FUNCTION), false),
    ("functions of a tenant, one under the tenant's", (300, 1, FUNCTION), (301, 1, TENANT), false),
    ("tenants", (300, 1, TENANT), (301, 2, TENANT), false),
    ("tenants, the sender's", (300, 1, TENANT), (301, 2, NONE), false),
    ("tenants, the receiver's", (300, 1, NONE), (301, 2, TENANT), false),
    ("tenants, by function", (300, 1, FUNCTION), (301, 2, FUNCTION), false),
    ("a tenant and none", (300, 1, TENANT), (301, 0, TENANT), false),
    ("none and a tenant", (300, 0, TENANT), (301, 1, NONE), false),
    ("no tenants", (300, 0, TENANT), (301, 0, TENANT), false),
    ("no tenants, by function", (300, 0, FUNCTION), (301, 0, NONE), false),
];

/// Makes [`OWN`] and [`PEER`] slots of these parties.
fn give(rig: &Rig, own: Party, peer: Party) -> Result<()> {
    let device = |device: Device, addresses: Addresses, (identity, tenant, flags): Party| {
        let recorded = interface(device).unwrap();
        let ifindex = rig.ifindex(device);
        let slot = Interface { identity, tenant, flags, ..recorded };
        rig.maps().insert_interface(ifindex, &slot)?;
        let flags = u16::try_from(flags)?;
        rig.insert(
            addresses,
            &Endpoint {
                ifindex,
                identity,
                mac: recorded.mac,
                flags,
                tenant,
                padding: 0,
                epoch: recorded.epoch,
            },
        )
    };
    device(Device::Active, OWN, own)?;
    device(Device::Peer, PEER, peer)
}

/// Packets of the slot of [`OWN`], and of others to the slot of [`PEER`].
fn cases(name: &str, reach: bool) -> Vec<Case> {
    let reason = |passes| if reach { passes } else { Reason::Isolated };
    let to_peer = |what: &str, source, expected| {
        both(&format!("{name}: {what}"), ToContainer, source, PEER, expected)
            .map(|case| case.on(Device::Peer))
    };
    let mut cases = Vec::new();
    cases.extend(both(name, FromContainer, OWN, PEER, reason(Reason::Redirected)));
    let itself = format!("{name}: to itself");
    cases.extend(both(&itself, FromContainer, OWN, OWN, Reason::Redirected));
    let outside = format!("{name}: to the outside");
    cases.extend(both(&outside, FromContainer, OWN, REMOTE, Reason::ToHost));
    for (what, source) in [("by the host stack", OWN), ("by the host stack, translated", REMOTE)] {
        let by_stack = to_peer(what, source, reason(Reason::ToContainer));
        cases.extend(by_stack.map(|case| case.by(Device::Active)));
    }
    cases.extend(to_peer("from the node", OWN, Reason::ToContainer));
    let by_uplink = to_peer("from the outside", REMOTE, Reason::ToContainer);
    cases.extend(by_uplink.map(|case| case.by(Device::Unknown)));
    cases
}

#[test]
fn isolated_slots_reach_the_node_the_outside_and_their_own() -> Result<()> {
    let node = repoint_tests::Node::new()?;
    node.run(|| {
        let rig = Rig::new(&node)?;
        let mut failed = 0;
        for (name, sender, receiver, reach) in PAIRS {
            give(&rig, sender, receiver)?;
            failed += cases(name, reach).iter().filter(|case| !rig.passes(case)).count();
        }
        ensure!(failed == 0, "{failed} cases failed");
        Ok(())
    })
}
