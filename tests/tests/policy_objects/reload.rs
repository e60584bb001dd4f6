//! The data plane is loaded, lost and loaded again while flows run: no packet passes unjudged.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::net::if_::if_nametoindex;
use repoint::datapath::{AttachPoint, FROM_CONTAINER, TO_CONTAINER, program_id, tcx_programs};
use repoint_common::LAYOUT_VERSION;
use repoint_tests::{
    Container, Node, cli, command, dist, kernel,
    networks::{POOLED, network, pool},
    node::Dirs,
    stream::{self, Receiver, Stream},
    traffic::{Host, first_datagram, unspecified},
    wait,
};
use serde_json::{Value, json};

use super::{add, apply, ensure_clean, policy, sweep};

/// The ports of the two flows.
const ALLOWED: u16 = 9;
const DENIED: u16 = 10;
/// How long a datagram that is allowed may take.
const LIMIT: Duration = Duration::from_secs(5);
/// The ports from 1024 are for flows that begin meanwhile.
const TO_DB: &str = "{podSelector: {matchLabels: {repoint.dev/function: db}}, ingress: [{from: [{podSelector: \
                     {matchLabels: {repoint.dev/function: web}}}], ports: [{protocol: UDP, port: 9}, \
                     {protocol: UDP, port: 1024, endPort: 65535}]}]}";

/// What is done while flows run.
struct Step {
    what: &'static str,
    take: fn(&Node) -> Result<()>,
    /// Whether the programs on interfaces are the pinned ones afterwards.
    is_attached: bool,
}

impl Step {
    fn take_and_ensure(&self, flows: &mut Flows<'_>) -> Result<()> {
        (self.take)(flows.node)?;
        flows.ensure()?;
        if self.is_attached { flows.ensure_attached() } else { Ok(()) }
    }
}

const STEPS: [Step; 8] = [
    Step { what: "loaded once more", take: load, is_attached: true },
    Step { what: "a refused unload", take: unload_is_refused, is_attached: true },
    Step { what: "lost pins", take: lose_pins, is_attached: false },
    Step { what: "a new data plane", take: load, is_attached: false },
    Step { what: "a sweep", take: sweep_all, is_attached: true },
    Step { what: "lost pins and a sweep", take: lose_pins_and_sweep, is_attached: true },
    Step { what: "a lost program", take: lose_program, is_attached: true },
    Step { what: "a change without data plane", take: apply_without_pins, is_attached: true },
];

fn load(node: &Node) -> Result<()> {
    (0..3).try_for_each(|_| cli::repoint(node, &["load"]).map(drop))
}

/// Of a node with containers, and of one whose database is elsewhere.
fn unload_is_refused(node: &Node) -> Result<()> {
    let refused = |dirs: &Dirs, why: &str| {
        let output = Command::new(dist::cli()).args(dirs.arguments()).arg("unload").output();
        let output = output.context("run repoint")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && errors.contains(why), "{output:?}");
        Ok(())
    };
    refused(node.dirs(), "2 slots")?;
    let elsewhere = Dirs { run: "/run/elsewhere".into(), ..node.dirs().clone() };
    refused(&elsewhere, "/run/elsewhere")
}

fn sweep_all(node: &Node) -> Result<()> {
    sweep(node, &[]).map(drop)
}

fn pins(node: &Node) -> PathBuf {
    node.dirs().bpf.join(format!("v{LAYOUT_VERSION}"))
}

fn lose_pins(node: &Node) -> Result<()> {
    fs::remove_dir_all(pins(node)).context("remove the pins")
}

fn lose_pins_and_sweep(node: &Node) -> Result<()> {
    lose_pins(node)?;
    sweep_all(node)
}

fn lose_program(node: &Node) -> Result<()> {
    fs::remove_file(pins(node).join(FROM_CONTAINER)).context("remove a pin")?;
    sweep_all(node)
}

