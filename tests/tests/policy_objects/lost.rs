//! Policies after a reboot, a killed command, and damage to the maps.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use repoint::datapath::PolicyMaps;
use repoint_tests::{
    Container, Node, cli, command, dist,
    networks::{network, pool},
    traffic, wait,
};

use super::{FILE, add, apply, ensure_clean, policy, sweep};

const LIMIT: Duration = Duration::from_secs(5);
const NOTHING_OUT: &str =
    "{podSelector: {matchLabels: {repoint.dev/function: shut}}, policyTypes: [Egress]}";
/// A network that is denied, so that the maps of prefixes are used as well.
const NO_OUTSIDE: &str = "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: \
     no-outside}\nspec:\n  tier: Admin\n  priority: 1\n  subject: {namespaces: {}}\n  egress:\n  - action: Deny\n    to: \
     [{networks: [198.51.100.0/24, 2001:db8::/32]}]\n";

/// Fails unless a function that may open flows reaches a server, and one that may not does not.
fn ensure_enforced(
    open: &Container<'_>,
    shut: &Container<'_>,
    server: &Container<'_>,
) -> Result<()> {
    let target = SocketAddr::new(server.addresses()?[0], 9);
    let socket = server.host()?.bind_udp(target)?;
    socket.set_nonblocking(true).context("set non-blocking")?;
    for (container, word) in [(shut, b"shut"), (open, b"open")] {
        container.host()?.run(|| {
            let client = UdpSocket::bind(traffic::unspecified(target.ip()))?;
            client.send_to(word, target).context("send").map(drop)
        })?;
    }
    let mut buffer = [0; 4];
    // That of the function that may not was sent before.
    wait::until(LIMIT, "the datagram arrives", || Ok(socket.recv(&mut buffer).map(drop)?))?;
    ensure!(&buffer == b"open", "a denied datagram arrived");
    ensure!(socket.recv(&mut buffer).is_err(), "a second datagram");
    Ok(())
}

fn with_three(
    prepare: impl FnOnce(&Node) -> Result<()> + Send,
    test: impl FnOnce(&Node, [&Container<'_>; 3]) -> Result<()> + Send,
) -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "net", 7, |configuration| pool(configuration, true))?;
        prepare(&node)?;
        let open = add(&network, "open", ("acme", "open"))?;
        let shut = add(&network, "shut", ("acme", "shut"))?;
        let server = add(&network, "server", ("acme", "server"))?;
        ensure_enforced(&open, &shut, &server)?;
        test(&node, [&open, &shut, &server])?;
        ensure_enforced(&open, &shut, &server)?;
        ensure_clean(&node)?;
        [open, shut, server].into_iter().try_for_each(Container::remove)
    })
}

fn policies() -> String {
    format!("{}{NO_OUTSIDE}", policy("acme", "nothing-out", NOTHING_OUT))
}

/// The first ADD after a boot finds neither maps nor a database: only what is stored.
#[test]
fn policies_are_in_force_before_the_first_add_after_a_boot() -> Result<()> {
    with_three(
        |node| {
            apply(node, &policies())?;
            cli::repoint(node, &["load"])?;
            cli::repoint(node, &["unload"])?;
            ensure!(!node.dirs().run.join("state").exists() && !node.dirs().bpf.exists());
            Ok(())
        },
        |_, _| Ok(()),
    )
}

/// The same where the loader comes first.
#[test]
fn the_loader_reads_the_stored_policies() -> Result<()> {
    with_three(
        |node| {
            apply(node, &policies())?;
            fs::remove_dir_all(&node.dirs().run).context("remove the run folder")?;
            cli::repoint(node, &["load"])?;
            let maps = PolicyMaps::open_existing(&node.dirs().bpf)?.context("no data plane")?;
            ensure!(maps.networks()?.len() == 2, "{:?}", maps.networks()?);
            Ok(())
        },
        |_, _| Ok(()),
    )
}

/// A command that is killed at any of its steps is finished by the next ADD, by a sweep, or by the next command.
#[test]
fn a_command_that_is_killed_is_finished() -> Result<()> {
    const POINTS: [&str; 8] = [
        "policies:stored",
        "policies:copied",
        "policies:rules",
        "policies:widened",
        "policies:switched",
        "policies:enforced",
        "policies:narrowed",
        "policies:installed",
    ];
    let finishers: [&[&str]; 3] =
        [&["sweep", "--grace", "0s"], &["load"], &["policy", "apply", "-f", FILE]];
    for (number, point) in POINTS.into_iter().enumerate() {
        let finish = finishers[number % finishers.len()];
        with_three(
            |node| { apply(node, &policies()) }.map(drop),
            |node, [open, shut, server]| {
                // Opposite policies, of which only the second half is applied by a killed command.
                cli::repoint(node, &["policy", "delete", "acme/nothing-out"])?;
                fs::write(FILE, policies()).context("write")?;
                kill_apply(node, point)?;
                cli::repoint(node, finish).with_context(|| format!("{point}, {finish:?}"))?;
                ensure_enforced(open, shut, server).with_context(|| format!("{point}, {finish:?}"))
            },
        )
        .with_context(|| point)?;
    }
    Ok(())
}

/// `policy apply` of the executables with failpoints, which is killed at one.
fn kill_apply(node: &Node, point: &str) -> Result<()> {
    let mut command = std::process::Command::new(dist::failpoints().join("repoint"));
    command.args(node.dirs().arguments()).args(["policy", "apply", "-f", FILE]);
    command.env("REPOINT_FAILPOINT", point);
    let output = command.output().context("run repoint")?;
    ensure!(!output.status.success() && output.status.code().is_none(), "{point}: {output:?}");
    Ok(())
}

/// A sweep writes again what another program removed from the maps.
#[test]
fn a_sweep_restores_the_maps_of_policies() -> Result<()> {
    with_three(
        |node| apply(node, &policies()).map(drop),
        |node, _| {
            let maps = PolicyMaps::open_existing(&node.dirs().bpf)?.context("no data plane")?;
            let sweep = || sweep(node, &[]);
            for identity in maps.identities()?.into_keys() {
                maps.remove_identity(identity)?;
            }
            let said = sweep()?;
            ensure!(said.contains("policies"), "{said}");
            ensure!(maps.identities()?.len() == 3, "{:?}", maps.identities()?);
            for number in maps.policies()? {
                maps.remove_policy(number)?;
            }
            sweep()?;
            for prefix in maps.networks()?.into_keys() {
                maps.remove_network(prefix)?;
            }
            sweep()?;
            ensure!(maps.networks()?.len() == 2, "{:?}", maps.networks()?);
            Ok(())
        },
    )
}

/// A data plane that is loaded anew has the policies before it has the slots.
#[test]
fn a_new_data_plane_has_the_policies() -> Result<()> {
    with_three(
        |node| apply(node, &policies()).map(drop),
        |node, _| {
            let pinned = node.dirs().bpf.join(format!("v{}", repoint_common::LAYOUT_VERSION));
            command::run("rm", ["-r", pinned.to_str().context("path")?])?;
            sweep(node, &[]).map(drop)
        },
    )
}
