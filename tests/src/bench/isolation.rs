//! What key `isolation` and policies cost packets between two slots of one node: TCP round trips,
//! connections and a stream.
//!
//! Networks take turns: one without isolation, one with `"isolation": "tenant"`, one whose slots have policies
//! of [`RULES`] rules for each direction. Of the last the packets go through the host stack, past an nftables
//! chain that keeps as many tenants apart by their subnets.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, anyhow};
use repoint_common::policy::{DENY, Rule};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    compared::{Compared, PAIRS, pair},
    contestant::Contestant,
    round_trips::{Talk, network},
};
use crate::{
    Container, Node, command,
    plugin::Network,
    policies::{ANY, Policies, TCP},
    pooled::user,
    traffic::Host,
};

/// Connections of one measurement. Their ports are not free again for a minute.
const CONNECTIONS: u32 = 100;
/// Bytes of one measured stream.
const STREAM: usize = 32 << 20;
/// Bytes written at a time.
const CHUNK: usize = 128 << 10;
/// Rules of a policy.
pub const RULES: usize = 8;
/// Tenants that the nftables chain keeps apart.
pub const TENANTS: u8 = 100;

/// A figure of the three networks, microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figures {
    /// Without isolation.
    pub open: f64,
    /// With isolation.
    pub isolated: f64,
    /// Without isolation, as measured in turn with [`Self::policed`].
    pub open_again: f64,
    /// With policies.
    pub policed: f64,
    /// Through the host stack, past nftables rules.
    pub rules: f64,
}

/// Figures that were measured in turn.
#[derive(Debug, Clone, Serialize)]
pub struct Series {
    /// In the order in which they were measured.
    pub figures: Vec<Figures>,
    /// With isolation against without.
    pub compared: Compared,
    /// With policies against without.
    pub policed: Compared,
}

/// The results of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Isolation {
    /// One byte each way over a connection.
    pub round_trips: Series,
    /// A connection with one byte each way.
    pub connections: Series,
    /// 32 MiB one way.
    pub streams: Series,
}

/// A pair of slots, and what listens in the second.
struct Way {
    client: Host,
    talk: Talk,
    connects: Server,
    streams: Server,
}

/// Measures on a node of its own, in networks like the contestant's.
pub(super) fn run(contestant: &Contestant) -> Result<Isolation> {
    eprintln!("isolation: {PAIRS} pairs");
    let node = Node::new()?;
    node.run(|| {
        let like = contestant.configuration.as_ref().context("no configuration")?;
        let networks = [
            ("open", "none", "direct"),
            ("apart", "tenant", "direct"),
            ("policed", "none", "direct"),
            ("rules", "none", "stack"),
        ];
        let mut made = Vec::new();
        for (number, (name, isolation, path)) in (1..).zip(networks) {
            let changed = with_isolation(like, isolation);
            made.push(network(&node, &changed, (name, path), number)?);
        }
        forbid(TENANTS)?;
        let mut containers = Vec::new();
        for made in &made {
            containers.push([add(made, "client")?, add(made, "server")?]);
        }
        enforce(&node, &containers[2])?;
        let ways = containers.iter().map(|[client, server]| Way::between(client, server));
        let mut ways = ways.collect::<Result<Vec<_>>>()?;
        let isolation = Isolation {
            round_trips: series(&mut ways, |way| way.talk.time())?,
            connections: series(&mut ways, |way| way.connect())?,
            streams: series(&mut ways, |way| way.stream())?,
        };
        ways.into_iter().try_for_each(Way::end)?;
        containers.into_iter().flatten().try_for_each(Container::remove)?;
        Ok(isolation)
    })
}

fn with_isolation(like: &Value, isolation: &str) -> Value {
    let mut changed = like.clone();
    changed["isolation"] = json!(isolation);
    changed
}

fn add<'a>(network: &'a Network, name: &str) -> Result<Container<'a>> {
    let name = format!("{}-{name}", network.name());
    Container::add_with(network, &name, |attachment| attachment.args(&user("acme", name.as_str())))
}

/// Rules of a chain on the way between interfaces, one a tenant: its subnet reaches no other. None is of
/// the networks that are measured.
fn forbid(tenants: u8) -> Result<()> {
    let chain = "add table inet bench\n\
                 add chain inet bench forward { type filter hook forward priority filter ; }\n";
    let rule = |tenant: u8| {
        let subnet = format!("10.211.{tenant}.0/24");
        format!("add rule inet bench forward ip saddr {subnet} ip daddr != {subnet} drop\n")
    };
    let rules: String = (1..=tenants).map(rule).collect();
    command::run_with_input("nft", ["-f", "-"], format!("{chain}{rules}").as_bytes()).map(drop)
}

