//! REPLICATE, as `docs/cni-extensions.md` specifies it, by the plugin and by the CLI.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Agent, Container, Pooled,
    cli::{self, Activated, Instance, Replicated, template},
    plugin::{Attachment, Outcome},
    pooled::{NAME, SOON, TENANT, user},
    wait, with_pool,
};
use serde_json::{Value, json};

use crate::{
    CHANGES, INVALID_CONFIGURATION, NODE_FAILURE, NONE_PREPARED, ensure_changed, ensure_says,
    shell, talk,
};

fn bare() -> Value {
    json!({ "warm": 0, "maxSlots": 16, "templates": ["tuned", "nowhere", NAME] })
}

/// REPLICATE of a container.
fn replicate(pooled: &Pooled<'_>, container: &str, args: &str) -> Result<Outcome> {
    let attachment = Attachment::new(container, Path::new("")).args(args);
    pooled.network().call_single("REPLICATE", &attachment, None)
}

/// ADDs a container from a template.
fn add_from<'a>(pooled: &'a Pooled<'_>, template: &str) -> Result<Container<'a>> {
    pooled.add_with(|own| own.args(&format!("repoint.dev/template={template}")))
}

#[test]
fn the_configuration_of_a_network_becomes_a_template() -> Result<()> {
    with_pool(&bare(), |pooled| {
        let made = pooled.operate("REPLICATE", "repoint.dev/count=2")?.json()?;
        println!("{made}");
        let template = &made["template"];
        ensure!(template["name"] == NAME && template["stored"] == "new", "{template}");
        ensure!(template["confirmed"] == true, "{template}");
        ensure!(template["origin"].as_str().is_some_and(|origin| origin.contains(NAME)));
        let again = pooled.operate("REPLICATE", "")?.json()?;
        ensure!(again["template"]["stored"] == "unchanged", "{again}");
        ensure!(again["slots"] == json!([]), "{again}");
        // Replacing a template by the same one leaves what was made from it.
        ensure!(cli::pool_of(pooled.node(), NAME, Some(NAME))?.warm == 2, "slots are gone");
        let (one, two) = (add_from(pooled, NAME)?, add_from(pooled, NAME)?);
        talk(pooled, &one, &two)?;
        let plain = pooled.add()?;
        let (slot, plains) = (pooled.slot_of(&one)?, pooled.slot_of(&plain)?);
        ensure!(template["digest"] == json!(slot.template_digest), "{slot:?}");
        // It says the same as the configuration.
        ensure!(slot.template_digest == plains.template_digest, "{plains:?}");
        ensure!(plains.template.is_none(), "{plains:?}");
        [one, two, plain].into_iter().try_for_each(|container| {
            container.check()?;
            container.remove()
        })
    })
}

#[test]
fn what_a_container_set_is_set_in_every_instance() -> Result<()> {
    with_pool(&bare(), |pooled| {
        let source = pooled.add()?;
        shell(&source, CHANGES)?;
        let id = &source.attachment().container_id;
        let made =
            replicate(pooled, id, "repoint.dev/template=tuned;repoint.dev/count=3")?.json()?;
        println!("{made}");
        let slots = made["slots"].as_array().context("no slots")?;
        ensure!(slots.len() == 3, "{made}");
        ensure!(slots.iter().all(|slot| slot["template"] == made["template"]["digest"]), "{made}");
        ensure!(made["template"]["confirmed"] == false, "{made}");
        template::confirm(pooled.node(), "tuned")?;
        // The source goes on, and what is left of it afterwards is what it was made from.
        ensure_changed(&source)?;
        source.check()?;
        source.remove()?;
        let plain = pooled.add()?;
        ensure!(ensure_changed(&plain).is_err(), "an instance of the network is changed, too");
        let (one, two) = (add_from(pooled, "tuned")?, add_from(pooled, "tuned")?);
        talk(pooled, &one, &two)?;
        for container in [&one, &two] {
            ensure_changed(container)?;
            container.check()?;
        }
        [one, two, plain].into_iter().try_for_each(Container::remove)
    })
}

