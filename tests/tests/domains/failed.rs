//! A slot that was given to a container is that container's domain's, also where the container never
//! got it: an ADD that was killed may have let it in.

use anyhow::{Context as _, Result, ensure};
use repoint::netns::NetnsStore;
use repoint_tests::{
    Container, Netns, Pooled, dist, missing, netns::in_thread, plugin::Attachment, pooled::user,
    with_pool,
};
use serde_json::json;

use crate::cookie;

/// Slots that are ready.
const WARM: usize = 3;
/// Where an ADD is killed that has claimed one of them.
const POINTS: [&str; 4] =
    ["assign:claimed", "activate:bound", "activate:entries", "activate:active"];

/// What is done about it.
#[derive(Debug, Clone, Copy)]
enum Recovery {
    Del,
    Sweep,
}

/// Kills an ADD of a tenant's function at a point; gives its container, and the number and the
/// cookie of its slot.
fn kill(pooled: &Pooled<'_>, point: &str) -> Result<(Netns, Attachment, String, u64)> {
    let ready: Vec<_> = pooled.slots()?.into_iter().map(|slot| slot.slot).collect();
    let name = pooled.name();
    let netns = Netns::create(&name)?;
    let attachment = Attachment::new(&name, netns.path()).args(&user("a", "f"));
    let network = pooled.network_at(&dist::failpoints().to_string_lossy())?;
    let add = network.single("ADD", &attachment, None)?.variable("REPOINT_FAILPOINT", point);
    let outcome = add.run()?;
    ensure!(outcome.was_killed(), "{point} was not met: {outcome:?}");
    let slot = pooled.slots()?.into_iter().find(|slot| slot.container.as_ref() == Some(&name));
    let slot = slot.with_context(|| format!("nothing is recorded of {name}"))?;
    ensure!(ready.contains(&slot.slot), "{slot:?} was not ready");
    let netns_store = NetnsStore::open_existing(&pooled.node().dirs().run)?;
    let netns_store = netns_store.context("no namespaces are kept")?;
    let id = slot.slot.parse()?;
    let cookie = in_thread(|| netns_store.netns(id)?.run(repoint_tests::netns::cookie)?)?;
    Ok((netns, attachment, slot.slot, cookie))
}

/// More containers of other domains than there were slots.
fn others_have_not(pooled: &Pooled<'_>, slot: &str, killed: u64) -> Result<()> {
    let mut containers: Vec<Container<'_>> = Vec::new();
    for number in 0..=WARM {
        for args in [user("b", "f"), user("a", &format!("g{number}")), String::new()] {
            let container = pooled.add_with(|own| own.args(&args))?;
            ensure!(cookie(&container)? != killed, "{args:?} has the namespace");
            ensure!(pooled.slot_of(&container)?.slot != slot, "{args:?} has the slot");
            containers.push(container);
        }
    }
    containers.into_iter().try_for_each(Container::remove)
}

#[test]
fn a_slot_whose_activation_was_killed_is_given_to_no_other() -> Result<()> {
    if missing([dist::failpoints().join("repoint-cni")]) {
        return Ok(());
    }
    for point in POINTS {
        for recovery in [Recovery::Del, Recovery::Sweep] {
            println!("killed at {point}, then {recovery:?}");
            with_pool(&json!({ "warm": WARM, "maxSlots": 64 }), |pooled| {
                pooled.fill()?;
                let (netns, attachment, slot, killed) = kill(pooled, point)?;
                // Before anything is done about it, and after.
                others_have_not(pooled, &slot, killed)?;
                match recovery {
                    Recovery::Del => pooled.network().del(&attachment, None)?,
                    Recovery::Sweep => {
                        print!("{}", pooled.repoint(&["sweep", "--grace", "0s"])?);
                    }
                }
                others_have_not(pooled, &slot, killed)?;
                pooled.network().del(&attachment, None)?;
                netns.remove()?;
                others_have_not(pooled, &slot, killed)
            })?;
        }
    }
    Ok(())
}

/// One that cannot be activated is deleted, and the container served otherwise.
#[test]
fn a_slot_that_cannot_be_activated_is_deleted() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 64 }), |pooled| {
        pooled.fill()?;
        let broken = pooled.slots()?.pop().context("nothing is ready")?.slot;
        let netns_store = NetnsStore::open_existing(&pooled.node().dirs().run)?;
        let netns_store = netns_store.context("no namespaces are kept")?;
        let id = broken.parse()?;
        in_thread(|| Ok(netns_store.enter(|inside| inside.release(id))??))?;
        let container = pooled.add_tenants("a", "f")?;
        ensure!(pooled.slot_of(&container)?.slot != broken, "it has {broken}");
        ensure!(pooled.slot(&broken)?.is_none(), "{broken} is on record still");
        container.check()?;
        container.remove()
    })
}
