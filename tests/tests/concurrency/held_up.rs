//! A DEL that is stopped at a failpoint, and other processes that do their work meanwhile.

use std::{
    fs,
    io::Write as _,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use repoint::{
    model::SlotId,
    netns::{self as kept, NetnsStore},
};
use repoint_tests::{
    Agent, Container, Netns, Node, cli, command,
    dist::{self, REFERENCE_PLUGINS},
    example, missing,
    plugin::{Attachment, Call, Network},
    traffic::Host,
    wait,
    web::{self, Server},
    with_pool,
};
use serde_json::json;

/// How long a DEL may take to come to where it is stopped, and to end.
const SOON: Duration = Duration::from_secs(10);
/// Where that is: between its first step and the next.
const HALF_WAY: &str = "park:unbound=stop";

/// Sweeps come while it is half-way. Nothing passes when it returns, though a process is inside still.
#[test]
fn nothing_passes_after_a_del_that_sweeps_saw_half_way() -> Result<()> {
    let folder = dist::failpoints();
    if missing([folder.join("repoint-cni")]) {
        return Ok(());
    }
    with_pool(&json!({ "warm": 1, "maxSlots": 4 }), |pooled| {
        let agent = pooled.agent()?;
        let container = pooled.add()?;
        let addresses = container.addresses()?;
        let server = Server::start(&container.host()?)?;
        let here = Host::here("node")?;
        server.answers(&here, &addresses)?;
        let network = pooled.network_at(&folder.to_string_lossy())?;
        let del = network.single("DEL", container.attachment(), None)?;
        let held = Held::start(&del.variable("REPOINT_FAILPOINT", HALF_WAY))?;
        print!("{}", pooled.repoint(&["sweep", "--grace", "0s"])?);
        held.go_on()?;
        web::silent(&[&here], &addresses)?;
        drop(server);
        container.remove_netns()?;
        pooled.wait_until("the slot is warm again", |pool| pool.warm == pool.total)?;
        Agent::stop(agent)
    })
}

/// An ADD comes while a DEL of the same container, of which nothing was on record, is about to have the
/// IPAM plugin take back what it may have given. DEL detaches what ADD attached: else the container would have
/// an address that the plugin gives to others.
#[test]
fn a_del_that_takes_the_addresses_of_an_add_detaches_it() -> Result<()> {
    let folder = dist::failpoints();
    if missing([folder.join("repoint-cni"), Path::new(REFERENCE_PLUGINS).join("host-local")]) {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let mut configuration = example("delegated.json")?;
        node.dirs().patch(&mut configuration);
        let path = format!("{}:{REFERENCE_PLUGINS}", folder.display());
        let network = Network::new(&configuration, path)?;
        let netns = Netns::create("one")?;
        let attachment = Attachment::new("one", netns.path());
        let del = network.single("DEL", &attachment, None)?;
        let held = Held::start(&del.variable("REPOINT_FAILPOINT", "del:unknown=stop"))?;
        network.add(&attachment)?;
        held.go_on()?;
        let links = netns.run(|| command::run("ip", ["-oneline", "link"]))?;
        ensure!(links.lines().count() == 1, "it is attached still: {links}");
        let other = Container::add(&network, "other")?;
        other.check()?;
        other.remove()?;
        network.del(&attachment, None)?;
        netns.remove()
    })
}

/// An ADD is stopped before it makes the interface, a DEL deletes its record, and the ADD is killed once the
/// interface is there: nothing but its name and group shows whose it is.
#[test]
fn an_interface_that_never_got_its_alias_is_swept() -> Result<()> {
    let folder = dist::failpoints();
    if missing([folder.join("repoint-cni")]) {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let mut configuration = example("conformance.json")?;
        node.dirs().patch(&mut configuration);
        let network = Network::new(&configuration, folder.display().to_string())?;
        let netns = Netns::create("one")?;
        let attachment = Attachment::new("one", netns.path());
        let add = network.single("ADD", &attachment, None)?;
        let points = "build:before-link=stop,build:link";
        let held = Held::start(&add.variable("REPOINT_FAILPOINT", points))?;
        network.del(&attachment, None)?;
        held.be_killed()?;
        let ours = || command::run("ip", ["-oneline", "link", "show", "group", "29296"]);
        let left = ours()?;
        ensure!(left.lines().count() == 1, "the interface was not left: {left}");
        print!("{left}{}", cli::repoint(&node, &["sweep", "--grace", "0s"])?);
        let left = ours()?;
        ensure!(left.is_empty(), "the sweep left it: {left}");
        netns.remove()
    })
}

/// A DEL deletes the slot of an ADD that is under way. Between its steps the ADD mounts the namespace once more.
#[test]
fn a_namespace_that_is_mounted_while_it_is_released_goes() -> Result<()> {
    let folder = dist::failpoints();
    if missing([folder.join("repoint-cni")]) {
        return Ok(());
    }
    with_pool(&json!({ "warm": 0, "maxSlots": 4 }), |pooled| {
        let network = pooled.network_at(&folder.to_string_lossy())?;
        let netns = Netns::create("one")?;
        let attachment = Attachment::new("one", netns.path());
        let add = network.single("ADD", &attachment, None)?;
        let add = Held::start(&add.variable("REPOINT_FAILPOINT", "keep:file=stop"))?;
        let slots = pooled.slots()?;
        let [slot] = &slots[..] else { anyhow::bail!("not one slot: {slots:?}") };
        // A thread of it may hold the database when it is stopped: nothing is read until it goes on.
        let del = network.single("DEL", &attachment, None)?;
        let del = Held::start(&del.variable("REPOINT_FAILPOINT", "let-go:unmounted=stop"))?;
        let id: SlotId = slot.slot.parse().context("number of a slot")?;
        let (store, other) = (NetnsStore::open(&pooled.node().dirs().run)?, kept::Netns::create()?);
        store.enter(|inside| inside.keep(id, &other))??;
        del.go_on()?;
        let left = store.enter(|inside| inside.kept())??;
        ensure!(!left.slots.contains_key(&id), "{left:?}");
        // The ADD finds its slot gone.
        ensure!(!add.resume()?.success(), "an ADD succeeded whose slot was deleted");
        network.del(&attachment, None)?;
        netns.remove()?;
        pooled.wait_until("no slot is left", |pool| pool.total == 0).map(drop)
    })
}

/// A call that is stopped. Dropping it kills it.
struct Held(Child);

impl Held {
    fn start(call: &Call) -> Result<Self> {
        let mut command = call.command();
        let command = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().context("start the plugin")?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        stdin.write_all(call.input()).context("write the configuration")?;
        drop(stdin);
        let held = Self(child);
        wait::until(SOON, "it is stopped", || held.ensure_stopped())?;
        Ok(held)
    }

    fn ensure_stopped(&self) -> Result<()> {
        let path = format!("/proc/{}/stat", self.0.id());
        let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        ensure!(state == Some('T'), "it is in state {state:?}");
        Ok(())
    }

    /// Has it go on, to its end.
    fn go_on(self) -> Result<()> {
        let status = self.resume()?;
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }

    /// Has it go on to a failpoint that kills it.
    fn be_killed(self) -> Result<()> {
        let status = self.resume()?;
        ensure!(status.signal() == Some(Signal::SIGKILL as i32), "it ended with {status}");
        Ok(())
    }

    fn resume(mut self) -> Result<ExitStatus> {
        let pid = Pid::from_raw(self.0.id().try_into().context("a process id")?);
        kill(pid, Signal::SIGCONT).context("have it go on")?;
        wait::until(SOON, "it ends", || self.0.try_wait()?.context("it runs still"))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may have ended.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
