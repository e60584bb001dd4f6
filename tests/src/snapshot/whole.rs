//! What belongs to a node as a whole, and what repoint keeps where no tool of the system looks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result};
use repoint::{
    netns::{Kept, NetnsStore},
    node::Node,
    store::{Read, Store, StoreError, Templates},
};

use crate::{folder, node::Dirs, processes};

/// Sysctls of the node's network namespace that a plugin might set, and those of interfaces that it
/// has for good.
const SYSCTLS: [&str; 6] = [
    "ipv4/conf/all",
    "ipv4/conf/default",
    "ipv4/conf/lo",
    "ipv6/conf/all",
    "ipv6/conf/default",
    "ipv6/conf/lo",
];

/// Facts by kind.
pub(super) fn facts(dirs: &Dirs) -> Result<BTreeMap<&'static str, BTreeSet<String>>> {
    Ok(BTreeMap::from([
        ("kept namespace", kept(&dirs.run)?),
        ("pin", files(&dirs.bpf)?),
        ("file of runDir", files(&dirs.run)?),
        ("file of stateDir", files(&dirs.state)?),
        ("row of the database", rows(&dirs.run)?),
        ("stored template", templates(dirs)?),
        ("sysctl", sysctls()?),
        ("process", processes::beside()?),
    ]))
}

/// What is in the private mount namespace.
fn kept(run: &Path) -> Result<BTreeSet<String>> {
    let Some(netns_store) = NetnsStore::open_existing(run)? else {
        return Ok(BTreeSet::new());
    };
    let Kept { slots, strange } =
        crate::netns::in_thread(|| Ok(netns_store.enter(|i| i.kept())??))?;
    Ok(slots.into_keys().map(|slot| slot.to_string()).chain(strange).collect())
}

/// Files and folders below a folder, but for lock files. Lock files stay, so that no process locks one
/// that was replaced.
fn files(top: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for name in folder::names(top)? {
        let path = top.join(&name);
        if path.extension().is_some_and(|extension| extension == "lock") {
            continue;
        }
        let is_folder = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
        if is_folder {
            found.extend(files(&path)?.into_iter().map(|below| format!("{name}/{below}")));
        }
        found.insert(name);
    }
    Ok(found)
}

/// Slots, attachments and addresses on record.
fn rows(run: &Path) -> Result<BTreeSet<String>> {
    let Some(store) = Store::open_existing(&run.join("state"))? else {
        return Ok(BTreeSet::new());
    };
    let read = |transaction: &Read<'_>| {
        let slots = transaction.slots()?.into_iter().map(|slot| format!("slot {}", slot.id));
        let attachments = transaction.attachments()?.into_iter();
        let addresses = transaction.addresses()?.into_iter();
        let set = transaction.policy_set()?;
        let objects = set.objects.iter().map(|numbered| format!("{}", numbered.object.id));
        let groups = set.groups.iter().map(|(set, number)| format!("group {number} of {set:?}"));
        let policies = transaction.all_policy_rules()?.into_keys();
        let identities = transaction.all_identity_policies()?.into_iter();
        Ok::<BTreeSet<String>, StoreError>(
            slots
                .chain(attachments.map(|(id, slot)| format!("attachment {id} of {slot}")))
                .chain(objects)
                .chain(groups)
                .chain(policies.map(|number| format!("policy {number}")))
                .chain(identities.map(|(identity, _)| format!("policies of {}", identity.0)))
                .chain(addresses.map(|(address, slot)| format!("address {address} of {slot}")))
                .collect(),
        )
    };
    Ok(store.read(read)?)
}

fn templates(dirs: &Dirs) -> Result<BTreeSet<String>> {
    let directories = repoint::conf::Directories {
        run: dirs.run.clone(),
        state: dirs.state.clone(),
        bpf: dirs.bpf.clone(),
    };
    let Some(stored) = Templates::open_existing(&Node::templates_folder(&directories))? else {
        return Ok(BTreeSet::new());
    };
    let named = |(name, stored)| -> String {
        let (name, stored): (repoint::model::TemplateName, repoint::store::StoredTemplate) =
            (name, stored);
        format!("{name} {}", stored.digest)
    };
    Ok(stored.list()?.into_iter().map(named).collect())
}

fn sysctls() -> Result<BTreeSet<String>> {
    let top = Path::new("/proc/sys/net");
    let mut found = BTreeSet::from([read("ipv4/ip_forward", &top.join("ipv4/ip_forward"))?]);
    for folder in SYSCTLS {
        for name in folder::names(&top.join(folder))? {
            let path = top.join(folder).join(&name);
            // Some cannot be read before they are written, and a folder is none.
            found.extend(read(&format!("{folder}/{name}"), &path));
        }
    }
    Ok(found)
}

fn read(name: &str, path: &Path) -> Result<String> {
    let value = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    Ok(format!("{name} = {}", value.trim()))
}
