//! DEL of a container whose slot is not on record any more, because the database was lost.

use std::fs;

use crate::{
    datapath::Maps,
    failpoint,
    model::{NetnsPath, SlotId},
    netlink::{LinkInfo, NetlinkError, RouteSocket, get_link, links, peer_of},
    netns::{Netns, NetnsStore, NetnsStoreError, unbind},
    node::{Node, NodeError, Request},
    slot::{Alias, Owner, remove_links_named},
    store::Slot,
};

/// Removes a container's interface that a lost database gave it, and unbinds its path. A container
/// without an interface of ours is not an error.
///
/// The peer of the container's interface is on the node, and its alias names the slot and its
/// owner. A slot on record belongs to another attachment.
pub(crate) fn detach_lost(node: Option<&Node>, request: &Request) -> Result<(), NodeError> {
    // A namespace that is gone has taken its interface along.
    let Some(path) = &request.netns else { return Ok(()) };
    let Ok(netns) = Netns::open(path) else { return Ok(()) };
    let on_record = |found: &dyn Fn(&Slot) -> bool| match node {
        Some(node) => node.store.read(|transaction| transaction.any_slot(found)),
        None => Ok(false),
    };
    let slot = find(request, &netns)?;
    if let Some((slot, ifindex)) = slot {
        if on_record(&|other| other.id == slot)? {
            return Ok(());
        }
        failpoint::hit("lost:found");
        withdraw(request, ifindex)?;
        remove_links_named(&[slot.host_ifname()])?;
        failpoint::hit("lost:link");
    }
    // A sweep may have removed the interface before.
    if is_bound_over(path) && !on_record(&|other| other.netns == Some(netns.inode()))? {
        unbind(netns.inode(), path.as_path())?;
        failpoint::hit("lost:unbound");
    }
    slot.map_or(Ok(()), |(slot, _)| release(request, slot))
}

/// Removes the map entries that lead to an interface.
fn withdraw(request: &Request, ifindex: u32) -> Result<(), NodeError> {
    let Some(maps) = Maps::open_existing(&request.conf.directories.bpf)? else { return Ok(()) };
    for (address, endpoint) in maps.endpoints()? {
        if endpoint.ifindex == ifindex {
            maps.remove_endpoint(address)?;
            failpoint::hit("lost:endpoint");
        }
    }
    maps.remove_interface(ifindex)?;
    failpoint::hit("lost:entries");
    Ok(())
}

/// Releases a slot's namespace from the namespace store. If this process cannot reach the store, a
/// sweep releases the namespace.
fn release(request: &Request, slot: SlotId) -> Result<(), NodeError> {
    match NetnsStore::open_existing(&request.conf.directories.run) {
        Err(NetnsStoreError::WrongMountNamespace { .. }) | Ok(None) => {}
        Ok(Some(netns_store)) => netns_store.enter(|inside| inside.release(slot))??,
        Err(error) => return Err(error.into()),
    }
    failpoint::hit("lost:namespace");
    Ok(())
}

/// The slot of the container's interface, and the index of the host-side interface.
fn find(request: &Request, netns: &Netns) -> Result<Option<(SlotId, u32)>, NodeError> {
    let ifname = request.attachment.ifname.as_str();
    let inside = netns.run(|| {
        let mut socket = RouteSocket::open()?;
        Ok::<_, NetlinkError>((
            get_link(&mut socket, ifname)?.ifindex,
            peer_of(&mut socket, ifname)?,
        ))
    })?;
    let (own, peer) = match inside {
        Err(error) if error.is_absent() => return Ok(None),
        found => found?,
    };
    let mut socket = RouteSocket::open()?;
    let owner = Owner::of(&request.conf.directories.run);
    let slot_of = |link: &LinkInfo| {
        let alias = Alias::read(&link.alias)?;
        let is_ours = link.name == alias.slot.host_ifname()
            && alias.network == request.attachment.network
            && !alias.is_foreign_to(owner);
        is_ours.then_some(alias.slot)
    };
    let links = links(&mut socket)?;
    let slot = links.iter().filter(|link| Some(link.ifindex) == peer).find_map(slot_of);
    // An interface of another namespace may have the same index.
    let is_pair = |slot: SlotId| Ok(peer_of(&mut socket, &slot.host_ifname())? == Some(own));
    match slot.map(is_pair).transpose() {
        Err(error) if NetlinkError::is_absent(&error) => Ok(None),
        pair => Ok(if pair? == Some(true) { slot.zip(peer) } else { None }),
    }
}

/// Whether a namespace is mounted over another one at the path, as slots' are.
fn is_bound_over(path: &NetnsPath) -> bool {
    let Ok(path) = fs::canonicalize(path.as_path()) else { return false };
    let Ok(table) = fs::read_to_string("/proc/thread-self/mountinfo") else { return false };
    let is_there = |line: &&str| {
        let mut fields = line.split(' ').skip(3);
        let is_netns = fields.next().is_some_and(|root| root.starts_with("net:["));
        is_netns && fields.next().is_some_and(|point| point == path.to_string_lossy())
    };
    table.lines().filter(is_there).count() > 1
}
