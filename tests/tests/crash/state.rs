//! What must hold of a node whatever was killed on it, and after everything was recovered.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    net::IpAddr,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use repoint::{
    datapath::{Maps, PolicyMaps},
    model::{Identity, SlotId},
    slot::{endpoint_of, interface_of},
    store::{Slot, SlotState, Store, StoreError},
};
use repoint_common::interface::{FLAG_ENFORCE, Interface};
use repoint_tests::{
    Node,
    traffic::{Host, unspecified},
    wait,
};
use serde_json::Value;

use crate::fixture::{Case, Fixture, cli};

/// How long traffic may take to pass on a machine that is overloaded: the kernel makes the route of an
/// IPv6 address from a work queue that waits for RTNL.
const LIMIT: Duration = Duration::from_mins(1);

/// Slots on record.
pub fn slots(node: &Node) -> Result<Vec<Slot>> {
    let Some(store) = Store::open_existing(&node.dirs().run.join("state"))? else {
        return Ok(Vec::new());
    };
    Ok(store.read(|transaction| transaction.slots())?)
}

/// Fails if an address has two owners, or a slot two attachments, or a tenant is charged for what it
/// does not have.
pub fn ensure_single_owners(node: &Node) -> Result<()> {
    let Some(store) = Store::open_existing(&node.dirs().run.join("state"))? else {
        return Ok(());
    };
    let (slots, attachments, addresses) = store.read(|transaction| {
        let slots = transaction.slots()?;
        Ok::<_, StoreError>((slots, transaction.attachments()?, transaction.addresses()?))
    })?;
    let mut owners = BTreeMap::new();
    for slot in &slots {
        for address in &slot.addresses {
            if let Some(other) = owners.insert(address.addr(), slot.id) {
                bail!("two owners: slots {other} and {} have {address}", slot.id);
            }
        }
    }
    for (address, slot) in addresses {
        let owner = owners.get(&address);
        ensure!(
            owner.is_none_or(|owner| *owner == slot),
            "two owners: {address}: {slot}, {owner:?}"
        );
    }
    let mut used: BTreeSet<SlotId> = BTreeSet::new();
    for (attachment, slot) in attachments {
        ensure!(used.insert(slot), "two owners: slot {slot} has two attachments, {attachment}");
    }
    ensure_charged_right(&store)
}

/// Fails if a tenant is charged anything but its slots and its deleted slots' namespaces.
fn ensure_charged_right(store: &Store) -> Result<()> {
    let (slots, lingering, charged) = store.read(|transaction| {
        let slots = transaction.slots()?;
        Ok::<_, StoreError>((slots, transaction.lingering()?, transaction.tenants()?))
    })?;
    let of_slots = slots.into_iter().filter(|slot| slot.used);
    let of_slots = of_slots.filter_map(|slot| Some((slot.network, slot.tenant?)));
    let of_namespaces = lingering.into_iter().map(|one| (one.network, one.tenant));
    let mut expected: BTreeMap<_, u32> = BTreeMap::new();
    for whose in of_slots.chain(of_namespaces) {
        *expected.entry(whose).or_default() += 1;
    }
    let charged: BTreeMap<_, u32> =
        charged.into_iter().map(|(network, tenant, count)| ((network, tenant), count)).collect();
    ensure!(charged == expected, "tenants are charged {charged:?}, and have {expected:?}");
    Ok(())
}

/// Fails if packets of a slot would pass under anything but its user's identity, tenant and isolation.
pub fn ensure_judged_right(node: &Node) -> Result<()> {
    let Some(maps) = Maps::open_existing(&node.dirs().bpf)? else { return Ok(()) };
    // Without the database nothing says who has a slot. Its containers run on as they were.
    if !node.dirs().has_database() {
        return Ok(());
    }
    let slots: BTreeMap<u64, Slot> =
        slots(node)?.into_iter().map(|slot| (slot.id.0, slot)).collect();
    let owner = |slot: Option<&Slot>, entry: &dyn Debug| {
        let slot =
            slot.with_context(|| format!("packets pass by {entry:?}, and no slot has it"))?;
        let is_used = slot.container.is_some() || slot.state() == SlotState::Deleting;
        ensure!(
            is_used,
            "packets of slot {}, which is {}, pass by {entry:?}",
            slot.id,
            slot.state()
        );
        Ok(slot.clone())
    };
    for (_, entry) in maps.interfaces()?.into_iter().filter(|(_, it)| it.identity != 0) {
        let slot = owner(slots.get(&entry.slot), &entry)?;
        let expected = interface_of(&slot, slot.identity);
        ensure!(
            entry == expected,
            "packets of slot {} pass by {entry:?}, not {expected:?}",
            slot.id
        );
    }
    for (address, entry) in maps.endpoints()?.into_iter().filter(|(_, it)| it.identity != 0) {
        let has = |slot: &&Slot| slot.addresses.iter().any(|own| own.addr() == address);
        let slot = owner(slots.values().find(has), &entry)?;
        let expected = endpoint_of(&slot, entry.ifindex, slot.identity);
        ensure!(entry == expected, "packets to {address} pass by {entry:?}, not {expected:?}");
    }
    ensure_policies_right(node, &maps)
}

