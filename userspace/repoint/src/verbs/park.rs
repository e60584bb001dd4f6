//! PARK: a container's slot waits for its function again.

use super::del::attached;
use crate::{
    model::AttachmentId,
    node::{Node, NodeError, Request},
    retire::park::park,
};

/// PARK: takes the configuration back from a container, and keeps it inactive. There being none is no
/// error.
pub fn park_request(request: &Request) -> Result<(), NodeError> {
    match Node::open_existing(&request.conf.directories)? {
        Some(node) => node.park(&request.attachment),
        None => Ok(()),
    }
}

impl Node {
    /// Parks what [`Node::activate`] or ADD gave: no packet passes when this returns, and the slot
    /// waits for its function once nobody uses it any more. There having been nothing is no error.
    pub fn park(&self, attachment: &AttachmentId) -> Result<(), NodeError> {
        while let Some(slot) = attached(self, attachment)? {
            if !slot.owns_netns {
                return Err(NodeError::NotOfPool { attachment: Box::new(attachment.clone()) });
            }
            if park(self, &slot)? {
                break;
            }
        }
        Ok(())
    }
}
