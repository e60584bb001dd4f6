//! CHECK: whether an attachment is as ADD left it.

use crate::{
    cni::{CniResult, Interface, Route},
    conf::IpamConf,
    datapath::Datapath,
    model::Mac,
    netns::Netns,
    node::{
        CheckError, Node, NodeError, Request,
        configuration::{configuration, template},
        effective::pool_template,
    },
    slot::{InspectError, inspect},
    store::{Slot, SlotState},
};

/// Compares an attachment with the record, the configuration and the result of ADD. CHECK changes
/// nothing. What other programs added is not a difference.
pub fn check(request: &Request) -> Result<(), NodeError> {
    let previous = request.conf.prev_result.as_ref().ok_or(CheckError::NoPrevResult)?;
    let node = Node::open_existing(&request.conf.directories)?;
    let node = node.ok_or_else(|| not_attached(request))?;
    let slot = active_slot(&node, request)?;
    let netns = container_netns(request, &slot)?;
    compare_result(request, &slot, previous)?;
    let mac = given_mac(request, previous).unwrap_or(slot.mac);
    let template = match slot.stored_template() {
        Some(digest) => pool_template(&node, &request.conf, Some(digest))?,
        None => template(&request.conf, &routes(request, previous)),
    };
    let config = configuration(&template, &slot.addresses)?;
    let datapath = Datapath::open_existing(&node.directories.bpf)?;
    let datapath = datapath.ok_or_else(|| differs(request, "the data plane is not loaded"))?;
    inspect(&slot, mac, &config, &netns, &datapath).map_err(|error| match error {
        InspectError::Differs(difference) => differs(request, difference),
        other => other.into(),
    })?;
    match &request.conf.ipam {
        IpamConf::Own(_) => Ok(()),
        IpamConf::Delegated(plugin) => Ok(request.delegate(plugin)?.check()?),
    }
}

fn not_attached(request: &Request) -> NodeError {
    CheckError::NotAttached { attachment: Box::new(request.attachment.clone()) }.into()
}

fn differs(request: &Request, difference: impl Into<String>) -> NodeError {
    CheckError::Differs {
        attachment: Box::new(request.attachment.clone()),
        difference: difference.into(),
    }
    .into()
}

fn active_slot(node: &Node, request: &Request) -> Result<Slot, NodeError> {
    let slot = node.store.read(|transaction| {
        let Some(id) = transaction.attachment(&request.attachment)? else {
            return Ok(None);
        };
        transaction.slot(id)
    })?;
    let slot = slot.ok_or_else(|| not_attached(request))?;
    if slot.state() == SlotState::Active {
        return Ok(slot);
    }
    Err(differs(request, format!("slot {} is {}", slot.id, slot.state())))
}

fn container_netns(request: &Request, slot: &Slot) -> Result<Netns, NodeError> {
    let path = request.netns.as_ref().ok_or(NodeError::NoNetns)?;
    let netns = Netns::open(path)?;
    if slot.netns != Some(netns.inode()) {
        return Err(differs(request, format!("{path} is another network namespace now")));
    }
    Ok(netns)
}

fn compare_result(request: &Request, slot: &Slot, previous: &CniResult) -> Result<(), NodeError> {
    match slot.addresses.iter().find(|own| previous.ips.iter().all(|ip| ip.address != **own)) {
        Some(own) => Err(differs(request, format!("prevResult lacks its address {own}"))),
        None => Ok(()),
    }
}

/// The interface's Ethernet address in the result of the whole chain. A plugin after repoint may
/// have changed it (`tuning`).
fn given_mac(request: &Request, previous: &CniResult) -> Option<Mac> {
    let ifname = request.attachment.ifname.as_str();
    let is_ours = |interface: &&Interface| interface.sandbox.is_some() && interface.name == ifname;
    previous.interfaces.iter().find(is_ours)?.mac.as_deref()?.parse().ok()
}

/// The routes that address management gave. An IPAM plugin does not report them again, so they come
/// from ADD's result.
fn routes(request: &Request, previous: &CniResult) -> Vec<Route> {
    match &request.conf.ipam {
        IpamConf::Own(own) => own.routes.clone(),
        IpamConf::Delegated(_) => previous.routes.clone(),
    }
}
