//! The nodes that the contestants are measured on.

use std::iter;

use anyhow::Result;

use super::{contestant::Contestant, pool::Pool};
use crate::{Agent, Node};

/// A node without pools, and one with pools and an agent: slots that wait are interfaces, which
/// other plugins would have to list.
pub struct Nodes {
    plain: Node,
    pooled: Option<(Agent, Node)>,
}

impl Nodes {
    /// Takes a node, makes the other one if these contestants need it, and waits until pools are
    /// full.
    pub fn new(plain: Node, contestants: &[Contestant]) -> Result<Self> {
        let needed = contestants.iter().any(Contestant::has_pool);
        let pooled = needed.then(|| pooled(contestants)).transpose()?;
        Ok(Self { plain, pooled })
    }

    /// The node of a contestant.
    pub fn of(&self, contestant: &Contestant) -> &Node {
        match &self.pooled {
            Some((_, node)) if contestant.has_pool() => node,
            _ => &self.plain,
        }
    }

    /// All nodes.
    pub fn all(&self) -> impl Iterator<Item = &Node> {
        iter::once(&self.plain).chain(self.pooled())
    }

    /// The node with pools, if there is one.
    pub fn pooled(&self) -> Option<&Node> {
        self.pooled.as_ref().map(|(_, node)| node)
    }

    /// Ends the agent, which must have fared well, and gives the nodes up.
    pub fn end(self) -> Result<()> {
        self.pooled.map_or(Ok(()), |(agent, node)| node.run(|| agent.stop()))
    }
}

fn pooled(contestants: &[Contestant]) -> Result<(Agent, Node)> {
    let node = Node::new()?;
    let agent = node.run(|| {
        let agent = Agent::start(&node)?;
        for contestant in contestants {
            if let Some(pool) = Pool::of(contestant, &node) {
                pool.record()?;
                pool.until_full()?;
            }
        }
        Ok(agent)
    })?;
    Ok((agent, node))
}