/// An instance comes back to what its template says, and not to what the network's configuration
/// says.
#[test]
fn the_scrub_brings_an_instance_back_to_its_template() -> Result<()> {
    with_pool(&bare(), |pooled| {
        let source = pooled.add()?;
        shell(&source, CHANGES)?;
        let id = &source.attachment().container_id;
        replicate(pooled, id, "repoint.dev/template=tuned")?.success()?;
        template::confirm(pooled.node(), "tuned")?;
        source.remove()?;
        let asked = format!("repoint.dev/template=tuned;{}", user(TENANT, "resize"));
        let first = pooled.add_with(|own| own.args(&asked))?;
        let slot = pooled.slot_of(&first)?;
        shell(
            &first,
            "echo 99 > /proc/sys/net/ipv4/tcp_keepalive_time; ip route del 192.0.2.0/25
             ip neigh del 192.0.2.200 dev eth0; ip route add 192.0.2.128/25 via 169.254.1.1",
        )?;
        first.remove()?;
        pooled.wait_for_slot(&slot.slot, &["parked"])?;
        let again = pooled.add_with(|own| own.args(&asked))?;
        ensure!(pooled.slot_of(&again)?.character() == slot.character(), "not {slot:?}");
        ensure_changed(&again)?;
        let routes = shell(&again, "ip route")?;
        ensure!(!routes.contains("192.0.2.128/25"), "{routes}");
        again.check()?;
        again.remove()
    })
}

/// What a container has counts, and not what the network's configuration has come to say since.
#[test]
fn a_container_of_an_old_configuration_is_replicated_as_it_is() -> Result<()> {
    with_pool(&bare(), |pooled| {
        let source = pooled.add()?;
        let slot = pooled.slot_of(&source)?;
        let network = pooled.network_with(|configuration| {
            configuration["ipam"]["routes"] = json!([{ "dst": "192.0.2.0/24" }]);
        })?;
        let asked = Attachment::new(&source.attachment().container_id, Path::new(""));
        let asked = asked.args("repoint.dev/template=old");
        let outcome = network.call_single("REPLICATE", &asked, None)?;
        println!("{}", outcome.stdout);
        match outcome.json() {
            // Nothing was set in it.
            Ok(made) => {
                let digest = &made["template"]["digest"];
                ensure!(*digest == json!(slot.template_digest), "{made} is not of {slot:?}");
            }
            Err(_) => ensure!(template::digest(pooled.node(), "old").is_err(), "it is stored"),
        }
        source.remove()
    })
}

/// Nothing is stored of what a template cannot say, and of what is not there.
#[test]
fn what_cannot_be_replicated_is_named() -> Result<()> {
    with_pool(&bare(), |pooled| {
        let replicate = |id: &str| replicate(pooled, id, "repoint.dev/template=never")?.error();
        ensure_says(&replicate("unknown")?, 3, &["unknown"])?;
        let cold = pooled.add_with(|own| own.args("repoint.dev/mode=none"))?;
        let error = replicate(&cold.attachment().container_id)?;
        println!("{error:?}");
        ensure_says(&error, NODE_FAILURE, &["namespace of its runtime's", "replicate"])?;
        cold.check()?;
        cold.remove()?;
        for (script, named) in [
            ("nft add table inet mine", "mine"),
            ("ip address add 192.0.2.9/32 dev eth0", "192.0.2.9"),
            ("ip route add 10.217.9.128/25 via 169.254.1.1", "subnet of this node"),
            (
                "ip neigh add 10.217.9.99 lladdr 02:00:00:00:00:99 dev eth0 nud permanent",
                "subnet of this node",
            ),
        ] {
            let container = pooled.add()?;
            shell(&container, script)?;
            let error = replicate(&container.attachment().container_id)?;
            println!("{script}: {error:?}");
            ensure_says(&error, NODE_FAILURE, &["no template can say", named])?;
            container.remove()?;
        }
        let absent = pooled.operate("PREPARE", "repoint.dev/template=never")?.error()?;
        ensure_says(&absent, INVALID_CONFIGURATION, &["template never is not stored"])
    })
}

