//! The programs on a slot's interface: attaching them as its network says, and what is there.

use std::os::fd::BorrowedFd;

use netlink_packet_route::RouteNetlinkMessage;

use crate::{
    datapath::{
        AttachPoint, DatapathError, FROM_CONTAINER, Programs, TO_CONTAINER, TcxProgram, attach_tcx,
        detach_tcx, tcx_programs,
    },
    failpoint,
    model::Hook,
    netlink::{
        Direction, NetlinkError, Request, RouteSocket, add_clsact, add_filter, filter_names,
    },
};

/// Where each program belongs.
pub(super) const PLACES: [(Direction, &str); 2] =
    [(Direction::Ingress, FROM_CONTAINER), (Direction::Egress, TO_CONTAINER)];

/// Why attached programs cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// Filters cannot be listed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// Programs of tcx cannot be listed.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
}

/// The requests that attach the programs as filters of a new interface.
pub(super) fn add_filters(
    ifindex: u32,
    programs: &Programs,
) -> impl Iterator<Item = Request<RouteNetlinkMessage>> {
    let filters = PLACES.map(|(direction, name)| {
        add_filter(ifindex, direction, program(programs, direction), name)
    });
    std::iter::once(add_clsact(ifindex)).chain(filters)
}

/// Attaches the programs by tcx, before all others. It detaches earlier programs of ours only afterwards,
/// so that no packet passes without one.
pub fn attach_by_tcx(ifindex: u32, programs: &Programs) -> Result<(), DatapathError> {
    for (direction, name) in PLACES {
        let failed = DatapathError::tcx("attach", name, ifindex);
        let earlier = by_tcx(ifindex, direction)?;
        match attach_tcx(point(ifindex, direction), program(programs, direction)) {
            // It is there already, so none of an earlier load is.
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => continue,
            attached => attached.map_err(failed)?,
        }
        failpoint::hit("hook:attached");
        for earlier in earlier.iter().filter(|earlier| earlier.name == name) {
            let failed = DatapathError::tcx("detach an earlier", name, ifindex);
            match detach_tcx(point(ifindex, direction), earlier.id) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                detached => detached.map_err(failed)?,
            }
        }
    }
    Ok(())
}

/// Names of the filters of an interface, and of its programs of tcx, in one direction.
pub(super) fn attached_names(
    socket: &mut RouteSocket,
    ifindex: u32,
    direction: Direction,
) -> Result<(Vec<String>, Vec<String>), HookError> {
    let filters = filter_names(socket, ifindex, direction)?;
    let programs = by_tcx(ifindex, direction)?.into_iter().map(|program| program.name).collect();
    Ok((filters, programs))
}

/// The one list of [`attached_names`] in which a hook's program is, and the other.
pub(super) fn sorted<T>(hook: Hook, (filters, programs): (T, T)) -> (T, T) {
    match hook {
        Hook::Clsact => (filters, programs),
        Hook::Tcx => (programs, filters),
    }
}

/// Numbers of our tcx programs on an interface: from the container, to it. These are the pinned programs
/// where they are attached, or else programs with our names.
pub fn ours_by_tcx(ifindex: u32, pinned: [u32; 2]) -> Result<[Option<u32>; 2], DatapathError> {
    let ours = |(direction, name): (Direction, &str), pinned| {
        let programs = by_tcx(ifindex, direction)?;
        let current = programs.iter().find(|program| program.id == pinned);
        let named = || programs.iter().find(|program| program.name == name);
        Ok::<_, DatapathError>(current.or_else(named).map(|program| program.id))
    };
    Ok([ours(PLACES[0], pinned[0])?, ours(PLACES[1], pinned[1])?])
}

/// An interface that is gone has no programs.
fn by_tcx(ifindex: u32, direction: Direction) -> Result<Vec<TcxProgram>, DatapathError> {
    match tcx_programs(point(ifindex, direction)) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(Vec::new()),
        other => other.map_err(DatapathError::tcx("list", "programs", ifindex)),
    }
}

fn point(ifindex: u32, direction: Direction) -> AttachPoint<'static> {
    match direction {
        Direction::Ingress => AttachPoint::TcxIngress(ifindex),
        Direction::Egress => AttachPoint::TcxEgress(ifindex),
    }
}

fn program(programs: &Programs, direction: Direction) -> BorrowedFd<'_> {
    match direction {
        Direction::Ingress => programs.from_container(),
        Direction::Egress => programs.to_container(),
    }
}
