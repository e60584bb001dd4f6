//! The namespace that a runtime made for a container.

use super::{LifecycleError, Request};
use crate::{netns::Netns, types::NetnsPath};

/// The namespace that the runtime made, and our own.
#[derive(Debug)]
pub(super) struct ContainerNetns {
    pub(super) own: Netns,
    pub(super) home: Netns,
}

pub(super) fn container_netns(
    request: &Request,
) -> Result<(&NetnsPath, ContainerNetns), LifecycleError> {
    let path = request.netns.as_ref().ok_or(LifecycleError::NoNetns)?;
    let netns = ContainerNetns { own: Netns::open(path)?, home: Netns::current()? };
    if netns.own.inode() == netns.home.inode() {
        return Err(LifecycleError::OwnNetns { path: path.to_string() });
    }
    Ok((path, netns))
}
