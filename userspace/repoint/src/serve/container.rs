//! The namespace that a runtime made for a container.

use crate::{
    model::NetnsPath,
    netns::Netns,
    node::{NodeError, Request},
};

/// The namespace that the runtime made, and our own.
#[derive(Debug)]
pub(crate) struct ContainerNetns {
    pub(crate) own: Netns,
    pub(crate) home: Netns,
}

pub(crate) fn container_netns(
    request: &Request,
) -> Result<(&NetnsPath, ContainerNetns), NodeError> {
    let path = request.netns.as_ref().ok_or(NodeError::NoNetns)?;
    let netns = ContainerNetns { own: Netns::open(path)?, home: Netns::current()? };
    if netns.own.inode() == netns.home.inode() {
        return Err(NodeError::OwnNetns { path: path.to_string() });
    }
    Ok((path, netns))
}
