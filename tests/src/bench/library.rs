//! Activation without an executable: what a gateway waits for that uses the library.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use repoint::{
    conf::{NetConf, User},
    model::AttachmentId,
    node::Node as Library,
    pool::supply,
    verbs::ActivateRequest,
};
use serde::Serialize;

use super::{
    contestant::Contestant,
    fence::Pace,
    pool::Pool,
    stats::{Summary, all_microseconds},
};
use crate::{Node, wait};

/// Activations that count.
pub const ROUNDS: usize = 500;
/// Activations that do not: the first one opens what the others use.
const WARM_UP: usize = 20;
/// Activations in a row, before as many are parked: a gateway's functions come in bunches.
const GROUP: usize = 10;

/// Calls of `repoint::Node`, one at a time.
#[derive(Debug, Clone, Serialize)]
pub struct LibraryCalls {
    /// Name of the contestant whose pool it was.
    pub contestant: &'static str,
    /// Of a slot that was ready.
    pub activate: Summary,
    /// Of the same slot, with an agent to bring it back.
    pub park: Summary,
    /// Each activation, in the order in which they were made.
    #[serde(rename = "activations_us", serialize_with = "all_microseconds")]
    pub activations: Vec<Duration>,
}

/// Activates and parks slots again and again, in this process, on the contestant's node.
pub(super) fn run(contestant: &Contestant, node: &Node, pace: &mut Pace) -> Result<LibraryCalls> {
    eprintln!("library: {WARM_UP} + {ROUNDS} activations");
    let pool = Pool::of(contestant, node).context("a network without a pool")?;
    node.run(|| {
        let before = pool.status()?;
        let (activations, parkings) = calls(contestant, pace)?;
        pool.require_hits(&before, WARM_UP + ROUNDS)?;
        Ok(LibraryCalls {
            contestant: contestant.name,
            activate: Summary::of(&activations).context("no activation")?,
            park: Summary::of(&parkings).context("no parking")?,
            activations,
        })
    })
}

fn calls(contestant: &Contestant, pace: &mut Pace) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let configuration = contestant.configuration.as_ref().context("no configuration")?;
    let conf = NetConf::parse(configuration.to_string().as_bytes())?;
    let node = Library::open(&conf.directories)?;
    let (mut activations, mut parkings) = (Vec::new(), Vec::new());
    for _ in 0..(WARM_UP + ROUNDS) / GROUP {
        let (activated, parked) = turn(&node, &conf, pace)?;
        activations.extend(activated);
        parkings.extend(parked);
    }
    Ok((activations.split_off(WARM_UP), parkings.split_off(WARM_UP)))
}

/// Waits afterwards until the agent has brought the slots back, so that the next calls are alone.
fn turn(node: &Library, conf: &NetConf, pace: &mut Pace) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let attachments: Vec<AttachmentId> = (0..GROUP)
        .map(|number| {
            let container = format!("library-{number}").parse()?;
            Ok(AttachmentId { network: conf.name.clone(), container, ifname: "eth0".parse()? })
        })
        .collect::<Result<_>>()?;
    let user = User::default();
    pace.settle()?;
    let activated = attachments.iter().map(|attachment| {
        let request =
            ActivateRequest { conf, attachment, user: &user, path: None, prepared_only: false };
        let start = Instant::now();
        let activation = node.activate(&request)?;
        let activated = start.elapsed();
        drop(activation);
        Ok(activated)
    });
    let activated = activated.collect::<Result<_>>()?;
    let parked = attachments.iter().map(|attachment| {
        let start = Instant::now();
        node.park(attachment)?;
        Ok(start.elapsed())
    });
    let parked = parked.collect::<Result<_>>()?;
    let key = conf.pool_key(&"eth0".parse()?, None);
    wait::until(Duration::from_secs(10), "bringing slots back", || {
        let supply = supply(node, key)?;
        let least = conf.pool.map_or(0, |pool| pool.warm);
        ensure!(supply.warm + supply.parked == supply.total, "{supply:?}");
        ensure!(supply.total >= least, "{supply:?}, {least} are to be ready");
        Ok(())
    })?;
    Ok((activated, parked))
}
