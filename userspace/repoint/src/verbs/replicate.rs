//! REPLICATE: makes a template of an existing configuration, and stores it. Any node can build slots of it.

use std::time::SystemTime;

use super::{
    del::attached,
    prepare::{OperationRequest, prepare_for},
};
use crate::{
    conf::{NetConf, User},
    failpoint,
    model::{AttachmentId, IfName, PoolId, TemplateDigest, TemplateName},
    node::{
        CheckError, Node, NodeError, PoolError, StoredTemplateError,
        configuration::template_of,
        effective::{pool_template, put_pool, stored_template},
        time_of_day,
    },
    pool::drain,
    slot::capture,
    store::{Captured, Pool, Put, Slot, StoredTemplate, TemplateOwner, TemplateSource},
    template::{NodeContext, Template},
};

/// What a template is made from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// What a network's configuration says.
    Configuration,
    /// What a slot has now: what it was made from, and what was set in its namespace since.
    Slot(&'a Slot),
}

/// A template that was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// The name under which it is stored.
    pub name: TemplateName,
    /// The template.
    pub template: Template,
    /// Its digest.
    pub digest: TemplateDigest,
    /// What was stored under that name before.
    pub put: Put,
    /// The only function and tenant that may use it until it is confirmed; none: all may.
    pub owner: Option<TemplateOwner>,
    /// Slots that were made of it.
    pub slots: Vec<Slot>,
}

/// REPLICATE, as the plugin executes it. It makes a template of the network's configuration, or of a
/// container's slot. It stores the template under the name in `repoint.dev/template`, by default the
/// network's. It builds as many inactive slots of it as `repoint.dev/count` says, by default none.
pub fn replicate_request(request: &OperationRequest) -> Result<Made, NodeError> {
    let OperationRequest { conf, ifname, container, args } = request;
    let (user, count) = (conf.user(args)?, conf.count(args)?.unwrap_or(0));
    let name = match &user.template {
        Some(name) => name.clone(),
        None => conf.name.as_str().parse().map_err(StoredTemplateError::Name)?,
    };
    let node = Node::open(&conf.directories)?;
    let slot = container.as_ref().map(|container| {
        let (network, ifname) = (conf.name.clone(), ifname.clone());
        let attachment = AttachmentId { network, container: container.clone(), ifname };
        let slot = attached(&node, &attachment)?;
        let not_attached = || CheckError::NotAttached { attachment: Box::new(attachment) };
        slot.ok_or_else(not_attached).map_err(NodeError::from)
    });
    let slot = slot.transpose()?;
    let source = slot.as_ref().map_or(Source::Configuration, Source::Slot);
    replicate(&node, conf, ifname, &name, source, count)
}

/// Makes a template, stores it, and makes `count` inactive configurations of it.
pub fn replicate(
    node: &Node,
    conf: &NetConf,
    ifname: &IfName,
    name: &TemplateName,
    source: Source<'_>,
    count: u32,
) -> Result<Made, NodeError> {
    if count > 0 {
        check_pool(node, conf, ifname, count)?;
    }
    let base = Template { origin: origin(conf), ..template_of(conf) };
    let (template, origin) = match source {
        Source::Configuration => (base, TemplateSource::Confirmed),
        Source::Slot(slot) => {
            let template = Template { origin: base.origin.clone(), ..of_slot(node, conf, slot)? };
            let (tenant, function) = (slot.tenant.clone(), slot.function.clone());
            let owner = TemplateOwner { tenant, function };
            let network = Some(conf.name.clone());
            let captured = Captured { owner, network, base: Some(base) };
            (template, TemplateSource::Container(Box::new(captured)))
        }
    };
    let put = store_template(node, name, &template, &origin)?;
    // A template that is already stored keeps its origin, and may be confirmed.
    let StoredTemplate { template, source, .. } = stored_template(node, name)?;
    let slots = if count == 0 {
        Vec::new()
    } else {
        let user = User { template: Some(name.clone()), ..User::default() };
        prepare_for(node, conf, ifname, &user, count)?
    };
    let digest = template.digest()?;
    Ok(Made { name: name.clone(), template, digest, put, owner: source.owner().cloned(), slots })
}

/// Fails if the network cannot have the slots, before anything is stored.
fn check_pool(node: &Node, conf: &NetConf, ifname: &IfName, count: u32) -> Result<(), NodeError> {
    let id = PoolId { network: conf.name.clone(), ifname: ifname.clone(), template: None };
    let recorded = node.store.read(|transaction| transaction.pool(&id))?;
    let policy = conf.pool.or(recorded.map(|pool| pool.policy()));
    let policy = policy.ok_or_else(|| PoolError::NoPool { network: conf.name.to_string() })?;
    if count > policy.max {
        return Err(PoolError::NoRoom { pool: id.to_string(), count, room: policy.max }.into());
    }
    Ok(())
}

