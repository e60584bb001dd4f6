//! The nodes that the contestants are measured on.

use std::iter;

use anyhow::Result;

use super::{contestant::Contestant, pool::Pool};
use crate::{Agent, Node};

/// A node without pools, one with pools and an agent, and one with a pool and no agent: slots that wait
/// are interfaces, which other plugins would have to list.
pub struct Nodes {
    plain: Node,
    pooled: Option<(Agent, Node)>,
    alone: Option<Node>,
}

impl Nodes {
    /// Takes a node, makes the other one if these contestants need it, and waits until pools are
    /// full.
    pub fn new(plain: Node, contestants: &[Contestant]) -> Result<Self> {
        let needed = contestants.iter().any(Contestant::has_agent);
        let pooled = needed.then(|| pooled(contestants)).transpose()?;
        let lonely = contestants.iter().find(|one| one.has_pool() && !one.has_agent());
        let alone = lonely.map(alone).transpose()?;
        Ok(Self { plain, pooled, alone })
    }

    /// The node of a contestant.
    pub fn of(&self, contestant: &Contestant) -> &Node {
        match (&self.pooled, &self.alone) {
            (Some((_, node)), _) if contestant.has_agent() => node,
            (_, Some(node)) if contestant.has_pool() && !contestant.has_agent() => node,
            _ => &self.plain,
        }
    }

    /// All nodes.
    pub fn all(&self) -> impl Iterator<Item = &Node> {
        iter::once(&self.plain).chain(self.pooled()).chain(&self.alone)
    }

    /// The node with pools, if there is one.
    pub fn pooled(&self) -> Option<&Node> {
        self.pooled.as_ref().map(|(_, node)| node)
    }

    /// Ends the agent, which must exit with success, and releases the nodes.
    pub fn end(self) -> Result<()> {
        self.pooled.map_or(Ok(()), |(agent, node)| node.run(|| agent.stop()))
    }
}

fn pooled(contestants: &[Contestant]) -> Result<(Agent, Node)> {
    let node = Node::new()?;
    let agent = node.run(|| {
        let agent = Agent::start(&node)?;
        for contestant in contestants.iter().filter(|one| one.has_agent()) {
            if let Some(pool) = Pool::of(contestant, &node) {
                pool.record()?;
                pool.until_full()?;
            }
        }
        Ok(agent)
    })?;
    Ok((agent, node))
}

fn alone(contestant: &Contestant) -> Result<Node> {
    let node = Node::new()?;
    node.run(|| match Pool::of(contestant, &node) {
        Some(pool) => {
            pool.record()?;
            pool.bring_back()
        }
        None => Ok(()),
    })?;
    Ok(node)
}
