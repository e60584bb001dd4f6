//! PREPARE: slots are built ahead of time, with namespaces of their own, and kept parked.

use std::{
    num::NonZero,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::{
    LifecycleError, Node,
    addresses::take_addresses,
    configuration::{mtu, template},
    destroy::destroy,
    node::now,
    room::lack,
};
use crate::{
    conf::{IpamConf, NetConf, OwnIpam},
    datapath::Datapath,
    failpoint,
    netns::{HiddenNamespaces, Netns},
    slot::{BuildPermit, Builder, Built, Fingerprint, require_masquerade},
    store::{Pool, PoolId, Slot, SlotState, Write},
    template::{NodeContext, Template},
    types::{Identity, IfName, PoolKey, SlotId},
};

/// Slots recorded in one transaction: it should not keep others from writing for long.
const BATCH: u32 = 64;

/// What the slots of a pool are built from, on this node, now.
#[derive(Debug, Clone)]
pub(super) struct Blueprint<'a> {
    pub(super) conf: &'a NetConf,
    pub(super) own: &'a OwnIpam,
    pub(super) ifname: &'a IfName,
    pub(super) key: PoolKey,
    pub(super) template: Template,
    digest: [u8; 32],
    mtu: u32,
}

/// A slot on record, and its namespace, in which nothing is yet.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) slot: Slot,
    pub(super) netns: Netns,
}

impl<'a> Blueprint<'a> {
    pub(super) fn new(conf: &'a NetConf, ifname: &'a IfName) -> Result<Self, LifecycleError> {
        let IpamConf::Own(own) = &conf.ipam else {
            return Err(LifecycleError::NoPoolIpam { network: conf.name.to_string() });
        };
        let template = template(conf, &own.routes);
        let digest = template.digest()?.0;
        let key = conf.pool_key(ifname);
        Ok(Self { conf, own, ifname, key, template, digest, mtu: mtu(conf)? })
    }

    pub(super) fn pool(&self) -> PoolId {
        PoolId { network: self.conf.name.clone(), ifname: self.ifname.clone(), template: None }
    }

    /// Records the intent to build a slot.
    pub(super) fn record(
        &self,
        transaction: &mut Write<'_>,
        netns: &Netns,
    ) -> Result<Slot, LifecycleError> {
        let id = transaction.next_slot_id()?;
        let mut slot = Slot::building(id, self.conf.name.clone(), self.ifname.clone(), now());
        slot.owns_netns = true;
        slot.netns = Some(netns.inode());
        slot.masquerade = self.conf.ip_masq;
        slot.identity = transaction.identity(&format!("network:{}", self.conf.name))?;
        slot.pool = self.key;
        slot.template = self.digest;
        slot.mtu = self.mtu;
        slot.addresses = take_addresses(transaction, &self.conf.name, self.own, &[], id)?;
        transaction.put_slot(&slot)?;
        Ok(slot)
    }

    /// Builds a slot on record, its packets passing under `identity`.
    pub(super) fn build(
        &self,
        node: &Node,
        hidden: &HiddenNamespaces,
        datapath: &Datapath,
        site: &Site,
        identity: Identity,
    ) -> Result<Built, LifecycleError> {
        let Site { slot, netns } = site;
        hidden.enter(|inside| inside.keep(slot.id, netns))??;
        failpoint::hit("prepare:kept");
        let context = NodeContext { addresses: slot.addresses.clone(), mtu: self.mtu };
        let config = self.template.instantiate(&context);
        let _permit = BuildPermit::acquire(&node.directories.run, self.conf.cold_builds)?;
        let Datapath { programs, maps } = datapath;
        let builder = Builder { slot, config: &config, netns, programs, maps, identity };
        builder
            .build()
            .map_err(|source| LifecycleError::Prepare { slot: slot.id, source: Box::new(source) })
    }
}

/// Builds `count` slots for a pool and makes them ready. Returns their numbers: fewer than asked for
/// where building fails half-way, in which case what was begun is taken down, or where addresses
/// run out.
pub fn prepare(
    node: &Node,
    conf: &NetConf,
    ifname: &IfName,
    count: u32,
) -> Result<Vec<SlotId>, LifecycleError> {
    let blueprint = Blueprint::new(conf, ifname)?;
    let hidden = node.hidden()?;
    drop(node.load_datapath()?);
    let mut ready = Vec::new();
    let mut left = count;
    let mut fingerprint = None;
    while left > 0 {
        let batch = left.min(BATCH);
        let built = prepare_batch(node, &blueprint, &hidden, batch, &mut fingerprint)?;
        left = if built.len() < batch as usize { 0 } else { left - batch };
        ready.extend(built);
    }
    Ok(ready)
}

