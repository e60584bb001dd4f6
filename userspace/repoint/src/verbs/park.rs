//! PARK: a container's slot waits for its function again.

use super::del::attached;
use crate::{
    model::AttachmentId,
    node::{Node, NodeError, PoolError, Request},
    retire::park::park,
};

/// PARK: takes the slot back from a container, and keeps it. A container without a slot is not an error.
pub fn park_request(request: &Request) -> Result<(), NodeError> {
    match Node::open_existing(&request.conf.directories)? {
        Some(node) => node.park(&request.attachment),
        None => Ok(()),
    }
}

impl Node {
    /// Parks the slot that [`Node::activate`] or ADD gave. No packet passes when this returns, and
    /// the slot waits for its function once no process uses it. A missing attachment is not an error.
    pub fn park(&self, attachment: &AttachmentId) -> Result<(), NodeError> {
        while let Some(slot) = attached(self, attachment)? {
            if !slot.owns_netns() {
                let attachment = Box::new(attachment.clone());
                return Err(PoolError::NotOfPool { attachment }.into());
            }
            if park(self, &slot)? {
                break;
            }
        }
        Ok(())
    }
}
