//! Slots built from templates, on a node of their own.

use anyhow::Result;
use repoint::{
    datapath::Datapath,
    model::{PoolKey, SlotId},
    netns::Netns,
    slot::{BuildError, Builder, CaptureError, Fingerprint, Owner, capture},
    store::{Slot, SlotKind},
    template::{NetworkConfig, NodeContext, Operation, Template},
};
use repoint_tests::{Node, command, inherited, template::ordinary};

/// A slot as it was built.
pub struct Built {
    slot: Slot,
    config: NetworkConfig,
    pub netns: Netns,
    /// Its fingerprint of that time.
    pub fingerprint: Fingerprint,
}

/// Calls `test` on a node with the data plane loaded.
pub fn on_node(test: impl FnOnce(&Datapath) -> Result<()> + Send) -> Result<()> {
    let node = Node::new()?;
    node.run(|| test(&Datapath::load(&node.dirs().bpf, &node.dirs().run)?))
}

/// Calls `test` with a slot that nobody changed.
pub fn with_slot(test: impl FnOnce(&Built) -> Result<()> + Send) -> Result<()> {
    on_node(|datapath| test(&build(&ordinary(), 5, "eth0", datapath)??))
}

/// Builds a slot of this number, if the kernel lets it.
pub fn build(
    template: &Template,
    number: u8,
    ifname: &str,
    datapath: &Datapath,
) -> Result<Result<Built, BuildError>> {
    let addresses =
        vec![format!("10.217.1.{number}/24").parse()?, format!("fd00:217:1::{number}/64").parse()?];
    let config = template.instantiate(&NodeContext { addresses: addresses.clone(), mtu: 1500 });
    let mut slot = Slot::building(SlotId(number.into()), "pool".parse()?, ifname.parse()?, 0);
    slot.addresses = addresses;
    slot.kind = SlotKind::Pooled { pool: PoolKey([1; 16]) };
    let netns = Netns::create()?;
    netns.run(inherited::reset)??;
    let programs = &datapath.programs;
    let builder =
        Builder { slot: &slot, config: &config, netns: &netns, programs, owner: Owner::default() };
    if let Err(error) = builder.build() {
        return Ok(Err(error));
    }
    let fingerprint = netns.run(|| Fingerprint::take(&slot))??;
    Ok(Ok(Built { slot, config, netns, fingerprint }))
}

impl Built {
    /// Runs a script inside, and returns what it said.
    pub fn shell(&self, script: &str) -> Result<String> {
        self.netns.run(|| command::run("sh", ["-ec", script]))?
    }

    pub fn capture(&self) -> Result<Vec<Operation>, CaptureError> {
        capture(&self.slot, &self.config, &self.netns, &self.fingerprint)
    }

    /// What it is like now.
    pub fn fingerprint_now(&self) -> Result<Fingerprint> {
        Ok(self.netns.run(|| Fingerprint::take(&self.slot))??)
    }
}
