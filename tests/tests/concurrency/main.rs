//! What comes at the same time for one container, one address range or one node: what the runtime should
//! not do harms nobody, and what it may do works.
#![cfg(test)]

mod agents;
mod delegated;
mod held_up;
mod one_container;
mod pool;
mod subnet;

use std::{panic, thread};

use anyhow::Result;
use repoint_tests::{
    Netns, Pooled,
    plugin::{Attachment, CniError, Network},
};
use serde_json::{Value, json};

/// What a call of ADD or DEL came to: its result, or the plugin's error.
type Answer = Result<Value, CniError>;

/// A container that has no network yet.
struct Candidate {
    netns: Netns,
    attachment: Attachment,
}

impl Candidate {
    fn new(name: &str) -> Result<Self> {
        let netns = Netns::create(name)?;
        let attachment = Attachment::new(name, netns.path());
        Ok(Self { netns, attachment })
    }

    /// Makes a call; none of its failures is one of the test.
    fn call(&self, network: &Network, verb: &str) -> Result<Answer> {
        let outcome = network.call_single(verb, &self.attachment, None)?;
        if !outcome.status.success() {
            return Ok(Err(outcome.error()?));
        }
        let said = outcome.stdout.trim();
        Ok(Ok(if said.is_empty() { Value::Null } else { serde_json::from_str(said)? }))
    }
}

/// A network without a pool beside the one that has one.
fn ordinary(pooled: &Pooled<'_>) -> Result<Network> {
    pooled.network_with(|configuration| {
        configuration["name"] = json!("ordinary");
        configuration.as_object_mut().map(|keys| keys.remove("pool"));
        configuration["ipam"]["ranges"] =
            json!([[{ "subnet": "10.218.9.0/24" }], [{ "subnet": "fd00:218:9::/64" }]]);
    })
}

/// Does two things at once.
fn both<A: Send, B: Send>(
    one: impl FnOnce() -> Result<A> + Send,
    other: impl FnOnce() -> Result<B> + Send,
) -> Result<(A, B)> {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other()?;
        let one = one.join().unwrap_or_else(|payload| panic::resume_unwind(payload))?;
        Ok((one, other))
    })
}
