//! `repoint events`: dropped packets one by one, with the functions at their ends.
#![cfg(test)]

use std::{
    fs::{self, File},
    net::UdpSocket,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Container, Node, cli, command, dist, missing, networks::network, node::OUTSIDE_V4,
    pooled::user, traffic, wait,
};
use serde_json::{Value, json};

/// How long an event may take to be shown.
const LIMIT: Duration = Duration::from_secs(10);

fn skipped() -> bool {
    missing([dist::plugin(), dist::cli()])
}

/// `repoint events --follow --json`, until it is dropped.
struct Follower {
    child: Child,
    output: PathBuf,
}

impl Follower {
    /// Starts it, and waits until it follows.
    fn start(node: &Node, name: &str, filter: &[&str]) -> Result<Self> {
        let output = PathBuf::from(format!("/run/{name}.events"));
        let mut command = Command::new(dist::cli());
        command.args(node.dirs().arguments()).args(["events", "--follow", "--json"]).args(filter);
        command.stdin(Stdio::null()).stdout(File::create(&output).context("create a file")?);
        let child = command.spawn().context("follow events")?;
        let follower = Self { child, output };
        let maps = format!("/proc/{}/fd", follower.child.id());
        wait::until(LIMIT, "it opens the maps", || {
            let links = fs::read_dir(&maps)?.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
            let maps = links.filter(|link| link.to_string_lossy().contains("bpf-map")).count();
            ensure!(maps >= 3, "{maps} maps are open");
            Ok(())
        })?;
        Ok(follower)
    }

    fn events(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(&self.output).context("read a follower's output")?;
        // The last line may not be whole yet.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).context(line.to_owned())).collect()
    }

    /// Waits for an event of a reason, and gives it without its time: each program computes that anew.
    fn wait_for(&self, reason: &str) -> Result<Value> {
        wait::until(LIMIT, "the event is shown", || {
            let found = self.events()?.into_iter().find(|event| event["reason"] == reason);
            found.map(without_time).with_context(|| format!("no event of {reason}"))
        })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended {
            eprintln!("a follower stays: {error}");
        }
    }
}

fn without_time(mut event: Value) -> Value {
    event["time"].take();
    event
}

/// The events on record that pass a filter, without their times.
fn recorded(node: &Node, filter: &[&str]) -> Result<Vec<Value>> {
    let text = cli::repoint(node, &[&["events", "--json"], filter].concat())?;
    let read = |line: &str| Ok(without_time(serde_json::from_str(line).context(line.to_owned())?));
    text.lines().map(read).collect()
}

/// The first event on record for a reason, once there is one.
fn first(node: &Node, reason: &str) -> Result<Value> {
    wait::until(LIMIT, "the event is recorded", || {
        let found = recorded(node, &["--reason", reason])?.into_iter().next();
        found.with_context(|| format!("no event of {reason}"))
    })
}

fn ensure_shows(event: &Value, wanted: &Value) -> Result<()> {
    let fields = wanted.as_object().context("fields")?;
    for (name, wanted) in fields {
        ensure!(event[name] == *wanted, "{name} is {}, not {wanted}: {event}", event[name]);
    }
    Ok(())
}

