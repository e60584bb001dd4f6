//! Templates as an operator has them: stored on one node, brought to another.
#![cfg(test)]

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Node,
    cli::{query, repoint},
    dist, missing,
};
use serde_json::{Value, json};

/// Where a node has files; each node has a `/run` of its own.
const FILE: &str = "/run/resize.json";

fn template(keepalive: &str) -> Value {
    json!({
        "version": 1,
        "origin": "network functions",
        "operations": [
            {"operation": "createLink"},
            {"operation": "assignAddress", "from": "ipam"},
            {"operation": "addGateway"},
            {"operation": "addRoute", "to": {"prefix": "0.0.0.0/0"}, "via": "gateway"},
            {"operation": "attachPrograms"},
            {"operation": "setSysctl", "key": "net.ipv4.tcp_keepalive_time", "value": keepalive},
        ],
    })
}

fn write(template: &Value) -> Result<()> {
    fs::write(FILE, template.to_string()).with_context(|| format!("write {FILE}"))
}

/// Why the CLI refuses something.
fn refusal(node: &Node, arguments: &[&str]) -> Result<String> {
    let refused = repoint(node, arguments).err();
    let refused = refused.with_context(|| format!("{arguments:?} was done"))?;
    println!("{refused:#}");
    Ok(format!("{refused:#}"))
}

fn digest(node: &Node, name: &str) -> Result<Value> {
    let listed: Vec<Value> = query(node, &["template", "list"])?;
    let found = listed.into_iter().find(|template| template["name"] == name);
    Ok(found.with_context(|| format!("template {name} is not listed"))?["digest"].clone())
}

#[test]
fn a_template_has_one_digest_on_every_node() -> Result<()> {
    if missing([dist::cli()]) {
        return Ok(());
    }
    let (one, two) = (Node::new()?, Node::new()?);
    let (exported, first) = one.run(|| {
        write(&template("60"))?;
        print!("{}", repoint(&one, &["template", "import", FILE])?);
        let exported = repoint(&one, &["template", "export", "resize"])?;
        Ok((exported, digest(&one, "resize")?))
    })?;
    two.run(|| {
        fs::write(FILE, &exported)?;
        repoint(&two, &["template", "import", FILE])?;
        let again = repoint(&two, &["template", "import", FILE])?;
        ensure!(again.starts_with("nothing to do"), "{again}");
        ensure!(digest(&two, "resize")? == first);
        ensure!(repoint(&two, &["template", "export", "resize"])? == exported);
        let folder = two.dirs().state.join("templates");
        ensure!(folder.join("data.mdb").exists(), "nothing in {}", folder.display());
        Ok(())
    })
}

#[test]
fn a_file_that_was_changed_is_refused_until_it_has_no_digest() -> Result<()> {
    if missing([dist::cli()]) {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        write(&template("60"))?;
        repoint(&node, &["template", "import", FILE])?;
        repoint(&node, &["template", "export", "resize", "--output", FILE])?;
        let mut changed: Value = serde_json::from_slice(&fs::read(FILE)?)?;
        changed["operations"][5]["value"] = "90".into();
        write(&changed)?;
        let reported = refusal(&node, &["template", "import", FILE])?;
        ensure!(reported.contains("was changed") && reported.contains("remove its key `digest`"));
        changed.as_object_mut().context("no object")?.remove("digest");
        write(&changed)?;
        let difference = repoint(&node, &["template", "diff", "resize", FILE])?;
        ensure!(
            difference
                == "- setSysctl net.ipv4.tcp_keepalive_time = 60\n\
                    + setSysctl net.ipv4.tcp_keepalive_time = 90\n",
            "{difference}"
        );
        let replaced = repoint(&node, &["template", "import", FILE])?;
        ensure!(replaced.starts_with("replaced template resize"), "{replaced}");
        ensure!(repoint(&node, &["template", "diff", "resize", FILE])?.is_empty());
        Ok(())
    })
}

#[test]
fn what_is_not_there_is_an_error_and_makes_nothing() -> Result<()> {
    if missing([dist::cli()]) {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let reported = refusal(&node, &["template", "list", "--json"])?;
        ensure!(reported.contains("no template was ever stored in"), "{reported}");
        for command in ["show", "export", "delete"] {
            let reported = refusal(&node, &["template", command, "resize"])?;
            ensure!(reported.contains("there is no template resize"), "{reported}");
        }
        let reported = refusal(&node, &["template", "diff", "resize", FILE])?;
        ensure!(reported.contains("\"resize\" is neither"), "{reported}");
        ensure!(!Path::new(&node.dirs().state).exists(), "a folder was made");
        write(&template("60"))?;
        repoint(&node, &["template", "import", FILE, "--name", "thumbs"])?;
        repoint(&node, &["template", "delete", "thumbs"])?;
        ensure!(repoint(&node, &["template", "list", "--json"])?.trim() == "[]");
        Ok(())
    })
}