fn apply_without_pins(node: &Node) -> Result<()> {
    lose_pins(node)?;
    apply(node, &policy("shop", "web", "{podSelector: {}, policyTypes: [Egress], egress: [{}]}"))?;
    sweep_all(node)
}

/// Numbers of the programs that are attached to an interface, in both directions.
fn attached(name: &str) -> Result<[Vec<u64>; 2]> {
    let ifindex = if_nametoindex(name).with_context(|| format!("index of {name}"))?;
    let shown: Value = serde_json::from_str(&command::run("bpftool", ["-j", "net", "show"])?)?;
    let filters = shown[0]["tc"].as_array().context("no list of filters")?;
    let of = |point, kind: &str| {
        let tcx = tcx_programs(point).context("list programs of tcx")?;
        let filters = filters.iter().filter(|it| it["devname"] == name && it["kind"] == kind);
        let filters = filters.filter_map(|it| it["id"].as_u64());
        Ok::<_, anyhow::Error>(tcx.iter().map(|it| it.id.into()).chain(filters).collect())
    };
    Ok([
        of(AttachPoint::TcxIngress(ifindex), "clsact/ingress")?,
        of(AttachPoint::TcxEgress(ifindex), "clsact/egress")?,
    ])
}

/// Flows of a client to a server, which run until they are dropped.
struct Flows<'a> {
    node: &'a Node,
    containers: [&'a Container<'a>; 2],
    /// To [`ALLOWED`], of both families.
    allowed: Vec<(Stream, Receiver)>,
    /// Sockets at [`DENIED`].
    denied: Vec<UdpSocket>,
    sent: &'a AtomicU64,
}

impl Flows<'_> {
    /// Fails unless the allowed flow goes on, and new ones begin. Nothing of the denied one may have arrived.
    fn ensure(&mut self) -> Result<()> {
        for (stream, receiver) in &mut self.allowed {
            receiver.wait_until_beyond(stream.begun())?;
        }
        let [client, server] = self.containers;
        for address in server.addresses()? {
            first_datagram(&client.host()?, &server.host()?, address)?;
        }
        let before = self.sent.load(Ordering::SeqCst);
        wait::until(LIMIT, "denied datagrams are sent", || {
            ensure!(self.sent.load(Ordering::SeqCst) > before + 10);
            Ok(())
        })?;
        self.ensure_none_denied()
    }

    fn ensure_none_denied(&self) -> Result<()> {
        for socket in &self.denied {
            let arrived = socket.recv_from(&mut [0; 8]);
            ensure!(arrived.is_err(), "a denied datagram arrived: {arrived:?}");
        }
        Ok(())
    }

    /// Fails unless the programs on the containers' interfaces are the pinned ones.
    fn ensure_attached(&self) -> Result<()> {
        let pinned = |name| {
            let id = program_id(&self.node.dirs().bpf, name)?.context("nothing is loaded")?;
            Ok::<_, anyhow::Error>(vec![u64::from(id)])
        };
        let pinned = [pinned(FROM_CONTAINER)?, pinned(TO_CONTAINER)?];
        for container in self.containers {
            let id = &container.attachment().container_id;
            let found = attached(&cli::slot_of(self.node, id)?.host_ifname)?;
            ensure!(found == pinned, "{id} has programs {found:?}, and pinned are {pinned:?}");
        }
        Ok(())
    }
}

