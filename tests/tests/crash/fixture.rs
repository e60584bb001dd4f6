//! Where combinations are played: a node, and the network of a scenario on it.

use std::{
    ffi::OsString,
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Netns, Node, command, dist,
    plugin::{Attachment, Network},
    wait,
};
use serde_json::{Value, json};

/// The network's name.
pub const NAME: &str = "functions";
/// Where its configuration is, for the CLI.
pub const CONFIGURATION: &str = "/run/functions.json";
/// How long what a killed process leaves may run on.
const SOON: Duration = Duration::from_secs(10);
/// Where executables record which points they pass.
const TRACE: &str = "/run/trace";

/// An executable with failpoints.
pub fn executable(name: &str) -> PathBuf {
    dist::failpoints().join(name)
}

/// A node, and the network that a scenario is about.
#[derive(Debug)]
pub struct Fixture<'a> {
    pub node: &'a Node,
    pub network: Network,
    configuration: Value,
}

impl<'a> Fixture<'a> {
    /// For the calling thread, which is on the node.
    pub fn new(node: &'a Node, change: fn(&mut Value)) -> Result<Self> {
        let mut configuration = json!({
            "cniVersion": "1.1.0", "name": NAME, "type": "repoint-cni", "ipMasq": true,
            "isolation": "tenant",
            "ipam": {
                "ranges": [[{ "subnet": "10.219.7.0/24" }], [{ "subnet": "fd00:219:7::/64" }]],
                "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
            },
        });
        change(&mut configuration);
        node.dirs().patch(&mut configuration);
        fs::write(CONFIGURATION, configuration.to_string())
            .with_context(|| format!("write {CONFIGURATION}"))?;
        let network = network(&configuration)?;
        Ok(Self { node, network, configuration })
    }

    /// The network with its configuration changed, but for its name and version.
    pub fn network_with(&self, change: impl FnOnce(&mut Value)) -> Network {
        let mut configuration = self.configuration.clone();
        change(&mut configuration);
        network(&configuration).expect("it has name and version still")
    }

    /// Whether the network has a pool.
    pub fn has_pool(&self) -> bool {
        self.configuration.get("pool").is_some()
    }

    /// Runs a command of the CLI, which must succeed.
    pub fn repoint(&self, arguments: &[&str]) -> Result<String> {
        let ended = cli(arguments).run(self.node, None)?;
        ended.success().map(|ended| ended.stdout)
    }

    /// Builds the slots that the pool keeps ready.
    pub fn fill(&self) -> Result<()> {
        self.configure()?;
        self.repoint(&["pool", "fill", NAME]).map(drop)
    }

    /// Records the pool as it is configured.
    pub fn configure(&self) -> Result<()> {
        self.repoint(&["pool", "set", NAME, "--config", CONFIGURATION]).map(drop)
    }
}

/// A command of the CLI.
pub fn cli(arguments: &[&str]) -> Verb {
    Verb::Cli(arguments.iter().map(Into::into).collect())
}

fn network(configuration: &Value) -> Result<Network> {
    let path = format!("{}:{}", dist::failpoints().display(), dist::REFERENCE_PLUGINS);
    Network::new(configuration, path)
}

/// Waits until what processes of repoint have started ends: what removes an interface for the plugin
/// outlives it by a grace period of the kernel's.
pub fn wait_for_processes(node: &Node) -> Result<()> {
    wait::until(SOON, "what it started ends", || {
        let left = node.processes()?;
        ensure!(left.is_empty(), "{left:?} run");
        Ok(())
    })
}

/// A container: a namespace, and what it is attached by.
#[derive(Debug)]
pub struct Case {
    pub netns: Netns,
    pub attachment: Attachment,
}

impl Case {
    /// Makes a container's namespace.
    pub fn new(name: &str) -> Result<Self> {
        let netns = Netns::create(name)?;
        let attachment = Attachment::new(name, netns.path());
        Ok(Self { netns, attachment })
    }
}

/// Where a process is to be ended, or stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    pub name: String,
    /// At which passing.
    pub number: usize,
}

/// Something to be run.
#[derive(Debug, Clone)]
pub enum Verb {
    /// A verb of the plugin.
    Cni(Box<(Network, &'static str, Attachment)>),
    /// A command of the CLI.
    Cli(Vec<OsString>),
    /// The agent, until it has nothing left to do.
    Agent,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    /// The points that were passed.
    pub trace: Vec<String>,
}

impl Ended {
    pub fn success(self) -> Result<Self> {
        ensure!(self.status.success(), "{}", self.said());
        Ok(self)
    }

    pub fn said(&self) -> String {
        format!("{}: {} {}", self.status, self.stdout.trim(), self.stderr.trim())
    }

    /// Whether a point was passed as often as it says.
    pub fn met(&self, point: &Point) -> bool {
        self.trace.iter().filter(|name| **name == point.name).count() >= point.number
    }

    pub fn was_killed(&self) -> bool {
        self.status.signal() == Some(9)
    }
}

impl Verb {
    /// A verb of the plugin.
    pub fn cni(network: Network, verb: &'static str, attachment: Attachment) -> Self {
        Self::Cni(Box::new((network, verb, attachment)))
    }

    /// Runs it to its end, which may come at a point.
    pub fn run(&self, node: &Node, point: Option<&Point>) -> Result<Ended> {
        let mut environment = vec![("REPOINT_FAILPOINT_TRACE", TRACE.to_owned())];
        if let Some(Point { name, number }) = point {
            environment.push(("REPOINT_FAILPOINT", format!("{name}#{number}")));
        }
        self.run_with(node, environment)
    }

    fn run_with(&self, node: &Node, more: Vec<(&'static str, String)>) -> Result<Ended> {
        fs::write(TRACE, "").with_context(|| format!("write {TRACE}"))?;
        let (status, stdout, stderr) = match self.process(node)? {
            Some((mut command, input)) => {
                let output = command::output_with_input(command.envs(more), &input)?;
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                (output.status, text(&output.stdout), text(&output.stderr))
            }
            None => crate::agent::run(node, more, Path::new(TRACE))?,
        };
        wait_for_processes(node)?;
        let trace = fs::read_to_string(TRACE).with_context(|| format!("read {TRACE}"))?;
        let trace = trace.lines().map(str::to_owned).collect();
        Ok(Ended { status, stdout, stderr, trace })
    }

    /// The process that it would be, and what it has on standard input; none for the agent.
    pub fn process(&self, node: &Node) -> Result<Option<(Command, Vec<u8>)>> {
        Ok(match self {
            Self::Cni(call) => {
                let (network, verb, attachment) = &**call;
                let call = network.single(verb, attachment, None)?;
                Some((call.command(), call.input().to_vec()))
            }
            Self::Cli(arguments) => {
                let mut command = Command::new(executable("repoint"));
                command.args(node.dirs().arguments()).args(arguments);
                Some((command, Vec::new()))
            }
            Self::Agent => None,
        })
    }

    /// Runs it until it ends at a point.
    pub fn run_until(&self, node: &Node, point: &Point) -> Result<Ended> {
        let ended = self.run(node, Some(point))?;
        ensure!(ended.met(point), "it did not pass {point:?}: {}", ended.said());
        Ok(ended)
    }
}
