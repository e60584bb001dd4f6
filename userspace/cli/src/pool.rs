//! `repoint pool`.

use std::path::{Path, PathBuf};

use clap::{Subcommand, value_parser};
use repoint::{
    conf::{Directories, NetConf, User},
    failpoint,
    model::{IfName, NetworkName, Outcome, PoolId, PoolOverride, PoolPolicy, TemplateName},
    node::{COOLDOWN_YIELDED, Node, NodeError, PoolError, record_pool},
    pool::{Supply, drain, supply},
    store::{Pool, Slot},
    verbs::prepare_for,
};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    config::read,
    node,
    output::{CommandError, json, said, table},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Set how many slots a pool keeps ready and has at most, whatever the configuration says; set
    /// up a pool that no ADD has asked for yet
    #[command(group = clap::ArgGroup::new("size").required(true).multiple(true).args(["warm", "max", "config"]))]
    Set {
        #[command(flatten)]
        pool: Which,
        /// Slots to keep ready
        #[arg(long, value_name = "SLOTS")]
        warm: Option<u32>,
        /// Most slots in all, those in use included
        #[arg(long, value_name = "SLOTS")]
        max: Option<u32>,
        /// The network's configuration (a .conf or .conflist): needed for a pool that is not on
        /// record
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Take back what `set` set: the configuration counts again
    Reset {
        #[command(flatten)]
        pool: Which,
    },
    /// Build slots now, up to the number that the pool keeps ready, or a given number
    Fill {
        #[command(flatten)]
        pool: Which,
        /// Slots to build, whatever the pool has
        #[arg(long, value_name = "SLOTS", value_parser = value_parser!(u32).range(1..))]
        count: Option<u32>,
    },
    /// Delete the slots that wait; the agent builds new ones unless the pool is set to 0
    Drain {
        #[command(flatten)]
        pool: Which,
    },
    /// Forget a pool and delete the slots that wait in it
    Remove {
        #[command(flatten)]
        pool: Which,
    },
}

/// Which pool is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// The network
    network: NetworkName,
    /// Name of the interface in the container
    #[arg(long, value_name = "NAME", default_value = "eth0")]
    interface: IfName,
    /// The stored template that its slots are made from (default: what the network's configuration
    /// says)
    #[arg(long, value_name = "NAME")]
    template: Option<TemplateName>,
}

impl From<Which> for PoolId {
    fn from(which: Which) -> Self {
        Self { network: which.network, ifname: which.interface, template: which.template }
    }
}

/// Runs `repoint pool`.
pub(crate) fn run(
    directories: &Directories,
    action: Option<Action>,
    as_json: bool,
) -> Result<(), CommandError> {
    match action {
        None => list(directories, as_json),
        Some(Action::Set { pool, warm, max, config }) => {
            let (node, id) = if let Some(file) = config {
                configure(directories, &pool.into(), &file)?
            } else {
                let node = node::open(directories)?;
                let id = meant(&node, pool)?;
                (node, id)
            };
            change(&node, &id, |set| PoolOverride { warm: warm.or(set.warm), max: max.or(set.max) })
        }
        Some(Action::Reset { pool }) => {
            let node = node::open(directories)?;
            change(&node, &meant(&node, pool)?, |_| PoolOverride::default())
        }
        Some(Action::Fill { pool, count }) => {
            let node = node::open(directories)?;
            fill(&node, &meant(&node, pool)?, count)
        }
        Some(Action::Drain { pool }) => {
            let node = node::open(directories)?;
            let id = meant(&node, pool)?;
            let pool = find(&node, &id)?;
            said(&format!("deleted {} slots of {id}", drain(&node, pool.key)?))
        }
        Some(Action::Remove { pool }) => {
            let node = node::open(directories)?;
            remove(&node, &meant(&node, pool)?)
        }
    }
}

/// The pool that the arguments name. If no template is named and the pool without one does not
/// exist, this is the only pool of the network and interface.
fn meant(node: &Node, which: Which) -> Result<PoolId, CommandError> {
    let id = PoolId::from(which);
    let mut pools = node.pools()?;
    pools.retain(|(known, _)| (&known.network, &known.ifname) == (&id.network, &id.ifname));
    let is_named = id.template.is_some() || pools.iter().any(|(known, _)| *known == id);
    match pools.pop() {
        Some((only, _)) if !is_named && pools.is_empty() => Ok(only),
        _ => Ok(id),
    }
}

fn find(node: &Node, id: &PoolId) -> Result<Pool, CommandError> {
    let pool = node.pool(id)?;
    pool.ok_or_else(|| CommandError::NoPool { pool: id.to_string() })
}

/// Records a pool as a file configures it, and makes the node if there is none. Returns which pool,
/// because the network may name a template.
fn configure(
    directories: &Directories,
    id: &PoolId,
    file: &Path,
) -> Result<(Node, PoolId), CommandError> {
    let conf = read(directories, file)?;
    if conf.name != id.network {
        return Err(CommandError::OtherNetwork {
            path: file.to_owned(),
            found: conf.name.to_string(),
            wanted: id.network.to_string(),
        });
    }
    let template = id.template.clone().or_else(|| conf.pool_conf.template.clone());
    let id = PoolId { template, ..id.clone() };
    let node = Node::open(directories)?;
    record_pool(&node, &conf, &id, conf.pool.unwrap_or_default())?;
    Ok((node, id))
}