/// Sends without pause, from a socket that stays and from a new one each time.
fn flood(client: &Host, targets: &[SocketAddr], done: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    client.run(|| {
        let bind =
            |target: &SocketAddr| UdpSocket::bind(unspecified(target.ip())).context("bind UDP");
        let lasting = targets.iter().map(bind).collect::<Result<Vec<_>>>()?;
        while !done.load(Ordering::SeqCst) {
            for (target, lasting) in targets.iter().zip(&lasting) {
                for socket in [lasting, &bind(target)?] {
                    // There is no route once the slot is gone.
                    socket.send_to(b"denied", target).ok();
                }
            }
            sent.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    })
}

/// Runs a test while flows run from one container to another.
fn with_flows(
    hook: &str,
    pooled: bool,
    test: impl FnOnce(&mut Flows<'_>) -> Result<()> + Send,
) -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "net", 7, |configuration| {
            configuration["hook"] = json!(hook);
            pool(configuration, pooled);
        })?;
        apply(&node, &policy("shop", "db", TO_DB))?;
        let web = add(&network, "web", ("shop", "web"))?;
        let db = add(&network, "db", ("shop", "db"))?;
        let (client, server) = (web.host()?, db.host()?);
        let at = |port| {
            Ok::<_, anyhow::Error>(db.addresses()?.into_iter().map(move |it| (it, port).into()))
        };
        let targets: Vec<SocketAddr> = at(DENIED)?.collect();
        let allowed = at(ALLOWED)?.map(|target| stream::start_to(&client, &server, target));
        let denied = targets.iter().map(|target| {
            let socket = server.bind_udp(*target)?;
            socket.set_nonblocking(true).context("set a socket non-blocking")?;
            Ok(socket)
        });
        let (done, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let mut flows = Flows {
            node: &node,
            containers: [&web, &db],
            allowed: allowed.collect::<Result<_>>()?,
            denied: denied.collect::<Result<_>>()?,
            sent: &sent,
        };
        thread::scope(|scope| {
            let flood = scope.spawn(|| flood(&client, &targets, &done, &sent));
            let tested = flows.ensure().and_then(|()| test(&mut flows));
            done.store(true, Ordering::SeqCst);
            flood.join().map_err(|_| anyhow!("the flood panicked"))??;
            tested
        })?;
        drop(flows);
        println!("{hook}, pooled {pooled}: {} times each denied flow", sent.load(Ordering::SeqCst));
        [web, db].into_iter().try_for_each(Container::remove)
    })
}

#[test]
fn no_packet_passes_unjudged_while_the_data_plane_is_loaded_again() -> Result<()> {
    for hook in ["clsact", "tcx"] {
        if hook == "tcx" && kernel::lacks_tcx() {
            continue;
        }
        with_flows(hook, true, |flows| {
            for step in STEPS {
                let taken = step.take_and_ensure(flows);
                taken.with_context(|| format!("{hook}, after {}", step.what))?;
            }
            ensure_clean(flows.node)?;
            // Were it not for the policy, they would arrive.
            cli::repoint(flows.node, &["policy", "delete", "shop/db"])?;
            wait::until(LIMIT, "what was denied arrives", || {
                flows.denied.iter().try_for_each(|it| Ok(it.recv(&mut [0; 8]).map(drop)?))
            })
        })?;
    }
    Ok(())
}

/// A sweep loads a new data plane in the place of one that lacks a pin, whichever it is.
#[test]
fn no_packet_passes_unjudged_while_a_sweep_replaces_a_lost_pin() -> Result<()> {
    with_flows("clsact", true, |flows| {
        let pins = pins(flows.node);
        let names = fs::read_dir(&pins).context("list pins")?;
        let names = names.map(|pin| Ok(pin?.file_name())).collect::<Result<Vec<_>>>()?;
        for name in &names {
            fs::remove_file(pins.join(name)).with_context(|| format!("remove pin {name:?}"))?;
            sweep_all(flows.node)
                .and_then(|()| flows.ensure())
                .and_then(|()| flows.ensure_attached())
                .with_context(|| format!("{name:?}"))?;
        }
        println!("{} lost pins are replaced", names.len());
        Ok(())
    })
}

/// A forced unload takes the containers' network, and no packet passes while it does.
#[test]
fn no_packet_passes_unjudged_while_the_data_plane_is_unloaded() -> Result<()> {
    for pooled in POOLED {
        with_flows("clsact", pooled, |flows| {
            cli::repoint(flows.node, &["unload", "--force"])?;
            ensure!(!flows.node.dirs().bpf.exists(), "pins are left");
            flows.ensure_none_denied()
        })?;
    }
    Ok(())
}
