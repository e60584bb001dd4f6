//! What a container set is text that an attacker can have written: a template of it serves nobody
//! else until an operator has confirmed what was shown; and pods name only what their network lists.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Container, Pooled,
    cli::{self, template},
    plugin::{Attachment, Outcome},
    pooled::{ANNOTATIONS, NAME},
    with_pool,
};
use serde_json::{Value, json};

use crate::{CHANGES, INVALID_CONFIGURATION, ensure_changed, ensure_says, shell};

/// A route that CHANGES makes, as a template has it.
const ROUTE: &str = "+ addRoute to 192.0.2.0/25 via gateway";

fn pool() -> Value {
    json!({ "warm": 0, "maxSlots": 16, "scope": "network", "templates": ["tuned", "tuned-2"] })
}

/// REPLICATE of a container.
fn replicate(pooled: &Pooled<'_>, source: &Container<'_>, name: &str) -> Result<Outcome> {
    let attachment = Attachment::new(&source.attachment().container_id, Path::new(""));
    let attachment = attachment.args(&format!("repoint.dev/template={name}"));
    pooled.network().call_single("REPLICATE", &attachment, None)
}

/// A container of tenant a's function resize, which has changed its namespace.
fn changed<'a>(pooled: &'a Pooled<'_>) -> Result<Container<'a>> {
    let source = pooled.add_tenants("a", "resize")?;
    shell(&source, CHANGES)?;
    Ok(source)
}

/// What a tenant's function says that asks for the template.
fn asked(tenant: &str, function: &str) -> String {
    format!(
        "repoint.dev/template=tuned;repoint.dev/tenant={tenant};repoint.dev/function={function}"
    )
}

fn ensure_has(said: &str, parts: &[&str]) -> Result<()> {
    println!("{said}");
    match parts.iter().find(|part| !said.contains(**part)) {
        Some(part) => Err(anyhow::anyhow!("{part:?} is not in {said:?}")),
        None => Ok(()),
    }
}

/// What a command that fails says.
fn refusal(pooled: &Pooled<'_>, words: &[&str]) -> Result<String> {
    let refusal = pooled.repoint(words).err();
    Ok(format!("{:#}", refusal.with_context(|| format!("{words:?} succeeded"))?))
}

#[test]
fn a_containers_template_serves_only_its_function_until_it_is_confirmed() -> Result<()> {
    with_pool(&pool(), |pooled| {
        let node = pooled.node();
        let source = changed(pooled)?;
        let made = replicate(pooled, &source, "tuned")?.json()?;
        ensure!(made["template"]["confirmed"] == false, "{made}");
        source.remove()?;
        let advice = ["template tuned", "function resize of tenant a", "template confirm tuned"];
        for (tenant, function) in [("b", "resize"), ("a", "thumbs")] {
            for more in ["", ";repoint.dev/mode=none", ";repoint.dev/mode=replicate"] {
                let args = asked(tenant, function) + more;
                for verb in ["ADD", "ACTIVATE"] {
                    let error = pooled.refused(verb, |own| own.args(&args))?;
                    ensure_says(&error, INVALID_CONFIGURATION, &advice)?;
                }
            }
            let error = pooled.operate("PREPARE", &asked(tenant, function))?.error()?;
            ensure_says(&error, INVALID_CONFIGURATION, &advice)?;
            let words = ["activate", "--function", function, "--tenant", tenant];
            let said = refusal(pooled, &[&words[..], &["--template", "tuned"]].concat())?;
            ensure_has(&said, &advice)?;
        }
        let nobody = |own: Attachment| own.args("repoint.dev/template=tuned");
        ensure_says(&pooled.refused("ADD", nobody)?, INVALID_CONFIGURATION, &advice)?;
        let own = pooled.add_with(|own| own.args(&asked("a", "resize")))?;
        ensure_changed(&own)?;
        own.remove()?;
        println!("{}", template::confirm(node, "tuned")?);
        ensure!(template::listed(node, "tuned")?["confirmed"] == true, "it is not confirmed");
        let others = pooled.add_with(|own| own.args(&asked("b", "resize")))?;
        ensure_changed(&others)?;
        others.remove()
    })
}

/// A container without a function is of no other's domain.
#[test]
fn a_template_of_a_container_without_a_function_serves_nobody() -> Result<()> {
    with_pool(&pool(), |pooled| {
        let source = pooled.add()?;
        shell(&source, CHANGES)?;
        replicate(pooled, &source, "tuned")?.success()?;
        source.remove()?;
        for args in ["repoint.dev/template=tuned", &asked("a", "resize")] {
            let error = pooled.refused("ADD", |own| own.args(args))?;
            let advice = ["template tuned", "no container may use it", "template confirm tuned"];
            ensure_says(&error, INVALID_CONFIGURATION, &advice)?;
        }
        Ok(())
    })
}

