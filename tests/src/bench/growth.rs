//! ADD on a node that has more and more attachments.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{
    contestant::{Contestant, Operation, PTP, REPOINT},
    fence::{Pace, links, until_links},
    stats::{Summary, all_microseconds},
    timed::Timed,
};
use crate::{Netns, Node};

/// Attachments on the full node.
pub const ATTACHMENTS: usize = 1000;
/// ADDs at each end of the curve that are compared, and calls on each of both nodes.
pub const EDGE: usize = 50;
/// Calls on each of both nodes that do not count.
const WARM_UP: usize = 5;

/// The contestants that are measured so: a reference plugin takes a minute or more.
pub const MEASURED: [&str; 2] = [REPOINT, PTP];

/// What the number of attachments does to one contestant.
#[derive(Debug, Clone, Serialize)]
pub struct Growth {
    /// Name of the contestant.
    pub contestant: &'static str,
    /// ADD number 1 to 1,000, one right after the other.
    #[serde(rename = "adds_us", serialize_with = "all_microseconds")]
    pub adds: Vec<Duration>,
    /// The first ADDs of these.
    pub first_adds: Summary,
    /// The last ADDs of these.
    pub last_adds: Summary,
    /// Calls that alternate between an empty node and a full one.
    pub alternating: Alternating,
}

/// ADD and DEL of attachment number 1 on one node and number 1,000 on another one.
#[derive(Debug, Clone, Serialize)]
pub struct Alternating {
    /// ADD number 1.
    pub first_add: Summary,
    /// ADD number 1,000.
    pub last_add: Summary,
    /// DEL that leaves none.
    pub first_del: Summary,
    /// DEL that leaves 999.
    pub last_del: Summary,
}

/// Fills a node, compares it with an empty one, and takes both down.
pub(super) fn run(contestant: &Contestant, pace: &mut Pace) -> Result<Growth> {
    eprintln!("growth: {ATTACHMENTS} attachments of {}", contestant.name);
    let (full, empty) = (Node::new()?, Node::new()?);
    full.run(|| {
        let before = links()?;
        let containers: Vec<Netns> = (1..=ATTACHMENTS)
            .map(|number| Netns::create(&format!("growth-{number}")))
            .collect::<Result<_>>()?;
        let adds = fill(contestant, &containers)?;
        let last = containers.last().context("no container")?;
        let last = Place::occupied(contestant, &full, last.path())?;
        let alternating = empty.run(|| {
            let container = Netns::create("growth-1")?;
            alternate(Place::free(contestant, &empty, container.path()), last, pace)
        })?;
        drop(containers);
        until_links(before)?;
        growth(contestant, adds, alternating)
    })
}

fn growth(
    contestant: &Contestant,
    adds: Vec<Duration>,
    alternating: Alternating,
) -> Result<Growth> {
    let edge = EDGE.min(adds.len());
    Ok(Growth {
        contestant: contestant.name,
        first_adds: Summary::of(&adds[..edge]).context("no ADD")?,
        last_adds: Summary::of(&adds[adds.len() - edge..]).context("no ADD")?,
        adds,
        alternating,
    })
}

fn fill(contestant: &Contestant, containers: &[Netns]) -> Result<Vec<Duration>> {
    containers
        .iter()
        .map(|netns| {
            let container_id = netns.path().file_name().unwrap_or_default().to_string_lossy();
            Timed::new(contestant, Operation::Add, &container_id, netns.path())
                .run()
                .with_context(|| format!("ADD of {container_id}"))
        })
        .collect()
}

/// A node where one attachment is made and removed.
struct Place<'a> {
    node: &'a Node,
    add: Timed,
    del: Timed,
    adds: Vec<Duration>,
    dels: Vec<Duration>,
}

impl<'a> Place<'a> {
    fn free(contestant: &Contestant, node: &'a Node, netns: &Path) -> Self {
        let container_id = netns.file_name().unwrap_or_default().to_string_lossy();
        let call = |operation| Timed::new(contestant, operation, &container_id, netns);
        Self {
            node,
            add: call(Operation::Add),
            del: call(Operation::Del),
            adds: Vec::new(),
            dels: Vec::new(),
        }
    }

    /// Takes the place of an attachment; the calling thread is on its node.
    fn occupied(contestant: &Contestant, node: &'a Node, netns: &Path) -> Result<Self> {
        let place = Self::free(contestant, node, netns);
        place.del.run()?;
        Ok(place)
    }

    fn turn(&mut self, pace: &mut Pace) -> Result<()> {
        let Self { node, add, del, adds, dels } = self;
        node.run(|| {
            pace.settle()?;
            adds.push(add.run()?);
            pace.settle()?;
            dels.push(del.run()?);
            Ok(())
        })
    }
}

fn alternate<'a>(
    mut first: Place<'a>,
    mut last: Place<'a>,
    pace: &mut Pace,
) -> Result<Alternating> {
    for _ in 0..WARM_UP + EDGE {
        let mut places = [&mut first, &mut last];
        pace.shuffle(&mut places);
        for place in places {
            place.turn(pace)?;
        }
    }
    let summary = |calls: &[Duration]| Summary::of(&calls[WARM_UP..]).context("no turn");
    Ok(Alternating {
        first_add: summary(&first.adds)?,
        last_add: summary(&last.adds)?,
        first_del: summary(&first.dels)?,
        last_del: summary(&last.dels)?,
    })
}
