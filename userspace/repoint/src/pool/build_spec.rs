//! What the slots of a pool are built from.

use crate::{
    conf::{IpamConf, NetConf, OwnIpam},
    datapath::Datapath,
    failpoint,
    ipam::NodeAddresses,
    model::{FingerprintDigest, Identity, PoolId, TemplateDigest},
    netns::{Netns, NetnsInode, NetnsStore},
    node::{
        Node, NodeError, PoolError,
        addresses::take_addresses,
        configuration::ensure_ipv6,
        effective::{EffectivePool, pool_template},
        now,
        reserved::node_addresses,
        traffic::enable_traffic,
        uplink_mtu,
    },
    slot::{BuildPermit, Builder, BuiltPair},
    store::{Built, Slot, SlotKind, Write},
    template::{NetworkConfig, NodeContext, Template},
};

/// What the slots of a pool are built from, on this node, now.
#[derive(Debug, Clone)]
pub(crate) struct BuildSpec<'a> {
    pub(crate) conf: &'a NetConf,
    pub(crate) pool: &'a EffectivePool,
    own: &'a OwnIpam,
    template: Template,
    text: String,
    digest: TemplateDigest,
    mtu: u32,
    masquerade: bool,
    /// The host netns of the slots.
    host_netns: NetnsInode,
    /// The node's own addresses within the ranges.
    node: NodeAddresses,
}

/// A slot on record, and its namespace, in which nothing is yet.
#[derive(Debug)]
pub(crate) struct NewSlot {
    pub(crate) slot: Slot,
    pub(crate) netns: Netns,
}

impl<'a> BuildSpec<'a> {
    pub(crate) fn new(
        node: &Node,
        conf: &'a NetConf,
        pool: &'a EffectivePool,
    ) -> Result<Self, NodeError> {
        let IpamConf::Own(own) = &conf.ipam else {
            return Err(PoolError::NoPoolIpam { network: conf.name.to_string() }.into());
        };
        let template = pool_template(node, conf, pool.template.as_ref())?;
        let (digest, text) = (template.digest()?, template.to_json()?);
        let nobodys =
            template.instantiate(&NodeContext { addresses: Vec::new(), mtu: uplink_mtu()? });
        let NetworkConfig { mtu, masquerade, .. } = nobodys;
        if conf.ipam.gives_ipv6() {
            ensure_ipv6(conf, mtu)?;
        }
        let host_netns = Netns::current()?.inode();
        let node = node_addresses(&own.range_sets)?;
        Ok(Self { conf, pool, own, template, text, digest, mtu, masquerade, host_netns, node })
    }

    /// Whether its slots are masqueraded.
    pub(crate) fn masquerades(&self) -> bool {
        self.masquerade
    }

    /// What is to be recorded of a slot that was built.
    pub(crate) fn built(&self, pair: &BuiltPair, fingerprint: FingerprintDigest) -> Built {
        let BuiltPair { host_ifindex, nsid, source_routed } = *pair;
        Built { host_ifindex, mtu: self.mtu, nsid, fingerprint: Some(fingerprint), source_routed }
    }

    /// Records the intent to build a slot.
    pub(crate) fn record(
        &self,
        transaction: &mut Write<'_>,
        netns: &Netns,
    ) -> Result<Slot, NodeError> {
        transaction.record_host_netns(self.host_netns)?;
        let id = transaction.next_slot_id()?;
        let PoolId { network, ifname, template } = &self.pool.id;
        let mut slot = Slot::building(id, network.clone(), ifname.clone(), now());
        slot.kind = SlotKind::Pooled { pool: self.pool.key };
        slot.netns = Some(netns.inode());
        slot.masquerade = self.masquerade;
        slot.link_local = self.conf.link_local;
        (slot.local_path, slot.hook) = (self.conf.local_path, self.conf.hook);
        slot.template = Some(self.digest);
        slot.template_name.clone_from(template);
        transaction.put_template(&self.digest, &self.text)?;
        let yields = self.pool.policy.cooldown.is_none();
        slot.addresses = {
            let (id_of_pool, own, node) = (&self.pool.id, self.own, &self.node);
            take_addresses(transaction, id_of_pool, own, node, &[], yields, id)?
        };
        transaction.put_slot(&slot)?;
        Ok(slot)
    }

    /// Builds a slot on record, its packets passing under `identity`.
    pub(crate) fn build(
        &self,
        node: &Node,
        netns_store: &NetnsStore,
        datapath: &Datapath,
        new_slot: &NewSlot,
        identity: Identity,
    ) -> Result<BuiltPair, NodeError> {
        let NewSlot { slot, netns } = new_slot;
        netns_store.enter(|inside| inside.keep(slot.id, netns))??;
        failpoint::hit("prepare:kept");
        let context = NodeContext { addresses: slot.addresses.clone(), mtu: self.mtu };
        let config = self.template.instantiate(&context);
        let _permit = BuildPermit::acquire(&node.directories.run, self.conf.max_concurrent_builds)?;
        let Datapath { programs, maps } = datapath;
        let owner = node.owner();
        let builder = Builder { slot, config: &config, netns, programs, owner };
        let pair = builder
            .build()
            .map_err(|source| NodeError::Prepare { slot: slot.id, source: Box::new(source) })?;
        enable_traffic(node, maps, slot, &pair, identity)?;
        Ok(pair)
    }
}
