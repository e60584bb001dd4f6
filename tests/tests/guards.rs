//! What keeps a container from a slot's namespace: each of these ADDs is served the ordinary way, in
//! the container's own namespace, and counted under its reason.
#![cfg(test)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use repoint_tests::{
    Container, Netns, Node, Pooled, Snapshot, cli, command,
    dist::{self, REFERENCE_PLUGINS},
    missing,
    netns::in_thread,
    plugin::{Attachment, Network},
    pooled::{NAME, TENANT, user},
    program,
    traffic::{self, Host},
    wait, with_pool,
};
use serde_json::{Value, json};

/// A sysctl that Kubernetes lets every pod set.
const SYSCTL: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

/// A process in namespaces of its own. Dropping it kills it.
struct Inside(Child);

impl Inside {
    /// Starts a process in namespaces that `arguments` of unshare(1) ask for, and waits until it is
    /// there.
    fn start(arguments: &[&str]) -> Result<Self> {
        let process = Command::new("unshare")
            .args(arguments)
            .arg("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("start unshare")?;
        let inside = Self(process);
        let command = format!("/proc/{}/comm", inside.0.id());
        wait::until(Duration::from_secs(5), "the process is there", || {
            let name = fs::read_to_string(&command).with_context(|| format!("read {command}"))?;
            ensure!(name.trim() == "cat", "it is {name}");
            Ok(())
        })?;
        Ok(inside)
    }

    fn netns(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.0.id()))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("a process is left: {error}");
        }
    }
}

/// ADDs, CHECKs and DELs an attachment of a network with a full pool, that must be declined for
/// `reason`; `netns` is a path to the namespace that the runtime made.
fn is_declined(
    pooled: &Pooled<'_>,
    network: &Network,
    attachment: &Attachment,
    netns: &Path,
    reason: &str,
) -> Result<()> {
    let own = Netns::inode_at(netns)?;
    let before = pooled.slots()?;
    let result = network.add(attachment)?;
    pooled.ensure_adds(&[(reason, 1)])?;
    let path = attachment.netns.as_deref().context("no namespace")?;
    ensure!(Netns::inode_at(path)? == own, "another namespace is at {}", path.display());
    let host = Host::at("container", netns)?;
    let link = host.run(|| command::run("ip", ["link", "show", &attachment.ifname]))?;
    ensure!(link.contains("state UP"), "{link}");
    network.check(attachment, &result)?;
    let address = result["ips"].as_array().and_then(|ips| ips.last()).context("no address")?;
    let address = address["address"].as_str().and_then(|text| text.split('/').next());
    traffic::tcp(&Host::here("node")?, &host, address.unwrap_or_default().parse()?)?;
    network.del(attachment, Some(&result))?;
    let links = host.run(|| command::run("ip", ["-brief", "link"]))?;
    ensure!(!links.contains(&format!("{}@", attachment.ifname)), "left by DEL:\n{links}");
    ensure!(pooled.slots()? == before, "slots of the pool were changed");
    Ok(())
}

/// The same for a namespace that the runtime mounted, with something done to it before.
fn prepared_is_declined(
    reason: &str,
    prepare: impl FnOnce(&Netns) -> Result<()> + Send,
    ask: impl FnOnce(Attachment) -> Attachment + Send,
) -> Result<()> {
    with_pool(&json!({ "warm": 2, "maxSlots": 8 }), |pooled| {
        pooled.fill()?;
        let netns = Netns::create("container")?;
        prepare(&netns)?;
        let before = Snapshot::take(pooled.node().dirs())?;
        let attachment = ask(Attachment::new("container", netns.path()));
        is_declined(pooled, pooled.network(), &attachment, netns.path(), reason)?;
        before.wait_until_restored(pooled.node().dirs())?;
        netns.remove()
    })
}

/// nerdctl, `ctr --cni` and faasd pass such a path: the process would never see another namespace.
#[test]
fn a_process_inside_keeps_its_namespace() -> Result<()> {
    with_pool(&json!({ "warm": 2, "maxSlots": 8 }), |pooled| {
        pooled.fill()?;
        let process = Inside::start(&["--net"])?;
        let attachment = Attachment::new("container", &process.netns());
        is_declined(pooled, pooled.network(), &attachment, &process.netns(), "process_inside")
    })
}

