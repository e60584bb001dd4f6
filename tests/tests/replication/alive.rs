//! A template is changed, or deleted, while slots that were made from it are alive: who uses one goes
//! on, what waits goes, and who comes gets what counts now.

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Container, Pooled,
    cli::{self, Slot, template},
    pooled::{NAME, SOON, TENANT, user},
    traffic::{self, Host},
    wait, with_pool,
};
use serde_json::{Value, json};

use crate::{INVALID_CONFIGURATION, ensure_says, shell};

/// Name of the template.
const LIVE: &str = "live";
/// A route that the template has after it was changed.
const NEW_ROUTE: &str = "192.0.2.0/24 via 169.254.1.1";

fn pool() -> Value {
    json!({ "warm": 2, "maxSlots": 16, "templates": [LIVE, "one", "two"] })
}

/// ADDs a function's container from the template.
fn add<'a>(pooled: &'a Pooled<'_>, function: &str) -> Result<Container<'a>> {
    let asked = format!("repoint.dev/template={LIVE};{}", user(TENANT, function));
    pooled.add_with(|own| own.args(&asked))
}

/// Makes the template of what the network's configuration says.
fn make(pooled: &Pooled<'_>) -> Result<()> {
    pooled.operate("REPLICATE", &format!("repoint.dev/template={LIVE}"))?.success().map(drop)
}

/// REPLICATE of the same network with one more route.
fn change_by_replicate(pooled: &Pooled<'_>) -> Result<()> {
    let network = pooled.network_with(|configuration| {
        configuration["ipam"]["routes"] =
            json!([{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }, { "dst": "192.0.2.0/24" }]);
    })?;
    let attachment = repoint_tests::plugin::Attachment::new("", "".as_ref());
    let attachment = attachment.args(&format!("repoint.dev/template={LIVE}"));
    let made = network.call_single("REPLICATE", &attachment, None)?.json()?;
    ensure!(made["template"]["stored"] == "changed", "{made}");
    Ok(())
}

/// Import of what was exported, with one more route.
fn change_by_import(pooled: &Pooled<'_>) -> Result<()> {
    let mut json: Value = serde_json::from_str(&template::export(pooled.node(), LIVE)?)?;
    let route =
        json!({ "operation": "addRoute", "to": { "prefix": "192.0.2.0/24" }, "via": "gateway" });
    json["operations"].as_array_mut().context("no operations")?.push(route);
    json.as_object_mut().context("no template")?.remove("digest");
    println!("{}", template::import(pooled.node(), LIVE, &json.to_string())?);
    Ok(())
}

/// A container that runs, one that waits for its function, and some that are ready.
struct World<'a> {
    running: Container<'a>,
    slot: Slot,
    old: Vec<String>,
}

impl<'a> World<'a> {
    fn new(pooled: &'a Pooled<'_>, has_agent: bool) -> Result<Self> {
        make(pooled)?;
        let (running, waiting) = (add(pooled, "running")?, add(pooled, "waiting")?);
        let waits = pooled.slot_of(&waiting)?.slot;
        waiting.remove()?;
        pooled.wait_for_slot(&waits, &["parked"])?;
        if has_agent {
            wait::until(SOON, "slots of the template are ready", || {
                let pool = cli::pool_of(pooled.node(), NAME, Some(LIVE))?;
                ensure!(pool.warm == 2, "{pool:?}");
                Ok(())
            })?;
        } else {
            let asked = format!("repoint.dev/template={LIVE};repoint.dev/count=2");
            pooled.operate("PREPARE", &asked)?.success()?;
        }
        let slot = pooled.slot_of(&running)?;
        let of = |found: &Slot| found.template.as_deref() == Some(LIVE) && found.slot != slot.slot;
        let old: Vec<_> = pooled.slots()?.into_iter().filter(of).map(|found| found.slot).collect();
        ensure!(old.len() == 3, "{old:?}");
        Ok(Self { running, slot, old })
    }

    /// The running container's traffic passes, CHECK too, and those that waited are gone.
    fn goes_on(&self, pooled: &Pooled<'_>) -> Result<()> {
        let given = self.running.addresses()?;
        traffic::all(&Host::here("node")?, &self.running.host()?, &given)?;
        self.running.check()?;
        ensure!(pooled.slot_of(&self.running)? == self.slot, "the record was changed");
        for slot in &self.old {
            pooled.wait_for_slot(slot, &["gone"])?;
        }
        Ok(())
    }

    /// It ends as others do, and its slot with it.
    fn ends(self, pooled: &Pooled<'_>) -> Result<()> {
        self.running.remove()?;
        pooled.wait_for_slot(&self.slot.slot, &["gone"]).map(drop)
    }
}

