//! Finds the eBPF object that the library embeds.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Path of the object, where it is not the workspace's own build.
const OBJECT: &str = "REPOINT_BPF_OBJECT";

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed={OBJECT}");
    let object = object()?;
    println!("cargo::rerun-if-changed={}", object.display());
    let out = PathBuf::from(variable("OUT_DIR")?).join("repoint.bpf.o");
    fs::copy(&object, &out).map(drop).map_err(|error| {
        format!(
            "cannot embed the eBPF object {}: {error}; run `cargo xtask build`",
            object.display()
        )
    })
}

/// Where the object is: absolute, or relative to the workspace's root.
fn object() -> Result<PathBuf, String> {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let workspace = manifest.ancestors().nth(2).unwrap_or(Path::new("/"));
    let object = env::var_os(OBJECT).unwrap_or_else(|| "target/bpf/repoint.bpf.o".into());
    Ok(workspace.join(object))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}