/// A template that is not there: the error says where to look for it, and how to get it.
#[test]
fn an_unknown_template_is_named_with_advice() -> Result<()> {
    with_pool(&bare(), |pooled| {
        let advice = ["template nowhere", "not stored", "template list", "template import"];
        for verb in ["ADD", "ACTIVATE"] {
            let annotated = json!({ "repoint.dev/template": "nowhere" });
            let ask =
                |own: Attachment| own.capability(repoint_tests::pooled::ANNOTATIONS, annotated);
            ensure_says(&pooled.refused(verb, ask)?, INVALID_CONFIGURATION, &advice)?;
        }
        let cold = |own: Attachment| own.args("repoint.dev/template=nowhere;repoint.dev/mode=none");
        ensure_says(&pooled.refused("ADD", cold)?, INVALID_CONFIGURATION, &advice)?;
        let error = pooled.operate("PREPARE", "repoint.dev/template=nowhere")?.error()?;
        ensure_says(&error, INVALID_CONFIGURATION, &advice)?;
        let said = pooled.repoint(&["prepare", "--template", "nowhere"]);
        let said = format!("{:#}", said.err().context("prepared from nothing")?);
        ensure!(advice.iter().all(|part| said.contains(part)), "{said}");
        Ok(())
    })
}

/// The template that a network's configuration names: what an operator sets up, what the agent keeps
/// ready, and what ADD gives, are one pool.
#[test]
fn a_network_names_its_template() -> Result<()> {
    with_pool(&bare(), |pooled| {
        let small = pooled.network_with(|configuration| configuration["mtu"] = json!(1400))?;
        let nobody = Attachment::new("", Path::new("")).args("repoint.dev/template=tuned");
        small.call_single("REPLICATE", &nobody, None)?.success()?;
        let pool = json!({ "warm": 2, "maxSlots": 16, "template": "tuned" });
        let (file, network) = pooled.reconfigured(|configuration| configuration["pool"] = pool)?;
        pooled.repoint(&["pool", "set", NAME, "--config", &file])?;
        let agent = Agent::start(pooled.node())?;
        wait::until(SOON, "slots of the template are ready", || {
            let pools = cli::pools(pooled.node())?;
            let tuned = cli::pool_of(pooled.node(), NAME, Some("tuned"));
            let tuned = tuned.with_context(|| format!("{pools:?}"))?;
            ensure!(tuned.warm == 2 && tuned.total == 2, "{pools:?}");
            Ok(())
        })?;
        let made = pooled.slots()?;
        ensure!(made.iter().all(|slot| slot.template.as_deref() == Some("tuned")), "{made:?}");
        let container = Container::add(&network, "one")?;
        let slot = pooled.slot_of(&container)?;
        ensure!(slot.template.as_deref() == Some("tuned"), "{slot:?}");
        ensure!(container.result()["interfaces"][1]["mtu"] == 1400, "{}", container.result());
        let pool = cli::pool_of(pooled.node(), NAME, Some("tuned"))?;
        ensure!(pool.hits == 1, "{pool:?}");
        container.check()?;
        container.remove()?;
        agent.stop()
    })
}

