//! What stored policies mean for the functions of this node.

use std::collections::{BTreeSet, HashSet};

use repoint_common::policy::{DENY, GROUP_WORDS, MAP_IDENTITIES, MAX_ENTRIES, MAX_IDENTITIES};
use repoint_policy::{Compiled, Groups, NamedPort, Numbered, PolicySet, Rules};

use crate::{
    datapath::DatapathError,
    model::Identity,
    node::NodeError,
    store::{Access, PartyNames, StoreError, StoredPolicies, Transaction},
};

/// What stored policies mean for this node.
pub(super) struct Plan {
    pub(super) groups: Groups,
    pub(super) parties: Vec<(Identity, Compiled)>,
}

/// What `stored` means for the identities on record. `closes`: functions for which it cannot be enforced may do
/// nothing, rather than that this fails.
pub(super) fn plan<T: Access>(
    transaction: &Transaction<'_, T>,
    stored: &StoredPolicies,
    closes: bool,
) -> Result<Plan, NodeError> {
    let ports: BTreeSet<NamedPort> =
        stored.declared.values().flat_map(|declared| declared.ports.iter().cloned()).collect();
    let objects = stored.objects.iter().map(|Numbered { object, .. }| object);
    let former = transaction.policy_set()?.groups;
    let groups = former.renew(objects, &ports).map_err(StoreError::from)?;
    let set = PolicySet { objects: stored.objects.clone(), groups: groups.clone(), ports };
    let mut parties = Vec::new();
    let mut compile = |identity, names: PartyNames<'_>| {
        let party = stored.party(&names, transaction.given_labels(identity)?);
        let compiled = match set.compile(&party, &names.in_words()) {
            Err(error) if closes => {
                tracing::error!(%error, "the function may open no flow, and none is opened to it");
                closed()
            }
            compiled => compiled.map_err(StoreError::from)?,
        };
        parties.push((identity, compiled));
        Ok::<_, NodeError>(())
    };
    if !stored.objects.is_empty() {
        let mut known = HashSet::new();
        for record in transaction.identities()? {
            known.insert(record.identity);
            compile(record.identity, PartyNames::of_function(&record))?;
        }
        // Single containers, and functions whose number was forgotten while their containers run.
        for slot in transaction.slots()? {
            if slot.identity.0 != 0 && known.insert(slot.identity) {
                compile(slot.identity, PartyNames::of_slot(&slot))?;
            }
        }
    }
    if !closes {
        ensure_numbers(transaction, &parties)?;
        if parties.len() > MAX_IDENTITIES {
            return Err(DatapathError::Full { map: MAP_IDENTITIES }.into());
        }
    }
    Ok(Plan { groups, parties })
}

/// Fails where the policies of functions would be too many, with those that the functions have now.
fn ensure_numbers<T: Access>(
    transaction: &Transaction<'_, T>,
    parties: &[(Identity, Compiled)],
) -> Result<(), NodeError> {
    let now = transaction.all_policy_rules()?;
    let mut all: HashSet<&Rules> = now.values().collect();
    all.extend(parties.iter().flat_map(|(_, it)| it.egress.iter().chain(&it.ingress)));
    let most = MAX_ENTRIES - 1;
    if all.len() > most {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        return Err(StoreError::NoPolicyNumber { most }.into());
    }
    Ok(())
}

/// Denies everything.
fn closed() -> Compiled {
    let deny = || Some(Rules { rules: Vec::new(), default: DENY });
    Compiled { egress: deny(), ingress: deny(), groups: [0; GROUP_WORDS] }
}