/// Gives the slots of containers policies: of [`RULES`] rules the last one allows TCP.
fn enforce(node: &Node, containers: &[Container<'_>]) -> Result<()> {
    let policies = Policies::open(&node.dirs().bpf)?;
    let other = Rule { port_low: 1, port_high: 1, ..ANY };
    let mut rules = [other; RULES];
    rules[RULES - 1] = Rule { protocol: TCP, ..ANY };
    policies.put(1, DENY, &rules)?;
    containers.iter().try_for_each(|container| policies.enforce(container, 1, 1))
}

fn series(ways: &mut [Way], measure: fn(&mut Way) -> Result<f64>) -> Result<Series> {
    let [open_way, apart, policed, rules] = ways else { return Err(anyhow!("not four networks")) };
    let mut figures = Vec::new();
    for number in 0..PAIRS {
        let [open, isolated] =
            pair(number, |is_apart| measure(if is_apart { apart } else { open_way }))?;
        let [open_again, policed] =
            pair(number, |is_policed| measure(if is_policed { policed } else { open_way }))?;
        figures.push(Figures { open, isolated, open_again, policed, rules: measure(rules)? });
    }
    let isolated = |number: usize| figures[number].isolated / figures[number].open;
    let policed = |number: usize| figures[number].policed / figures[number].open_again;
    let compared = Compared::of(std::array::from_fn(isolated));
    let policed = Compared::of(std::array::from_fn(policed));
    Ok(Series { figures, compared, policed })
}

impl Way {
    fn between(client: &Container<'_>, server: &Container<'_>) -> Result<Self> {
        Ok(Self {
            client: client.host()?,
            talk: Talk::between(client, server)?,
            connects: Server::start(server, |mut stream| {
                let mut byte = [0];
                stream.read_exact(&mut byte).and_then(|()| stream.write_all(&byte))
            })?,
            streams: Server::start(server, |mut stream| {
                let mut buffer = vec![0; CHUNK];
                let mut left = STREAM;
                while left > 0 {
                    match stream.read(&mut buffer)? {
                        0 => return Err(ErrorKind::UnexpectedEof.into()),
                        read => left = left.saturating_sub(read),
                    }
                }
                stream.write_all(&[1])
            })?,
        })
    }

    /// How long a connection takes, with one byte each way, microseconds.
    fn connect(&mut self) -> Result<f64> {
        let target = self.connects.address;
        let took = self.client.run(|| {
            let begun = Instant::now();
            for _ in 0..CONNECTIONS {
                let mut stream = TcpStream::connect(target).context("connect")?;
                let mut byte = [0];
                stream.write_all(&byte).context("send")?;
                stream.read_exact(&mut byte).context("receive")?;
            }
            Ok(begun.elapsed())
        })?;
        Ok((took / CONNECTIONS).as_secs_f64() * 1e6)
    }

    /// How long a stream takes until its last byte is received, microseconds.
    fn stream(&mut self) -> Result<f64> {
        let target = self.streams.address;
        let took = self.client.run(|| {
            let mut stream = TcpStream::connect(target).context("connect")?;
            let chunk = vec![0; CHUNK];
            let begun = Instant::now();
            for _ in 0..STREAM / CHUNK {
                stream.write_all(&chunk).context("send")?;
            }
            stream.read_exact(&mut [0]).context("receive")?;
            Ok(begun.elapsed())
        })?;
        Ok(took.as_secs_f64() * 1e6)
    }

    fn end(self) -> Result<()> {
        self.talk.end()?;
        [self.connects, self.streams].into_iter().try_for_each(|server| server.end(&self.client))
    }
}

/// Serves one connection after the other.
struct Server {
    address: SocketAddr,
    thread: thread::JoinHandle<()>,
}

impl Server {
    fn start(
        container: &Container<'_>,
        serve: impl Fn(TcpStream) -> std::io::Result<()> + Send + 'static,
    ) -> Result<Self> {
        let address: IpAddr = *container.addresses()?.first().context("no address")?;
        let listener = container.host()?.run(|| Ok(TcpListener::bind((address, 0))?))?;
        let address = listener.local_addr().context("address of a listener")?;
        let thread = thread::spawn(move || {
            // A connection without a byte is the last one.
            while listener.accept().is_ok_and(|(stream, _)| serve(stream).is_ok()) {}
        });
        Ok(Self { address, thread })
    }

    fn end(self, client: &Host) -> Result<()> {
        client.run(|| TcpStream::connect(self.address).context("connect").map(drop))?;
        self.thread.join().map_err(|_| anyhow!("a server panicked"))
    }
}
