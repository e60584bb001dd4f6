//! Checks whether a container's namespace and request allow a slot of a pool.

use std::{fs, io, os::unix::process::parent_id, path::PathBuf};

use crate::{
    conf::IpamConf,
    model::{Decline, NetnsPath},
    netns::{Netns, NetnsStore, NetnsStoreError, guard},
    node::{NodeError, Request},
};

/// The namespace that the runtime made, and the host netns.
#[derive(Debug)]
pub(crate) struct ContainerNetns {
    pub(crate) own: Netns,
    pub(crate) host: Netns,
}

pub(crate) fn container_netns(
    request: &Request,
) -> Result<(&NetnsPath, ContainerNetns), NodeError> {
    let path = request.netns.as_ref().ok_or(NodeError::NoNetns)?;
    let netns = ContainerNetns { own: Netns::open(path)?, host: Netns::current()? };
    if netns.own.inode() == netns.host.inode() {
        return Err(NodeError::OwnNetns { path: path.to_string() });
    }
    Ok((path, netns))
}

/// What the guards know of a container that can have a slot.
pub(crate) struct Guarded {
    /// Where a slot's namespace is to be mounted: `CNI_NETNS`, or where that leads if it is a symbolic
    /// link.
    pub(crate) path: PathBuf,
    /// The namespace store, if the node has one.
    pub(crate) netns_store: Option<NetnsStore>,
    /// The sysctls that its own namespace has, where the runtime may have set some.
    pub(crate) sysctls: Option<Vec<u8>>,
}

/// What keeps a container from a slot's namespace, if anything does.
pub(crate) fn guard(
    request: &Request,
    path: &NetnsPath,
    netns: &ContainerNetns,
) -> Result<Result<Guarded, Decline>, NodeError> {
    if let Some(reason) = guard_request(request) {
        return Ok(Err(reason));
    }
    let look = |source: io::Error| NodeError::Look { path: path.to_string(), source };
    let Some(mount_point) = guard::mount_point(path.as_path()).map_err(look)? else {
        return Ok(Err(Decline::ProcessInside));
    };
    if !guard::have_same_owner(&netns.own, &netns.host).map_err(look)? {
        return Ok(Err(Decline::UserNamespace));
    }
    let netns_store = match NetnsStore::open_own(&request.conf.directories.run) {
        Err(NetnsStoreError::WrongMountNamespace { .. }) => {
            return Ok(Err(Decline::MountNamespace));
        }
        found => found?,
    };
    let check = request.conf.pool_conf.check_sysctls.unwrap_or_else(|| may_have_sysctls(path));
    let found = netns.own.run_from(&netns.host, || {
        let sysctls = check.then(guard::sysctls).transpose()?;
        Ok((guard::holds_others(None)?, sysctls))
    })?;
    let gives_ipv6 = request.conf.ipam.gives_ipv6();
    Ok(match found.map_err(look)? {
        (true, _) => Err(Decline::Interfaces),
        (_, Some(values)) if gives_ipv6 && guard::disable_ipv6(&values) => {
            Err(Decline::Ipv6Disabled)
        }
        (false, sysctls) => Ok(Guarded { path: mount_point.into_owned(), netns_store, sysctls }),
    })
}

/// Whether the runtime is CRI-O, whose `pinns` sets a pod's sysctls before ADD. Other runtimes
/// leave them to the OCI runtime, which runs after ADD. containerd is recognised by its paths.
fn may_have_sysctls(path: &NetnsPath) -> bool {
    let name = path.as_path().file_name().unwrap_or_default();
    !name.as_encoded_bytes().starts_with(b"cni-")
        && fs::read(format!("/proc/{}/comm", parent_id()))
            .is_ok_and(|runtime| runtime.starts_with(b"crio"))
}

/// Why a request cannot have a slot, whatever its namespace.
pub(crate) fn guard_request(request: &Request) -> Option<Decline> {
    if matches!(request.conf.ipam, IpamConf::Delegated(_)) {
        return Some(Decline::DelegatedIpam);
    }
    if request.conf.prev_result.is_some() {
        return Some(Decline::PrevResult);
    }
    request.conf.asks_for_its_own(&request.args).then_some(Decline::Requested)
}
