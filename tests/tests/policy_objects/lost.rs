//! Policies after a reboot, a killed command, and damage to the maps.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use repoint::datapath::{DatapathError, PolicyMaps};
use repoint_common::policy::{Identity, MAX_IDENTITIES};
use repoint_tests::{
    Container, Node, cli, command, dist,
    networks::{network, pool},
    plugin::Network,
    traffic, wait,
};

use super::{FILE, add, apply, ensure_clean, policy, sweep};

const LIMIT: Duration = Duration::from_secs(5);
const NOTHING_OUT: &str =
    "{podSelector: {matchLabels: {repoint.dev/function: shut}}, policyTypes: [Egress]}";
/// Identities of single containers from here on: none of them is on record.
const GONE: u32 = 0xc000_0000;
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
    // Another port each time: a process that another test starts may hold the former socket for a moment.
    let socket = server.host()?.bind_udp(SocketAddr::new(server.addresses()?[0], 0))?;
    let target = socket.local_addr().context("address of a socket")?;
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
    const POINTS: [&str; 9] = [
        "policies:stored",
        "policies:copied",
        "policies:rules",
        "policies:widened",
        "policies:switched",
        "policies:enforced",
        "policies:narrowed",
        "policies:raised",
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
                kill(node, &["policy", "apply", "-f", FILE], point)?;
                cli::repoint(node, finish).with_context(|| format!("{point}, {finish:?}"))?;
                ensure_enforced(open, shut, server).with_context(|| format!("{point}, {finish:?}"))
            },
        )
        .with_context(|| point)?;
    }
    Ok(())
}

/// A command of the executables with failpoints, which is killed at one.
fn kill(node: &Node, arguments: &[&str], point: &str) -> Result<()> {
    let mut command = std::process::Command::new(dist::failpoints().join("repoint"));
    command.args(node.dirs().arguments()).args(arguments);
    let output = command.env("REPOINT_FAILPOINT", point).output().context("run repoint")?;
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

/// Containers of a tenant whose number is forgotten keep their policies, also after another change and a sweep.
#[test]
fn containers_of_a_tenant_that_is_evicted_keep_their_policies() -> Result<()> {
    with_three(
        |node| apply(node, &policies()).map(drop),
        |node, [open, shut, server]| {
            cli::repoint(node, &["evict", "--tenant", "acme"])?;
            sweep(node, &[])?;
            ensure_enforced(open, shut, server).context("after the sweep")?;
            apply(node, &policy("bolt", "another", "{podSelector: {}}"))?;
            ensure_enforced(open, shut, server).context("after a change")
        },
    )
}

/// The numbers of groups and policies in the maps are another database's.
#[test]
fn a_new_database_under_live_maps_writes_its_own_numbers() -> Result<()> {
    let allows = |function: &str, from: &str| {
        let spec = format!(
            "{{podSelector: {{matchLabels: {{repoint.dev/function: {function}}}}}, ingress: [{{from: [{{ipBlock: \
             {{cidr: {from}}}}}]}}]}}"
        );
        policy("acme", function, &spec)
    };
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "net", 7, |configuration| pool(configuration, true))?;
        // The second one applied is the first one by name.
        apply(&node, &allows("one", "192.0.2.2/32"))?;
        apply(&node, &allows("another", "192.0.2.1/32"))?;
        let before = add(&network, "before", ("acme", "one"))?;
        fs::remove_dir_all(node.dirs().run.join("state")).context("remove the database")?;
        // Not of the same addresses, which the lost container has.
        let other = network_of(&node)?;
        let one = add(&other, "one", ("acme", "one"))?;
        let address = one.addresses()?[0].to_string();
        for (from, verdict) in [("192.0.2.1", "denied"), ("192.0.2.2", "allowed")] {
            let to = format!("{address}:80/TCP");
            let said = cli::repoint(&node, &["policy", "explain", "--from", from, "--to", &to])?;
            ensure!(said.lines().next().is_some_and(|line| line.ends_with(verdict)), "{said}");
        }
        ensure_maps_agree(&node)?;
        one.remove()?;
        // No DEL knows the mount of the lost slot.
        command::run("umount", [before.netns().path()])?;
        before.remove_netns()
    })
}

