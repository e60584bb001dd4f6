//! The demonstration: containers come, talk and go on a node in namespaces of its own, and nothing
//! is left.

use std::{
    fs,
    net::IpAddr,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Container, Node, Snapshot,
    cli::{self, repoint},
    command, dist,
    node::{self, NODE, OUTSIDE},
    pins,
    plugin::Network,
    traffic::{self, Host},
};
use serde_json::{Value, json};

const CONTAINERS: [&str; 3] = ["alpha", "beta", "gamma"];

fn main() -> ExitCode {
    match demonstrate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe demonstration failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate() -> Result<()> {
    let plugin = dist::plugin();
    ensure!(plugin.exists(), "{} is not there: run `cargo xtask build`", plugin.display());
    let node = Node::new()?;
    node.run(|| story(&node, &plugin))
}

fn story(node: &Node, plugin: &Path) -> Result<()> {
    show_node(plugin);
    let before = Snapshot::take(node.dirs())?;
    let configuration = configuration(node)?;
    let network = Network::new(&configuration, dist::cni_path())?;
    show_network(&configuration);
    let containers = add(&network)?;
    talk(node, &containers)?;
    show_maps(node)?;
    delete(containers)?;
    reuse(node, configuration)?;
    title("What is left");
    before.wait_until_restored(node.dirs())?;
    println!(
        "  Nothing: interfaces, addresses, routes, rules, neighbours, nftables, qdiscs, filters,\n  \
         namespaces, mounts and map entries of the node are as they were before the first ADD."
    );
    Ok(())
}

fn title(text: &str) {
    println!("\n{text}\n{}", "─".repeat(text.chars().count()));
}

fn show_node(plugin: &Path) {
    title("A node in namespaces of its own");
    println!("  plugin   {}", plugin.display());
    println!("  node     {} {}   by {}", node::NODE_V4, node::NODE_V6, node::UPLINK);
    println!("  outside  {} {}   has no route to containers", node::OUTSIDE_V4, node::OUTSIDE_V6);
}

fn configuration(node: &Node) -> Result<Value> {
    let mut configuration = dist::example("functions.conflist")?;
    node.dirs().patch(&mut configuration["plugins"][0]);
    Ok(configuration)
}

fn show_network(configuration: &Value) {
    title("A network");
    println!("  name         {}", configuration["name"]);
    println!("  cniVersion   {}", configuration["cniVersion"]);
    for (key, value) in configuration["plugins"][0].as_object().into_iter().flatten() {
        println!("  {key:12} {value}");
    }
}

fn add(network: &Network) -> Result<Vec<Container<'_>>> {
    title("Containers are added; the first ADD also loads the programs and maps");
    let add = |name: &&str| {
        let container = Container::add(network, name)?;
        let time = container.added_in();
        println!("  ADD {name:8} {}   {}", milliseconds(time), list(&container.addresses()?));
        Ok(container)
    };
    CONTAINERS.iter().map(add).collect()
}

fn talk(node: &Node, containers: &[Container<'_>]) -> Result<()> {
    title("They talk, 256 KiB each way over TCP, datagrams of 1 to 8000 bytes over UDP");
    let [alpha, beta, gamma] = containers else {
        anyhow::bail!("three containers were expected");
    };
    let (here, outside) = (Host::here("node")?, node.outside_host()?);
    exchange(&alpha.host()?, &beta.host()?, &beta.addresses()?)?;
    exchange(&beta.host()?, &alpha.host()?, &alpha.addresses()?)?;
    exchange(&here, &gamma.host()?, &gamma.addresses()?)?;
    exchange(&gamma.host()?, &here, &NODE)?;
    exchange(&gamma.host()?, &outside, &OUTSIDE)
}

fn exchange(client: &Host, server: &Host, addresses: &[IpAddr]) -> Result<()> {
    for &address in addresses {
        let (seen, tcp) = timed(|| traffic::tcp(client, server, address))?;
        let (_, udp) = timed(|| traffic::udp(client, server, address))?;
        let parties = format!("{} → {} {address}", client.name(), server.name());
        let times = format!("TCP {}   UDP {}", milliseconds(tcp), milliseconds(udp));
        println!("  {parties:38} {times}   seen as {seen}");
    }
    Ok(())
}

fn show_maps(node: &Node) -> Result<()> {
    title("The maps, as an operator sees them");
    if dist::cli().exists() {
        for list in ["slots", "counters"] {
            println!("  # repoint {list}");
            let arguments = [&node.dirs().arguments()[..], &[list.into()]].concat();
            println!("{}\n", indent(&command::run(&dist::cli().to_string_lossy(), arguments)?));
        }
    }
    // Arrays are long and mostly zero; `repoint counters` above is the one that there is.
    for map in pins::maps(&node.dirs().bpf)?.iter().filter(|map| map.is_hash()) {
        let pin = map.pin().to_string_lossy();
        println!("  # bpftool map dump pinned {pin}");
        let text = command::run("bpftool", ["map", "dump", "pinned", &pin])?;
        println!("{}", indent(&text));
    }
    Ok(())
}

fn delete(containers: Vec<Container<'_>>) -> Result<()> {
    title("Containers are deleted");
    for (name, container) in CONTAINERS.iter().zip(&containers) {
        println!("  DEL {name:8} {}", milliseconds(container.delete()?));
    }
    // Only now: while the kernel takes a namespace down, changes of interfaces wait for it.
    containers.into_iter().try_for_each(Container::remove_netns)
}

/// A function comes, goes and comes again on the same network with a pool.
fn reuse(node: &Node, mut configuration: Value) -> Result<()> {
    const FUNCTION: &str = "repoint.dev/tenant=acme;repoint.dev/function=resize";
    title("The network gets a pool: a function is started, stopped and started again");
    configuration["plugins"][0]["pool"] = json!({ "warm": 3, "maxSlots": 8 });
    let file = "/run/pool.conflist";
    fs::write(file, configuration.to_string()).with_context(|| format!("write {file}"))?;
    let network = Network::new(&configuration, dist::cni_path())?;
    repoint(node, &["pool", "set", network.name(), "--config", file])?;
    repoint(node, &["pool", "fill", network.name()])?;
    for name in ["first", "second"] {
        let container = Container::add_with(&network, name, |mut attachment| {
            FUNCTION.clone_into(&mut attachment.args);
            attachment
        })?;
        let (time, slot) = (milliseconds(container.added_in()), cli::slot_of(node, name)?);
        let addresses = list(&container.addresses()?);
        println!("  ADD {name:8} {time}   {addresses}   slot {}", slot.slot);
        let (client, outside) = (container.host()?, node.outside_host()?);
        exchange(&client, &outside, &OUTSIDE[..1])?;
        println!("  DEL {name:8} {}", milliseconds(container.delete()?));
        container.remove_netns()?;
    }
    println!("\n  # repoint pool\n{}", indent(&repoint(node, &["pool"])?));
    repoint(node, &["unload"])?;
    println!("  # repoint unload");
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let begin = Instant::now();
    let value = work()?;
    Ok((value, begin.elapsed()))
}

fn milliseconds(time: Duration) -> String {
    format!("{:6.1} ms", time.as_secs_f64() * 1000.0)
}

fn list(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join("  ")
}

fn indent(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}
