//! Key `pool`.

use super::object;
use crate::{
    cni::json::{KeyError, Node, Object},
    store::{PoolSize, Scope},
};

/// Most slots that a node can be asked for: what the maps hold.
const MOST_SLOTS: u32 = 65_536;
/// Slots kept ready where the configuration does not say how many.
const WARM: u32 = 8;
/// Most slots in all, likewise.
const MAX: u32 = 1024;
const SCOPE: &str = "\"function\", \"tenant\" or \"network\"";

/// The size of the network's pool; none where it has no pool.
pub(super) fn read(conf: &Object<'_>) -> Result<Option<PoolSize>, KeyError> {
    let Some(pool) = object(conf, "pool")? else {
        return Ok(None);
    };
    let number = |key, least, default: u32| {
        pool.get(key).map_or(Ok(default), |node| node.integer(least..=MOST_SLOTS))
    };
    let (warm, max) = (number("warm", 0, WARM)?, number("maxSlots", 1, MAX)?);
    if warm > max {
        return Err(pool.bad_value("warm", format!("it must be at most maxSlots, {max}")));
    }
    let scope = pool.get("scope").map_or(Ok(Scope::default()), |node| scope(&node))?;
    Ok(Some(PoolSize { warm, max, scope }))
}

/// Whether the runtime sets sysctls before ADD: key `pool.checkSysctls`. None: as its name tells.
pub(super) fn check_sysctls(conf: &Object<'_>) -> Result<Option<bool>, KeyError> {
    let pool = object(conf, "pool")?;
    pool.as_ref().and_then(|pool| pool.get("checkSysctls")).map(|node| node.boolean()).transpose()
}

fn scope(node: &Node<'_>) -> Result<Scope, KeyError> {
    let text = node.string(SCOPE)?;
    let found = Scope::ALL.into_iter().find(|scope| scope.name() == text);
    found.ok_or_else(|| node.bad_value(format!("it must be {SCOPE}")))
}
