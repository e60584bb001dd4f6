//! An interface that is built in the container's own namespace.

use ipnet::IpNet;

use super::{decision::direct, reclaim::Reclaim, result::result, select::Assigned};
use crate::{
    cni::{CniResult, Dns, Route},
    conf::{IpamConf, User},
    datapath::Datapath,
    failpoint,
    ipam::{NodeAddresses, resolv_conf},
    model::{AttachmentId, Decline, Mode, NetnsPath, Subject, TemplateName},
    netns::Netns,
    node::{
        Node, NodeError, Request,
        addresses::take_addresses,
        configuration::{configuration, ensure_ipv6, template},
        conflict::{ensure_unchanged, prefer_conflict},
        effective::{pool_id, stored_template},
        now,
        reserved::{check_given, node_addresses},
        traffic::{enable_traffic, settle_traffic},
    },
    pool::{
        build::{MOST_TRIES, spare_addresses},
        shortage::shortage_of,
        template_use::check_use,
    },
    retire::{connections::forget_connections, release::undo, tenants::ensure_tenant_room},
    slot::{BuildPermit, Builder, BuiltPair, require_masquerade},
    store::{Built, Slot, SlotState, StoreError, Write},
    template::{NetworkConfig, Operation, Template},
};

/// Attaches a container by building an interface in its own namespace.
pub(crate) fn add_direct(
    node: &Node,
    request: &Request,
    user: &User,
    decline: Option<Decline>,
    path: &NetnsPath,
    netns: &Netns,
) -> Result<CniResult, NodeError> {
    let name = pool_id(&request.conf, &request.attachment.ifname, user).template;
    let stored = name.as_ref().map(|name| stored_template(node, name)).transpose()?;
    check_use(name.as_ref(), stored.as_ref().and_then(|stored| stored.source.owner()), user)?;
    let template = stored.map(|stored| stored.template);
    let direct = Direct { request, user, decline, path, netns, name, template };
    let mut tries = 1;
    let result = loop {
        match direct.claim_and_attach(node) {
            Err(error) if error.meets_another_on_node() && tries < MOST_TRIES => tries += 1,
            attached => break attached?,
        }
    };
    Ok(match request.conf.prev_result.clone() {
        Some(previous) => result.chained_after(previous),
        None => result,
    })
}

/// A container that gets its interface in its own namespace.
struct Direct<'a> {
    request: &'a Request,
    user: &'a User,
    /// Why the pool declined it, if there is a pool.
    decline: Option<Decline>,
    path: &'a NetnsPath,
    netns: &'a Netns,
    /// The stored template that it is made from, if it is made from one.
    name: Option<TemplateName>,
    template: Option<Template>,
}

