//! `repoint policy drops`.

use std::collections::{BTreeMap, HashMap};

use repoint::{
    conf::Directories,
    node::Node,
    store::{IdentityRecord, PartyNames, Slot},
};
use repoint_common::drops::{BY_AUDIT, BY_EGRESS, PolicyDropKey};
use repoint_policy::Direction;
use serde::Serialize;

use crate::{
    node,
    output::{CommandError, json, table},
    party::{Party, rule_in_words},
};

/// Packets that the policies of one function denied by one rule, or would deny.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    /// Whose policies they were.
    #[serde(flatten)]
    own: Party,
    /// `egress` or `ingress`.
    direction: &'static str,
    /// Whether the packets passed, because the policy only reports.
    audit: bool,
    /// Number of the rule; none: no rule allowed the packets.
    rule: Option<u32>,
    /// The rule in words, as the policies are now.
    by: Option<String>,
    packets: u64,
    bytes: u64,
}

/// Who has an identity.
enum Holder {
    Function(IdentityRecord),
    Container(Box<Slot>),
}

impl Holder {
    fn party(&self) -> Party {
        match self {
            Self::Function(record) => Party::of_function(record),
            Self::Container(slot) => Party::of_slot(slot),
        }
    }

    fn names(&self) -> PartyNames<'_> {
        match self {
            Self::Function(record) => PartyNames::of_function(record),
            Self::Container(slot) => PartyNames::of_slot(slot),
        }
    }
}

/// Lists packets that policies denied, by function and rule, most packets first.
pub(super) fn run(directories: &Directories, as_json: bool) -> Result<(), CommandError> {
    let mut rows = rows(directories)?;
    rows.sort_by_key(|row| std::cmp::Reverse(row.packets));
    if as_json {
        return json(&rows);
    }
    table(
        ["FUNCTION", "DIRECTION", "", "PACKETS", "BYTES", "BY"],
        rows.into_iter().map(|row| {
            let verdict = if row.audit { "would be dropped" } else { "dropped" };
            [
                row.own.to_string(),
                row.direction.to_owned(),
                verdict.to_owned(),
                row.packets.to_string(),
                row.bytes.to_string(),
                row.by.unwrap_or_else(|| "-".to_owned()),
            ]
        }),
    )
}

fn rows(directories: &Directories) -> Result<Vec<Row>, CommandError> {
    let node = node::open(directories)?;
    // Each element once: while elements are pushed out, the kernel may list one twice.
    let drops: BTreeMap<_, _> = node::maps(directories)?.policy_drops()?.into_iter().collect();
    let (set, holders) = (node.policy_set()?, holders(&node)?);
    let row = |(key, counter): (PolicyDropKey, repoint_common::counter::Counter)| {
        let PolicyDropKey { identity, rule, flags } = key;
        let direction = if flags & BY_EGRESS == 0 { Direction::Ingress } else { Direction::Egress };
        let holder = holders.get(&identity);
        let names = holder.map(Holder::names);
        Row {
            own: holder.map_or_else(|| Party::unknown(identity), Holder::party),
            direction: direction.name(),
            audit: flags & BY_AUDIT != 0,
            rule: (rule != 0).then_some(rule),
            by: rule_in_words(&node, &set, rule, direction, names.as_ref()),
            packets: counter.packets,
            bytes: counter.bytes,
        }
    };
    Ok(drops.into_iter().map(row).collect())
}

fn holders(node: &Node) -> Result<HashMap<u32, Holder>, CommandError> {
    let singles = node.slots()?.into_iter().filter(|slot| slot.identity.is_of_container());
    let mut holders: HashMap<_, _> =
        singles.map(|slot| (slot.identity.0, Holder::Container(Box::new(slot)))).collect();
    let functions = node.identities()?.into_iter();
    holders.extend(functions.map(|record| (record.identity.0, Holder::Function(record))));
    Ok(holders)
}
