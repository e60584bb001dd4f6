//! Other documents on standard input, and keys spelt almost right.

use anyhow::{Result, ensure};
use repoint_tests::{Netns, Snapshot, cli};
use serde_json::{Value, json};

use super::{
    DECODING_FAILURE, INVALID_CONFIGURATION, call, configuration, network_call, on_a_node, refused,
};

const VERBS: [&str; 9] =
    ["ADD", "DEL", "CHECK", "GC", "STATUS", "PREPARE", "ACTIVATE", "PARK", "REPLICATE"];

#[test]
fn every_verb_names_the_document_that_it_got() -> Result<()> {
    on_a_node(|node| {
        let good = configuration(node);
        let list = json!({"cniVersion": "1.1.0", "name": "inputs", "plugins": [good]});
        let result = json!({"cniVersion": "1.1.0", "interfaces": [], "ips": []});
        let documents = [
            (String::new(), DECODING_FAILURE, "no network configuration was given"),
            ("name: inputs\ntype: repoint-cni\n".to_owned(), DECODING_FAILURE, "YAML"),
            ("/etc/cni/net.d/10-x.conflist".to_owned(), DECODING_FAILURE, "path"),
            ("{\"name\"".to_owned(), DECODING_FAILURE, "not JSON"),
            (list.to_string(), INVALID_CONFIGURATION, "network configuration list"),
            (json!([good]).to_string(), INVALID_CONFIGURATION, "a list"),
            (json!(good.to_string()).to_string(), INVALID_CONFIGURATION, "encoded twice"),
            ("\"x\"".to_owned(), INVALID_CONFIGURATION, "a string"),
            ("null".to_owned(), INVALID_CONFIGURATION, "null"),
            (result.to_string(), INVALID_CONFIGURATION, "CNI result"),
        ];
        let netns = Netns::create("documents")?;
        let before = Snapshot::take(node.dirs())?;
        for verb in VERBS {
            for (text, code, named) in &documents {
                let outcome = call(verb, &good, "documents", &netns).stdin(text.as_str()).run()?;
                refused(verb, outcome, *code, &[named])?;
            }
        }
        let difference = before.difference(&Snapshot::take(node.dirs())?);
        ensure!(difference.is_empty(), "left behind:\n{difference}");
        netns.remove()
    })
}

/// The CLI takes lists, and names the rest as the plugin does.
#[test]
fn the_cli_names_the_document_that_a_file_holds() -> Result<()> {
    on_a_node(|node| {
        for (text, named) in [
            ("name: inputs\n", "YAML"),
            ("[]", "a list"),
            ("", "no network configuration was given"),
            ("{\"cniVersion\": \"1.0.0\", \"ips\": []}", "CNI result"),
        ] {
            std::fs::write("/run/document", text)?;
            let arguments = ["pool", "set", "inputs", "--config", "/run/document"];
            let error = cli::repoint(node, &arguments).expect_err("it was accepted");
            let said = format!("{error:#}");
            ensure!(said.contains(named), "{text:?}: {said}");
        }
        std::fs::remove_file("/run/document")?;
        Ok(())
    })
}

fn with(configuration: &Value, pointer: &str, key: &str, value: &Value) -> Value {
    let mut with = configuration.clone();
    let parent = with.pointer_mut(pointer).expect("the parent is there");
    parent[key] = value.clone();
    with
}

#[test]
fn a_key_spelt_almost_right_is_named_and_nothing_is_done() -> Result<()> {
    on_a_node(|node| {
        let mut good = configuration(node);
        good["runtimeConfig"] = json!({});
        good["args"] = json!({"cni": {}});
        good["pool"] = json!({});
        let netns = Netns::create("misspelt")?;
        let before = Snapshot::take(node.dirs())?;
        for (pointer, key, value, right) in [
            ("", "ipmasq", json!(true), "ipMasq"),
            ("", "ipMask", json!(true), "ipMasq"),
            ("", "linklocal", json!("allow"), "linkLocal"),
            ("/ipam", "route", json!([]), "routes"),
            ("/ipam/ranges/0/0", "rangestart", json!("10.217.7.9"), "rangeStart"),
            ("/ipam/routes/0", "metric", json!(7), ""),
            ("/ipam/routes/0", "prioriy", json!(7), "priority"),
            ("/pool", "maxslots", json!(7), "maxSlots"),
            ("/runtimeConfig", "MAC", json!("02:00:00:00:00:07"), "mac"),
            ("/args", "CNI", json!({}), "cni"),
            ("/args/cni", "ip", json!(["10.217.7.9"]), "ips"),
            ("/args/cni", "repoint.dev/Mode", json!("none"), "mode"),
        ] {
            let misspelt = with(&good, pointer, key, &value);
            for verb in ["ADD", "STATUS"] {
                // Another program's key; who is to use the slot is no concern of STATUS.
                if right.is_empty() || (verb == "STATUS" && key.starts_with("repoint.dev")) {
                    continue;
                }
                let outcome = call(verb, &misspelt, "misspelt", &netns).run()?;
                refused(verb, outcome, INVALID_CONFIGURATION, &[key, right])?;
            }
            if right.is_empty() {
                network_call("STATUS", &misspelt).run()?.success()?;
            }
            call("DEL", &misspelt, "misspelt", &netns).run()?.success()?;
        }
        let outcome = call("ADD", &good, "misspelt", &netns).args("ip=10.217.7.9").run()?;
        refused("CNI_ARGS", outcome, 4, &["ip is not known", "IP"])?;
        cli::repoint(node, &["unload"])?;
        before.wait_until_restored(node.dirs())?;
        netns.remove()
    })
}
