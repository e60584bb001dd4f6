//! Functions and containers, and the rules that judge them, as commands show them.

use std::fmt;

use repoint::{
    node::Node,
    store::{IdentityRecord, PartyNames, Slot},
};
use repoint_policy::{Direction, PolicySet};
use serde::Serialize;

/// A function or container, as far as the database knows it still.
#[derive(Debug, Default, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Party {
    /// The number in the maps at the time; 0: the slot was parked, or there is none.
    pub(crate) identity: u32,
    pub(crate) network: Option<String>,
    pub(crate) tenant: Option<String>,
    pub(crate) function: Option<String>,
    pub(crate) container: Option<String>,
}

impl Party {
    /// A number that nothing on record has.
    pub(crate) fn unknown(identity: u32) -> Self {
        Self { identity, ..Self::default() }
    }

    pub(crate) fn of_function(record: &IdentityRecord) -> Self {
        Self {
            identity: record.identity.0,
            network: Some(record.network.to_string()),
            tenant: record.tenant.as_ref().map(ToString::to_string),
            function: Some(record.function.to_string()),
            container: None,
        }
    }

    pub(crate) fn of_slot(slot: &Slot) -> Self {
        Self {
            identity: slot.identity.0,
            network: Some(slot.network.to_string()),
            tenant: slot.tenant.as_ref().map(ToString::to_string),
            function: slot.function.as_ref().map(ToString::to_string),
            container: slot.container.as_ref().map(ToString::to_string),
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.tenant, &self.function, &self.container) {
            (Some(tenant), Some(function), _) => write!(f, "{tenant}/{function}"),
            (_, Some(function), _) => f.write_str(function),
            (_, _, Some(container)) => f.write_str(container),
            _ => write!(f, "{}", self.identity),
        }
    }
}

/// What denied, in words: the rule, or `no rule of …`; none: it is not in force any more.
pub(crate) fn rule_in_words(
    node: &Node,
    set: &PolicySet,
    rule: u32,
    direction: Direction,
    names: Option<&PartyNames<'_>>,
) -> Option<String> {
    if rule != 0 {
        return set.rule_in_words(rule, direction);
    }
    let objects = set.enforced(&node.party(names?).ok()?, direction);
    (!objects.is_empty()).then(|| format!("no rule of {objects}"))
}
