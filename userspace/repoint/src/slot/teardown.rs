//! Taking a slot down: its map entries, then its interfaces.

use std::{
    io::{self, Read as _, Write as _},
    net::IpAddr,
    path::Path,
    process::{Command, Stdio},
};

use nix::{errno::Errno, net::if_::if_nametoindex};

use super::deletion_group;
use crate::{
    datapath::{DatapathError, Maps},
    failpoint,
    netlink::{
        NetlinkError, RouteSocket, delete_group, delete_link, delete_no_link, move_to_group,
    },
    store::Slot,
};

/// What could not be removed of a slot.
#[derive(Debug, thiserror::Error)]
pub enum TeardownError {
    /// A map kept its entry.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// The interface is still there.
    #[error(transparent)]
    Link(#[from] NetlinkError),
    /// The remover cannot report to the process that started it.
    #[error("cannot report that interface {name} is being removed: {source}")]
    Remover {
        /// Its name.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// Whether the interface is there cannot be found out.
    #[error("cannot look for interface {name}: {source}")]
    Lookup {
        /// Its name.
        name: String,
        /// Why not.
        source: io::Error,
    },
}

/// Removes what there is of a slot, whether it was built whole, in part or not at all. One step
/// that fails does not keep the other from being done; all failures are returned.
#[must_use]
pub fn tear_down(slot: &Slot, maps: Option<&Maps>) -> Vec<TeardownError> {
    let mut errors = withdraw(slot, maps);
    errors.extend(remove_interface(slot, None).err());
    errors
}

/// Removes a slot's map entries. From here on no packet passes: the programs drop what comes from
/// an interface that the maps do not know.
#[must_use]
pub fn withdraw(slot: &Slot, maps: Option<&Maps>) -> Vec<TeardownError> {
    let Some(maps) = maps else { return Vec::new() };
    let (ifindex, error) = match lookup(&slot.id.host_ifname()) {
        Ok(ifindex) => (ifindex, None),
        Err(error) => (None, Some(error)),
    };
    let mut errors = withdraw_all(slot, ifindex, maps);
    errors.extend(error);
    failpoint::hit("teardown:withdrawn");
    errors
}

/// Removes a slot's interfaces, if they are there.
///
/// The kernel blocks the calling process for the grace period in which it may still use them: 18 ms on
/// 6.18 with HZ=250, whatever is done before or in what order. `remover` names an executable that can
/// wait instead ([`REMOVE_INTERFACE`]). The function then returns when no process finds the interfaces
/// any more, which takes half a millisecond.
pub fn remove_interface(slot: &Slot, remover: Option<&Path>) -> Result<(), TeardownError> {
    let name = slot.id.host_ifname();
    if lookup(&name)?.is_some() {
        match remover {
            Some(remover) => remove_by(remover, &name)?,
            None => remove_link(&name)?,
        }
    }
    failpoint::hit("teardown:link");
    Ok(())
}

/// Whether a slot's interface is there, or that cannot be found out.
#[must_use]
pub fn has_interface(slot: &Slot) -> bool {
    !matches!(lookup(&slot.id.host_ifname()), Ok(None))
}

/// Removes the interfaces of many slots, as far as they exist. All of them wait for one grace period: 40
/// pairs take 35 ms together, and 676 ms one by one.
pub fn remove_interfaces(slots: &[Slot]) -> Result<(), TeardownError> {
    remove_links_named(&slots.iter().map(|slot| slot.id.host_ifname()).collect::<Vec<_>>())
}

/// The same, for interfaces by their names.
pub fn remove_links_named(names: &[String]) -> Result<(), TeardownError> {
    if names.is_empty() {
        return Ok(());
    }
    let mut socket = RouteSocket::open()?;
    let moves = names.iter().map(|name| move_to_group(name, deletion_group())).collect();
    let mut refusals = socket.execute_each(moves)?;
    refusals.retain(|refusal| !refusal.is_absent());
    failpoint::hit("teardown:grouped");
    match socket.execute(vec![delete_group(deletion_group())]) {
        // None of them was there.
        Err(error) if error.is_absent() => {}
        other => other?,
    }
    refusals.into_iter().next().map_or(Ok(()), |refusal| Err(refusal.into()))
}

/// First argument of an executable that is to call [`remove_for_another`] with its second.
pub const REMOVE_INTERFACE: &str = "remove-interface";

/// Removes an interface in the place of another process. A byte on standard output reports to that
/// process that the removal begins.
pub fn remove_for_another(name: &str) -> Result<(), TeardownError> {
    let mut socket = RouteSocket::open()?;
    let reported = io::stdout().write_all(b"!").and_then(|()| io::stdout().flush());
    reported.map_err(|source| TeardownError::Remover { name: name.to_owned(), source })?;
    failpoint::hit("remover:reported");
    socket.execute(vec![delete_link(name)])?;
    failpoint::hit("remover:link");
    Ok(())
}

/// Lets `remover` remove an interface, and waits until it is gone. If the remover fails, this process
/// removes the interface.
///
/// The kernel unlists a link under RTNL, and waits for the grace period without that lock. A request that
/// needs RTNL to fail returns when the kernel has unlisted both ends of the pair.
fn remove_by(remover: &Path, name: &str) -> Result<(), TeardownError> {
    let command = Command::new(remover)
        .args([REMOVE_INTERFACE, name])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = command else { return remove_link(name) };
    failpoint::hit("teardown:remover");
    let began = child.stdout.take().is_some_and(|mut stdout| stdout.read_exact(&mut [0]).is_ok());
    let mut socket = RouteSocket::open()?;
    while began && lookup(name)?.is_some() && matches!(child.try_wait(), Ok(None)) {
        wait_for_rtnl(&mut socket)?;
    }
    wait_for_rtnl(&mut socket)?;
    if lookup(name)?.is_some() { remove_link(name) } else { Ok(()) }
}

fn wait_for_rtnl(socket: &mut RouteSocket) -> Result<(), NetlinkError> {
    match socket.execute(vec![delete_no_link()]) {
        Err(error) if error.is_absent() => Ok(()),
        other => other,
    }
}

/// Removes the slot's map entries; an interface that is gone is known from its endpoints' entries.
fn withdraw_all(slot: &Slot, ifindex: Option<u32>, maps: &Maps) -> Vec<TeardownError> {
    let mut errors = Vec::new();
    let mut keep = |result: Result<(), DatapathError>| errors.extend(result.err().map(Into::into));
    for address in slot.addresses.iter().map(ipnet::IpNet::addr) {
        keep(withdraw_address(slot, address, ifindex, maps));
        failpoint::hit("teardown:endpoint");
    }
    if let Some(ifindex) = ifindex {
        keep(withdraw_interface(slot, ifindex, maps));
    }
    errors
}

/// Removes one address's entry, unless it is another slot's by now.
fn withdraw_address(
    slot: &Slot,
    address: IpAddr,
    ifindex: Option<u32>,
    maps: &Maps,
) -> Result<(), DatapathError> {
    let Some(endpoint) = maps.endpoint(address)? else {
        return Ok(());
    };
    if endpoint.mac != slot.mac.0 {
        return Ok(());
    }
    if ifindex.is_none() {
        withdraw_interface(slot, endpoint.ifindex, maps)?;
    }
    maps.remove_endpoint(address)
}

/// Removes the interface's entry, unless the kernel has given its index to another slot's since.
fn withdraw_interface(slot: &Slot, ifindex: u32, maps: &Maps) -> Result<(), DatapathError> {
    match maps.interface(ifindex)? {
        Some(interface) if interface.slot == slot.id.0 => maps.remove_interface(ifindex),
        _ => Ok(()),
    }
}

fn lookup(name: &str) -> Result<Option<u32>, TeardownError> {
    match if_nametoindex(name) {
        Ok(ifindex) => Ok(Some(ifindex)),
        Err(Errno::ENODEV | Errno::ENXIO) => Ok(None),
        Err(errno) => Err(TeardownError::Lookup { name: name.to_owned(), source: errno.into() }),
    }
}

fn remove_link(name: &str) -> Result<(), TeardownError> {
    match RouteSocket::open()?.execute(vec![delete_link(name)]) {
        Err(error) if error.is_absent() => Ok(()),
        other => Ok(other?),
    }
}