fn change(
    node: &Node,
    id: &PoolId,
    change: impl Fn(PoolOverride) -> PoolOverride,
) -> Result<(), CommandError> {
    let changed = node.change_pool(id, |pool| {
        pool.set = change(pool.set);
        let PoolPolicy { warm, max, .. } = pool.policy();
        if warm > max { Err(CommandError::MoreWarmThanMax { warm, max }) } else { Ok(()) }
    })?;
    let PoolPolicy { warm, max, .. } =
        changed.ok_or_else(|| CommandError::NoPool { pool: id.to_string() })?;
    failpoint::hit("pool:set");
    repoint::agent_socket::notify(
        &node.directories.run,
        &format!("pool {id} is set to {warm} of {max}"),
    );
    said(&format!("pool {id} keeps {warm} slots ready and has {max} at most"))
}

fn fill(node: &Node, id: &PoolId, count: Option<u32>) -> Result<(), CommandError> {
    let pool = find(node, id)?;
    let conf = NetConf::recorded(&pool.conf).map_err(NodeError::from)?;
    let Supply { warm, total, .. } = supply(node, pool.key)?;
    let room = pool.policy().max.saturating_sub(total);
    let missing = pool.policy().warm.saturating_sub(warm);
    let wanted = count.unwrap_or_else(|| missing.min(room));
    let user = User { template: id.template.clone(), ..User::default() };
    let (built, outcome) = build(node, &conf, &id.ifname, &user, wanted);
    said(&format!("built {} slots for {id}", built.len()))?;
    match outcome {
        // The agent or an ADD has built the others meanwhile.
        Err(NodeError::Pool(PoolError::NoRoom { .. })) if count.is_none() => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// Builds slots. Returns those that are ready, and why there are fewer than wanted, if there are.
pub(crate) fn build(
    node: &Node,
    conf: &NetConf,
    ifname: &IfName,
    user: &User,
    wanted: u32,
) -> (Vec<Slot>, Result<(), NodeError>) {
    let (mut built, mut left) = (Vec::new(), wanted);
    while left > 0 {
        match prepare_for(node, conf, ifname, user, left) {
            // Where addresses or room end, the next try says so.
            Ok(more) => {
                left = left.saturating_sub(u32::try_from(more.len()).unwrap_or(left));
                built.extend(more);
            }
            Err(error) => return (built, Err(error)),
        }
    }
    (built, Ok(()))
}

fn remove(node: &Node, id: &PoolId) -> Result<(), CommandError> {
    let pool = find(node, id)?;
    node.forget_pool(id)?;
    failpoint::hit("pool:removed");
    let number = drain(node, pool.key)?;
    said(&format!("forgot pool {id}, deleted {number} slots"))
}

#[derive(Debug, Serialize)]
struct Row {
    network: String,
    interface: String,
    template: Option<String>,
    warm: u32,
    parked: u32,
    total: u32,
    target: u32,
    max: u32,
    scope: &'static str,
    hits: u64,
    built: u64,
    declined: u64,
    adds: Map<String, Value>,
    /// Addresses that were given before they had rested, since no other was left.
    #[serde(rename = "cooldownYielded")]
    cooldown_yielded: u64,
}

fn row(node: &Node, id: &PoolId, pool: &Pool) -> Result<Row, CommandError> {
    let counters = node.pool_counters(id)?;
    let (yielded, counters): (Vec<_>, Vec<_>) =
        counters.into_iter().partition(|(label, _)| label == COOLDOWN_YIELDED);
    let sum = |of: fn(Outcome) -> bool| {
        let counted = counters.iter().filter(|(label, _)| Outcome::of_label(label).is_some_and(of));
        counted.map(|(_, count)| count).sum()
    };
    let Supply { warm, parked, total } = supply(node, pool.key)?;
    let size = pool.policy();
    Ok(Row {
        network: id.network.to_string(),
        interface: id.ifname.to_string(),
        template: id.template.as_ref().map(ToString::to_string),
        warm,
        parked,
        total,
        target: size.warm,
        max: size.max,
        scope: size.scope.name(),
        hits: sum(Outcome::is_hit),
        built: sum(|outcome| matches!(outcome, Outcome::Built)),
        declined: sum(|outcome| matches!(outcome, Outcome::Declined(_))),
        adds: counters.into_iter().map(|(label, count)| (label, count.into())).collect(),
        cooldown_yielded: yielded.into_iter().map(|(_, count)| count).sum(),
    })
}

fn list(directories: &Directories, as_json: bool) -> Result<(), CommandError> {
    let mut rows = Vec::new();
    let node = node::open(directories)?;
    for (id, pool) in node.pools()? {
        rows.push(row(&node, &id, &pool)?);
    }
    if as_json {
        return json(&rows);
    }
    table(
        [
            "NETWORK",
            "INTERFACE",
            "TEMPLATE",
            "WARM",
            "TARGET",
            "PARKED",
            "TOTAL",
            "MAX",
            "SCOPE",
            "HITS",
            "BUILT",
            "DECLINED",
        ],
        rows.into_iter().map(|row| {
            [
                row.network,
                row.interface,
                row.template.unwrap_or_else(|| "-".to_owned()),
                row.warm.to_string(),
                row.target.to_string(),
                row.parked.to_string(),
                row.total.to_string(),
                row.max.to_string(),
                row.scope.to_owned(),
                row.hits.to_string(),
                row.built.to_string(),
                row.declined.to_string(),
            ]
        }),
    )
}
