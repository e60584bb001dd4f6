//! GC: delete the attachments that the runtime no longer knows, and what is stale of the network.

use crate::{
    cni::CniArgs,
    conf::IpamConf,
    failpoint,
    model::{AttachmentId, NetnsPath},
    node::{NetworkRequest, Node, NodeError, Request},
    retire::release::summary,
    store::{Slot, StoreError},
    sweep::{Patience, RepairOutcome, Sweeper, unlisted},
    verbs::del::detach,
};

/// Releases each attachment of the network that is not in the runtime's list, and sweeps the network.
/// Without a list, GC does neither. An attachment that fails does not stop the release of the others.
pub fn gc(request: &NetworkRequest) -> Result<(), NodeError> {
    let mut errors = Vec::new();
    if let Some(node) = Node::open_existing(&request.conf.directories)? {
        for (attachment, slot) in stale(&node, request)? {
            let request = single(request, attachment, &slot);
            // A slot that has changed since is left to the process that changed it, or to the next GC.
            errors.extend(detach(&node, &slot, &request).err());
            failpoint::hit("gc:detached");
        }
        if request.conf.valid_attachments.is_some() {
            errors.extend(sweep(&node, request));
            failpoint::hit("gc:swept");
        }
    }
    if let IpamConf::Delegated(plugin) = &request.conf.ipam {
        let collected = request.delegate(plugin).and_then(|delegate| delegate.gc());
        errors.extend(collected.err().map(Into::into));
    }
    summary(&format!("network {}", request.conf.name), errors)
}

/// The attachments of the network that are not in the runtime's list, and their slots.
fn stale(node: &Node, request: &NetworkRequest) -> Result<Vec<(AttachmentId, Slot)>, NodeError> {
    let Some(valid) = &request.conf.valid_attachments else {
        return Ok(Vec::new());
    };
    Ok(node.store.read(|transaction| {
        let mut stale = Vec::new();
        for (attachment, slot) in unlisted(transaction.attachments()?, &request.conf.name, valid) {
            stale.extend(transaction.slot(slot)?.map(|slot| (attachment, slot)));
        }
        Ok::<_, StoreError>(stale)
    })?)
}

/// Sweeps what is stale of the network, and returns the errors.
fn sweep(node: &Node, request: &NetworkRequest) -> Vec<NodeError> {
    let mut sweeper = Sweeper::of_network(Patience::default(), request.conf.name.clone());
    match sweeper.sweep(node) {
        Ok(report) => {
            let failure = |outcome| {
                if let RepairOutcome::Failed(error) = outcome { Some(error) } else { None }
            };
            report.outcomes.into_iter().filter_map(|outcome| failure(outcome.outcome)).collect()
        }
        // The sweep that holds the lock covers this network, too.
        Err(NodeError::Sweeping(lock)) if lock.is_held() => Vec::new(),
        Err(error) => vec![error],
    }
}

/// The DEL request for one attachment.
fn single(request: &NetworkRequest, attachment: AttachmentId, slot: &Slot) -> Request {
    Request {
        conf: request.conf.clone(),
        attachment,
        netns: slot.netns_path.clone().and_then(|path| NetnsPath::new(path).ok()),
        args: CniArgs::default(),
        cni_path: request.cni_path.clone(),
        input: request.input.clone(),
        remover: request.remover.clone(),
    }
}
