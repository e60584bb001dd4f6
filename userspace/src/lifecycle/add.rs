//! ADD: attach a container to a network.

use ipnet::IpNet;
use repoint_common::mac::GATEWAY_MAC;

use super::{
    LifecycleError, Node, Request,
    configuration::{configuration, template},
    node::now,
    release::release,
};
use crate::{
    cni::{CniResult, Dns, Interface, IpConfig, Route},
    conf::{IpamConf, OwnIpam},
    failpoint,
    ipam::{self, Pool, resolv_conf},
    netlink,
    netns::Netns,
    slot::{BuildPermit, Builder, Built, require_masquerade},
    store::{Network, Slot, SlotState, Write},
    template::{NetworkConfig, gateway},
    types::{Mac, NetnsPath, SlotId},
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
    let slot = claim(&node, request, path, &netns)?;
    failpoint::hit("add:claimed");
    let attached = attach(&node, request, path, &netns, &slot);
    if attached.is_err() {
        // What cannot be removed now stays on record, for the DEL that is due after a failed ADD;
        // the caller wants to know why ADD failed.
        drop(release(&node, slot.id, request));
    }
    let result = attached?;
    Ok(match request.conf.prev_result.clone() {
        Some(previous) => result.chained_after(previous),
        None => result,
    })
}

fn container_netns(request: &Request) -> Result<(&NetnsPath, Netns), LifecycleError> {
    let path = request.netns.as_ref().ok_or(LifecycleError::NoNetns)?;
    let netns = Netns::open(path)?;
    if netns.inode() == Netns::current()?.inode() {
        return Err(LifecycleError::OwnNetns { path: path.to_string() });
    }
    Ok((path, netns))
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
                slot.addresses = take_addresses(transaction, request, own, id)?;
            }
            IpamConf::Delegated(plugin) => slot.ipam = Some(plugin.clone()),
        }
        transaction.put_slot(&slot)?;
        Ok(slot)
    })
}

/// Chooses addresses and records whose they are.
fn take_addresses(
    transaction: &mut Write<'_>,
    request: &Request,
    own: &OwnIpam,
    slot: SlotId,
) -> Result<Vec<IpNet>, LifecycleError> {
    let name = &request.conf.name;
    let network = transaction.network(name)?;
    let pool = Pool { network: name, sets: &own.range_sets, last: &network.last_given };
    let addresses = ipam::allocate(&pool, &request.requested_addresses(), |address| {
        Ok::<_, LifecycleError>(transaction.address_owner(address)?.is_some())
    })?;
    for address in &addresses {
        transaction.take_address(address.addr(), slot)?;
    }
    let last_given = addresses.iter().map(|address| Some(address.addr())).collect();
    transaction.put_network(name, &Network { last_given })?;
    Ok(addresses)
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
        })
    })?;
    failpoint::hit("add:active");
    let dns = request.conf.resolve_dns(leased.dns);
    Ok(result(&slot, &config, &built, path, dns))
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
    let builder =
        Builder { slot, config, netns, programs: &datapath.programs, maps: &datapath.maps };
    builder.build().map_err(|source| LifecycleError::Build {
        attachment: Box::new(request.attachment.clone()),
        source: Box::new(source),
    })
}

/// The result as the kernel has it now.
fn result(
    slot: &Slot,
    config: &NetworkConfig,
    built: &Built,
    path: &NetnsPath,
    dns: Dns,
) -> CniResult {
    let interface = |name: &str, mac: Mac, sandbox| Interface {
        name: name.to_owned(),
        mac: Some(mac.to_string()),
        mtu: Some(config.mtu),
        sandbox,
        ..Interface::default()
    };
    let container = interface(slot.ifname.as_str(), slot.mac, Some(path.to_string()));
    CniResult {
        interfaces: vec![interface(&built.host_ifname, Mac(GATEWAY_MAC), None), container],
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