fn network_of(node: &Node) -> Result<Network> {
    network(node, "other", 8, |configuration| pool(configuration, true))
}

/// Fails unless the groups of prefixes in the maps are those of the database.
fn ensure_maps_agree(node: &Node) -> Result<()> {
    let maps = PolicyMaps::open_existing(&node.dirs().bpf)?.context("no data plane")?;
    let directories = repoint::conf::Directories {
        run: node.dirs().run.clone(),
        state: node.dirs().state.clone(),
        bpf: node.dirs().bpf.clone(),
    };
    let open = repoint::node::Node::open_existing(&directories)?.context("no node")?;
    let wanted = open.policy_set()?.groups.networks();
    let found = maps.networks()?;
    let found: std::collections::BTreeMap<_, _> =
        found.into_iter().map(|(prefix, network)| (prefix, network.groups)).collect();
    ensure!(found == wanted, "{found:?}, not {wanted:?}");
    Ok(())
}

/// The operator moves the database of policies away, and applies others.
#[test]
fn another_database_of_policies_is_another_revision() -> Result<()> {
    with_three(
        |node| {
            apply(
                node,
                &policy(
                    "acme",
                    "everything-out",
                    "{podSelector: {}, egress: [{}], policyTypes: [Egress]}",
                ),
            )?;
            let folder = node.dirs().state.join("policies");
            fs::rename(&folder, folder.with_extension("away")).context("move the database away")?;
            apply(node, &policies()).map(drop)
        },
        |_, _| Ok(()),
    )
}

/// Policies stay in force where their database is gone, and a sweep says so.
#[test]
fn policies_whose_database_is_gone_stay_in_force() -> Result<()> {
    with_three(
        |node| apply(node, &policies()).map(drop),
        |node, [open, shut, server]| {
            let folder = node.dirs().state.join("policies");
            let away = folder.with_extension("away");
            fs::rename(&folder, &away).context("move the database away")?;
            let said = sweep(node, &[]).err().map(|error| format!("{error:#}"));
            let said = said.context("the sweep found nothing")?;
            ensure!(said.contains("does not hold them any more"), "{said}");
            ensure_enforced(open, shut, server)?;
            fs::rename(&away, &folder).context("put it back")
        },
    )
}

/// A `delete` of the last policy that is killed is finished by the next ADD.
#[test]
fn an_add_finishes_the_delete_of_the_last_policy() -> Result<()> {
    for point in ["policies:copied", "policies:switched", "policies:narrowed"] {
        let node = Node::new()?;
        node.run(|| {
            let network = network(&node, "net", 7, |configuration| pool(configuration, true))?;
            apply(&node, &policy("acme", "nothing-out", NOTHING_OUT))?;
            let shut = add(&network, "shut", ("acme", "shut"))?;
            kill(&node, &["policy", "delete", "acme/nothing-out"], point)?;
            let server = add(&network, "server", ("acme", "server"))?;
            let target = SocketAddr::new(server.addresses()?[0], 9);
            let socket = server.host()?.bind_udp(target)?;
            shut.host()?.run(|| {
                let client = UdpSocket::bind(traffic::unspecified(target.ip()))?;
                client.send_to(b"open", target).context("send").map(drop)
            })?;
            socket.recv(&mut [0; 4]).with_context(|| format!("{point}: nothing arrives"))?;
            ensure_clean(&node)?;
            [shut, server].into_iter().try_for_each(Container::remove)
        })?;
    }
    Ok(())
}

/// Without an agent, elements of containers that are gone stay in the maps until a container needs their room.
#[test]
fn identities_of_containers_that_are_gone_make_room() -> Result<()> {
    with_three(
        |node| {
            apply(node, &policies())?;
            cli::repoint(node, &["load"])?;
            let maps = PolicyMaps::open_existing(&node.dirs().bpf)?.context("no data plane")?;
            for number in 0..MAX_IDENTITIES {
                maps.insert_identity(GONE + u32::try_from(number)?, &Identity::default())?;
            }
            let full = maps.insert_identity(GONE - 1, &Identity::default());
            ensure!(matches!(full, Err(DatapathError::Full { .. })), "{full:?}");
            Ok(())
        },
        |_, _| Ok(()),
    )
}
