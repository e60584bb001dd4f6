//! The effective pool of an attachment, and its record.

use super::{
    Node,
    configuration::template_of,
    error::{NodeError, StoredTemplateError},
};
use crate::{
    cni::CniArgs,
    conf::{IpamConf, NetConf, User},
    failpoint,
    model::{IfName, PoolId, PoolKey, PoolOverride, PoolPolicy, TemplateDigest, TemplateName},
    store::{Pool, StoredTemplate, TemplateOwner},
    template::{NodeContext, Template},
};

/// A pool as its configuration and an operator define it now.
#[derive(Debug, Clone)]
pub(crate) struct EffectivePool {
    /// Its network, interface name and stored template.
    pub(crate) id: PoolId,
    /// What its slots are built from.
    pub(crate) key: PoolKey,
    /// How many there may be, for whom, and for how long.
    pub(crate) policy: PoolPolicy,
    /// The stored template that they are made from, if there is one: its digest.
    pub(crate) template: Option<TemplateDigest>,
    /// The only function and tenant that may use that template; none: all may.
    pub(crate) template_owner: Option<TemplateOwner>,
}

impl EffectivePool {
    /// A pool as it is on record.
    pub(crate) fn recorded(id: &PoolId, pool: &Pool) -> Self {
        Self {
            id: id.clone(),
            key: pool.key,
            policy: pool.policy(),
            template: pool.template,
            template_owner: pool.template_owner.clone(),
        }
    }
}

/// The pool that a user's slot is of.
pub(crate) fn pool_id(conf: &NetConf, ifname: &IfName, user: &User) -> PoolId {
    let template = user.template.as_ref().or(conf.pool_conf.template.as_ref());
    PoolId { network: conf.name.clone(), ifname: ifname.clone(), template: template.cloned() }
}

/// The effective pool of this id, configured or set up by an operator. A new or changed
/// configuration is recorded, because the agent reads pools from the database.
pub(crate) fn effective_pool(
    node: &Node,
    conf: &NetConf,
    id: &PoolId,
) -> Result<Option<EffectivePool>, NodeError> {
    let (recorded, operators) = node.store.read(|transaction| {
        let recorded = transaction.pool(id)?;
        let operators = match (&recorded, &id.template, &conf.pool) {
            (None, Some(_), None) => transaction.pool(&PoolId { template: None, ..id.clone() })?,
            _ => None,
        };
        Ok::<_, NodeError>((recorded, operators))
    })?;
    if conf.pool.is_none() && recorded.as_ref().is_some_and(was_configured) {
        // The configuration had a pool, and has none any more. The agent deletes its slots.
        node.store.write(|transaction| transaction.forget_pool(id))?;
        failpoint::hit("pool:forgotten");
        return Ok(None);
    }
    let known = recorded.as_ref().or(operators.as_ref()).map(|pool| pool.configured);
    let Some(configured) = conf.pool.or(known) else {
        return Ok(None);
    };
    let is_same = |pool: &Pool| {
        pool.key == key(conf, id, pool.template.as_ref()) && pool.configured == configured
    };
    let pool = match recorded {
        Some(pool) if is_same(&pool) => pool,
        // The configuration's ranges are for this attachment alone, so the pool keeps its record.
        Some(pool) if conf.asks_for_its_own(&CniArgs::default()) => pool,
        _ => record_pool(node, conf, id, configured)?,
    };
    Ok(Some(EffectivePool::recorded(id, &pool)))
}

/// What the slots of a pool are built from.
fn key(conf: &NetConf, id: &PoolId, digest: Option<&TemplateDigest>) -> PoolKey {
    conf.pool_key(&id.ifname, id.template.as_ref().zip(digest))
}

/// Whether the configuration defines the pool, and no operator has set it.
fn was_configured(pool: &Pool) -> bool {
    pool.set == PoolOverride::default()
        && NetConf::recorded(&pool.conf).is_ok_and(|conf| conf.pool.is_some())
}

