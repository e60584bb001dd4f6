//! A container as far as its network goes: a namespace, and what the plugins made in it.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{
    netns::Netns,
    plugin::{Attachment, Network},
    traffic::Host,
};

/// A container that was added to a network. Dropping it removes its namespace, without DEL.
#[derive(Debug)]
pub struct Container<'a> {
    network: &'a Network,
    netns: Netns,
    attachment: Attachment,
    result: Value,
    added_in: Duration,
}

impl<'a> Container<'a> {
    /// Makes a namespace, and ADDs it. `name` is the container's id and the namespace's name.
    pub fn add(network: &'a Network, name: &str) -> Result<Self> {
        Self::add_with(network, name, |attachment| attachment)
    }

    /// Like [`Self::add`], with more asked for.
    pub fn add_with(
        network: &'a Network,
        name: &str,
        ask: impl FnOnce(Attachment) -> Attachment,
    ) -> Result<Self> {
        let netns = Netns::create(name)?;
        let attachment = ask(Attachment::new(name, netns.path()));
        let begin = Instant::now();
        let result = network.add(&attachment).with_context(|| format!("add {name}"))?;
        Ok(Self { network, netns, attachment, result, added_in: begin.elapsed() })
    }

    /// The result of ADD.
    #[must_use]
    pub fn result(&self) -> &Value {
        &self.result
    }

    /// The time that ADD took.
    #[must_use]
    pub fn added_in(&self) -> Duration {
        self.added_in
    }

    /// Its namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// What ADD was asked for.
    #[must_use]
    pub fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// Its addresses, in the order of the result.
    pub fn addresses(&self) -> Result<Vec<IpAddr>> {
        let addresses = self.result["ips"].as_array().context("the result has no ips")?;
        let parse = |ip: &Value| {
            let text = ip["address"].as_str().context("an address is no text")?;
            let (address, _) = text.split_once('/').context("an address has no prefix length")?;
            address.parse().with_context(|| format!("address {text}"))
        };
        addresses.iter().map(parse).collect()
    }

    /// The container as a party of traffic.
    pub fn host(&self) -> Result<Host> {
        Host::container(&self.netns)
    }

    /// CHECKs it.
    pub fn check(&self) -> Result<()> {
        self.check_by(self.network)
    }

    /// CHECKs it by the plugins of another network.
    pub fn check_by(&self, network: &Network) -> Result<()> {
        let outcome = network.check(&self.attachment, &self.result);
        outcome.with_context(|| format!("check {}", self.attachment.container_id))
    }

    /// DELs it; gives the time that it took.
    pub fn delete(&self) -> Result<Duration> {
        let begin = Instant::now();
        let outcome = self.network.del(&self.attachment, Some(&self.result));
        outcome.with_context(|| format!("delete {}", self.attachment.container_id))?;
        Ok(begin.elapsed())
    }

    /// Removes its namespace, as a runtime does after DEL.
    pub fn remove_netns(self) -> Result<()> {
        self.netns.remove()
    }

    /// DELs it, and removes its namespace.
    pub fn remove(self) -> Result<()> {
        self.delete()?;
        self.remove_netns()
    }
}
