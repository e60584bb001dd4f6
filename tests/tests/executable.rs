//! The plugin's executable: what a start of a container runs lies together.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    dist::{self, missing},
    functions::{Functions, patterns},
};

/// The section of `cni-plugin/functions.ld`.
const SECTION: &str = ".text.start";

/// First address of the section, and the one behind it.
fn section() -> Result<Option<(u64, u64)>> {
    let output =
        Command::new("readelf").args(["--sections", "--wide"]).arg(dist::plugin()).output()?;
    ensure!(output.status.success(), "readelf: {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let Some((_, line)) = text.split_once(&format!(" {SECTION} ")) else { return Ok(None) };
    // Type, address, offset, size.
    let fields: Vec<&str> = line.split_whitespace().take(4).collect();
    let number = |at: usize| {
        let field = fields.get(at).context("a line of readelf is cut off")?;
        Ok::<_, anyhow::Error>(u64::from_str_radix(field, 16)?)
    };
    Ok(Some((number(1)?, number(1)? + number(3)?)))
}

#[test]
fn functions_of_a_start_lie_together() -> Result<()> {
    if missing([dist::plugin()]) {
        return Ok(());
    }
    let Some((start, end)) = section()? else {
        println!("skipped: the plugin is not linked with musl");
        return Ok(());
    };
    let functions = Functions::of(&dist::plugin())?;
    let script = fs::read_to_string(dist::workspace().join("cni-plugin/functions.ld"))?;
    let (mut listed, mut unknown, mut apart) = (0, Vec::new(), Vec::new());
    for pattern in patterns(&script) {
        listed += 1;
        let found: Vec<_> = functions.selected(pattern).collect();
        if found.is_empty() {
            unknown.push(pattern);
        }
        let elsewhere = found.into_iter().filter(|found| !(start..end).contains(&found.start));
        apart.extend(elsewhere.map(|function| &*function.name));
    }
    println!("{listed} patterns, {} without a function: {unknown:#?}", unknown.len());
    ensure!(
        unknown.len() * 10 <= listed,
        "{} of {listed} functions are not in the plugin any more: run `cargo xtask functions`",
        unknown.len()
    );
    ensure!(apart.len() * 50 <= listed, "apart from the others: {apart:#?}");
    Ok(())
}
