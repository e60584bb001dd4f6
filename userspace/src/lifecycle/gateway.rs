//! The same for programs that start functions themselves: no executable in between.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use ipnet::IpNet;

use super::{
    Decline, LifecycleError, Node, Outcome,
    activate::Wanted,
    del::attached,
    park::park,
    provide::{pool_in_force, provide},
};
use crate::{
    bell,
    conf::{NetConf, User},
    netns::Netns,
    store::{Slot, SlotState},
    types::{AttachmentId, Mac, SlotId},
};

/// A request to attach a container to a network's pool.
#[derive(Debug, Clone)]
pub struct ActivateRequest<'a> {
    /// The network. Read from its JSON text by [`NetConf::parse`].
    pub conf: &'a NetConf,
    /// What the attachment is known by until it is parked: chosen by the caller, unique in the
    /// network.
    pub attachment: &'a AttachmentId,
    /// The function that will run, and its tenant: who had a slot before gets it back.
    pub user: &'a User,
    /// A file to mount the namespace on, for programs that want a path; made if it is not there.
    pub path: Option<&'a Path>,
}

/// A container's network, ready.
#[derive(Debug)]
pub struct Activation {
    /// The slot.
    pub slot: SlotId,
    /// Its network namespace: enter it by [`Netns::run`], or hand its descriptor on.
    pub netns: Netns,
    /// The container's addresses with their subnets' prefix lengths.
    pub addresses: Vec<IpNet>,
    /// Ethernet address of the container's interface.
    pub mac: Mac,
    /// MTU of the container's interface, bytes.
    pub mtu: u32,
    /// Name of the interface on the node.
    pub host_ifname: String,
    /// Where the slot came from.
    pub outcome: Outcome,
}

impl Node {
    /// Gives a container a slot of the network's pool: the one that the same function had, one that
    /// is ready, or else one that is built now, which takes some ten times as long.
    ///
    /// The network must have a pool (key `pool` of its configuration, or `repoint pool set`). The
    /// calling thread stays in its namespaces.
    ///
    /// # Errors
    /// [`LifecycleError::NoPool`] where the network has none, [`LifecycleError::Declined`] where
    /// the pool is full, and what building a slot may come to.
    pub fn activate(&self, request: &ActivateRequest<'_>) -> Result<Activation, LifecycleError> {
        let ActivateRequest { conf, attachment, user, path } = request;
        let pool = pool_in_force(self, conf, attachment)?;
        let pool = pool.ok_or_else(|| LifecycleError::NoPool { network: conf.name.to_string() })?;
        if let Some(path) = path {
            create(path)?;
        }
        let wanted = Wanted {
            attachment,
            key: pool.key,
            scope: pool.size.scope,
            user,
            path: *path,
            sysctls: None,
        };
        let provided =
            provide(self, conf, pool.size, &wanted, &|slot| self.netns_through_door(slot))?;
        let provided = provided.map_err(|reason: Decline| LifecycleError::Declined {
            attachment: Box::new((*attachment).clone()),
            reason,
        })?;
        if !provided.outcome.is_hit() {
            let outcome = provided.outcome.label();
            bell::ring(&self.directories.run, &format!("activated {attachment}: {outcome}"));
        }
        let Slot { id, addresses, mac, mtu, .. } = provided.slot;
        Ok(Activation {
            slot: id,
            netns: provided.netns,
            addresses,
            mac,
            mtu,
            host_ifname: id.host_ifname(),
            outcome: provided.outcome,
        })
    }

    /// Parks what [`Node::activate`] or ADD gave: no packet passes when this returns, and the slot
    /// waits for its function once nobody uses it any more. There having been nothing is no error.
    pub fn park(&self, attachment: &AttachmentId) -> Result<(), LifecycleError> {
        let Some(slot) = attached(self, attachment)? else {
            return Ok(());
        };
        if !slot.owns_netns || slot.state() == SlotState::Condemned {
            return Err(LifecycleError::NotOfPool { attachment: Box::new(attachment.clone()) });
        }
        park(self, &slot)
    }
}

/// Makes an empty file to mount on.
fn create(path: &Path) -> Result<(), LifecycleError> {
    let failed = |source: io::Error| LifecycleError::Target { path: PathBuf::from(path), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    match File::options().create_new(true).append(true).open(path) {
        // Maybe a namespace is mounted there, and the claim says of whom.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        created => created.map(drop).map_err(failed),
    }
}
