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
/// that fails does not keep the others from being done; all failures are returned.
///
/// From the first step on no packet passes: the programs drop what comes from an interface that
/// the maps do not know.
pub fn tear_down(slot: &Slot, maps: Option<&Maps>) -> Vec<TeardownError> {
    let mut errors = Vec::new();
    let name = slot.id.host_ifname();
    let ifindex = match lookup(&name) {
        Ok(ifindex) => ifindex,
        Err(error) => {
            errors.push(error);
            None
        }
    };
    if let Some(maps) = maps {
        errors.extend(withdraw(slot, ifindex, maps));
    }
    failpoint::hit("teardown:withdrawn");
    if ifindex.is_some() {
        errors.extend(remove_link(&name).err().map(Into::into));
    }
    failpoint::hit("teardown:link");
    errors
}

/// Removes the slot's map entries; an interface that is gone is known from its endpoints' entries.
fn withdraw(slot: &Slot, ifindex: Option<u32>, maps: &Maps) -> Vec<TeardownError> {
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
