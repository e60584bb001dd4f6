//! Reads slots' halves on the node with one request for each object. The cost does not grow with the
//! node's own routes and neighbours.

use std::net::IpAddr;

use super::super::{HookError, ours_by_tcx};
use crate::{
    model::{Hook, Mac},
    netlink::{
        Direction, LinkInfo, NetlinkError, RouteSocket, attached_programs, find_links,
        interfaces_towards, permanent_neighbours,
    },
    store::Slot,
};

/// What is seen of a slot's half on the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenHalf {
    /// The interface of the recorded index, or of the slot's name.
    pub link: Option<LinkInfo>,
    /// By which interface the node sends packets to each of the slot's addresses, in their order.
    pub routes: Vec<Option<u32>>,
    /// The permanent neighbour entry of each address.
    pub neighbours: Vec<Option<Mac>>,
    /// Numbers of the programs that are attached in our place: from the container, to it.
    pub programs: [Option<u32>; 2],
}

/// Looks at the halves of slots, in their order. `pinned` are the numbers of the pinned programs.
///
/// Nothing is seen of a slot that is not built.
pub fn look_at_halves(
    socket: &mut RouteSocket,
    slots: &[&Slot],
    pinned: Option<[u32; 2]>,
) -> Result<Vec<SeenHalf>, HookError> {
    let indices: Vec<u32> = slots.iter().filter_map(|slot| slot.host_ifindex()).collect();
    let links = find_links(socket, &indices)?;
    let both = |index: &u32| [(*index, Direction::Ingress), (*index, Direction::Egress)];
    let places: Vec<_> = indices.iter().flat_map(both).collect();
    let programs = attached_programs(socket, &places)?;
    let mut halves = look_at_ways(socket, slots)?;
    let attached = programs.as_chunks::<2>().0;
    let built = halves.iter_mut().zip(slots).filter(|(_, slot)| slot.built.is_some());
    for (((half, slot), ifindex), (link, filters)) in
        built.zip(indices).zip(links.into_iter().zip(attached))
    {
        half.link = link;
        half.programs = match pinned {
            Some(pinned) if slot.hook == Hook::Tcx => ours_by_tcx(ifindex, pinned)?,
            _ => *filters,
        };
    }
    Ok(halves)
}

/// Looks at the routes and neighbours of slots, in their order, and at nothing else.
pub fn look_at_ways(
    socket: &mut RouteSocket,
    slots: &[&Slot],
) -> Result<Vec<SeenHalf>, NetlinkError> {
    let mut ways: Vec<(u32, IpAddr)> = Vec::new();
    for slot in slots {
        let Some(ifindex) = slot.host_ifindex() else { continue };
        ways.extend(slot.addresses.iter().map(|own| (ifindex, own.addr())));
    }
    let addresses: Vec<IpAddr> = ways.iter().map(|(_, address)| *address).collect();
    let mut routes = interfaces_towards(socket, &addresses)?.into_iter();
    let mut neighbours = permanent_neighbours(socket, &ways)?.into_iter();
    let half = |slot: &&Slot| {
        let number = slot.built.map_or(0, |_| slot.addresses.len());
        SeenHalf {
            routes: routes.by_ref().take(number).collect(),
            neighbours: neighbours.by_ref().take(number).collect(),
            ..SeenHalf::default()
        }
    };
    Ok(slots.iter().map(half).collect())
}
