//! Taking a slot down: its map entries, then its interfaces.

use std::{io, net::IpAddr};

use nix::{errno::Errno, net::if_::if_nametoindex};

use crate::{
    datapath::{DatapathError, Maps},
    failpoint,
    netlink::{NetlinkError, RouteSocket, delete_link},
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
    errors.extend(remove_interface(slot).err());
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
/// The kernel returns after a grace period only, in which it may still use them: 18 ms on 6.18 with
/// HZ=250, whatever is done before or in what order.
pub fn remove_interface(slot: &Slot) -> Result<(), TeardownError> {
    let name = slot.id.host_ifname();
    if lookup(&name)?.is_some() {
        remove_link(&name)?;
    }
    failpoint::hit("teardown:link");
    Ok(())
}

/// Removes the slot's map entries; an interface that is gone is known from its endpoints' entries.
fn withdraw_all(slot: &Slot, ifindex: Option<u32>, maps: &Maps) -> Vec<TeardownError> {
    let mut errors = Vec::new();
    let mut keep = |result: Result<(), DatapathError>| errors.extend(result.err().map(Into::into));
    for address in slot.addresses.iter().map(ipnet::IpNet::addr) {
        keep(withdraw_address(slot, address, ifindex, maps));
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

fn remove_link(name: &str) -> Result<(), NetlinkError> {
    match RouteSocket::open()?.execute(vec![delete_link(name)]) {
        Err(error) if error.is_absent() => Ok(()),
        other => other,
    }
}
