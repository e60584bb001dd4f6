//! Restoring a slot's half on the node.

use std::{fs, io, path::PathBuf};

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use repoint_common::mac::GATEWAY_MAC;

use super::{super::attach_by_tcx, Part, host_group};
use crate::{
    datapath::{DatapathError, FROM_CONTAINER, Programs, TO_CONTAINER},
    failpoint,
    model::{Hook, Mac},
    netlink::{
        Direction, LinkChange, NetlinkError, Request, Route, RouteSocket, add_clsact,
        add_neighbour, addresses, change_link, delete_address, replace_filter, replace_route,
    },
    store::Slot,
    template::host_net,
};

/// Why a slot's half cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum HalfError {
    /// The kernel refused.
    #[error("cannot restore interface {name}: {source}")]
    Kernel {
        /// The interface.
        name: String,
        /// What was tried, and why it failed.
        source: NetlinkError,
    },
    /// The programs cannot be attached by tcx.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// A sysctl cannot be written.
    #[error("cannot write {path}: {source}")]
    Sysctl {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Restores the parts of a slot's half that differ. `programs` are attached where a part asks for it.
///
/// Settings of the interface come before routes and neighbours, which the kernel removes with most of
/// them: a link that is down or has another Ethernet address has no neighbours. All routes and
/// neighbours are written, not only those that were missing before.
pub fn restore_half(
    socket: &mut RouteSocket,
    slot: &Slot,
    parts: &[Part],
    programs: Option<&Programs>,
) -> Result<(), HalfError> {
    // A slot that is not built has no half yet.
    let Some(built) = slot.built else { return Ok(()) };
    let (name, ifindex) = (slot.id.host_ifname(), built.host_ifindex.get());
    let failed = |source| HalfError::Kernel { name: name.clone(), source };
    let is_program = |part: &Part| matches!(part, Part::Programs(_));
    if parts.iter().any(is_program)
        && let Some(programs) = programs
    {
        match slot.hook {
            Hook::Tcx => attach_by_tcx(ifindex, programs)?,
            Hook::Clsact => {
                let refusals = socket.execute_each(attach_filters(ifindex, programs));
                let refusals = refusals.map_err(failed)?;
                // The queueing discipline is there already.
                if let Some(refusal) = refusals.into_iter().find(|refusal| !refusal.is_present()) {
                    return Err(failed(refusal));
                }
            }
        }
        failpoint::hit("half:attached");
    }
    if parts.iter().all(is_program) {
        return Ok(());
    }
    let changes = link_changes(slot, built.mtu, parts);
    if !changes.is_empty() {
        let change = |change| change_link(ifindex, &change);
        socket.execute(changes.into_iter().map(change).collect()).map_err(failed)?;
        failpoint::hit("half:link");
    }
    if parts.contains(&Part::LinkLocal) {
        remove_link_local(socket, ifindex).map_err(failed)?;
        failpoint::hit("half:link-local");
    }
    if parts.contains(&Part::Ipv6Disabled) {
        let path = PathBuf::from(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"));
        fs::write(&path, "0").map_err(|source| HalfError::Sysctl { path, source })?;
        failpoint::hit("half:ipv6");
    }
    socket.execute(lead_there(slot, ifindex)).map_err(failed)?;
    failpoint::hit("half:routes");
    Ok(())
}

/// Requests that attach the programs as an interface's filters. They replace earlier filters of ours, and
/// no packet passes without a program meanwhile.
pub(crate) fn attach_filters(
    ifindex: u32,
    programs: &Programs,
) -> Vec<Request<RouteNetlinkMessage>> {
    let from = (Direction::Ingress, programs.from_container(), FROM_CONTAINER);
    let to = (Direction::Egress, programs.to_container(), TO_CONTAINER);
    let mut requests = vec![add_clsact(ifindex)];
    requests.extend(
        [from, to]
            .map(|(direction, program, name)| replace_filter(ifindex, direction, program, name)),
    );
    requests
}

/// Removes link-local addresses that an interface got while it was allowed to. The kernel then reports
/// the next one that the interface gets.
fn remove_link_local(socket: &mut RouteSocket, ifindex: u32) -> Result<(), NetlinkError> {
    let is_link_local = |address: &IpNet| match address {
        IpNet::V4(_) => false,
        IpNet::V6(address) => address.addr().is_unicast_link_local(),
    };
    let found = addresses(socket, ifindex)?.into_iter().filter(is_link_local);
    let requests = found.map(|address| delete_address(ifindex, address)).collect();
    // The kernel may have removed an address with the interface's IPv6.
    let refusals = socket.execute_each(requests)?;
    refusals.into_iter().find(|refusal| !is_gone(refusal)).map_or(Ok(()), Err)
}

/// `EADDRNOTAVAIL`: the interface has no such address.
fn is_gone(refusal: &NetlinkError) -> bool {
    refusal.is_absent() || refusal.errno() == Some(libc::EADDRNOTAVAIL)
}

/// Changes of the interface itself, then of its IPv4 and IPv6 settings. An interface whose MTU was below
/// 1280 has no IPv6, and gets it anew with the settings of new interfaces.
fn link_changes(slot: &Slot, mtu: u32, parts: &[Part]) -> Vec<LinkChange> {
    let (mut link, mut settings) = (LinkChange::default(), LinkChange::default());
    for part in parts {
        match part {
            Part::Mac(_) => link.mac = Some(Mac(GATEWAY_MAC)),
            Part::Mtu(_) => {
                link.mtu = Some(mtu);
                settings.no_link_local = slot.addresses.iter().any(|own| own.addr().is_ipv6());
            }
            Part::Group(_) => link.group = Some(host_group(slot.masquerade)),
            Part::Master(_) => link.release = true,
            Part::Down => link.up = true,
            Part::Arp => link.arp = true,
            Part::Forwarding => settings.forwarding = true,
            Part::LinkLocal => settings.no_link_local = true,
            Part::Ipv6Disabled | Part::Route(_) | Part::Neighbour(_) | Part::Programs(_) => {}
        }
    }
    let is_some = |change: &LinkChange| *change != LinkChange::default();
    [link, settings].into_iter().filter(is_some).collect()
}

/// Requests for the route and the neighbour entry of each address.
fn lead_there(slot: &Slot, ifindex: u32) -> Vec<Request<RouteNetlinkMessage>> {
    let lead = |address| {
        [
            replace_route(ifindex, &Route::new(host_net(address), None)),
            add_neighbour(ifindex, address, slot.mac),
        ]
    };
    slot.addresses.iter().map(IpNet::addr).flat_map(lead).collect()
}