/// Records a pool's policy, and what its slots are built from.
///
/// # Errors
/// Where the pool is of a stored template, it must be stored on this node.
pub fn record_pool(
    node: &Node,
    conf: &NetConf,
    id: &PoolId,
    configured: PoolPolicy,
) -> Result<Pool, NodeError> {
    let stored = id.template.as_ref().map(|name| stored_template(node, name)).transpose()?;
    put_pool(node, conf, id, configured, stored.as_ref())
}

/// As [`record_pool`], with the stored template already read.
pub(crate) fn put_pool(
    node: &Node,
    conf: &NetConf,
    id: &PoolId,
    configured: PoolPolicy,
    stored: Option<&StoredTemplate>,
) -> Result<Pool, NodeError> {
    let digest = stored.map(|stored| stored.digest);
    let text = stored.map(|stored| stored.template.to_json()).transpose()?;
    let template_owner = stored.and_then(|stored| stored.source.owner());
    let key = key(conf, id, digest.as_ref());
    let recorded = node.store.grow(|transaction| {
        let known = transaction.pool(id)?;
        let set = known.as_ref().map(|pool| pool.set).unwrap_or_default();
        let fingerprint = known.filter(|pool| pool.key == key).and_then(|pool| pool.fingerprint);
        if let (Some(digest), Some(text)) = (&digest, &text) {
            transaction.put_template(digest, text)?;
        }
        let pool = Pool {
            key,
            conf: conf.common(),
            template: digest,
            template_owner: template_owner.cloned(),
            fingerprint,
            configured,
            set,
        };
        transaction.put_pool(id, &pool)?;
        for (other, pool) in transaction.pools()? {
            if is_superseded(&other, &pool, id, conf) {
                transaction.forget_pool(&other)?;
            }
        }
        Ok(pool)
    });
    failpoint::hit("pool:recorded");
    if recorded.is_ok() && !matches!(conf.ipam, IpamConf::Delegated(_)) {
        // Creates the namespace store here, because the agent may be in another mount namespace
        // than the runtimes. If that fails, ADD is served without the pool and records why.
        drop(node.netns_store());
    }
    recorded
}

/// Whether the network's template was pool `other`'s, and is pool `id`'s now. Then the slots of
/// `other` are to be deleted. A pool that an operator has set stays.
fn is_superseded(other: &PoolId, pool: &Pool, id: &PoolId, conf: &NetConf) -> bool {
    let is_networks = |id: &PoolId, conf: &NetConf| id.template == conf.pool_conf.template;
    other != id
        && (&other.network, &other.ifname) == (&id.network, &id.ifname)
        && pool.set == PoolOverride::default()
        && is_networks(id, conf)
        && NetConf::recorded(&pool.conf).is_ok_and(|old| is_networks(other, &old))
}

/// A template that is stored on this node.
pub(crate) fn stored_template(
    node: &Node,
    name: &TemplateName,
) -> Result<StoredTemplate, NodeError> {
    let stored = node.template(name)?;
    Ok(stored.ok_or_else(|| StoredTemplateError::NotStored { name: name.clone() })?)
}

/// MTU of a pool's slots, bytes, where the node's uplink has one of `uplink`.
pub fn mtu_of_pool(node: &Node, pool: &Pool, uplink: u32) -> Result<u32, NodeError> {
    let template = pool_template(node, &NetConf::recorded(&pool.conf)?, pool.template.as_ref())?;
    Ok(template.instantiate(&NodeContext { addresses: Vec::new(), mtu: uplink }).mtu)
}

/// What a pool's slots are made from.
pub(crate) fn pool_template(
    node: &Node,
    conf: &NetConf,
    digest: Option<&TemplateDigest>,
) -> Result<Template, NodeError> {
    let Some(digest) = digest else {
        return Ok(template_of(conf));
    };
    let text = node.store.read(|transaction| transaction.template(digest))?;
    let text = text.ok_or(StoredTemplateError::Gone { digest: *digest })?;
    Ok(Template::from_json(&text)?)
}
