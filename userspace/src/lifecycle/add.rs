//! ADD: attach a container to a network.

use ipnet::IpNet;
use repoint_common::mac::GATEWAY_MAC;

use super::{
    LifecycleError, Node, Request,
    addresses::take_addresses,
    configuration::{configuration, template},
    del::detach,
    node::now,
    release::release,
    reuse::{Reuse, reuse},
    room::{Room, lack},
};
use crate::{
    bell::{self, NOTABLE},
    cni::{CniResult, Dns, Interface, IpConfig, Route},
    conf::IpamConf,
    datapath::Datapath,
    failpoint,
    ipam::resolv_conf,
    netlink,
    netns::Netns,
    slot::{BuildPermit, Builder, Built, require_masquerade},
    store::{Slot, SlotState},
    template::{NetworkConfig, NodeContext, gateway},
    types::{Mac, NetnsPath},
};

/// Attaches a container: its interface, addresses and routes are there when this returns, and
/// nothing is left when it fails.
pub fn add(request: &Request) -> Result<CniResult, LifecycleError> {
    let (path, netns) = container_netns(request)?;
    if let IpamConf::Delegated(plugin) = &request.conf.ipam {
        // Nothing is claimed that the plugin, missing, could not give back.
        drop(request.delegate(plugin)?);
    }
    let node = Node::open(&request.conf.directories)?;
    let reuse = reuse(&node, request, path, &netns)?;
    let (result, told) = match reuse {
        Reuse::Slot(provided) => {
            // A hit is nothing that the agent must know at once.
            let told = (!provided.outcome.is_hit())
                .then(|| format!("ADD {}: {}", request.attachment, provided.outcome.label()));
            let result = prepared_result(request, path, &provided.slot);
            if result.is_err() {
                // As below.
                drop(detach(&node, &provided.slot, request));
            }
            (result?, told)
        }
        Reuse::Declined(reason) => {
            let label = reason.label();
            let told = format!(
                "{NOTABLE}ADD {} not from the pool ({label}): {reason}",
                request.attachment
            );
            (add_cold(&node, request, path, &netns.own)?, Some(told))
        }
        Reuse::NoPool => (add_cold(&node, request, path, &netns.own)?, None),
    };
    if let Some(told) = told {
        bell::ring(&node.directories.run, &told);
    }
    Ok(result)
}

/// The result of a slot that was built before.
fn prepared_result(
    request: &Request,
    path: &NetnsPath,
    slot: &Slot,
) -> Result<CniResult, LifecycleError> {
    let (routes, dns) = match &request.conf.ipam {
        IpamConf::Own(own) => {
            let dns = own.resolv_conf.as_deref().map_or(Ok(Dns::default()), resolv_conf::read)?;
            (own.routes.as_slice(), dns)
        }
        IpamConf::Delegated(_) => (Default::default(), Dns::default()),
    };
    let context = NodeContext { addresses: slot.addresses.clone(), mtu: slot.mtu };
    let config = template(&request.conf, routes).instantiate(&context);
    Ok(result(slot, &config, path, request.conf.resolve_dns(dns)))
}

/// Attaches a container by building an interface in its own namespace.
fn add_cold(
    node: &Node,
    request: &Request,
    path: &NetnsPath,
    netns: &Netns,
) -> Result<CniResult, LifecycleError> {
    let slot = claim_with_room(node, request, path, netns)?;
    failpoint::hit("add:claimed");
    let attached = attach(node, request, path, netns, &slot);
    if attached.is_err() {
        // What cannot be removed now stays on record, for the DEL that is due after a failed ADD;
        // the caller wants to know why ADD failed.
        drop(release(node, slot.id, request));
    }
    let result = attached?;
    Ok(match request.conf.prev_result.clone() {
        Some(previous) => result.chained_after(previous),
        None => result,
    })
}

/// The namespace that the runtime made, and our own.
#[derive(Debug)]
pub(super) struct ContainerNetns {
    pub(super) own: Netns,
    pub(super) home: Netns,
}

fn container_netns(request: &Request) -> Result<(&NetnsPath, ContainerNetns), LifecycleError> {
    let path = request.netns.as_ref().ok_or(LifecycleError::NoNetns)?;
    let netns = ContainerNetns { own: Netns::open(path)?, home: Netns::current()? };
    if netns.own.inode() == netns.home.inode() {
        return Err(LifecycleError::OwnNetns { path: path.to_string() });
    }
    Ok((path, netns))
}

/// Records the intent; slots that wait give up their addresses where none is left.
fn claim_with_room(
    node: &Node,
    request: &Request,
    path: &NetnsPath,
    netns: &Netns,
) -> Result<Slot, LifecycleError> {
    let room = Room::new(node, &request.conf.name);
    loop {
        let claimed = claim(node, request, path, netns);
        match claimed.as_ref().err().and_then(lack) {
            Some(lack) if room.make(lack)? => {}
            _ => return claimed,
        }
    }
}