/// The pod's processes would be in a network namespace over which they have no rights.
#[test]
fn a_namespace_of_another_user_namespace_is_kept() -> Result<()> {
    let bind = |netns: &Netns| {
        let process = Inside::start(&["--user", "--net"])?;
        let (none, from) = (None::<&str>, process.netns());
        mount(Some(&from), netns.path(), none, MsFlags::MS_BIND, none)
            .with_context(|| format!("bind {}", from.display()))
    };
    with_pool(&json!({ "warm": 2, "maxSlots": 8 }), |pooled| {
        pooled.fill()?;
        let netns = Netns::create("container")?;
        bind(&netns)?;
        let attachment = Attachment::new("container", netns.path());
        is_declined(pooled, pooled.network(), &attachment, netns.path(), "user_namespace")
    })
}

#[test]
fn a_namespace_with_another_interface_is_kept() -> Result<()> {
    let add = |netns: &Netns| {
        netns
            .run(|| command::run("ip", ["link", "add", "net1", "type", "veth", "peer", "net2"]))
            .map(drop)
    };
    prepared_is_declined("interfaces", add, |attachment| attachment)
}

/// Sets a sysctl in the namespace of a function's container, and sees that the container has it,
/// whatever its namespace is then; and that the function's next container, in the same slot, does not.
fn is_copied(
    pool: &Value,
    network: impl FnOnce(&Pooled<'_>) -> Result<Network> + Send,
) -> Result<()> {
    with_pool(pool, |pooled| {
        pooled.fill()?;
        let (netns, next) = (Netns::create("container")?, Netns::create("next")?);
        let fresh = next.run(|| Ok(fs::read_to_string(SYSCTL)?))?;
        ensure!(fresh.trim() != "80", "it is 80 in every namespace");
        netns.run(|| Ok(fs::write(SYSCTL, "80")?))?;
        let own = netns.inode()?;
        let network = network(pooled)?;
        let of_function = |name: &str, netns: &Netns| {
            Attachment::new(name, netns.path()).args(&user(TENANT, "resize"))
        };
        let attachment = of_function("container", &netns);
        let result = network.add(&attachment)?;
        ensure!(netns.inode()? != own, "it was not served from the pool: {:?}", pooled.pool()?);
        let given = netns.run(|| Ok(fs::read_to_string(SYSCTL)?))?;
        ensure!(given.trim() == "80", "the container's is {given}");
        network.check(&attachment, &result)?;
        let slot = cli::slot_of(pooled.node(), "container")?.slot;
        network.del(&attachment, Some(&result))?;
        let attachment = of_function("next", &next);
        let result = network.add(&attachment)?;
        let again = cli::slot_of(pooled.node(), "next")?.slot;
        ensure!(again == slot, "the next container has slot {again}, not {slot}");
        let given = next.run(|| Ok(fs::read_to_string(SYSCTL)?))?;
        ensure!(given == fresh, "the next container's is {given}, not {fresh}");
        network.del(&attachment, Some(&result))?;
        netns.remove()?;
        next.remove()
    })
}

#[test]
fn sysctls_that_were_set_before_are_a_warm_slots_then() -> Result<()> {
    is_copied(&json!({ "warm": 1, "maxSlots": 1, "checkSysctls": true }), |pooled| {
        Ok(pooled.network().clone())
    })
}

#[test]
fn sysctls_that_were_set_before_are_a_built_slots_then() -> Result<()> {
    is_copied(&json!({ "warm": 0, "maxSlots": 1, "checkSysctls": true }), |pooled| {
        Ok(pooled.network().clone())
    })
}

/// Its pinns sets the sysctls of a pod before ADD; the plugin knows CRI-O by its name.
#[test]
fn cri_o_needs_no_word_in_the_configuration() -> Result<()> {
    is_copied(&json!({ "warm": 1, "maxSlots": 1 }), |pooled| {
        // The system's shell by the name of crio calls the plugin.
        let folder = Path::new("/run/crio-plugins");
        let (crio, plugin) = (folder.join("crio"), folder.join("repoint-cni"));
        fs::create_dir(folder)?;
        program::copy(Path::new("/bin/sh"), &crio)?;
        // The last command of a shell takes its place, and a script has its own name.
        let (shell, ours) = (crio.display(), dist::plugin());
        let script = format!("#!/bin/sh\nexec {shell} -c '{}; exit $?'\n", ours.display());
        program::script(&plugin, &script)?;
        pooled.network_at(&format!("{}:{}", folder.display(), dist::cni_path()))
    })
}

#[test]
fn a_requested_address_is_given() -> Result<()> {
    let ask = |attachment: Attachment| attachment.args("IP=10.217.9.77");
    prepared_is_declined("requested", |_| Ok(()), ask)
}

#[test]
fn a_requested_ethernet_address_is_given() -> Result<()> {
    let ask = |attachment: Attachment| attachment.capability("mac", json!("02:00:00:00:00:77"));
    prepared_is_declined("requested", |_| Ok(()), ask)
}

/// A slot's namespace would hide the interface of the plugin before.
#[test]
fn a_chain_behind_another_plugin_is_served_in_its_namespace() -> Result<()> {
    if missing([Path::new(REFERENCE_PLUGINS).join("ptp")]) {
        return Ok(());
    }
    with_pool(&json!({ "warm": 2, "maxSlots": 8 }), |pooled| {
        pooled.fill()?;
        let netns = Netns::create("container")?;
        let first = json!({
            "cniVersion": "1.0.0", "name": "before", "type": "ptp",
            "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.217.10.0/24" }]] },
        });
        let first = Network::new(&first, dist::cni_path())?;
        let attachment =
            Attachment { ifname: "net0".to_owned(), ..Attachment::new("container", netns.path()) };
        let previous = first.add(&attachment)?;
        let network = pooled.network_with(|configuration| {
            configuration["cniVersion"] = json!("1.0.0");
            configuration["prevResult"].clone_from(&previous);
        })?;
        let own = Attachment::new("container", netns.path());
        is_declined(pooled, &network, &own, netns.path(), "prev_result")?;
        first.del(&attachment, Some(&previous))?;
        netns.remove()
    })
}

