//! Makes the linker place the functions that an ADD and a DEL run next to each other.

use std::env;

/// The linker script. `cargo xtask functions` writes it.
const SCRIPT: &str = "functions.ld";

fn main() {
    println!("cargo::rerun-if-changed={SCRIPT}");
    // The script names musl's archive. Executables for other C libraries are for tests.
    if env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "musl") {
        let folder = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{folder}/{SCRIPT}");
    }
}