fn prepare_batch(
    node: &Node,
    blueprint: &Blueprint<'_>,
    hidden: &HiddenNamespaces,
    count: u32,
    fingerprint: &mut Option<[u8; 32]>,
) -> Result<Vec<SlotId>, LifecycleError> {
    let sites = sites(node, blueprint, count)?;
    failpoint::hit("prepare:recorded");
    if blueprint.conf.ip_masq {
        require_masquerade(&node.directories.run)?;
    }
    let built = build_all(node, blueprint, hidden, &sites);
    let (mut done, mut failed, mut first) = (Vec::new(), Vec::new(), None);
    for (site, built) in sites.into_iter().zip(built) {
        match built {
            Ok(built) => done.push((site, built)),
            Err(error) => {
                failed.push(site.slot);
                first.get_or_insert(error);
            }
        }
    }
    let ready = match done.first() {
        Some((first, _)) => {
            let digest = match *fingerprint {
                Some(digest) => digest,
                None => record_fingerprint(node, blueprint, first)?,
            };
            *fingerprint = Some(digest);
            finish(node, &done, digest)?
        }
        None => Vec::new(),
    };
    if let Some(error) = first {
        // What cannot be removed stays on record, and the caller wants to know why building failed.
        drop(destroy(node, &failed));
        return Err(error);
    }
    Ok(ready)
}

/// Namespaces, and intents to build slots in them.
fn sites(node: &Node, blueprint: &Blueprint<'_>, count: u32) -> Result<Vec<Site>, LifecycleError> {
    let namespaces = namespaces(count, workers(blueprint))?;
    node.store.write(|transaction| {
        let mut sites: Vec<Site> = Vec::with_capacity(namespaces.len());
        for netns in namespaces {
            match blueprint.record(transaction, &netns) {
                Ok(slot) => sites.push(Site { slot, netns }),
                // As many as there are addresses for.
                Err(error) if lack(&error).is_some() && !sites.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sites)
    })
}

/// Makes namespaces, by some threads: 0.4 ms each.
fn namespaces(count: u32, workers: usize) -> Result<Vec<Netns>, LifecycleError> {
    let count = count as usize;
    let share = count.div_ceil(workers);
    let some = |number: usize| (0..number).map(|_| Netns::create()).collect::<Result<Vec<_>, _>>();
    let made: Result<Vec<Vec<Netns>>, LifecycleError> = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|worker| share.min(count.saturating_sub(worker * share)))
            .map(|number| scope.spawn(move || some(number)))
            .collect();
        let joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
        joined.map(|made| Ok(made.map_err(|_| LifecycleError::Thread)??)).collect()
    });
    Ok(made?.into_iter().flatten().collect())
}

/// How many threads build.
fn workers(blueprint: &Blueprint<'_>) -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    processors.min(blueprint.conf.cold_builds as usize).max(1)
}

/// Builds slots by as many threads as build at a time, and answers in their order.
fn build_all(
    node: &Node,
    blueprint: &Blueprint<'_>,
    hidden: &HiddenNamespaces,
    sites: &[Site],
) -> Vec<Result<Built, LifecycleError>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let datapath = node.load_datapath();
        let mut built = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(site) = sites.get(index) else {
                return built;
            };
            let one = match &datapath {
                Ok(datapath) => blueprint.build(node, hidden, datapath, site, Identity::PARKED),
                Err(_) => Err(LifecycleError::NoDatapath),
            };
            built.push((index, one));
        }
    };
    // Threads of their own, since they go in and out of namespaces.
    let mut built: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers(blueprint)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    built.sort_by_key(|(index, _)| *index);
    built.into_iter().map(|(_, one)| one).collect()
}

/// Records what the pool's new namespaces are like, as one of them is. They are made alike: one is
/// looked at for all that are built in one go.
pub(super) fn record_fingerprint(
    node: &Node,
    blueprint: &Blueprint<'_>,
    site: &Site,
) -> Result<[u8; 32], LifecycleError> {
    let taken = site.netns.run(|| Fingerprint::take(&site.slot))??;
    let (digest, encoded) = (taken.digest(), taken.encode());
    let id = blueprint.pool();
    node.store.write(|transaction| {
        transaction.put_fingerprint(&digest, &encoded)?;
        let pool = transaction.pool(&id)?.filter(|pool| pool.key == blueprint.key);
        if let Some(pool) = pool.filter(|pool| pool.fingerprint != digest) {
            transaction.put_pool(&id, &Pool { fingerprint: digest, ..pool })?;
        }
        Ok(digest)
    })
}

/// Records that slots are ready.
fn finish(
    node: &Node,
    done: &[(Site, Built)],
    fingerprint: [u8; 32],
) -> Result<Vec<SlotId>, LifecycleError> {
    node.store.write(|transaction| {
        done.iter()
            .map(|(site, built)| {
                let ready = transaction.advance(site.slot.id, SlotState::Warm, now(), |slot| {
                    slot.host_ifindex = built.host_ifindex;
                    slot.fingerprint = fingerprint;
                })?;
                Ok(ready.id)
            })
            .collect()
    })
}
