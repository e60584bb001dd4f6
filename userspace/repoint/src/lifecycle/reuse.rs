//! Whether an ADD can be served from the pool, and serving it so.

use std::{fs, io, os::unix::process::parent_id, path::PathBuf};

use super::{
    Decline, LifecycleError, Node, Outcome, Request,
    activate::Wanted,
    container::ContainerNetns,
    in_force::{PoolInForce, pool_id, pool_in_force},
    provide::{Provided, provide},
    template_use::check_pool_use,
    terms::{Terms, check_without_pool},
};
use crate::{
    conf::{IpamConf, User},
    netns::{HiddenError, HiddenNamespaces, guard},
    store::Mode,
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
    user: &User,
    path: &NetnsPath,
    netns: &ContainerNetns,
) -> Result<Reuse, LifecycleError> {
    let conf = &request.conf;
    let id = pool_id(conf, &request.attachment.ifname, user);
    let Some(pool) = pool_in_force(node, conf, &id)? else {
        check_without_pool(&conf.name, user)?;
        return Ok(Reuse::NoPool);
    };
    check_pool_use(&pool, user)?;
    let terms = Terms::new(conf, &pool.policy, user)?;
    if terms.mode == Mode::None {
        return declined(node, &pool, Decline::Asked);
    }
    let guarded = match guard(request, path, netns)? {
        Ok(guarded) => guarded,
        Err(reason) => return declined(node, &pool, reason),
    };
    let wanted = Wanted {
        attachment: &request.attachment,
        pool: &pool,
        terms,
        user,
        path: Some(&guarded.path),
        sysctls: guarded.sysctls.as_deref(),
    };
    let open = |slot| match &guarded.hidden {
        Some(hidden) => Ok(hidden.netns(slot)?),
        None => Err(LifecycleError::NoHidden),
    };
    match provide(node, conf, &wanted, &open)? {
        Ok(provided) => Ok(Reuse::Slot(Box::new(provided))),
        Err(reason) => declined(node, &pool, reason),
    }
}

fn declined(node: &Node, pool: &PoolInForce, reason: Decline) -> Result<Reuse, LifecycleError> {
    let label = Outcome::Declined(reason).label();
    node.store.write(|transaction| transaction.count_up(&pool.id, label))?;
    Ok(Reuse::Declined(reason))
}

/// What was found out of a container that can have a slot.
pub(super) struct Guarded {
    /// Where a slot's namespace is to be mounted: `CNI_NETNS`, or where that leads if it is a symbolic
    /// link.
    pub(super) path: PathBuf,
    /// Where slots' namespaces are, if any is.
    pub(super) hidden: Option<HiddenNamespaces>,
    /// The sysctls that its own namespace has, where the runtime may have set some.
    pub(super) sysctls: Option<Vec<u8>>,
}

/// What keeps a container from a slot's namespace, if anything does.
pub(super) fn guard(
    request: &Request,
    path: &NetnsPath,
    netns: &ContainerNetns,
) -> Result<Result<Guarded, Decline>, LifecycleError> {
    if let Some(reason) = guard_request(request) {
        return Ok(Err(reason));
    }
    let look = |source: io::Error| LifecycleError::Look { path: path.to_string(), source };
    let Some(mount_point) = guard::mount_point(path.as_path()).map_err(look)? else {
        return Ok(Err(Decline::ProcessInside));
    };
    if !guard::have_same_owner(&netns.own, &netns.home).map_err(look)? {
        return Ok(Err(Decline::UserNamespace));
    }
    let hidden = match HiddenNamespaces::open_own(&request.conf.directories.run) {
        Err(HiddenError::Elsewhere { .. }) => return Ok(Err(Decline::MountNamespace)),
        found => found?,
    };
    let check = request.conf.pool_conf.check_sysctls.unwrap_or_else(|| may_have_sysctls(path));
    let found = netns.own.run_from(&netns.home, || {
        let sysctls = check.then(guard::sysctls).transpose()?;
        Ok((guard::holds_interfaces()?, sysctls))
    })?;
    let gives_ipv6 = request.conf.ipam.gives_ipv6();
    Ok(match found.map_err(look)? {
        (true, _) => Err(Decline::Interfaces),
        (_, Some(values)) if gives_ipv6 && guard::disable_ipv6(&values) => {
            Err(Decline::Ipv6Disabled)
        }
        (false, sysctls) => Ok(Guarded { path: mount_point.into_owned(), hidden, sysctls }),
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

/// What keeps a request from a slot, whatever its namespace.
pub(super) fn guard_request(request: &Request) -> Option<Decline> {
    if matches!(request.conf.ipam, IpamConf::Delegated(_)) {
        return Some(Decline::DelegatedIpam);
    }
    if request.conf.prev_result.is_some() {
        return Some(Decline::PrevResult);
    }
    request.conf.asks_for_its_own(&request.args).then_some(Decline::Requested)
}
