//! One container, and calls for it that should have waited for each other.

use std::{path::Path, thread, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use repoint_tests::{
    Container, Pooled,
    plugin::{Attachment, Network},
    traffic::{self, Host},
    with_pool,
};
use serde_json::{Value, json};

use crate::{Candidate, both, ordinary};

/// The spec's code for what may be done again, and the project's for what is there already.
const TRY_AGAIN_LATER: u32 = 11;
const ALREADY_EXISTS: u32 = 101;
/// How often a race is run, each time with the second call a little later.
const ROUNDS: u32 = 24;

/// Runs a test with a network whose containers share a pool, with one whose slots are deleted after
/// their use, and with one without a pool. Nothing may be left.
fn with_each(test: impl Fn(&Pooled<'_>, &Network) -> Result<()> + Sync) -> Result<()> {
    with_pool(&json!({ "warm": 4, "maxSlots": 16, "scope": "network" }), |pooled| {
        pooled.fill()?;
        let alone = pooled.network_with(|configuration| {
            configuration["name"] = json!("alone");
            configuration["pool"]["scope"] = json!("function");
            configuration["ipam"]["ranges"] =
                json!([[{ "subnet": "10.217.10.0/24" }], [{ "subnet": "fd00:217:10::/64" }]]);
        })?;
        for network in [pooled.network().clone(), alone, ordinary(pooled)?] {
            test(pooled, &network).with_context(|| format!("network {}", network.name()))?;
        }
        Ok(())
    })
}

#[test]
fn an_attachment_is_added_once_and_a_second_add_changes_nothing() -> Result<()> {
    with_each(|pooled, network| {
        let one = Container::add(network, "once")?;
        let slot = pooled.slot_of(&one)?;
        let error = network.call_single("ADD", one.attachment(), None)?.error()?;
        ensure!(error.code == ALREADY_EXISTS, "{error:?}");
        ensure!(pooled.slot_of(&one)? == slot, "it has {slot:?} no more");
        traffic::all(&Host::here("node")?, &one.host()?, &one.addresses()?)?;
        one.check()?;
        one.remove()
    })
}

#[test]
fn of_two_adds_at_once_one_succeeds() -> Result<()> {
    with_each(|pooled, network| {
        for round in 0..ROUNDS {
            let twin = Candidate::new(&format!("twin{round}"))?;
            let add = || twin.call(network, "ADD");
            let result = match both(add, add)? {
                (Ok(result), Err(error)) | (Err(error), Ok(result)) => {
                    ensure!(error.code == ALREADY_EXISTS, "{error:?}");
                    result
                }
                others => bail!("{others:?}"),
            };
            network.check(&twin.attachment, &result)?;
            network.del(&twin.attachment, Some(&result))?;
            twin.netns.remove()?;
        }
        idle(pooled)
    })
}

#[test]
fn two_dels_at_once_succeed() -> Result<()> {
    with_each(|pooled, network| {
        for round in 0..ROUNDS {
            let one = Candidate::new(&format!("gone{round}"))?;
            network.add(&one.attachment)?;
            let del = || network.del(&one.attachment, None);
            both(del, del)?;
            one.netns.remove()?;
        }
        idle(pooled)
    })
}

/// The DEL comes at any moment of the ADD. Then the container is there or it is not, and the ADD says
/// so; the DEL that is due in any case takes all away.
#[test]
fn a_del_during_an_add_leaves_a_whole_container_or_none() -> Result<()> {
    with_each(|pooled, network| {
        let (mut whole, mut none) = (0, 0);
        for round in 0..ROUNDS {
            let one = Candidate::new(&format!("hasty{round}"))?;
            let later = Duration::from_micros(u64::from(round) * 400);
            let del = || {
                thread::park_timeout(later);
                network.del(&one.attachment, None)
            };
            match both(|| one.call(network, "ADD"), del)?.0 {
                Ok(result) => {
                    // CHECK shows whether it is attached still; if it is, it is whole.
                    let call = network.call_single("CHECK", &one.attachment, Some(&result))?;
                    if call.status.success() { whole += 1 } else { none += 1 }
                }
                Err(error) => {
                    ensure!(error.code == TRY_AGAIN_LATER, "{error:?}");
                    none += 1;
                }
            }
            network.del(&one.attachment, None)?;
            one.netns.remove()?;
        }
        println!("{}: {whole} containers, {none} that were none any more", network.name());
        idle(pooled)
    })
}

/// What an ADD makes on the node that is of no use without its slot's record, by the sweep's kinds.
const MADE_BY_ADD: [&str; 5] = ["link", "namespace", "endpoint", "interface", "masquerade"];

/// An ADD is killed while a DEL of the same container is under way. The DEL may have deleted the slot
/// before the ADD made the rest of it: that is for one sweep.
#[test]
fn a_del_during_an_add_that_is_killed_leaves_nothing_beyond_a_sweep() -> Result<()> {
    with_each(|pooled, network| {
        for round in 0..ROUNDS {
            let one = Candidate::new(&format!("lost{round}"))?;
            let limit = Duration::from_micros(u64::from(round) * 500);
            let add = || {
                let call = network.single("ADD", &one.attachment, None)?;
                call.run_signalled(&[(limit, Signal::SIGKILL)])
            };
            both(add, || network.del(&one.attachment, None))?;
            network.del(&one.attachment, None)?;
            one.netns.remove()?;
        }
        let unrecorded = |one: &Value| MADE_BY_ADD.iter().any(|kind| one["kind"] == *kind);
        let swept = sweep(pooled)?;
        ensure!(swept.iter().all(unrecorded), "more is left: {swept:#?}");
        idle(pooled)
    })
}

/// GC leaves what is on its list alone, also while it is being added.
#[test]
fn a_gc_that_lists_a_container_does_not_disturb_its_add() -> Result<()> {
    with_each(|pooled, network| {
        for round in 0..ROUNDS / 4 {
            let one = Candidate::new(&format!("listed{round}"))?;
            let listed = network.with_valid([one.attachment.container_id.as_str()]);
            let (added, ()) = both(|| one.call(network, "ADD"), || gc(&listed))?;
            let result = added.map_err(|error| anyhow::anyhow!("{error:?}"))?;
            network.check(&one.attachment, &result)?;
            network.del(&one.attachment, Some(&result))?;
            one.netns.remove()?;
        }
        idle(pooled)
    })
}

/// The spec has runtimes not do this: GC does not know of a container that is being added.
#[test]
fn a_gc_that_does_not_list_a_container_leaves_it_whole_or_none() -> Result<()> {
    with_each(|pooled, network| {
        for round in 0..ROUNDS / 4 {
            let one = Candidate::new(&format!("unlisted{round}"))?;
            let empty = network.with_valid([]);
            let (added, ()) = both(|| one.call(network, "ADD"), || gc(&empty))?;
            if let Err(error) = added {
                ensure!(error.code == TRY_AGAIN_LATER, "{error:?}");
            }
            network.del(&one.attachment, None)?;
            one.netns.remove()?;
        }
        idle(pooled)
    })
}

/// One id and one interface name, in two networks: two attachments.
#[test]
fn the_same_container_in_two_networks_is_two_attachments() -> Result<()> {
    with_pool(&json!({ "warm": 2, "maxSlots": 8 }), |pooled| {
        pooled.fill()?;
        let (one, other) = (pooled.network(), &ordinary(pooled)?);
        let first = Candidate::new("same")?;
        let mut second = Candidate::new("same-elsewhere")?;
        second.attachment.container_id = "same".to_owned();
        let results = [one.add(&first.attachment)?, other.add(&second.attachment)?];
        let before = pooled.slots()?;
        // Neither DEL nor GC of the one network concerns the other's.
        gc(&other.with_valid(["same"]))?;
        let after = pooled.slots()?;
        ensure!(after == before, "GC made {after:?} of {before:?}");
        one.del(&first.attachment, Some(&results[0]))?;
        other.check(&second.attachment, &results[1])?;
        gc(&one.with_valid([]))?;
        other.check(&second.attachment, &results[1])?;
        gc(&other.with_valid([]))?;
        let error = other.call_single("CHECK", &second.attachment, Some(&results[1]))?.error()?;
        println!("after GC: code {}: {}", error.code, error.msg);
        first.netns.remove()?;
        second.netns.remove()
    })
}

fn gc(network: &Network) -> Result<()> {
    let nobody = Attachment::new("", Path::new(""));
    network.call_single("GC", &nobody, None)?.success().map(drop)
}

/// Fails if a slot is in anybody's hands, or a sweep would find anything.
fn idle(pooled: &Pooled<'_>) -> Result<()> {
    let held = |state: &str| !["warm", "parked", "dirty"].contains(&state);
    let slots = pooled.slots()?;
    let used = slots.iter().find(|slot| slot.container.is_some() || held(&slot.state));
    ensure!(used.is_none(), "{used:?} is left");
    let found = sweep(pooled)?;
    ensure!(found.is_empty(), "a sweep found {found:#?}");
    Ok(())
}

/// Sweeps, and gives what was found.
fn sweep(pooled: &Pooled<'_>) -> Result<Vec<Value>> {
    let swept: Value = serde_json::from_str(&pooled.repoint(&["sweep", "--json"])?)?;
    Ok(swept["findings"].as_array().context("a sweep reports no findings")?.clone())
}