impl Direct<'_> {
    /// Attaches the container, or leaves nothing of it.
    fn claim_and_attach(&self, node: &Node) -> Result<CniResult, NodeError> {
        let slot = self.claim_with_room(node)?;
        failpoint::hit("add:claimed");
        let attached =
            self.attach(node, &slot).map_err(|error| prefer_conflict(node, &slot, error));
        if let Err(error) = &attached {
            // Report the error of ADD, not the error of the cleanup. What is left stays on record,
            // for the DEL that is due after a failed ADD.
            drop(undo(node, &slot, self.request));
            if error.meets_another_on_node() {
                drop(spare_addresses(node, &slot));
            }
        }
        attached
    }

    /// Records the intent. If no address is left, slots that wait are deleted for theirs.
    fn claim_with_room(&self, node: &Node) -> Result<Slot, NodeError> {
        let reclaim = Reclaim::new(node, &self.request.conf);
        loop {
            let claimed = self.claim(node);
            match claimed.as_ref().err().and_then(shortage_of) {
                Some(shortage) if reclaim.make(&shortage, None)? => {}
                _ => return claimed,
            }
        }
    }

    /// Records the intent: the attachment, its slot and, with own address management, addresses.
    fn claim(&self, node: &Node) -> Result<Slot, NodeError> {
        let (conf, attachment) = (&self.request.conf, &self.request.attachment);
        let home = Netns::current()?.inode();
        let reserved = match &conf.ipam {
            IpamConf::Own(own) => node_addresses(&own.range_sets)?,
            IpamConf::Delegated(_) => NodeAddresses::default(),
        };
        node.claim(|transaction| {
            transaction.record_host_netns(home)?;
            let id = transaction.next_slot_id()?;
            transaction.attach(attachment, id)?;
            if let Some(policy) = &conf.pool {
                ensure_tenant_room(transaction, &conf.name, self.user, policy)?;
            }
            let AttachmentId { network, ifname, .. } = attachment;
            let mut slot = Slot::building(id, network.clone(), ifname.clone(), now());
            self.give(&mut slot);
            slot.isolation = conf.isolation;
            let assigned = self.identity(transaction, &slot)?;
            (slot.identity, slot.tenant_number) = (assigned.identity, assigned.tenant_number);
            slot.enforces = assigned.enforces;
            slot.masquerade = self.masquerades();
            slot.link_local = conf.link_local;
            (slot.local_path, slot.hook) = (conf.local_path, conf.hook);
            slot.mac = conf.mac.unwrap_or(slot.mac);
            match &conf.ipam {
                IpamConf::Own(own) => {
                    slot.addresses = {
                        let requested = self.request.requested_addresses();
                        let pool = pool_id(conf, &attachment.ifname, self.user);
                        let yields = conf.pool.is_none_or(|policy| policy.cooldown.is_none());
                        take_addresses(transaction, &pool, own, &reserved, &requested, yields, id)?
                    };
                }
                IpamConf::Delegated(plugin) => slot.ipam = Some(plugin.clone()),
            }
            let decision = direct(self.decline);
            transaction.note(attachment, &decision, now())?;
            slot.decision = Some(decision);
            transaction.put_slot(&slot)?;
            Ok(slot)
        })
    }

    /// Writes the container into the slot's record.
    fn give(&self, slot: &mut Slot) {
        slot.container = Some(self.request.attachment.container.clone());
        slot.netns_path = Some(self.path.as_path().to_owned());
        slot.netns = Some(self.netns.inode());
        slot.function.clone_from(&self.user.function);
        slot.tenant.clone_from(&self.user.tenant);
        slot.template_name.clone_from(&self.name);
        slot.mode = Mode::None;
        slot.used = true;
    }

    /// What the container is for the data plane.
    fn identity(&self, transaction: &mut Write<'_>, slot: &Slot) -> Result<Assigned, StoreError> {
        let share = self.request.conf.pool.is_some_and(|policy| policy.share_without_tenant);
        let (tenant, function) = (self.user.tenant.as_ref(), self.user.function.as_ref());
        let subject = Subject::of(&slot.network, tenant, function, share, slot.id);
        Assigned::of(transaction, &subject, self.user, share)
    }

    fn masquerades(&self) -> bool {
        let stored = self.template.as_ref();
        stored.map_or(self.request.conf.ip_masq, |stored| {
            stored.operations.contains(&Operation::Masquerade)
        })
    }

    /// Builds the recorded slot's interface and activates it.
    fn attach(&self, node: &Node, slot: &Slot) -> Result<CniResult, NodeError> {
        let request = self.request;
        let leased = addresses(node, request, slot)?;
        failpoint::hit("add:addresses");
        forget_connections(node, [&leased.slot])?;
        let template = match &self.template {
            Some(stored) => stored.clone(),
            None => template(&request.conf, &leased.routes),
        };
        let config = configuration(&template, &leased.slot.addresses)?;
        if config.addresses.iter().any(|address| address.addr().is_ipv6()) {
            ensure_ipv6(&request.conf, config.mtu)?;
        }
        if config.masquerade {
            require_masquerade(&node.directories.run)?;
        }
        let pair = build(node, request, self.netns, &leased.slot, &config)?;
        failpoint::hit("add:built");
        let slot = self.activate(node, slot, &template, &config, &pair)?;
        failpoint::hit("add:active");
        let dns = request.conf.resolve_dns(leased.dns);
        Ok(result(&slot, &config, self.path, dns))
    }

    /// Records that the interface works, and what it was made from.
    fn activate(
        &self,
        node: &Node,
        slot: &Slot,
        template: &Template,
        config: &NetworkConfig,
        pair: &BuiltPair,
    ) -> Result<Slot, NodeError> {
        let digest = template.digest()?;
        let stored = self.template.as_ref().map(Template::to_json).transpose()?;
        node.store.grow(|transaction| {
            ensure_unchanged(transaction, slot)?;
            if let Some(text) = &stored {
                transaction.put_template(&digest, text)?;
            }
            let active = transaction.advance(slot.id, SlotState::Active, now(), |slot| {
                slot.template = Some(digest);
                slot.built = Some(Built {
                    host_ifindex: pair.host_ifindex,
                    mtu: config.mtu,
                    nsid: None,
                    fingerprint: None,
                    source_routed: pair.source_routed,
                });
            })?;
            settle_traffic(node, transaction, slot, &active)?;
            Ok(active)
        })
    }
}

/// What address management gave.
struct Lease {
    /// The slot, with its addresses.
    slot: Slot,
    routes: Vec<Route>,
    dns: Dns,
}

fn addresses(node: &Node, request: &Request, slot: &Slot) -> Result<Lease, NodeError> {
    match &request.conf.ipam {
        IpamConf::Own(own) => Ok(Lease {
            slot: slot.clone(),
            routes: own.routes.clone(),
            dns: own.resolv_conf.as_deref().map_or(Ok(Dns::default()), resolv_conf::read)?,
        }),
        IpamConf::Delegated(plugin) => {
            let given = request.delegate(plugin)?.add()?;
            failpoint::hit("add:delegated");
            let addresses: Vec<IpNet> = given.ips.iter().map(|ip| ip.address).collect();
            if addresses.is_empty() {
                return Err(NodeError::NoAddress { plugin: plugin.to_string() });
            }
            check_given(plugin, addresses.iter().map(IpNet::addr))?;
            let slot = record_addresses(node, slot, addresses)?;
            Ok(Lease { slot, routes: given.routes, dns: given.dns })
        }
    }
}

/// Records the addresses that the IPAM plugin gave.
fn record_addresses(node: &Node, slot: &Slot, addresses: Vec<IpNet>) -> Result<Slot, NodeError> {
    node.store.write(|transaction| {
        let mut slot = ensure_unchanged(transaction, slot)?;
        for address in &addresses {
            transaction.take_address(address.addr(), slot.id)?;
        }
        slot.addresses = addresses;
        transaction.put_slot(&slot)?;
        Ok(slot)
    })
}

fn build(
    node: &Node,
    request: &Request,
    netns: &Netns,
    slot: &Slot,
    config: &NetworkConfig,
) -> Result<BuiltPair, NodeError> {
    let datapath = node.load_datapath()?;
    let _permit = BuildPermit::acquire(&node.directories.run, request.conf.max_concurrent_builds)?;
    let Datapath { programs, maps } = &datapath;
    let owner = node.owner();
    let builder = Builder { slot, config, netns, programs, owner };
    let pair = builder.build().map_err(|source| NodeError::Build {
        attachment: Box::new(request.attachment.clone()),
        source: Box::new(source),
    })?;
    enable_traffic(node, maps, slot, &pair, slot.identity)?;
    Ok(pair)
}
