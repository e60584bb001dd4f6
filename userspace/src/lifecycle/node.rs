//! A node: its directories, its database and its data plane.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::{
    conf::Directories,
    datapath::{Datapath, Maps},
    lifecycle::LifecycleError,
    netlink::{RouteSocket, mtu_of, uplink_ifindex},
    store::Store,
};

/// MTU of a node that has no way out, bytes: Ethernet's.
const MTU_WITHOUT_UPLINK: u32 = 1500;

/// An open node.
#[derive(Debug)]
pub struct Node {
    /// Where its state is.
    pub directories: Directories,
    /// Its database.
    pub store: Store,
}

impl Node {
    /// Opens a node, making its database where there is none.
    pub fn open(directories: &Directories) -> Result<Self, LifecycleError> {
        let store = Store::open(&directories.run.join("state"))?;
        Ok(Self { directories: directories.clone(), store })
    }

    /// Opens a node that has a database.
    pub fn open_existing(directories: &Directories) -> Result<Option<Self>, LifecycleError> {
        let store = Store::open_existing(&directories.run.join("state"))?;
        Ok(store.map(|store| Self { directories: directories.clone(), store }))
    }

    /// The data plane, loaded if it is not.
    pub fn load_datapath(&self) -> Result<Datapath, LifecycleError> {
        Ok(Datapath::load(&self.directories.bpf, &self.directories.run)?)
    }

    /// The maps, where the data plane is loaded.
    pub fn maps(&self) -> Result<Option<Maps>, LifecycleError> {
        Ok(Maps::open_existing(&self.directories.bpf)?)
    }
}

/// The time as records have it, in nanoseconds since the Unix epoch.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Largest packet that leaves the node whole, in bytes.
pub(super) fn uplink_mtu() -> Result<u32, LifecycleError> {
    let mut socket = RouteSocket::open()?;
    match uplink_ifindex(&mut socket)? {
        Some(ifindex) => Ok(mtu_of(&mut socket, ifindex)?),
        None => Ok(MTU_WITHOUT_UPLINK),
    }
}
