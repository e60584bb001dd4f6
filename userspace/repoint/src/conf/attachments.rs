//! Keys `cni.dev/valid-attachments` and `cni.dev/attachments`.

use std::collections::HashSet;

use crate::{
    cni::json::{KeyError, Node, Object},
    model::{AttachmentId, NetworkName},
};

/// The spec's key, and the key that libcni sends as well.
pub(super) const KEYS: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];
const LIST: &str = "a list such as [{\"containerID\": \"a1\", \"ifname\": \"eth0\"}]";
const CONTAINER: &str = "a container id such as \"a1\"";
const IFNAME: &str = "an interface name such as \"eth0\"";

/// The attachments of both lists; none where both are absent.
///
/// Of all keys these alone distinguish null from absent: libcni sends null for a list that is empty,
/// and no key where its caller gives no list (`GCNetworkList`).
pub(super) fn read(
    conf: &Object<'_>,
    network: &NetworkName,
) -> Result<Option<HashSet<AttachmentId>>, KeyError> {
    let mut valid = None;
    for key in KEYS {
        if !conf.holds(key) {
            continue;
        }
        let set: &mut HashSet<_> = valid.get_or_insert_default();
        let Some(node) = conf.get(key) else { continue };
        for item in node.items(LIST)? {
            set.insert(attachment(&item, network)?);
        }
    }
    Ok(valid)
}

fn attachment(item: &Node<'_>, network: &NetworkName) -> Result<AttachmentId, KeyError> {
    let item =
        item.object("an attachment such as {\"containerID\": \"a1\", \"ifname\": \"eth0\"}")?;
    Ok(AttachmentId {
        network: network.clone(),
        container: item.require("containerID", CONTAINER)?.checked(CONTAINER)?,
        ifname: item.require("ifname", IFNAME)?.checked(IFNAME)?,
    })
}