/// What nobody can ask for any more is not kept ready.
#[test]
fn a_network_that_comes_to_name_a_template_gives_up_what_it_had() -> Result<()> {
    with_pool(&json!({ "warm": 2, "maxSlots": 16 }), |pooled| {
        let agent = pooled.agent()?;
        pooled.add()?.remove()?;
        pooled.operate("REPLICATE", "repoint.dev/template=tuned")?.success()?;
        let network = pooled.network_with(|conf| conf["pool"]["template"] = json!("tuned"))?;
        Container::add(&network, "one")?.remove()?;
        wait::until(SOON, "only slots of the template are there", || {
            let slots = pooled.slots()?;
            let right = |slot: &cli::Slot| slot.template.as_deref() == Some("tuned");
            ensure!(!slots.is_empty() && slots.iter().all(right), "{slots:?}");
            Ok(())
        })?;
        agent.stop()
    })
}

/// A container in its own namespace gets what its template says, too.
#[test]
fn a_template_counts_in_the_containers_own_namespace() -> Result<()> {
    with_pool(&bare(), |pooled| {
        let source = pooled.add()?;
        shell(&source, CHANGES)?;
        let id = &source.attachment().container_id;
        let made = replicate(pooled, id, "repoint.dev/template=tuned")?.json()?;
        template::confirm(pooled.node(), "tuned")?;
        source.remove()?;
        let asked = "repoint.dev/template=tuned;repoint.dev/mode=none";
        let [one, two] = [0, 1].map(|_| pooled.add_with(|own| own.args(asked)));
        let (one, two) = (one?, two?);
        for container in [&one, &two] {
            let slot = pooled.slot_of(container)?;
            ensure!(slot.served() == "none" && slot.template.as_deref() == Some("tuned"));
            ensure!(made["template"]["digest"] == json!(slot.template_digest), "{slot:?}");
            ensure_changed(container)?;
            container.check()?;
        }
        talk(pooled, &one, &two)?;
        one.remove()?;
        two.remove()
    })
}

/// The CLI does the same: replicates a slot, prepares for a function, activates what is prepared.
#[test]
fn an_operator_replicates_prepares_and_activates() -> Result<()> {
    with_pool(&bare(), |pooled| {
        let node = pooled.node();
        let source = pooled.add()?;
        shell(&source, CHANGES)?;
        let slot = pooled.slot_of(&source)?.slot;
        let words = ["replicate", "tuned", "--slot", &slot, "--count", "2"];
        let made: Replicated = cli::query(node, &words)?;
        println!("{made:?}");
        ensure!(made.stored == "new" && made.slots.len() == 2, "{made:?}");
        template::confirm(node, "tuned")?;
        source.remove()?;
        let resize = ["--function", "resize", "--tenant", TENANT, "--template", "tuned"];
        let prepare = [&["prepare"], &resize[..], &["--count", "1"]].concat();
        let prepared: Vec<Instance> = cli::query(node, &prepare)?;
        ensure!(prepared.len() == 1 && prepared[0].state == "parked", "{prepared:?}");
        let activate = |id: &str, more: &[&str]| {
            let words = [&["activate"], &resize[..], &["--id", id], more].concat();
            cli::query::<Activated>(node, &words)
        };
        let own = activate("own", &["--prepared-only"])?;
        ensure!(own.slot == prepared[0].slot && own.outcome == "reused", "{own:?}");
        let new = activate("new", &["--mode", "replicate", "--prepared-only"])?;
        ensure!(made.slots.iter().any(|slot| slot.slot == new.slot), "{new:?}");
        activate("other", &["--prepared-only"])?;
        let refusal = activate("none", &["--prepared-only"]).err();
        let said = format!("{:#}", refusal.context("activated what was not prepared")?);
        ensure!(said.contains("`repoint prepare` builds some"), "{said}");
        activate("built", &[])?;
        for id in ["own", "new", "other", "built"] {
            pooled.repoint(&["park", id])?;
        }
        let nobody = Attachment::new("late", Path::new("/run/late"));
        let asked = nobody.args("repoint.dev/mode=replicate;repoint.dev/template=tuned");
        let error = pooled.network().call_single("ACTIVATE", &asked, None)?.error()?;
        ensure_says(&error, NONE_PREPARED, &["PREPARE"])
    })
}
