//! TCP round trips between two slots of one node. They show what the flow memory (map `stack_flows`)
//! costs packets of other flows.
//!
//! One connection and one byte each way, again and again. Measurements with the memory in use and without
//! take turns, so that both of a pair are of the same moment. A third connection goes through the host
//! stack.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use repoint_common::{LAYOUT_VERSION, settings};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    compared::{Compared, PAIRS, pair},
    contestant::{Contestant, WARM},
};
use crate::{Container, Node, command, dist, plugin::Network};

/// Round trips of one measurement.
pub const EXCHANGES: u32 = 2500;

/// Times of a round trip, each the mean of some measurements of [`EXCHANGES`].
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Pair {
    /// The memory is not in use, microseconds.
    pub unused: f64,
    /// It is in use, and the flow is not in it.
    pub used: f64,
    /// Through the host stack.
    pub stack: f64,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct RoundTrips {
    /// All pairs, in the order in which they were measured.
    pub pairs: Vec<Pair>,
    /// Time of a round trip with the memory in use against that without.
    #[serde(flatten)]
    pub compared: Compared,
}

/// Measures on a node of its own, in networks like the contestant's.
pub(super) fn run(contestant: &Contestant) -> Result<RoundTrips> {
    eprintln!("round trips: {PAIRS} pairs of {EXCHANGES}");
    let node = Node::new()?;
    let pairs = node.run(|| {
        let configuration = contestant.configuration.as_ref().context("no configuration")?;
        let direct = network(&node, configuration, ("direct", "direct"), 1)?;
        let stack = network(&node, configuration, ("stack", "stack"), 2)?;
        let [one, two] = ["one", "two"].map(|name| Container::add(&direct, name));
        let [three, four] = ["three", "four"].map(|name| Container::add(&stack, name));
        let all = [one?, two?, three?, four?];
        let mut short = Talk::between(&all[0], &all[1])?;
        let mut long = Talk::between(&all[2], &all[3])?;
        let pairs = (0..PAIRS)
            .map(|number| {
                let [unused, used] = pair(number, |in_use| {
                    use_flows(&node, in_use)?;
                    short.time()
                })?;
                Ok(Pair { unused, used, stack: long.time()? })
            })
            .collect::<Result<Vec<_>>>()?;
        short.end()?;
        long.end()?;
        all.into_iter().try_for_each(Container::remove)?;
        Ok(pairs)
    })?;
    let compared = Compared::of(std::array::from_fn(|at| pairs[at].used / pairs[at].unused));
    Ok(RoundTrips { pairs, compared })
}

/// The contestant of which the networks are.
pub(super) const CONTESTANT: &str = WARM;

/// A network without a pool, of this name, whose containers talk in this way.
pub(super) fn network(
    node: &Node,
    like: &Value,
    (name, path): (&str, &str),
    subnet: u8,
) -> Result<Network> {
    let mut configuration = like.clone();
    if let Some(keys) = configuration.as_object_mut() {
        keys.remove("pool");
    }
    configuration["name"] = json!(format!("bench-{name}"));
    configuration["localPath"] = json!(path);
    configuration["ipam"]["ranges"] = json!([[{ "subnet": format!("10.210.{subnet}.0/24") }]]);
    node.dirs().patch(&mut configuration);
    Network::new(&configuration, dist::cni_path())
}

/// Has the programs look flows up, or not, as they do from the first element on.
fn use_flows(node: &Node, in_use: bool) -> Result<()> {
    let map = node.dirs().bpf.join(format!("v{LAYOUT_VERSION}")).join(settings::MAP);
    let (map, number) = (map.to_string_lossy(), settings::STACK_FLOWS.to_string());
    let value = if in_use { "1" } else { "0" };
    let element = ["key", &number, "0", "0", "0", "value", value, "0", "0", "0"];
    let update = ["map", "update", "pinned", &map];
    command::run("bpftool", [&update[..], &element].concat()).map(drop)
}

/// A connection whose server sends back every byte.
pub(super) struct Talk {
    stream: TcpStream,
    echo: thread::JoinHandle<std::io::Result<()>>,
}

impl Talk {
    pub(super) fn between(client: &Container<'_>, server: &Container<'_>) -> Result<Self> {
        let address: IpAddr = *server.addresses()?.first().context("no address")?;
        let inside = server.host()?;
        let listener = inside.run(|| Ok(std::net::TcpListener::bind((address, 0))?))?;
        let target: SocketAddr = listener.local_addr().context("address of a listener")?;
        let stream = client.host()?.run(|| Ok(TcpStream::connect(target)?))?;
        let (mut accepted, _) = listener.accept().context("accept")?;
        for side in [&stream, &accepted] {
            side.set_nodelay(true).context("set TCP_NODELAY")?;
        }
        let echo = thread::spawn(move || {
            let mut byte = [0];
            while accepted.read(&mut byte)? == 1 {
                accepted.write_all(&byte)?;
            }
            Ok(())
        });
        Ok(Self { stream, echo })
    }

    /// How long a round trip takes, microseconds.
    pub(super) fn time(&mut self) -> Result<f64> {
        let mut byte = [0];
        let begun = Instant::now();
        for _ in 0..EXCHANGES {
            self.stream.write_all(&byte).context("send")?;
            self.stream.read_exact(&mut byte).context("receive")?;
        }
        let took: Duration = begun.elapsed() / EXCHANGES;
        Ok(took.as_secs_f64() * 1e6)
    }

    pub(super) fn end(self) -> Result<()> {
        drop(self.stream);
        let echoed = self.echo.join().map_err(|_| anyhow!("the server panicked"))?;
        echoed.context("the server's side")
    }
}