/// The network's own template is no exception.
#[test]
fn a_network_whose_template_is_a_containers_refuses_others() -> Result<()> {
    with_pool(&pool(), |pooled| {
        let source = changed(pooled)?;
        replicate(pooled, &source, "tuned")?.success()?;
        source.remove()?;
        let network = pooled.network_with(|conf| conf["pool"]["template"] = json!("tuned"))?;
        let netns = repoint_tests::Netns::create("other")?;
        let other = Attachment::new("other", netns.path());
        let error = network.call_single("ADD", &other, None)?.error()?;
        ensure_says(&error, INVALID_CONFIGURATION, &["template tuned is not confirmed"])?;
        template::confirm(pooled.node(), "tuned")?;
        network.add(&other)?;
        network.del(&other, None)?;
        netns.remove()
    })
}

#[test]
fn what_is_confirmed_is_what_was_shown() -> Result<()> {
    with_pool(&pool(), |pooled| {
        let (node, source) = (pooled.node(), changed(pooled)?);
        replicate(pooled, &source, "tuned")?.success()?;
        let shown = template::digest(node, "tuned")?;
        // Shown, and not confirmed by that alone.
        ensure_has(&refusal(pooled, &["template", "confirm", "tuned"])?, &[&shown, "--digest"])?;
        ensure!(template::listed(node, "tuned")?["confirmed"] == false, "it is confirmed");
        // The container changes it between the two.
        shell(&source, "ip route add 198.18.0.0/15 via 169.254.1.1 dev eth0")?;
        let again = replicate(pooled, &source, "tuned")?.json()?;
        ensure!(again["template"]["stored"] == "changed", "{again}");
        let confirm = ["template", "confirm", "tuned", "--digest"];
        let said = refusal(pooled, &[&confirm[..], &[&shown]].concat())?;
        ensure_has(&said, &["tuned", "replaced", &shown])?;
        ensure!(template::listed(node, "tuned")?["confirmed"] == false, "it is confirmed");
        let now = template::digest(node, "tuned")?;
        let said = pooled.repoint(&[&confirm[..], &[&now]].concat())?;
        ensure_has(&said, &["confirmed template tuned", &now])?;
        ensure!(template::listed(node, "tuned")?["confirmed"] == true, "it is not confirmed");
        let said = pooled.repoint(&["template", "confirm", "tuned"])?;
        ensure_has(&said, &["nothing to do"])?;
        source.remove()
    })
}

#[test]
fn what_a_container_set_is_shown_before_it_is_confirmed() -> Result<()> {
    with_pool(&pool(), |pooled| {
        let source = changed(pooled)?;
        replicate(pooled, &source, "tuned")?.success()?;
        let said = pooled.repoint(&["template", "show", "tuned"])?;
        ensure_has(&said, &["confirmed:  no", "function resize of tenant a"])?;
        let said = pooled.repoint(&["template", "list"])?;
        ensure_has(&said, &["CONFIRMED", "no"])?;
        let said = pooled.repoint(&["template", "confirm", "tuned", "--yes"])?;
        ensure_has(
            &said,
            &["function resize of tenant a", NAME, ROUTE, "tcp_keepalive_time = 77"],
        )?;
        ensure!(!said.contains("createLink"), "what the configuration makes is shown: {said}");
        let said = pooled.repoint(&["template", "show", "tuned"])?;
        ensure_has(&said, &["confirmed:  yes"])?;
        source.remove()
    })
}

/// What others use is not changed by a container.
#[test]
fn a_container_does_not_replace_a_confirmed_template() -> Result<()> {
    with_pool(&pool(), |pooled| {
        let node = pooled.node();
        pooled.operate("REPLICATE", "repoint.dev/template=tuned")?.success()?;
        let before = template::listed(node, "tuned")?;
        let source = changed(pooled)?;
        let id = &source.attachment().container_id;
        let error = replicate(pooled, &source, "tuned")?.error()?;
        let advice = ["template tuned is confirmed", "another name", "confirm OTHER --as tuned"];
        ensure_says(&error, INVALID_CONFIGURATION, &advice)?;
        ensure_has(&refusal(pooled, &["replicate", "tuned", "--container", id])?, &advice)?;
        ensure!(template::listed(node, "tuned")? == before, "it was changed");
        // Under another name it is shown against what it is to replace.
        replicate(pooled, &source, "tuned-2")?.success()?;
        let confirm = ["template", "confirm", "tuned-2", "--as", "tuned"];
        let said = refusal(pooled, &confirm)?;
        ensure_has(&said, &["nothing is confirmed yet", "--as tuned"])?;
        let said = pooled.repoint(&[&confirm[..], &["--yes"]].concat())?;
        ensure_has(&said, &["against template tuned", ROUTE, "template tuned is changed"])?;
        let (one, two) = (template::listed(node, "tuned")?, template::listed(node, "tuned-2")?);
        ensure!(one["digest"] == two["digest"] && one["confirmed"] == true, "{one}");
        ensure!(two["confirmed"] == false, "{two}");
        source.remove()
    })
}

