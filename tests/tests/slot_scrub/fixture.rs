//! Slots with namespaces of their own, on a node of their own.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use repoint::{
    datapath::Datapath,
    model::{Identity, PoolKey, SlotId},
    netns::Netns,
    slot::{Builder, BuiltPair, Fingerprint, Owner, Scrubbed, scrub, write_entries},
    store::{self, Slot, SlotKind},
    template::{NetworkConfig, NodeContext},
};
use repoint_tests::{Node, command, inherited, template::ordinary, wait};

/// A slot as it was built.
pub struct Built {
    pub slot: Slot,
    pub config: NetworkConfig,
    pub netns: Netns,
    pub host_ifname: String,
    /// Its fingerprint of that time.
    pub expected: Fingerprint,
}

/// What a scrub of an untouched namespace returns.
pub fn clean() -> Scrubbed {
    Scrubbed::Clean { repaired: Vec::new() }
}

/// Calls `test` with a slot, on a node.
pub fn with_slot(test: impl FnOnce(&Built) -> Result<()> + Send) -> Result<()> {
    with_slots(&[5], |slots| test(&slots[0]))
}

/// Calls `test` with slots of these numbers, on a node.
pub fn with_slots(numbers: &[u8], test: impl FnOnce(&[Built]) -> Result<()> + Send) -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let datapath = Datapath::load(&node.dirs().bpf, &node.dirs().run)?;
        let slots: Result<Vec<_>> =
            numbers.iter().map(|number| build(*number, &datapath)).collect();
        let slots = slots?;
        slots.iter().try_for_each(Built::wait_for_sockets)?;
        test(&slots)
    })
}

fn build(number: u8, datapath: &Datapath) -> Result<Built> {
    let addresses =
        vec![format!("10.217.1.{number}/24").parse()?, format!("fd00:217:1::{number}/64").parse()?];
    let config = ordinary().instantiate(&NodeContext { addresses: addresses.clone(), mtu: 1500 });
    let mut slot = Slot::building(SlotId(number.into()), "pool".parse()?, "eth0".parse()?, 0);
    slot.addresses = addresses;
    slot.kind = SlotKind::Pooled { pool: PoolKey([1; 16]) };
    let netns = Netns::create()?;
    netns.run(inherited::reset)??;
    let builder = Builder {
        slot: &slot,
        config: &config,
        netns: &netns,
        programs: &datapath.programs,
        owner: Owner::default(),
    };
    let BuiltPair { host_ifindex, nsid, source_routed } = builder.build()?;
    write_entries(&slot, host_ifindex.get(), Identity(7), &datapath.maps)?;
    let expected = netns.run(|| Fingerprint::take(&slot))??;
    let (mtu, fingerprint) = (config.mtu, Some(expected.digest()));
    slot.built = Some(store::Built { host_ifindex, mtu, nsid, fingerprint, source_routed });
    let host_ifname = slot.id.host_ifname();
    Ok(Built { slot, config, netns, host_ifname, expected })
}

impl Built {
    /// Runs a script inside, and returns what it said.
    pub fn shell(&self, script: &str) -> Result<String> {
        self.netns.run(|| command::run("sh", ["-ec", script]))?
    }

    /// Waits until the kernel has freed every socket that was closed inside.
    pub fn wait_for_sockets(&self) -> Result<()> {
        wait::until(Duration::from_secs(5), "no socket is left", || {
            let counts =
                self.netns.run(|| fs::read_to_string("/proc/thread-self/net/sockstat"))??;
            ensure!(counts.starts_with("sockets: used 0"), "{counts}");
            Ok(())
        })
    }

    pub fn scrub(&self) -> Result<Scrubbed> {
        self.scrub_against(&self.expected)
    }

    pub fn scrub_against(&self, expected: &Fingerprint) -> Result<Scrubbed> {
        Ok(scrub(&self.slot, &self.config, &self.netns, expected)?)
    }

    /// Scrubs after something was left that has no way back: it must be named.
    pub fn is_different(&self, named: &str) -> Result<()> {
        match self.scrub()? {
            Scrubbed::Different(difference) => {
                println!("  {difference}");
                ensure!(difference.to_string().contains(named), "not named: {difference}");
                Ok(())
            }
            other => anyhow::bail!("{other:?}"),
        }
    }

    /// Scrubs after something was changed: it must be found, repaired, and be gone then.
    pub fn scrub_and_compare(&self) -> Result<()> {
        match self.scrub()? {
            Scrubbed::Clean { repaired } => {
                println!("  {}", repaired.join("\n  "));
                ensure!(!repaired.is_empty(), "nothing was found");
            }
            other => anyhow::bail!("{other:?}"),
        }
        let now = self.netns.run(|| Fingerprint::take(&self.slot))??;
        let difference = self.expected.difference(&now);
        ensure!(difference.is_none(), "{}", difference.context("none")?);
        self.wait_for_sockets()
    }
}
