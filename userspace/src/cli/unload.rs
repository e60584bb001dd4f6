//! `repoint unload`.

use std::{fs, io, path::Path};

use repoint::{
    conf::Directories,
    datapath::{self, Maps},
    lifecycle::Node,
    slot::{release_masquerade, tear_down},
    store::Slot,
};

use crate::output::CommandError;

/// Removes all that repoint has on the node; containers' slots only where `force` says so.
pub(crate) fn run(directories: &Directories, force: bool) -> Result<(), CommandError> {
    if let Some(node) = Node::open_existing(directories)? {
        let slots = node.store.read(|transaction| transaction.slots())?;
        if !slots.is_empty() && !force {
            return Err(CommandError::InUse { slots: slots.len() });
        }
        let maps = node.maps()?;
        for slot in &slots {
            take_down(&node, slot, maps.as_ref())?;
        }
        release_masquerade(&directories.run, &node.store)?;
    }
    datapath::unload(&directories.bpf, &directories.run)?;
    remove_run_dir(&directories.run)
}

fn take_down(node: &Node, slot: &Slot, maps: Option<&Maps>) -> Result<(), CommandError> {
    let errors: Vec<_> = tear_down(slot, maps).iter().map(ToString::to_string).collect();
    if !errors.is_empty() {
        return Err(CommandError::Slot { slot: slot.id, reason: errors.join("; ") });
    }
    Ok(node.store.write(|transaction| transaction.forget(slot))?)
}

/// The database and the lock files; the folder itself unless somebody else has something in it.
fn remove_run_dir(run: &Path) -> Result<(), CommandError> {
    let failed = |path: &Path, source| CommandError::Remove { path: path.to_owned(), source };
    let state = run.join("state");
    absent_is_well(fs::remove_dir_all(&state)).map_err(|source| failed(&state, source))?;
    let entries = match fs::read_dir(run) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|source| failed(run, source))?,
    };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "lock") {
            absent_is_well(fs::remove_file(&path)).map_err(|source| failed(&path, source))?;
        }
    }
    match fs::remove_dir(run) {
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
            absent_is_well(Err(error)).map_err(|source| failed(run, source))
        }
        _ => Ok(()),
    }
}

fn absent_is_well(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
