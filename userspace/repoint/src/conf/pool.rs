//! Key `pool`.

use std::time::Duration;

use super::{Annotation, object, time::Lasting};
use crate::{
    cni::json::{KeyError, Node, Object},
    model::{Mode, PoolPolicy, TemplateName},
};

/// Most slots that a configuration can ask for: the maps hold no more.
const MOST_SLOTS: u32 = 65_536;
/// Slots kept ready where the configuration does not say how many.
const WARM: u32 = 8;
const FOREVER: &str = "forever";
const TIME: &str = "a time such as \"90s\" or \"10m\"";
const IDLE_TTL: &str = "a time such as \"10m\", or \"forever\"";
const TEMPLATE: &str = "the name of a template such as \"resize\"";
const TEMPLATES: &str = "a list of names of templates such as [\"resize\"]";
const MODE: &str = "\"reuse\", \"replicate\" or \"none\"";
const SCOPE: &str = "\"function\", \"tenant\" or \"network\"";
const ANNOTATION: &str = "an annotation such as \"repoint.dev/mode\"";
const POD_NAME: &str = "podName";

/// The keys of a network's pool beside those of its policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolConf {
    /// The mode of containers that ask for none: key `pool.mode`.
    pub mode: Mode,
    /// The stored template for containers that name none: key `pool.template`.
    ///
    /// None: the configuration alone describes the slots.
    pub template: Option<TemplateName>,
    /// Further stored templates that pods may name: key `pool.templates`.
    pub templates: Vec<TemplateName>,
    /// Where a function's name comes from if none is given: key `pool.functionFrom`.
    pub function_from: Option<FunctionSource>,
    /// What a pod may ask for by annotation: key `pool.annotations`.
    pub annotations: Allowed,
    /// Whether ADD copies sysctls that the runtime set before: key `pool.checkSysctls`.
    ///
    /// None: ADD does so if the runtime is known to set sysctls.
    pub check_sysctls: Option<bool>,
}

impl PoolConf {
    /// Whether a pod may name this template.
    #[must_use]
    pub fn lists(&self, template: &TemplateName) -> bool {
        self.template.as_ref() == Some(template) || self.templates.contains(template)
    }
}

/// Where a function's name comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionSource {
    /// The pod's name without what was generated: `K8S_POD_NAME`.
    PodName,
}

/// Annotations that a pod may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed(Vec<Annotation>);

impl Default for Allowed {
    /// All annotations but the tenant and labels: a pod that names its tenant could name another's, and labels open
    /// what policies close.
    fn default() -> Self {
        let is_own = |known: &Annotation| !matches!(known, Annotation::Tenant | Annotation::Labels);
        Self(Annotation::ALL.into_iter().filter(is_own).collect())
    }
}

impl Allowed {
    /// Whether a pod may have this one.
    #[must_use]
    pub fn holds(&self, annotation: Annotation) -> bool {
        self.0.contains(&annotation)
    }
}

/// The policy of the network's pool; none where it has no pool.
pub(super) fn policy(conf: &Object<'_>) -> Result<Option<PoolPolicy>, KeyError> {
    let Some(pool) = object(conf, "pool")? else {
        return Ok(None);
    };
    let default = PoolPolicy::default();
    let number = |key, least| number(&pool, key, least);
    let (warm, max) = (number("warm", 0)?, number("maxSlots", 1)?.unwrap_or(default.max));
    if warm.is_some_and(|warm| warm > max) {
        return Err(pool.bad_value("warm", format!("it must be at most maxSlots, {max}")));
    }
    Ok(Some(PoolPolicy {
        warm: warm.unwrap_or(WARM.min(max)),
        max,
        scope: pool.text("scope").map_or(Ok(default.scope), |node| node.checked(SCOPE))?,
        share_without_tenant: pool
            .get("shareWithoutTenant")
            .map_or(Ok(default.share_without_tenant), |node| node.boolean())?,
        slots_per_tenant: number("maxSlotsPerTenant", 1)?,
        parked_per_function: number("maxParkedPerFunction", 0)?,
        parked_per_tenant: number("maxParkedPerTenant", 0)?,
        idle_ttl: pool.text("idleTTL").map_or(Ok(default.idle_ttl), |node| idle_ttl(&node))?,
        cooldown: pool.text("cooldown").map(|node| time(&node, TIME)).transpose()?,
    }))
}

/// Reads key `pool.cooldown` alone.
///
/// Removing an attachment needs no other key of the pool.
pub(super) fn cooldown(conf: &Object<'_>) -> Option<Duration> {
    let pool = object(conf, "pool").ok().flatten()?;
    pool.text("cooldown").and_then(|node| time(&node, TIME).ok())
}

/// Reads the keys that are not part of the policy.
pub(super) fn read(conf: &Object<'_>) -> Result<PoolConf, KeyError> {
    let Some(pool) = object(conf, "pool")? else {
        return Ok(PoolConf::default());
    };
    Ok(PoolConf {
        mode: pool.text("mode").map_or(Ok(Mode::default()), |node| node.checked(MODE))?,
        template: pool.text("template").map(|node| node.checked(TEMPLATE)).transpose()?,
        templates: pool.get("templates").map_or(Ok(Vec::new()), |node| templates(&node))?,
        function_from: pool.text("functionFrom").map(|node| function_from(&node)).transpose()?,
        annotations: pool.get("annotations").map_or(Ok(Allowed::default()), |n| allowed(&n))?,
        check_sysctls: pool.get("checkSysctls").map(|node| node.boolean()).transpose()?,
    })
}

fn number(pool: &Object<'_>, key: &str, least: u32) -> Result<Option<u32>, KeyError> {
    pool.get(key).map(|node| node.integer(least..=MOST_SLOTS)).transpose()
}

fn idle_ttl(node: &Node<'_>) -> Result<Option<Duration>, KeyError> {
    if node.string(IDLE_TTL)? == FOREVER { Ok(None) } else { time(node, IDLE_TTL).map(Some) }
}

fn time(node: &Node<'_>, expected: &'static str) -> Result<Duration, KeyError> {
    node.checked(expected).map(|Lasting(time)| time)
}

fn templates(node: &Node<'_>) -> Result<Vec<TemplateName>, KeyError> {
    node.items(TEMPLATES)?.map(|name| name.checked(TEMPLATE)).collect()
}

fn function_from(node: &Node<'_>) -> Result<FunctionSource, KeyError> {
    match node.string("\"podName\"")? {
        POD_NAME => Ok(FunctionSource::PodName),
        _ => Err(node.bad_value("it must be \"podName\"")),
    }
}

fn allowed(node: &Node<'_>) -> Result<Allowed, KeyError> {
    let names = node.items("a list of annotations such as [\"repoint.dev/mode\"]")?;
    names.map(|name| name.checked(ANNOTATION)).collect::<Result<_, _>>().map(Allowed)
}