#[test]
fn another_mount_namespace_gets_no_slot_of_ours() -> Result<()> {
    with_pool(&json!({ "warm": 2, "maxSlots": 8 }), |pooled| {
        pooled.fill()?;
        let netns = Netns::create("container")?;
        let attachment = Attachment::new("container", netns.path());
        let apart = || -> Result<()> {
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)
                .context("unshare a mount namespace")?;
            is_declined(pooled, pooled.network(), &attachment, netns.path(), "mount_namespace")
        };
        in_thread(apart)?;
        // Here the pool serves on.
        pooled.add()?.remove()?;
        pooled.ensure_adds(&[("mount_namespace", 1), ("warm", 1)])?;
        netns.remove()
    })
}

/// Such a plugin reserves addresses for one container id at a time.
#[test]
fn delegated_address_management_has_no_pool() -> Result<()> {
    if missing([dist::plugin(), dist::cli(), Path::new(REFERENCE_PLUGINS).join("host-local")]) {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let before = Snapshot::take(node.dirs())?;
        let mut configuration: Value = repoint_tests::example("delegated.json")?;
        node.dirs().patch(&mut configuration);
        configuration["pool"] = json!({ "warm": 2, "maxSlots": 8 });
        let network = Network::new(&configuration, dist::cni_path())?;
        let container = Container::add(&network, "one")?;
        let pool = cli::pool(&node, "delegated")?;
        ensure!(pool.count("delegated_ipam") == 1 && pool.declined == 1, "{pool:?}");
        container.check()?;
        traffic::all(&Host::here("node")?, &container.host()?, &container.addresses()?)?;
        container.remove()?;
        before.wait_until_restored(node.dirs())
    })
}

/// The network is named in the counters.
#[test]
fn a_network_without_a_pool_counts_nothing() -> Result<()> {
    with_pool(&json!({ "warm": 2, "maxSlots": 8 }), |pooled| {
        pooled.repoint(&["pool", "remove", NAME])?;
        let network = pooled.network_with(|configuration| configuration["pool"] = Value::Null)?;
        let container = Container::add(&network, "one")?;
        ensure!(pooled.pool().is_err(), "a pool is on record");
        container.check()?;
        container.remove()
    })
}