#[test]
fn an_event_names_the_functions_at_both_ends() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "net", 7, |configuration| {
            configuration["isolation"] = json!("tenant");
        })?;
        let add = |name: &str, tenant: &str, function: &str| {
            Container::add_with(&network, name, |it| it.args(&user(tenant, function)))
        };
        let (one, other) = (add("one", "acme", "resize")?, add("other", "bolt", "mail")?);
        let all = Follower::start(&node, "all", &[])?;
        let of_receiver = Follower::start(&node, "of-receiver", &["--function", "mail"])?;
        let of_nobody = Follower::start(&node, "of-nobody", &["--tenant", "nobody"])?;
        let (to, from) = (other.addresses()?[0], one.addresses()?[0]);
        traffic::no_tcp(&one.host()?, &other.host()?, to)?;
        let event = all.wait_for("isolated")?;
        println!("{event}");
        let slot = |name| cli::slot_of(&node, name);
        let (sender, receiver) = (slot("one")?, slot("other")?);
        let resize = json!({
            "identity": sender.identity, "network": "net", "tenant": "acme", "function": "resize",
            "container": "one",
        });
        let mail = json!({
            "identity": receiver.identity, "network": "net", "tenant": "bolt", "function": "mail",
            "container": "other",
        });
        ensure_shows(&event, &resize)?;
        ensure_shows(
            &event,
            &json!({
                "program": "from_container", "slot": sender.slot, "peer": mail, "source": from,
                "destination": to, "protocol": "tcp", "tcpFlags": "SYN", "sourceMac": sender.mac,
                "icmpType": null,
            }),
        )?;
        let filtered = of_receiver.wait_for("isolated")?;
        ensure!(recorded(&node, &[])?.contains(&filtered), "a filter changes {filtered}");
        ensure!(of_nobody.events()?.is_empty(), "{:?}", of_nobody.events()?);
        let both = ["--reason", "isolated", "--function", "resize", "--tenant", "bolt"];
        ensure!(recorded(&node, &both)?.is_empty(), "a function of one end, a tenant of the other");
        // Of the same packets, later, and without a follower.
        drop((all, of_receiver, of_nobody));
        let found = recorded(&node, &["--reason", "isolated", "--function", "resize"])?;
        ensure!(found.contains(&event), "not on record any more: {found:?}");
        ensure!(recorded(&node, &["--reason", "undeliverable"])?.is_empty(), "another reason");
        let text = cli::repoint(&node, &["events", "--tenant", "acme"])?;
        println!("{text}");
        let words = format!("isolated from_container of=acme/resize peer=bolt/mail {from}:");
        ensure!(text.contains(&words), "{words:?} is not in {text}");
        [one, other].into_iter().try_for_each(Container::remove)?;
        // The function is on record for an hour; its containers are not.
        let found = recorded(&node, &["--reason", "isolated", "--function", "resize"])?;
        let found = found.first().context("no event any more")?;
        ensure_shows(found, &json!({ "function": "resize", "tenant": "acme", "container": null }))
    })
}

/// A container without a function goes by its id, and by its number when it is gone.
#[test]
fn an_event_names_a_single_container() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "net", 7, |_| ())?;
        let one = Container::add(&network, "one")?;
        let identity = cli::slot_of(&node, "one")?.identity;
        one.host()?.run(|| {
            command::run("ip", ["address", "add", "192.0.2.77/32", "dev", "eth0"])?;
            let socket = UdpSocket::bind("192.0.2.77:0").context("bind")?;
            socket.send_to(b"forged", (OUTSIDE_V4, 9)).context("send").map(drop)
        })?;
        ensure_shows(
            &first(&node, "foreign_address")?,
            &json!({
                "container": "one", "function": null, "identity": identity, "peer": null,
                "source": "192.0.2.77", "protocol": "udp", "destinationPort": 9,
                "icmpType": null, "tcpFlags": null,
            }),
        )?;
        one.remove()?;
        let event = first(&node, "foreign_address")?;
        ensure_shows(&event, &json!({ "container": null, "identity": identity }))
    })
}

/// A follower goes on with a data plane that is loaded in the place of an unloaded one, whose database is
/// another as well.
#[test]
fn a_follower_outlives_the_data_plane() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "net", 7, |configuration| {
            configuration["isolation"] = json!("function");
        })?;
        Container::add(&network, "first")?.remove()?;
        let follower = Follower::start(&node, "follower", &[])?;
        cli::repoint(&node, &["unload"])?;
        let (one, other) = (Container::add(&network, "one")?, Container::add(&network, "other")?);
        traffic::no_tcp(&one.host()?, &other.host()?, other.addresses()?[0])?;
        let event = follower.wait_for("isolated")?;
        ensure_shows(&event, &json!({ "container": "one" }))?;
        ensure!(event["peer"]["container"] == "other", "{event}");
        [one, other].into_iter().try_for_each(Container::remove)
    })
}

/// The program that reads the events may end before they do.
#[test]
fn a_closed_pipe_is_no_error() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "net", 7, |configuration| {
            configuration["isolation"] = json!("function");
        })?;
        let (one, other) = (Container::add(&network, "one")?, Container::add(&network, "other")?);
        traffic::no_tcp(&one.host()?, &other.host()?, other.addresses()?[0])?;
        let (reading, writing) = std::io::pipe().context("make a pipe")?;
        drop(reading);
        let mut command = Command::new(dist::cli());
        command.args(node.dirs().arguments()).arg("events");
        command.stdin(Stdio::null()).stdout(writing).stderr(Stdio::piped());
        let output = command.spawn().and_then(Child::wait_with_output).context("show events")?;
        ensure!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        [one, other].into_iter().try_for_each(Container::remove)
    })
}