/// What a slot was made from, and what was set in its namespace since.
fn of_slot(node: &Node, conf: &NetConf, slot: &Slot) -> Result<Template, NodeError> {
    if !slot.owns_netns() {
        return Err(StoredTemplateError::NotReplicable { slot: slot.id }.into());
    }
    let template = pool_template(node, conf, slot.template.as_ref())?;
    let expected =
        node.fingerprint(slot)?.ok_or(StoredTemplateError::NoFingerprint { slot: slot.id })?;
    let context = NodeContext { addresses: slot.addresses.clone(), mtu: slot.require_built()?.mtu };
    let config = template.instantiate(&context);
    let netns = node.netns_from_directory(slot.id)?;
    Ok(template.extended(capture(slot, &config, &netns, &expected)?))
}

/// Stores a template under a name. Pools of that name build their slots from it from now on. Their
/// slots that wait are deleted at once, those in use when they come back.
pub fn store_template(
    node: &Node,
    name: &TemplateName,
    template: &Template,
    source: &TemplateSource,
) -> Result<Put, NodeError> {
    let put = node.templates()?.put(name, template, source, time_of_day())?;
    failpoint::hit("replicate:stored");
    rebase_pools(node, name)?;
    Ok(put)
}

/// Confirms a template for all containers, if it still has this digest. Returns whether it was
/// confirmed before.
pub fn confirm_template(
    node: &Node,
    name: &TemplateName,
    digest: TemplateDigest,
) -> Result<bool, NodeError> {
    let before = node.templates()?.confirm(name, digest)?;
    failpoint::hit("replicate:confirmed");
    let before = before.ok_or_else(|| StoredTemplateError::NotStored { name: name.clone() })?;
    rebase_pools(node, name)?;
    Ok(before)
}

/// Updates the pools of a template's name to the stored template.
fn rebase_pools(node: &Node, name: &TemplateName) -> Result<(), NodeError> {
    for (id, pool) in pools_of(node, name)? {
        if let Some(stored) = node.template(name)? {
            rebase(node, &id, &pool, &stored)?;
        }
    }
    Ok(())
}

/// Deletes a template, and returns whether there was one. Its pools end: slots that wait are
/// deleted at once, those in use when they come back.
pub fn delete_template(node: &Node, name: &TemplateName) -> Result<bool, NodeError> {
    let deleted = node.templates()?.delete(name)?;
    failpoint::hit("replicate:deleted");
    for (id, pool) in pools_of(node, name)? {
        end(node, &id, &pool)?;
    }
    Ok(deleted)
}

/// Updates pools to templates that a process changed or deleted before it was killed.
pub fn follow_templates(node: &Node) -> Result<(), NodeError> {
    for (id, pool) in node.store.read(|transaction| transaction.pools())? {
        let Some(name) = &id.template else { continue };
        match node.template(name)? {
            None => end(node, &id, &pool)?,
            Some(stored) if is_of(&pool, &stored) => {}
            Some(stored) => rebase(node, &id, &pool, &stored)?,
        }
    }
    Ok(())
}

/// Whether a pool's record has the digest and owner of the stored template.
fn is_of(pool: &Pool, stored: &StoredTemplate) -> bool {
    Some(stored.digest) == pool.template && stored.source.owner() == pool.template_owner.as_ref()
}

/// Records that a pool's slots are built from this template.
fn rebase(node: &Node, id: &PoolId, pool: &Pool, stored: &StoredTemplate) -> Result<(), NodeError> {
    let conf = NetConf::recorded(&pool.conf)?;
    let now = put_pool(node, &conf, id, pool.configured, Some(stored))?;
    failpoint::hit("replicate:pool");
    if now.key == pool.key { Ok(()) } else { drain(node, pool.key).map(drop) }
}

fn end(node: &Node, id: &PoolId, pool: &Pool) -> Result<(), NodeError> {
    node.store.write(|transaction| transaction.forget_pool(id))?;
    failpoint::hit("replicate:forgotten");
    drain(node, pool.key).map(drop)
}

fn pools_of(node: &Node, name: &TemplateName) -> Result<Vec<(PoolId, Pool)>, NodeError> {
    let mut pools = node.store.read(|transaction| transaction.pools())?;
    pools.retain(|(id, _)| id.template.as_ref() == Some(name));
    Ok(pools)
}

/// The origin of a template, in words.
fn origin(conf: &NetConf) -> String {
    let node = nix::sys::utsname::uname().ok();
    let node =
        node.as_ref().map_or_else(String::new, |n| n.nodename().to_string_lossy().into_owned());
    crate::template::origin(&conf.name, &node, SystemTime::now())
}
