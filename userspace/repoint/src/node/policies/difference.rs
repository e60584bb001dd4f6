//! How the maps differ from the policies that are stored: the sweep's look.

use std::collections::HashSet;

use super::{
    install::{Found, Wanted},
    provide::element,
};
use crate::{
    conf::Directories,
    datapath::{DatapathError, PolicyMaps},
    node::{Node, NodeError},
    store::{SlotState, Store},
};

/// How the node's policies differ from those that are stored, in words; none: they do not.
pub fn policies_difference(
    directories: &Directories,
    store: &Store,
) -> Result<Option<String>, NodeError> {
    let stored = Node::stored_policies(directories)?;
    let is_gone = !Node::policies_folder(directories).exists();
    let maps = PolicyMaps::open_existing(&directories.bpf)?;
    store.read(|transaction| {
        let state = transaction.policies_state()?;
        if state.in_use && is_gone {
            return Ok(Some("policies are enforced that are not stored any more".to_owned()));
        }
        if state.revision != stored.revision + 1 && (state.in_use || !stored.objects.is_empty()) {
            return Ok(Some("the database does not have the stored policies".to_owned()));
        }
        let Some(maps) = maps else { return Ok(None) };
        let found = Found::read(&maps)?;
        if !state.in_use && found.is_empty() {
            return Ok(None);
        }
        if state.is_pending || state.in_use && maps.installed()? != state.mark() {
            return Ok(Some("a change of policies is not whole in the maps".to_owned()));
        }
        let in_use = transaction.slots()?.into_iter();
        let in_use = in_use.filter(|slot| slot.state() == SlotState::Active);
        let in_use = in_use.map(|slot| slot.identity.0).collect();
        Ok(Wanted::read(transaction)?.difference(&maps, &found, &in_use)?)
    })
}

impl Wanted {
    /// `in_use`: the identities of slots that containers have.
    fn difference(
        &self,
        maps: &PolicyMaps,
        found: &Found,
        in_use: &HashSet<u32>,
    ) -> Result<Option<String>, DatapathError> {
        for (number, wanted) in &self.identities {
            match found.identities.get(number) {
                Some(found) if *found != element(wanted) => {}
                None if in_use.contains(number) => {}
                // Written by the first ADD.
                _ => continue,
            }
            return Ok(Some(format!("identity {number} is not in the maps as recorded")));
        }
        if let Some(number) = found.identities.keys().find(|it| !self.identities.contains_key(it)) {
            return Ok(Some(format!("identity {number} is in the maps, and not on record")));
        }
        let written = found.identities.values().flat_map(|it| [it.egress, it.ingress]);
        for number in written.collect::<HashSet<_>>() {
            let Some(rules) = self.rules.get(&number) else { continue };
            if maps.policy(number)? != Some(rules.to_policy()) {
                return Ok(Some(format!("policy {number} is not in the maps as recorded")));
            }
        }
        if self.networks != found.networks {
            return Ok(Some("networks are not in the maps as policies name them".to_owned()));
        }
        Ok(None)
    }
}