/// Fails if packets of a slot would be judged by other policies than those of its user.
fn ensure_policies_right(node: &Node, maps: &Maps) -> Result<()> {
    let store = Store::open_existing(&node.dirs().run.join("state"))?.context("no database")?;
    let policies = PolicyMaps::open_existing(&node.dirs().bpf)?.context("no data plane")?;
    let is_pending = store.read(|transaction| transaction.policies_state())?.is_pending;
    // While a change is pending, others have their former policies.
    let started = slots(node)?.into_iter().max_by_key(|slot| slot.epoch);
    let started = started.map_or(0, |slot| slot.id.0);
    let judged = |entry: &Interface| entry.identity != 0 && (!is_pending || entry.slot == started);
    for (_, entry) in maps.interfaces()?.into_iter().filter(|(_, it)| judged(it)) {
        let recorded =
            store.read(|transaction| transaction.identity_policies(Identity(entry.identity)))?;
        let enforces = recorded.is_some_and(|recorded| recorded.is_enforced());
        ensure!(enforces == (entry.flags & FLAG_ENFORCE != 0), "{entry:?}, and {recorded:?}");
        let Some(recorded) = recorded else { continue };
        let found = policies.identity(entry.identity)?;
        let found = found.with_context(|| format!("{entry:?} is judged by no policy"))?;
        ensure!(
            (found.egress, found.ingress, found.groups)
                == (recorded.egress, recorded.ingress, recorded.groups),
            "{entry:?} is judged by {found:?}, not {recorded:?}"
        );
        for number in [recorded.egress, recorded.ingress].into_iter().filter(|it| *it != 0) {
            let rules = store.read(|transaction| transaction.policy_rules(number))?;
            let wanted = rules.context("no rules")?.to_policy();
            ensure!(policies.policy(number)? == Some(wanted), "policy {number} has other rules");
        }
    }
    Ok(())
}

/// What a sweep would do at once, without any patience.
pub fn due(fixture: &Fixture<'_>) -> Result<Vec<String>> {
    let reported = cli(&["sweep", "--dry-run", "--grace", "0s", "--json"]);
    let reported = reported.run(fixture.node, None)?;
    if reported.said().contains("there is nothing of repoint in") {
        return Ok(Vec::new());
    }
    let report: Value = serde_json::from_str(&reported.stdout).with_context(|| reported.said())?;
    let findings = report["findings"].as_array().context("no findings")?;
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let line =
        |one: &Value| format!("{} {}: {}", text(one, "kind"), text(one, "name"), text(one, "why"));
    Ok(findings.iter().filter(|one| one["outcome"] != "left").map(line).collect())
}

/// Fails if a sweep would find anything to do.
pub fn ensure_nothing_due(fixture: &Fixture<'_>) -> Result<()> {
    let due = due(fixture)?;
    ensure!(due.is_empty(), "a sweep would find {due:?}");
    Ok(())
}

/// The slot that a container has on record.
pub fn slot_of(node: &Node, case: &Case) -> Result<Option<Slot>> {
    let id = &case.attachment.container_id;
    let is_its = |slot: &Slot| slot.container.as_ref().is_some_and(|own| own.as_str() == id);
    Ok(slots(node)?.into_iter().find(is_its))
}

/// A container that has an active slot talks with the node; one that has none has nothing but `lo`.
pub fn ensure_works_or_is_empty(fixture: &Fixture<'_>, case: &Case) -> Result<()> {
    match slot_of(fixture.node, case)? {
        Some(slot) if slot.state() == SlotState::Active => ensure_talks(case, &slot),
        // Only DEL can have its addresses given back by the plugin that gave them.
        Some(slot) if slot.ipam.is_some() => Ok(()),
        Some(slot) => {
            bail!("slot {} of {} is {}", slot.id, case.attachment.container_id, slot.state())
        }
        None => ensure_empty(case),
    }
}

/// The container and the node exchange a datagram in both families.
pub fn ensure_talks(case: &Case, slot: &Slot) -> Result<()> {
    let path = slot.netns_path.as_deref().unwrap_or(case.netns.path());
    let (node, container) = (Host::here("node")?, Host::at("container", path)?);
    ensure!(slot.addresses.len() == 2, "its addresses are {:?}", slot.addresses);
    slot.addresses.iter().try_for_each(|address| exchange(&node, &container, address.addr()))
}

/// A datagram there and one back. It is sent again until it comes: the kernel activates an interface
/// some time after it got its carrier (`linkwatch`), and drops what is sent before.
fn exchange(node: &Host, container: &Host, address: IpAddr) -> Result<()> {
    let there = container.bind_udp((address, 0).into())?;
    let here = node.bind_udp(unspecified(address))?;
    here.connect(there.local_addr()?)?;
    for socket in [&here, &there] {
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    }
    wait::until(LIMIT, &format!("{address} answers"), || {
        here.send(b"there")?;
        let (_, sender) = there.recv_from(&mut [0; 16])?;
        there.send_to(b"back", sender)?;
        Ok(here.recv(&mut [0; 16])?)
    })?;
    Ok(())
}

/// Interfaces that scenarios put into a container's namespace beside the plugin's.
pub const FURTHER: [&str; 2] = ["other", "another"];

/// The container has its own namespace, in which is nothing but `lo` and what the scenario put there.
pub fn ensure_empty(case: &Case) -> Result<()> {
    let inside = case.netns.run(|| {
        let text = std::fs::read_to_string("/proc/thread-self/net/dev").context("read net/dev")?;
        let names = text.lines().filter_map(|line| line.split_once(':'));
        Ok(names.map(|(name, _)| name.trim().to_owned()).collect::<Vec<_>>())
    })?;
    let own = inside.iter().filter(|name| !FURTHER.contains(&name.as_str()));
    ensure!(own.eq(["lo"]), "the container's namespace holds {inside:?}");
    Ok(())
}