/// The name of a template that waits for its confirmation is its function's.
#[test]
fn a_container_does_not_replace_what_another_functions_made() -> Result<()> {
    with_pool(&pool(), |pooled| {
        let source = changed(pooled)?;
        replicate(pooled, &source, "tuned")?.success()?;
        let other = pooled.add_tenants("b", "resize")?;
        let error = replicate(pooled, &other, "tuned")?.error()?;
        let advice = ["template tuned", "function resize of tenant a", "template delete tuned"];
        ensure_says(&error, INVALID_CONFIGURATION, &advice)?;
        source.remove()?;
        other.remove()
    })
}

#[test]
fn an_import_is_an_operators_word() -> Result<()> {
    with_pool(&pool(), |pooled| {
        let (node, source) = (pooled.node(), changed(pooled)?);
        replicate(pooled, &source, "tuned")?.success()?;
        source.remove()?;
        let said = template::import(node, "tuned", &template::export(node, "tuned")?)?;
        ensure_has(&said, &["confirmed template tuned"])?;
        let others = pooled.add_with(|own| own.args(&asked("b", "resize")))?;
        ensure_changed(&others)?;
        others.remove()
    })
}

/// By annotation, by `CNI_ARGS` or by `args.cni`.
#[test]
fn a_pod_names_only_templates_that_its_network_lists() -> Result<()> {
    with_pool(&json!({ "warm": 0, "maxSlots": 16 }), |pooled| {
        for name in ["tuned", "tuned-2"] {
            pooled.operate("REPLICATE", &format!("repoint.dev/template={name}"))?.success()?;
        }
        let named = json!({ "repoint.dev/template": "tuned" });
        let parts = ["annotation repoint.dev/template=tuned", "pool.templates"];
        let ask = |own: Attachment| own.capability(ANNOTATIONS, named.clone());
        for verb in ["ADD", "ACTIVATE"] {
            ensure_says(&pooled.refused(verb, ask)?, INVALID_CONFIGURATION, &parts)?;
        }
        let by_args = |own: Attachment| own.args("repoint.dev/template=tuned");
        ensure_says(&pooled.refused("ADD", by_args)?, INVALID_CONFIGURATION, &parts)?;
        let netns = repoint_tests::Netns::create("pod")?;
        let pod = Attachment::new("pod", netns.path());
        let by_conf = pooled.network_with(|conf| conf["args"] = json!({ "cni": named }))?;
        let error = by_conf.call_single("ADD", &pod, None)?.error()?;
        ensure_says(&error, INVALID_CONFIGURATION, &parts)?;
        netns.remove()?;
        for key in [json!({ "templates": ["tuned"] }), json!({ "template": "tuned" })] {
            let listing = pooled.network_with(|conf| {
                conf["pool"]["template"] = key["template"].clone();
                conf["pool"]["templates"] = key["templates"].clone();
            })?;
            let container = Container::add_with(&listing, &pooled.name(), ask)?;
            let slot = pooled.slot_of(&container)?;
            ensure!(slot.template.as_deref() == Some("tuned"), "{slot:?}");
            container.remove()?;
        }
        Ok(())
    })
}

/// The node's own callers are no pods.
#[test]
fn an_operator_names_any_template() -> Result<()> {
    with_pool(&json!({ "warm": 0, "maxSlots": 16 }), |pooled| {
        pooled.operate("REPLICATE", "repoint.dev/template=tuned")?.success()?;
        let two = "repoint.dev/template=tuned;repoint.dev/count=2";
        pooled.operate("PREPARE", two)?.success()?;
        let words = ["activate", "--function", "resize", "--template", "tuned"];
        let activated: cli::Activated = cli::query(pooled.node(), &words)?;
        println!("{activated:?}");
        pooled.repoint(&["park", "resize"])?;
        let path = Path::new("/run/gateway/one");
        let one = Attachment::new("one", path).args("repoint.dev/template=tuned");
        pooled.network().call_single("ACTIVATE", &one, None)?.success()?;
        pooled.network().call_single("PARK", &one, None)?.success()?;
        std::fs::remove_dir_all("/run/gateway").context("remove the gateway's folder")
    })
}
