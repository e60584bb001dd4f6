//! The programs that are measured.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    command,
    dist::{self, REFERENCE_PLUGINS, workspace},
    node::Dirs,
};

/// Our plugin, which builds the network when ADD comes, doing what [`PTP`] does.
pub const REPOINT: &str = "repoint";
/// The same with masquerade, doing what [`PTP_MASQUERADE`] and [`BRIDGE_MASQUERADE`] do.
pub const REPOINT_MASQUERADE: &str = "repoint-ipmasq";
/// Our plugin with a pool: ADD takes a slot that was built before, DEL parks it.
pub const WARM: &str = "repoint-warm";
/// The same with masquerade, doing what [`BRIDGE_MASQUERADE`] does.
pub const WARM_MASQUERADE: &str = "repoint-warm-ipmasq";
/// Our plugin with a pool, for a function that gets the slot back that it had before.
pub const OWN: &str = "repoint-own";
/// Our plugin with a pool on a node without an agent: ADD looks at the slot's half on the node itself.
pub const ALONE: &str = "repoint-alone";
/// The reference plugin that is nearest to ours: a veth pair and routes.
pub const PTP: &str = "ptp";
/// The same with masquerade.
pub const PTP_MASQUERADE: &str = "ptp-ipmasq";
/// The reference plugin that most nodes have, with masquerade.
pub const BRIDGE_MASQUERADE: &str = "bridge-ipmasq";
/// A static C program that does nothing: what any executable costs.
pub const FLOOR: &str = "floor";

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// The program alone, from its making to its end.
    Exec,
    /// CNI's ADD.
    Add,
    /// CNI's DEL of what ADD made.
    Del,
}

impl Operation {
    /// As in `CNI_COMMAND`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exec => "EXEC",
            Self::Add => "ADD",
            Self::Del => "DEL",
        }
    }
}

/// A program, and how it is called.
#[derive(Debug, Clone)]
pub struct Contestant {
    /// Name in tables, and for `--only`.
    pub name: &'static str,
    /// The executable.
    pub program: PathBuf,
    /// The network's configuration; none for a program that is no plugin.
    pub configuration: Option<Value>,
}

impl Contestant {
    fn new(name: &'static str, program: PathBuf, configuration: Option<Value>) -> Self {
        Self { name, program, configuration }
    }

    /// Whether its network has a pool.
    #[must_use]
    pub fn has_pool(&self) -> bool {
        self.configuration.as_ref().is_some_and(|value| value.get("pool").is_some())
    }

    /// Whether an agent runs on its node.
    #[must_use]
    pub fn has_agent(&self) -> bool {
        self.has_pool() && self.name != ALONE
    }

    /// What is timed of it, in the order in which it can be done.
    #[must_use]
    pub fn operations(&self) -> &'static [Operation] {
        match self.configuration {
            Some(_) => &[Operation::Add, Operation::Del],
            None => &[Operation::Exec],
        }
    }
}

/// Slots that wait for the ADDs of one at a time: more than those that are being brought back.
const FEW_SLOTS: usize = 16;

/// All contestants. Each network has a subnet of its own, large enough for [`super::growth`].
pub fn all(dirs: &Dirs) -> Result<Vec<Contestant>> {
    let mut all = vec![Contestant::new(FLOOR, compile_floor()?, None)];
    all.extend(ours(dirs));
    all.extend(references());
    Ok(all)
}

fn ours(dirs: &Dirs) -> [Contestant; 6] {
    let network = |name, subnet, keys: Value| {
        let mut configuration = json!({
            "cniVersion": "1.0.0", "name": format!("bench-{name}"), "type": "repoint-cni",
            "ipam": ipam(subnet)
        });
        dirs.patch(&mut configuration);
        merge(&mut configuration, keys);
        Contestant::new(name, dist::plugin(), Some(configuration))
    };
    // Each ADD takes a slot that has had no user; the agent builds another one.
    let pool = json!({ "warm": FEW_SLOTS, "maxSlots": FEW_SLOTS, "scope": "function" });
    // No slot is warm: the function's own slot is all there is.
    let own = json!({ "warm": 0, "maxSlots": 1 });
    let function = json!({
        "cni": { "repoint.dev/tenant": "bench", "repoint.dev/function": "bench" }
    });
    [
        network(REPOINT, "10.216.0.0/16", json!({})),
        network(REPOINT_MASQUERADE, "10.215.0.0/16", json!({ "ipMasq": true })),
        network(WARM, "10.214.0.0/16", json!({ "pool": pool })),
        network(WARM_MASQUERADE, "10.213.0.0/16", json!({ "ipMasq": true, "pool": pool })),
        network(ALONE, "10.211.0.0/16", json!({ "pool": pool })),
        network(OWN, "10.212.0.0/16", json!({ "pool": own, "args": function })),
    ]
}

fn merge(configuration: &mut Value, keys: Value) {
    if let (Some(configuration), Value::Object(keys)) = (configuration.as_object_mut(), keys) {
        configuration.extend(keys);
    }
}

fn references() -> [Contestant; 3] {
    let ptp = json!({
        "cniVersion": "1.0.0", "name": "bench-ptp", "type": "ptp",
        "ipam": host_local("10.217.0.0/16")
    });
    let ptp_masquerade = json!({
        "cniVersion": "1.0.0", "name": "bench-ptp-ipmasq", "type": "ptp", "ipMasq": true,
        "ipam": host_local("10.218.0.0/16")
    });
    let bridge_masquerade = json!({
        "cniVersion": "1.0.0", "name": "bench-bridge-ipmasq", "type": "bridge", "ipMasq": true,
        "bridge": "cni0", "isGateway": true,
        "ipam": host_local("10.219.0.0/16")
    });
    let reference = |executable| Path::new(REFERENCE_PLUGINS).join(executable);
    [
        Contestant::new(PTP, reference("ptp"), Some(ptp)),
        Contestant::new(PTP_MASQUERADE, reference("ptp"), Some(ptp_masquerade)),
        Contestant::new(BRIDGE_MASQUERADE, reference("bridge"), Some(bridge_masquerade)),
    ]
}

fn ipam(subnet: &str) -> Value {
    json!({ "ranges": [[{ "subnet": subnet }]], "routes": [{ "dst": "0.0.0.0/0" }] })
}

fn host_local(subnet: &str) -> Value {
    let mut ipam = ipam(subnet);
    ipam["type"] = json!("host-local");
    ipam
}

/// Those of the given names, or all when no name is given. Every one must be there.
pub fn choose(all: Vec<Contestant>, only: &[String]) -> Result<Vec<Contestant>> {
    let names: Vec<&str> = all.iter().map(|contestant| contestant.name).collect();
    for name in only {
        ensure!(
            names.contains(&name.as_str()),
            "there is no contestant {name:?}, but {}",
            names.join(", ")
        );
    }
    let chosen: Vec<Contestant> = all
        .into_iter()
        .filter(|contestant| only.is_empty() || only.iter().any(|name| name == contestant.name))
        .collect();
    for contestant in &chosen {
        ensure!(
            contestant.program.is_file(),
            "{}: {} is not there; build or install it, or choose others with --only",
            contestant.name,
            contestant.program.display()
        );
    }
    Ok(chosen)
}

fn compile_floor() -> Result<PathBuf> {
    let folder = workspace().join("target/bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let source = workspace().join("tests/src/bench/floor.c");
    let program = folder.join("floor");
    let arguments = ["-static", "-O2", "-o"].map(Path::new);
    let files = [program.as_path(), source.as_path()];
    command::run("gcc", arguments.iter().chain(&files)).context("compile the floor")?;
    Ok(program)
}
