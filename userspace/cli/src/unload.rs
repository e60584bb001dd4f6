//! `repoint unload`.

use std::{fs, io, path::Path};

use repoint::{
    agent_socket,
    conf::Directories,
    datapath::{self, Maps, has_other_layout_in_use},
    failpoint,
    netns::NetnsStore,
    node::Node,
    retire::delete_slots,
    slot::{release_masquerade, tear_down},
    store::Slot,
};

use crate::output::{CommandError, said};

/// Removes all that repoint has on the node; containers' slots only where `force` says so.
pub(crate) fn run(directories: &Directories, force: bool) -> Result<(), CommandError> {
    if agent_socket::is_served(&directories.run) {
        return Err(CommandError::AgentRuns);
    }
    let node = Node::open_existing(directories)?;
    if node.is_none() {
        ensure_no_database_is_meant(directories, force)?;
    }
    if let Some(node) = node {
        let slots = node.slots()?;
        let used = slots.iter().filter(|slot| slot.container.is_some()).count();
        if used > 0 && !force {
            return Err(CommandError::InUse { slots: used });
        }
        if slots.is_empty() && !force {
            // The database may be a new one that an ADD has made in the place of a lost one.
            ensure_none_of_another_layout(directories)?;
        }
        let (own, others): (Vec<_>, Vec<_>) = slots.into_iter().partition(|slot| slot.owns_netns());
        delete_slots(&node, &own)?;
        let maps = node.maps()?;
        for slot in &others {
            take_down(&node, slot, maps.as_ref())?;
        }
        release_masquerade(&directories.run, &node.store)?;
    }
    NetnsStore::remove(&directories.run)?;
    failpoint::hit("unload:namespaces");
    datapath::unload(&directories.bpf, &directories.run)?;
    remove_run_dir(&directories.run)?;
    let (run, bpf) = (directories.run.display(), directories.bpf.display());
    said(&format!("removed what was in {run} and {bpf}"))
}

/// Fails if the folders are missing, because their names may be misspelt. A data plane without a
/// database of its containers fails, too, unless the operator insists.
fn ensure_no_database_is_meant(directories: &Directories, force: bool) -> Result<(), CommandError> {
    let Directories { run, bpf, .. } = directories;
    let (run_dir, bpf_dir) = (run.clone(), bpf.clone());
    let is_loaded = Maps::open_existing(bpf)?.is_some() || has_other_layout_in_use(bpf)?;
    if !is_loaded && !run.exists() && !bpf.exists() {
        return Err(CommandError::NothingToUnload { run_dir, bpf_dir });
    }
    if is_loaded && !force {
        return Err(CommandError::NoDatabase { run_dir, bpf_dir });
    }
    Ok(())
}

/// Fails if the data plane of another layout has slots.
fn ensure_none_of_another_layout(directories: &Directories) -> Result<(), CommandError> {
    if has_other_layout_in_use(&directories.bpf)? {
        let Directories { run, bpf, .. } = directories;
        return Err(CommandError::NoDatabase { run_dir: run.clone(), bpf_dir: bpf.clone() });
    }
    Ok(())
}

fn take_down(node: &Node, slot: &Slot, maps: Option<&Maps>) -> Result<(), CommandError> {
    let errors: Vec<_> = tear_down(slot, maps).iter().map(ToString::to_string).collect();
    if !errors.is_empty() {
        return Err(CommandError::Slot { slot: slot.id, reason: errors.join("; ") });
    }
    failpoint::hit("unload:torn-down");
    node.forget_slot(slot)?;
    failpoint::hit("unload:forgotten");
    Ok(())
}

/// The database and the lock files; the folder itself unless something else is in it.
fn remove_run_dir(run: &Path) -> Result<(), CommandError> {
    let failed = |path: &Path, source| CommandError::Remove { path: path.to_owned(), source };
    let state = run.join("state");
    absent_is_well(fs::remove_dir_all(&state)).map_err(|source| failed(&state, source))?;
    failpoint::hit("unload:state");
    let netns = run.join("netns");
    absent_is_well(fs::remove_dir_all(&netns)).map_err(|source| failed(&netns, source))?;
    failpoint::hit("unload:netns");
    let entries = match fs::read_dir(run) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|source| failed(run, source))?,
    };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "lock" || extension == "sock") {
            absent_is_well(fs::remove_file(&path)).map_err(|source| failed(&path, source))?;
            failpoint::hit("unload:file");
        }
    }
    match fs::remove_dir(run) {
        // A file that is not ours is in it, or it is a mount point.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::ResourceBusy
            ) =>
        {
            Ok(())
        }
        removed => absent_is_well(removed).map_err(|source| failed(run, source)),
    }
}

fn absent_is_well(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