/// Records the intent: the attachment, a slot for it and, where they are ours to give, addresses.
fn claim(
    node: &Node,
    request: &Request,
    path: &NetnsPath,
    netns: &Netns,
) -> Result<Slot, LifecycleError> {
    let (conf, attachment) = (&request.conf, &request.attachment);
    node.store.write(|transaction| {
        let id = transaction.next_slot_id()?;
        transaction.attach(attachment, id)?;
        let mut slot =
            Slot::building(id, attachment.network.clone(), attachment.ifname.clone(), now());
        slot.container = Some(attachment.container.clone());
        slot.netns_path = Some(path.as_path().to_owned());
        slot.netns = Some(netns.inode());
        slot.masquerade = conf.ip_masq;
        slot.mac = conf.mac.unwrap_or(slot.mac);
        slot.identity = transaction.identity(&format!("network:{}", conf.name))?;
        match &conf.ipam {
            IpamConf::Own(own) => {
                slot.addresses = {
                    let requested = request.requested_addresses();
                    take_addresses(transaction, &conf.name, own, &requested, id)?
                };
            }
            IpamConf::Delegated(plugin) => slot.ipam = Some(plugin.clone()),
        }
        transaction.put_slot(&slot)?;
        Ok(slot)
    })
}

/// From the record to a working interface.
fn attach(
    node: &Node,
    request: &Request,
    path: &NetnsPath,
    netns: &Netns,
    slot: &Slot,
) -> Result<CniResult, LifecycleError> {
    let leased = addresses(node, request, slot)?;
    failpoint::hit("add:addresses");
    let template = template(&request.conf, &leased.routes);
    let config = configuration(&template, &request.conf, &leased.slot.addresses)?;
    if config.masquerade {
        require_masquerade(&node.directories.run)?;
    }
    let built = build(node, request, netns, &leased.slot, &config)?;
    failpoint::hit("add:built");
    let digest = template.digest()?;
    let slot = node.store.write(|transaction| {
        transaction.advance(slot.id, SlotState::Active, now(), |slot| {
            slot.template = digest.0;
            slot.host_ifindex = built.host_ifindex;
            slot.mtu = config.mtu;
        })
    })?;
    failpoint::hit("add:active");
    let dns = request.conf.resolve_dns(leased.dns);
    Ok(result(&slot, &config, path, dns))
}

/// What address management gave.
struct Lease {
    /// The slot, with its addresses.
    slot: Slot,
    routes: Vec<Route>,
    dns: Dns,
}

fn addresses(node: &Node, request: &Request, slot: &Slot) -> Result<Lease, LifecycleError> {
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
                return Err(LifecycleError::NoAddress { plugin: plugin.to_string() });
            }
            let slot = record_addresses(node, slot, addresses)?;
            Ok(Lease { slot, routes: given.routes, dns: given.dns })
        }
    }
}

/// Records what another plugin gave.
fn record_addresses(
    node: &Node,
    slot: &Slot,
    addresses: Vec<IpNet>,
) -> Result<Slot, LifecycleError> {
    let mut slot = slot.clone();
    node.store.write(|transaction| {
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
) -> Result<Built, LifecycleError> {
    let datapath = node.load_datapath()?;
    let _permit = BuildPermit::acquire(&node.directories.run, request.conf.cold_builds)?;
    let Datapath { programs, maps } = &datapath;
    let builder = Builder { slot, config, netns, programs, maps, identity: slot.identity };
    builder.build().map_err(|source| LifecycleError::Build {
        attachment: Box::new(request.attachment.clone()),
        source: Box::new(source),
    })
}

/// The result as the kernel has it now.
fn result(slot: &Slot, config: &NetworkConfig, path: &NetnsPath, dns: Dns) -> CniResult {
    let interface = |name: &str, mac: Mac, sandbox| Interface {
        name: name.to_owned(),
        mac: Some(mac.to_string()),
        mtu: Some(config.mtu),
        sandbox,
        ..Interface::default()
    };
    let container = interface(slot.ifname.as_str(), slot.mac, Some(path.to_string()));
    CniResult {
        interfaces: vec![interface(&slot.id.host_ifname(), Mac(GATEWAY_MAC), None), container],
        ips: config
            .addresses
            .iter()
            .map(|&address| IpConfig {
                address,
                gateway: Some(gateway(address.addr())),
                interface: Some(1),
            })
            .collect(),
        routes: config.reported_routes().map(reported).collect(),
        dns,
    }
}

fn reported(route: &netlink::Route) -> Route {
    let netlink::RouteOptions { mtu, advmss, priority, table, scope } = route.options;
    Route { dst: route.destination, gw: route.gateway, mtu, advmss, priority, table, scope }
}
