//! Whether an ADD can be served from the pool, and serving it so.

use std::{fs, io, os::unix::process::parent_id};

use super::{
    Decline, LifecycleError, Node, Outcome, Request,
    activate::{Wanted, pool_of},
    add::ContainerNetns,
    provide::{Provided, pool_in_force, provide},
};
use crate::{
    conf::IpamConf,
    netns::{HiddenError, HiddenNamespaces, guard},
    types::NetnsPath,
};

/// How an ADD goes on.
#[derive(Debug)]
pub(super) enum Reuse {
    /// The container has a slot.
    Slot(Box<Provided>),
    /// There is a pool, but not for this one.
    Declined(Decline),
    /// The network has no pool.
    NoPool,
}

/// Serves an ADD from the pool, if it can be.
pub(super) fn reuse(
    node: &Node,
    request: &Request,
    path: &NetnsPath,
    netns: &ContainerNetns,
) -> Result<Reuse, LifecycleError> {
    let (conf, attachment) = (&request.conf, &request.attachment);
    let Some(pool) = pool_in_force(node, conf, attachment)? else {
        return Ok(Reuse::NoPool);
    };
    let guarded = match guard(request, path, netns)? {
        Ok(guarded) => guarded,
        Err(reason) => return declined(node, request, reason),
    };
    let user = conf.user(&request.args)?;
    let wanted = Wanted {
        attachment,
        key: pool.key,
        scope: pool.size.scope,
        user: &user,
        path: Some(path.as_path()),
        sysctls: guarded.sysctls.as_deref(),
    };
    let open = |slot| match &guarded.hidden {
        Some(hidden) => Ok(hidden.netns(slot)?),
        None => Err(LifecycleError::NoHidden),
    };
    match provide(node, conf, pool.size, &wanted, &open)? {
        Ok(provided) => Ok(Reuse::Slot(Box::new(provided))),
        Err(reason) => declined(node, request, reason),
    }
}

fn declined(node: &Node, request: &Request, reason: Decline) -> Result<Reuse, LifecycleError> {
    let pool = pool_of(&request.attachment);
    let label = Outcome::Declined(reason).label();
    node.store.write(|transaction| transaction.count_up(&pool, label))?;
    Ok(Reuse::Declined(reason))
}

/// What was found out of a container that can have a slot.
struct Guarded {
    /// Where slots' namespaces are, if any is.
    hidden: Option<HiddenNamespaces>,
    /// The sysctls that its own namespace has, where the runtime may have set some.
    sysctls: Option<Vec<u8>>,
}

/// What keeps a container from a slot's namespace, if anything does.
fn guard(
    request: &Request,
    path: &NetnsPath,
    netns: &ContainerNetns,
) -> Result<Result<Guarded, Decline>, LifecycleError> {
    if let Some(reason) = guard_request(request) {
        return Ok(Err(reason));
    }
    let look = |source: io::Error| LifecycleError::Look { path: path.to_string(), source };
    if !guard::is_mount(path.as_path()).map_err(look)? {
        return Ok(Err(Decline::ProcessInside));
    }
    if !guard::have_same_owner(&netns.own, &netns.home).map_err(look)? {
        return Ok(Err(Decline::UserNamespace));
    }
    let hidden = match HiddenNamespaces::open_existing(&request.conf.directories.run) {
        Err(HiddenError::Elsewhere { .. }) => return Ok(Err(Decline::MountNamespace)),
        found => found?,
    };
    let check = request.conf.pool_conf.check_sysctls.unwrap_or_else(|| may_have_sysctls(path));
    let found = netns.own.run_from(&netns.home, || {
        let sysctls = check.then(guard::sysctls).transpose()?;
        Ok((guard::holds_interfaces()?, sysctls))
    })?;
    Ok(match found.map_err(look)? {
        (true, _) => Err(Decline::Interfaces),
        (false, sysctls) => Ok(Guarded { hidden, sysctls }),
    })
}

/// Whether the runtime is CRI-O, whose `pinns` sets a pod's sysctls before ADD. The others leave
/// them to the OCI runtime, which comes after; containerd is known by its paths already.
fn may_have_sysctls(path: &NetnsPath) -> bool {
    let name = path.as_path().file_name().unwrap_or_default();
    !name.as_encoded_bytes().starts_with(b"cni-")
        && fs::read(format!("/proc/{}/comm", parent_id()))
            .is_ok_and(|runtime| runtime.starts_with(b"crio"))
}

fn guard_request(request: &Request) -> Option<Decline> {
    if matches!(request.conf.ipam, IpamConf::Delegated(_)) {
        return Some(Decline::DelegatedIpam);
    }
    if request.conf.prev_result.is_some() {
        return Some(Decline::PrevResult);
    }
    request.conf.asks_for_its_own(&request.args).then_some(Decline::Requested)
}
