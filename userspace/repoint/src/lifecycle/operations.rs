//! The operations beside the spec's verbs, as the plugin is asked for them: PREPARE, ACTIVATE and
//! PARK. `docs/cni-extensions.md` specifies them; REPLICATE is in [`super::replicate`].

use std::{fs, io};

use super::{
    Decline, LifecycleError, Node, Order, Request,
    activate::Wanted,
    add::prepared_result,
    container::container_netns,
    del::{attached, detach},
    gateway::activate_ready,
    holders::name_holders,
    in_force::{PoolInForce, pool_id, pool_in_force},
    prepare::{check_room, prepare},
    reuse::{Guarded, guard, guard_request},
    target::Target,
    template_use::check_pool_use,
    terms::Terms,
};
use crate::{
    cni::{CniArgs, CniResult},
    conf::{NetConf, User},
    netns::{HiddenError, HiddenNamespaces, guard},
    store::{Mode, Slot, StoreError},
    types::{ContainerId, IfName, NetnsPath, SlotId},
};

/// A request that is not about one attachment: PREPARE or REPLICATE.
#[derive(Debug, Clone)]
pub struct OperationRequest {
    /// The network's configuration.
    pub conf: NetConf,
    /// The interface in the containers to come.
    pub ifname: IfName,
    /// The container whose configuration is replicated; none: what `conf` says is.
    pub container: Option<ContainerId>,
    /// `CNI_ARGS`.
    pub args: CniArgs,
}

/// PREPARE: makes configurations, and keeps them inactive. How many is asked for by
/// `repoint.dev/count`, one by default; if a function is named, they wait for it.
pub fn prepare_request(request: &OperationRequest) -> Result<Vec<Slot>, LifecycleError> {
    let OperationRequest { conf, ifname, args, .. } = request;
    let (user, count) = (conf.user(args)?, conf.count(args)?);
    prepare_for(&Node::open(&conf.directories)?, conf, ifname, &user, count.unwrap_or(1))
}

/// Makes `count` configurations for a user, or for anybody where he names no function: of a template
/// that is not confirmed, for those who may use it.
pub fn prepare_for(
    node: &Node,
    conf: &NetConf,
    ifname: &IfName,
    user: &User,
    count: u32,
) -> Result<Vec<Slot>, LifecycleError> {
    let pool = pool(node, conf, ifname, user)?;
    let terms = Terms::new(conf, &pool.policy, user)?;
    if let Some(function) = &user.function {
        check_pool_use(&pool, user)?;
        if !terms.domain.is_shared() {
            let (network, function) = (conf.name.clone(), function.clone());
            return Err(LifecycleError::NoDomain { network, function });
        }
    }
    check_room(node, &pool, count)?;
    let waiting = user.function.is_some().then_some(user);
    let order = Order { conf, pool: &pool.id, count, user: waiting };
    let built = prepare(node, &order).map_err(|error| name_holders(node, conf, error))?;
    slots(node, &built)
}

/// The records of slots that were made just now.
pub(super) fn slots(node: &Node, ids: &[SlotId]) -> Result<Vec<Slot>, LifecycleError> {
    Ok(node.store.read(|transaction| {
        let slots = ids.iter().filter_map(|id| transaction.slot(*id).transpose());
        slots.collect::<Result<_, StoreError>>()
    })?)
}

/// The pool that a slot for this user would be of.
pub(super) fn pool(
    node: &Node,
    conf: &NetConf,
    ifname: &IfName,
    user: &User,
) -> Result<PoolInForce, LifecycleError> {
    let pool = pool_in_force(node, conf, &pool_id(conf, ifname, user))?;
    pool.ok_or_else(|| LifecycleError::NoPool { network: conf.name.to_string() })
}

/// ACTIVATE: gives a container a configuration that is there and inactive. `CNI_NETNS` may be a path
/// at which nothing is, or an empty file: the namespace is mounted there.
pub fn activate_request(request: &Request) -> Result<CniResult, LifecycleError> {
    let conf = &request.conf;
    let path = request.netns.as_ref().ok_or(LifecycleError::NoNetns)?;
    let user = conf.user(&request.args)?;
    let node = Node::open(&conf.directories)?;
    let pool = pool(&node, conf, &request.attachment.ifname, &user)?;
    check_pool_use(&pool, &user)?;
    let terms = Terms::new(conf, &pool.policy, &user)?;
    let mut wanted = Wanted {
        attachment: &request.attachment,
        pool: &pool,
        terms,
        user: &user,
        path: Some(path.as_path()),
        sysctls: None,
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
    let hidden = guarded.hidden.as_ref();
    let open = |slot| Ok(hidden.ok_or(LifecycleError::NoHidden)?.netns(slot)?);
    let provided = activate_ready(&node, &wanted, &open)?;
    let result = prepared_result(&node, request, path, &provided.slot);
    if result.is_err() {
        // Report the original error, not the error of the cleanup.
        drop(detach(&node, &provided.slot, request));
    } else if let Some(target) = target {
        target.keep();
    }
    result
}

/// Where the namespace is to be mounted, looked at as ADD does, and made where nothing is.
fn target<'a>(
    request: &Request,
    path: &'a NetnsPath,
) -> Result<(Option<Target<'a>>, Result<Guarded, Decline>), LifecycleError> {
    let look = |source: io::Error| LifecycleError::Look { path: path.to_string(), source };
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
    let guarded = match HiddenNamespaces::open_own(&request.conf.directories.run) {
        Err(HiddenError::Elsewhere { .. }) => Err(Decline::MountNamespace),
        hidden => Ok(Guarded { path: path.as_path().to_owned(), hidden: hidden?, sysctls: None }),
    };
    Ok((Some(target), guarded))
}

/// PARK: takes the configuration back from a container, and keeps it inactive. There being none is no
/// error.
pub fn park_request(request: &Request) -> Result<(), LifecycleError> {
    match Node::open_existing(&request.conf.directories)? {
        Some(node) => node.park(&request.attachment),
        None => Ok(()),
    }
}
