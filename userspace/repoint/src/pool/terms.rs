//! Effective terms: the network's policy, narrowed by what the container asks for.

use std::time::Duration;

use crate::{
    conf::{Annotation, NetConf, User},
    model::{Domain, Isolation, Mode, NetworkName, PoolPolicy},
    node::{NodeError, PoolError},
};

/// How a container is served.
#[derive(Debug, Clone)]
pub(crate) struct EffectiveTerms {
    /// With what.
    pub(crate) mode: Mode,
    /// The trust domain from which it gets a slot, and to which it leaves it.
    pub(crate) domain: Domain,
    /// How long its slot waits for its function afterwards, if the container asks for a time.
    pub(crate) idle_ttl: Option<Duration>,
    /// Which other containers it does not reach.
    pub(crate) isolation: Isolation,
    /// Whether the network's containers without a tenant trust each other.
    pub(crate) share_without_tenant: bool,
}

impl EffectiveTerms {
    /// The terms for a user of a pool. Fails if the user asks for more than the network's
    /// configuration allows.
    pub(crate) fn new(conf: &NetConf, policy: &PoolPolicy, user: &User) -> Result<Self, NodeError> {
        let too_wide = |annotation, value: String, limit: String| {
            NodeError::Pool(PoolError::TooWide {
                network: conf.name.clone(),
                annotation,
                value,
                limit,
            })
        };
        if let Some(scope) = user.scope.filter(|scope| *scope > policy.scope) {
            let limit = format!("scope {}", policy.scope.name());
            return Err(too_wide(Annotation::Scope, scope.name().to_owned(), limit));
        }
        if let (Some(ttl), Some(most)) = (user.idle_ttl, policy.idle_ttl)
            && ttl > most
        {
            let shown = |time| humantime::format_duration(time).to_string();
            return Err(too_wide(
                Annotation::IdleTtl,
                shown(ttl),
                format!("idleTTL {}", shown(most)),
            ));
        }
        Ok(Self {
            mode: user.mode.unwrap_or(conf.pool_conf.mode),
            domain: domain(policy, user),
            idle_ttl: user.idle_ttl,
            isolation: conf.isolation,
            share_without_tenant: policy.share_without_tenant,
        })
    }
}

/// The trust domain of a user of a pool.
pub(crate) fn domain(policy: &PoolPolicy, user: &User) -> Domain {
    Domain::of(
        user.scope.unwrap_or(policy.scope),
        user.tenant.as_ref(),
        user.function.as_ref(),
        policy.share_without_tenant,
    )
}

/// Fails if a network has no pool and the user's mode needs one.
pub(crate) fn check_without_pool(network: &NetworkName, user: &User) -> Result<(), NodeError> {
    match user.mode {
        Some(mode @ (Mode::Reuse | Mode::Replicate)) => {
            let (network, mode) = (network.clone(), mode.name());
            Err(PoolError::ModeWithoutPool { network, mode }.into())
        }
        Some(Mode::None) | None => Ok(()),
    }
}
