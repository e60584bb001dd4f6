//! What the kernel lets an administrator of the node's user namespace do, by whatever network it has:
//! `docs/security.md` says that it is not prevented. Should a kernel prevent it, or a network, this is
//! where it shows.

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{command, with_pool};
use serde_json::json;

/// A link of the node.
const VICTIM: &str = "victim";
/// Gives the node's namespace a number in the container's (any look at `eth0` does), and makes a link
/// on the node's of this index by it.
fn make(index: &str) -> String {
    format!(
        "ip link show eth0 >/dev/null; \
         id=$(ip netns list-id | sed -n 's/^nsid \\([0-9]*\\).*/\\1/p' | head -n 1); \
         ip link add link if{index} link-netnsid \"$id\" name stolen type macvlan"
    )
}

/// Runs a shell in a container's namespace, with `CAP_NET_ADMIN` and nothing else, after `before`.
fn as_administrator(path: &str, before: &[&str], script: &str) -> Result<String> {
    let rights = [
        "setpriv",
        "--no-new-privs",
        "--bounding-set=-all,+net_admin",
        "--inh-caps=-all,+net_admin",
        "sh",
        "-ec",
        script,
    ];
    let net = format!("--net={path}");
    command::run("nsenter", [[net.as_str()].as_slice(), before, &rights].concat())
}

#[test]
fn net_admin_reaches_the_nodes_links_unless_it_is_of_another_user_namespace() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 4 }), |pooled| {
        pooled.fill()?;
        command::run("ip", ["link", "add", VICTIM, "type", "veth", "peer", "accomplice"])?;
        let container = pooled.add()?;
        let path = container.netns().path().display().to_string();
        let line = command::run("ip", ["-oneline", "link", "show", VICTIM])?;
        let (index, _) = line.split_once(':').context("a link has an index")?;
        let script = make(index.trim());
        let reached = as_administrator(&path, &[], &script);
        println!("in the node's user namespace: {reached:?}");
        let confined = as_administrator(&path, &["unshare", "--user", "--map-root-user"], &script);
        println!("in one of its own: {confined:?}");
        container.remove()?;
        command::run("ip", ["link", "del", VICTIM])?;
        ensure!(reached.is_ok(), "docs/security.md says that this is possible: {reached:?}");
        let refusal = confined.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(refusal.contains("not permitted"), "another user namespace confines it: {refusal}");
        Ok(())
    })
}
