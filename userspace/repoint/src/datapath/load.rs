//! Loading the programs and maps into the kernel, once, and taking them out again.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use aya::{Ebpf, EbpfLoader, VerifierLogLevel, programs::SchedClassifier};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::{DatapathError, Pins, bpf_file_system, maps, other_layout, programs};
use crate::{
    failpoint,
    lock::{LOCK_TIMEOUT, Lock},
    private,
};

/// What `ebpf/` compiles to.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/repoint.bpf.o"));

/// File in `runDir` that loaders lock. No process removes it: otherwise two loaders could hold the lock.
const LOCK: &str = "load.lock";

/// Loads the data plane unless another process has done so meanwhile.
///
/// The loader pins everything in a folder of another name, and then renames the folder. What a killed
/// loader leaves never counts as a loaded data plane, and the next loader removes it.
pub fn load(bpf_dir: &Path, run_dir: &Path) -> Result<(), DatapathError> {
    let _lock = lock(run_dir)?;
    let pins = Pins::below(bpf_dir);
    if pins.exist()? { Ok(()) } else { load_locked(bpf_dir, &pins) }
}

/// Loads a new data plane in place of a missing or incomplete one. Its maps are empty. Attached programs
/// keep the old maps until new ones are attached.
///
/// The function does not touch a complete data plane.
pub fn reload(bpf_dir: &Path, run_dir: &Path) -> Result<(), DatapathError> {
    let _lock = lock(run_dir)?;
    let pins = Pins::below(bpf_dir);
    if pins.exist()? {
        if pins.missing(maps::NAMES.into_iter().chain(programs::NAMES))?.is_empty() {
            return Ok(());
        }
        pins.clear_partial()?;
        rename(pins.folder(), &pins.partial())?;
        failpoint::hit("reload:renamed");
    }
    load_locked(bpf_dir, &pins)
}

/// Removes what a killed loader or unloader left. It waits for a process that is loading or unloading.
pub fn clear_abandoned(bpf_dir: &Path, run_dir: &Path) -> Result<(), DatapathError> {
    let _lock = lock(run_dir)?;
    Pins::below(bpf_dir).clear_partial()
}

/// Whether a process loads or unloads at this moment.
pub(super) fn is_loading(run_dir: &Path) -> Result<bool, DatapathError> {
    let path = run_dir.join(LOCK);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened.map_err(DatapathError::folder("open", &path))?,
    };
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_) => Ok(false),
        Err((_, Errno::EWOULDBLOCK)) => Ok(true),
        Err((_, errno)) => Err(DatapathError::folder("lock", &path)(errno)),
    }
}

fn load_locked(bpf_dir: &Path, pins: &Pins) -> Result<(), DatapathError> {
    bpf_file_system::provide(bpf_dir)?;
    other_layout::ensure_unused(bpf_dir)?;
    pins.clear_partial()?;
    let partial = pins.partial();
    private::folder(bpf_dir)?;
    private::folder(&partial)?;
    failpoint::hit("load:folder");
    pin_all(&mut load_object()?, &partial)?;
    rename(&partial, pins.folder())?;
    failpoint::hit("load:renamed");
    Ok(())
}

/// Removes all pins below `bpf_dir`, also those of other layouts. It also removes the folders that are
/// empty then, `bpf_dir` being the last. Returns whether there were any pins.
///
/// Attached programs stay attached, until their interface goes.
pub fn unload(bpf_dir: &Path, run_dir: &Path) -> Result<bool, DatapathError> {
    if !bpf_dir.try_exists().map_err(DatapathError::folder("look for", bpf_dir))? {
        return Ok(false);
    }
    let _lock = lock(run_dir)?;
    let pins = Pins::below(bpf_dir);
    pins.clear_partial()?;
    let is_loaded = pins.exist()?;
    if is_loaded {
        rename(pins.folder(), &pins.partial())?;
        failpoint::hit("unload:renamed");
        pins.clear_partial()?;
    }
    let had_others = other_layout::remove(bpf_dir)?;
    remove_empty(bpf_dir)?;
    failpoint::hit("unload:pins");
    Ok(is_loaded || had_others)
}

/// Waits for other loaders.
fn lock(run_dir: &Path) -> Result<Lock, DatapathError> {
    private::folder(run_dir)?;
    Ok(Lock::exclusive(&run_dir.join(LOCK), LOCK_TIMEOUT)?)
}

fn load_object() -> Result<Ebpf, DatapathError> {
    EbpfLoader::new()
        // The verifier's log explains a refusal; the program does not read the verifier's statistics.
        .verifier_log_level(VerifierLogLevel::DEBUG)
        .load(OBJECT)
        .map_err(|source| DatapathError::Load { source: Box::new(source) })
}

fn pin_all(object: &mut Ebpf, folder: &Path) -> Result<(), DatapathError> {
    for name in maps::NAMES {
        let map = object.map(name).ok_or(DatapathError::Missing { kind: "map", name })?;
        let path = folder.join(name);
        map.pin(&path).map_err(|source| DatapathError::Pin { path, source })?;
        failpoint::hit("load:map");
    }
    for name in programs::NAMES {
        let program = load_program(object, name)?;
        let path = folder.join(name);
        program.pin(&path).map_err(|source| DatapathError::Pin { path, source })?;
        failpoint::hit("load:program");
    }
    Ok(())
}

fn load_program<'a>(
    object: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, DatapathError> {
    let failed = |source| DatapathError::Program { name, source: Box::new(source) };
    let program = object.program_mut(name);
    let program = program.ok_or(DatapathError::Missing { kind: "program", name })?;
    let program: &mut SchedClassifier = program.try_into().map_err(failed)?;
    program.load().map_err(failed)?;
    Ok(program)
}

fn rename(from: &Path, to: &Path) -> Result<(), DatapathError> {
    fs::rename(from, to).map_err(DatapathError::folder("rename", from))
}

/// Removes a folder, unless it is in use: what is not ours is in it, or it is a mount point.
fn remove_empty(folder: &Path) -> Result<(), DatapathError> {
    match fs::remove_dir(folder) {
        Err(error) if is_in_use(&error) => Ok(()),
        removed => removed.map_err(DatapathError::folder("remove", folder)),
    }
}

fn is_in_use(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw);
    matches!(number, Some(Errno::ENOTEMPTY | Errno::EBUSY))
}
