//! ACTIVATE: gives a container a slot that waits. Its callers are the plugin, the CLI and programs
//! that link this library.

use std::{fs, io, path::Path};

use ipnet::IpNet;

use super::{
    add::prepared_result,
    del::{attached, detach},
    prepare::pool,
    target::{Target, resolve},
};
use crate::{
    agent_socket,
    cni::CniResult,
    conf::{NetConf, User},
    model::{AttachmentId, Decision, Decline, Mac, Mode, NetnsPath, Outcome, SlotId},
    netns::{Netns, NetnsStore, NetnsStoreError, guard},
    node::{Node, NodeError, PoolError, Request, holders::name_holders},
    pool::{template_use::check_pool_use, terms::EffectiveTerms},
    serve::{
        assign::{AssignedSlot, assign, assign_waiting},
        guards::{Guarded, container_netns, guard, guard_request},
        select::{NetnsOpener, SlotRequest},
    },
    store::{Slot, StoreError},
};

/// A request to attach a container to a network's pool.
#[derive(Debug, Clone)]
pub struct ActivateRequest<'a> {
    /// The network. Read from its JSON text by [`NetConf::parse`].
    pub conf: &'a NetConf,
    /// Name of the attachment until it is parked. The caller chooses it, unique in the network.
    pub attachment: &'a AttachmentId,
    /// The function that will run, and its tenant. A function gets its previous slot back.
    pub user: &'a User,
    /// A file to mount the namespace on, for programs that want a path; made if it is not there.
    pub path: Option<&'a Path>,
    /// Whether to fail where no slot waits, rather than to build one.
    pub prepared_only: bool,
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
    /// What was decided, and why.
    pub decision: Option<Decision>,
}

impl Node {
    /// Gives a container a slot of the network's pool. This is the slot that the same function had,
    /// another that waits, or a new one, which takes some ten times as long.
    ///
    /// The network must have a pool (key `pool` of its configuration, or `repoint pool set`). The
    /// calling thread stays in its namespaces.
    ///
    /// # Errors
    /// [`PoolError::NoPool`] where the network has none, [`PoolError::Declined`] where the pool is
    /// full, and the errors of building a slot.
    pub fn activate(&self, request: &ActivateRequest<'_>) -> Result<Activation, NodeError> {
        let ActivateRequest { conf, attachment, user, path, prepared_only } = request;
        let pool = pool(self, conf, &attachment.ifname, user)?;
        check_pool_use(&pool, user)?;
        let terms = EffectiveTerms::new(conf, &pool.policy, user)?;
        let path = path.map(resolve).transpose()?;
        let path = path.as_deref();
        let opener = NetnsOpener::Directory;
        let wanted =
            SlotRequest { attachment, pool: &pool, terms, user, path, sysctls: None, opener };
        if wanted.terms.mode == Mode::None {
            return Err(wanted.declined(Decline::Asked));
        }
        let target = path.map(Target::create).transpose()?;
        let assigned = if *prepared_only {
            activate_ready(self, &wanted)?
        } else {
            let assigned =
                assign(self, conf, &wanted).map_err(|error| name_holders(self, conf, error))?;
            assigned.map_err(|reason| wanted.declined(reason))?
        };
        if let Some(target) = target {
            target.keep();
        }
        if !assigned.outcome.is_hit() {
            agent_socket::notify(&self.directories.run, "");
        }
        let mtu = assigned.slot.require_built()?.mtu;
        let Slot { id, addresses, mac, decision, .. } = assigned.slot;
        Ok(Activation {
            slot: id,
            netns: assigned.netns,
            addresses,
            mac,
            mtu,
            host_ifname: id.host_ifname(),
            outcome: assigned.outcome,
            decision,
        })
    }
}

/// Gives a container a slot that waits.
fn activate_ready(node: &Node, wanted: &SlotRequest<'_>) -> Result<AssignedSlot, NodeError> {
    match assign_waiting(node, wanted)? {
        Some(assigned) => assigned.map_err(|reason| wanted.declined(reason)),
        None => Err(PoolError::NonePrepared { pool: wanted.pool.id.to_string() }.into()),
    }
}

/// ACTIVATE: gives a container a configuration that is there and inactive. `CNI_NETNS` may be a path
/// at which nothing is, or an empty file: the namespace is mounted there.
pub fn activate_request(request: &Request) -> Result<CniResult, NodeError> {
    let conf = &request.conf;
    let path = request.netns.as_ref().ok_or(NodeError::NoNetns)?;
    let user = conf.user(&request.args)?;
    let node = Node::open(&conf.directories)?;
    let pool = pool(&node, conf, &request.attachment.ifname, &user)?;
    check_pool_use(&pool, &user)?;
    let terms = EffectiveTerms::new(conf, &pool.policy, &user)?;
    let mut wanted = SlotRequest {
        attachment: &request.attachment,
        pool: &pool,
        terms,
        user: &user,
        path: Some(path.as_path()),
        sysctls: None,
        opener: NetnsOpener::Store(None),
    };
    if wanted.terms.mode == Mode::None {
        return Err(wanted.declined(Decline::Asked));
    }
    if let Some(slot) = attached(&node, &request.attachment)? {
        let (attachment, slot) = (request.attachment.clone(), slot.id);
        return Err(StoreError::AttachmentTaken { attachment, slot }.into());
    }
    let (target, guarded) = target(request, path)?;
    let guarded = guarded.map_err(|reason| wanted.declined(reason))?;
    wanted.sysctls = guarded.sysctls.as_deref();
    wanted.path = Some(&guarded.path);
    wanted.opener = NetnsOpener::Store(guarded.netns_store.as_ref());
    let assigned = activate_ready(&node, &wanted)?;
    let result = prepared_result(&node, request, path, &assigned.slot);
    if result.is_err() {
        // Report the original error, not the error of the cleanup.
        drop(detach(&node, &assigned.slot, request));
    } else if let Some(target) = target {
        target.keep();
    }
    result
}

/// Checks the path for the namespace as ADD does. Creates a file to mount on where nothing is, and
/// accepts an empty file.
fn target<'a>(
    request: &Request,
    path: &'a NetnsPath,
) -> Result<(Option<Target<'a>>, Result<Guarded, Decline>), NodeError> {
    let look = |source: io::Error| NodeError::Look { path: path.to_string(), source };
    let is_free = match fs::symlink_metadata(path.as_path()) {
        Ok(found) => {
            found.is_file() && found.len() == 0 && !guard::is_mount(path.as_path()).map_err(look)?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(look(error)),
    };
    if !is_free {
        let (path, netns) = container_netns(request)?;
        return Ok((None, guard(request, path, &netns)?));
    }
    if let Some(reason) = guard_request(request) {
        return Ok((None, Err(reason)));
    }
    let target = Target::create(path.as_path())?;
    let guarded = match NetnsStore::open_own(&request.conf.directories.run) {
        Err(NetnsStoreError::WrongMountNamespace { .. }) => Err(Decline::MountNamespace),
        netns_store => Ok(Guarded {
            path: path.as_path().to_owned(),
            netns_store: netns_store?,
            sysctls: None,
        }),
    };
    Ok((Some(target), guarded))
}