fn changed(change: fn(&Pooled<'_>) -> Result<()>, has_agent: bool) -> Result<()> {
    with_pool(&pool(), |pooled| {
        let agent = if has_agent { Some(pooled.agent()?) } else { None };
        let world = World::new(pooled, has_agent)?;
        let is_new = |container: &Container<'_>| {
            Ok::<_, anyhow::Error>(shell(container, "ip route")?.contains(NEW_ROUTE))
        };
        ensure!(!is_new(&world.running)?, "the route is there before it is in the template");
        change(pooled)?;
        world.goes_on(pooled)?;
        ensure!(!is_new(&world.running)?, "the running container was changed");
        let next = [add(pooled, "waiting")?, add(pooled, "other")?];
        for container in &next {
            let slot = pooled.slot_of(container)?;
            ensure!(is_new(container)?, "{slot:?} is of the old template");
            ensure!(slot.template_digest != world.slot.template_digest, "{slot:?}");
            ensure!(slot.served() == "replicated", "{slot:?}");
            container.check()?;
        }
        next.into_iter().try_for_each(Container::remove)?;
        world.goes_on(pooled)?;
        world.ends(pooled)?;
        // Its function comes again, and does not get the old one.
        let again = add(pooled, "running")?;
        ensure!(is_new(&again)?, "{:?}", pooled.slot_of(&again)?);
        again.remove()?;
        agent.map_or(Ok(()), repoint_tests::Agent::stop)
    })
}

#[test]
fn a_template_is_changed_by_replicate_under_its_slots() -> Result<()> {
    changed(change_by_replicate, true)?;
    changed(change_by_replicate, false)
}

#[test]
fn a_template_is_changed_by_import_under_its_slots() -> Result<()> {
    changed(change_by_import, true)?;
    changed(change_by_import, false)
}

fn deleted(has_agent: bool) -> Result<()> {
    with_pool(&pool(), |pooled| {
        let agent = if has_agent { Some(pooled.agent()?) } else { None };
        let world = World::new(pooled, has_agent)?;
        println!("{}", template::delete(pooled.node(), LIVE)?);
        world.goes_on(pooled)?;
        let asked = format!("repoint.dev/template={LIVE}");
        for verb in ["ADD", "ACTIVATE"] {
            let error = pooled.network().call_single(
                verb,
                &repoint_tests::plugin::Attachment::new("late", world.running.netns().path())
                    .args(&asked),
                None,
            )?;
            ensure_says(&error.error()?, INVALID_CONFIGURATION, &["template live is not stored"])?;
        }
        world.goes_on(pooled)?;
        let refusal = template::delete(pooled.node(), LIVE).err();
        println!("{:#}", refusal.context("deleted twice")?);
        world.ends(pooled)?;
        // Others are none the worse for it.
        let other = pooled.add()?;
        other.check()?;
        other.remove()?;
        agent.map_or(Ok(()), repoint_tests::Agent::stop)
    })
}

#[test]
fn a_template_is_deleted_under_its_slots() -> Result<()> {
    deleted(true)?;
    deleted(false)
}

/// A container in its own namespace outlives the template, too.
#[test]
fn a_template_is_deleted_under_a_container_in_its_own_namespace() -> Result<()> {
    with_pool(&pool(), |pooled| {
        make(pooled)?;
        let asked = format!("repoint.dev/template={LIVE};repoint.dev/mode=none");
        let container = pooled.add_with(|own| own.args(&asked))?;
        template::delete(pooled.node(), LIVE)?;
        container.check()?;
        traffic::all(&Host::here("node")?, &container.host()?, &container.addresses()?)?;
        container.remove()
    })
}

/// Names are distinguished though they stand for the same: what is of one goes with that one alone.
#[test]
fn two_names_of_one_template_are_two() -> Result<()> {
    with_pool(&pool(), |pooled| {
        let made = |name: &str| {
            let asked = format!("repoint.dev/template={name};repoint.dev/count=1");
            Ok::<_, anyhow::Error>(pooled.operate("REPLICATE", &asked)?.json()?["slots"][0].clone())
        };
        let (one, two) = (made("one")?, made("two")?);
        ensure!(one["template"] == two["template"], "{one} {two}");
        let add = |name: &str| {
            let asked = format!("repoint.dev/template={name};repoint.dev/mode=replicate");
            pooled.add_with(|own| own.args(&asked))
        };
        let first = add("two")?;
        let slot = pooled.slot_of(&first)?;
        println!("{slot:?}");
        ensure!(slot.template.as_deref() == Some("two") && two["slot"] == slot.slot, "{slot:?}");
        template::delete(pooled.node(), "two")?;
        first.check()?;
        let second = add("one")?;
        let slot = pooled.slot_of(&second)?;
        ensure!(slot.template.as_deref() == Some("one") && one["slot"] == slot.slot, "{slot:?}");
        second.remove()?;
        first.remove()
    })
}

/// What is deleted and made again serves again.
#[test]
fn a_template_comes_back_under_its_name() -> Result<()> {
    with_pool(&pool(), |pooled| {
        make(pooled)?;
        let first = add(pooled, "running")?;
        template::delete(pooled.node(), LIVE)?;
        make(pooled)?;
        let second = add(pooled, "running")?;
        for container in [&first, &second] {
            container.check()?;
        }
        let (one, two) = (pooled.slot_of(&first)?, pooled.slot_of(&second)?);
        ensure!(one.template_digest == two.template_digest, "{one:?} {two:?}");
        first.remove()?;
        second.remove()
    })
}
