//! Where things are: the workspace, what is built from it, and the tools' cache.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context as _, Result};

/// The workspace's root.
pub fn workspace() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Cargo's target folder for the host: `CARGO_TARGET_DIR`, or `target` of the workspace.
pub fn cargo_target() -> Result<PathBuf> {
    let folder =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    std::path::absolute(&folder).with_context(|| format!("absolute path of {}", folder.display()))
}

/// Folder of the eBPF object and of cargo's artefacts for it.
///
/// Always in the workspace, whatever `CARGO_TARGET_DIR` says: `userspace/repoint/build.rs` looks there.
pub fn bpf_target() -> PathBuf {
    workspace().join("target/bpf")
}

/// The eBPF object that the executables embed.
pub fn bpf_object() -> PathBuf {
    bpf_target().join("repoint.bpf.o")
}

/// What `build` leaves for an operator: executables, the eBPF object, examples.
pub fn dist() -> PathBuf {
    workspace().join("target/dist")
}

/// Executables with failpoints, for the crash tests: never among those of [`dist`].
pub fn failpoints() -> PathBuf {
    workspace().join("target/failpoints")
}

/// Folder that `cargo install` puts the tools into: `$XDG_CACHE_HOME/repoint/tools`.
///
/// Outside of `target`, because they take minutes to build and neither `cargo clean` nor a second
/// checkout is a reason to do that again.
pub fn tools() -> Result<PathBuf> {
    Ok(cache()?.join("tools"))
}

/// Folder of Debian's kernels that virtual machines boot: `$XDG_CACHE_HOME/repoint/kernels`.
pub fn kernels() -> Result<PathBuf> {
    Ok(cache()?.join("kernels"))
}

/// Folder of an emulator that is not installed: `$XDG_CACHE_HOME/repoint/emulator`.
pub fn emulator() -> Result<PathBuf> {
    Ok(cache()?.join("emulator"))
}

/// Folder of Debian's daemons that the tests run: `$XDG_CACHE_HOME/repoint/daemons`.
pub fn daemons() -> Result<PathBuf> {
    Ok(cache()?.join("daemons"))
}

fn cache() -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME says where built tools can be kept; set one")?;
    Ok(cache.join("repoint"))
}

/// Makes `destination` a copy of `source`, permissions included, unless its bytes are the same.
///
/// It is replaced by a rename: what runs from it goes on, and a reader never sees half of it. Left
/// alone when equal, so that nothing which embeds it is built again.
pub fn place(source: &Path, destination: &Path) -> Result<()> {
    let described = || format!("copy {} to {}", source.display(), destination.display());
    let bytes = fs::read(source).with_context(described)?;
    if fs::read(destination).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    if let Some(folder) = destination.parent() {
        fs::create_dir_all(folder).with_context(described)?;
    }
    let mut beside = destination.as_os_str().to_owned();
    // Two builds at a time must not take each other's file.
    beside.push(format!(".{}", process::id()));
    fs::copy(source, &beside).with_context(described)?;
    fs::rename(&beside, destination).with_context(described)
}
