//! ADD's part: what a container's identity is for policies, in the maps before its traffic.

use std::collections::HashSet;

use repoint_common::policy::Identity as Element;

use crate::{
    datapath::{DatapathError, PolicyMaps},
    failpoint,
    model::Identity,
    node::{Node, NodeError},
    store::{Access, IdentityPolicies, Slot, Transaction},
};

impl Node {
    /// Writes what a slot's identity is for policies into the maps, before traffic of the slot is enabled. Returns
    /// whether a change of policies is not whole in the maps.
    pub(crate) fn provide_policies<T: Access>(
        &self,
        transaction: &Transaction<'_, T>,
        slot: &Slot,
    ) -> Result<bool, NodeError> {
        let state = transaction.policies_state()?;
        if !state.in_use {
            return Ok(state.is_pending);
        }
        let provided = self.with_policy_maps(|maps| {
            let mark = maps.installed()?;
            if mark == 0 {
                return Err(NodeError::NoPolicies);
            }
            // Pending without another mark: a start gave labels, as this one may have.
            let has_all = mark == state.mark();
            let is_installed = has_all && !state.is_pending;
            let Some(wanted) = transaction.identity_policies(slot.identity)? else {
                return Ok(!is_installed);
            };
            let element = element(&wanted);
            match maps.identity(slot.identity.0)? {
                Some(found) if found == element => {}
                // The process that writes the change finishes it. A container may have the identity of another one,
                // whose element that process has written already.
                Some(_) if !has_all && !slot.identity.is_of_container() => {}
                _ => {
                    provide_rules(transaction, maps, &wanted)?;
                    insert_identity(transaction, maps, slot.identity, &element)?;
                    failpoint::hit("policies:identity");
                }
            }
            Ok(!is_installed)
        })?;
        Ok(provided.unwrap_or(false))
    }
}

/// Writes the element of an identity. Where the map is full, elements of containers that are gone make room, as they do
/// in a sweep: a node need not have an agent.
fn insert_identity<T: Access>(
    transaction: &Transaction<'_, T>,
    maps: &PolicyMaps,
    identity: Identity,
    element: &Element,
) -> Result<(), NodeError> {
    match maps.insert_identity(identity.0, element) {
        Err(DatapathError::Full { .. }) => {
            let slots = transaction.slots()?;
            let mut known: HashSet<u32> = slots.iter().map(|slot| slot.identity.0).collect();
            known.extend(transaction.identities()?.iter().map(|record| record.identity.0));
            for gone in maps.identities()?.into_keys().filter(|found| !known.contains(found)) {
                maps.remove_identity(gone)?;
            }
            Ok(maps.insert_identity(identity.0, element)?)
        }
        inserted => Ok(inserted?),
    }
}

/// The element of map `identities`.
pub(super) fn element(policies: &IdentityPolicies) -> Element {
    let IdentityPolicies { egress, ingress, groups } = *policies;
    Element { egress, ingress, groups }
}

/// Writes the rules that an identity has, where they are not in the maps.
pub(super) fn provide_rules<T: Access>(
    transaction: &Transaction<'_, T>,
    maps: &PolicyMaps,
    wanted: &IdentityPolicies,
) -> Result<(), NodeError> {
    for number in [wanted.egress, wanted.ingress].into_iter().filter(|number| *number != 0) {
        let Some(rules) = transaction.policy_rules(number)? else { continue };
        let policy = rules.to_policy();
        if maps.policy(number)? != Some(policy) {
            maps.insert_policy(number, &policy)?;
            failpoint::hit("policies:policy");
        }
    }
    Ok(())
}
