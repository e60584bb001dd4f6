//! Data planes of other layouts: what another version of repoint left below `bpfDir`.
#![expect(
    unsafe_code,
    reason = "keys of a map of unknown layout are read by the system call itself"
)]

use std::{
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    path::{Path, PathBuf},
};

use aya::maps::MapData;
use nix::net::if_::if_indextoname;
use repoint_common::interface::{self, InterfaceKey};

use super::{DatapathError, Pins};

/// `BPF_MAP_GET_NEXT_KEY`
const MAP_GET_NEXT_KEY: libc::c_long = 4;

/// `union bpf_attr` of `BPF_MAP_GET_NEXT_KEY`.
#[repr(C)]
struct NextKey {
    map: u32,
    padding: u32,
    /// Null: the first key is asked for.
    key: u64,
    next: u64,
}

/// Fails if the data plane of another layout has slots whose interfaces exist. Programs of the new layout would not know them, nor
/// those of the old one the new slots: they would pass what they have to drop.
pub(super) fn ensure_unused(bpf_dir: &Path) -> Result<(), DatapathError> {
    match first_used(bpf_dir)? {
        Some(folder) => Err(DatapathError::OtherLayout { folder }),
        None => Ok(()),
    }
}

/// Whether the data plane of another layout has slots.
pub fn has_other_layout_in_use(bpf_dir: &Path) -> Result<bool, DatapathError> {
    Ok(first_used(bpf_dir)?.is_some())
}

/// Removes the pins of all other layouts; returns whether there were any.
pub(super) fn remove(bpf_dir: &Path) -> Result<bool, DatapathError> {
    let folders = folders(bpf_dir)?;
    folders.iter().try_for_each(|folder| Pins::remove_folder(folder))?;
    Ok(!folders.is_empty())
}

fn first_used(bpf_dir: &Path) -> Result<Option<PathBuf>, DatapathError> {
    for folder in folders(bpf_dir)? {
        if has_slots(&folder)? {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}

/// The folders of other layouts, whole or not.
fn folders(bpf_dir: &Path) -> Result<Vec<PathBuf>, DatapathError> {
    let own = Pins::below(bpf_dir);
    let entries = match fs::read_dir(bpf_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(DatapathError::folder("read", bpf_dir))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(DatapathError::folder("read", bpf_dir))?.path();
        let is_own = path == own.folder() || path == own.partial();
        if !is_own && path.is_dir() && is_layout(&path) {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Whether a folder has the name of a layout: `v5`, or `v5-partial`.
fn is_layout(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let number = name.strip_prefix('v').map(|rest| rest.strip_suffix("-partial").unwrap_or(rest));
    number.is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

/// Whether map `interfaces` has an entry of an interface that exists. The key has had the same form in all
/// layouts; the value has not.
fn has_slots(folder: &Path) -> Result<bool, DatapathError> {
    let path = folder.join(interface::MAP);
    if !path.try_exists().map_err(DatapathError::folder("look for", &path))? {
        return Ok(false);
    }
    let open_failed =
        |source| DatapathError::OpenMap { path: path.clone(), source: Box::new(source) };
    let map = MapData::from_pin(&path).map_err(open_failed)?;
    let size = map.info().map_err(open_failed)?.key_size();
    if size as usize != size_of::<InterfaceKey>() {
        // It is no map of ours.
        return Ok(false);
    }
    let mut last = None;
    loop {
        let key = next_key(map.fd().as_fd(), last);
        match key.map_err(DatapathError::folder("read", &path))? {
            None => return Ok(false),
            Some(ifindex) if exists(ifindex) => return Ok(true),
            Some(ifindex) => last = Some(ifindex),
        }
    }
}

/// Whether there is an interface of this index in the thread's network namespace.
fn exists(ifindex: u32) -> bool {
    // nix takes the null pointer of an error for success, with an empty name.
    if_indextoname(ifindex).is_ok_and(|name| !name.is_empty())
}

/// The key after another one in a map whose keys are 4 bytes; none: it is the last.
fn next_key(map: BorrowedFd<'_>, last: Option<u32>) -> io::Result<Option<u32>> {
    let (last, mut next) = (last.map(u32::to_ne_bytes), [0_u8; 4]);
    let request = NextKey {
        map: map.as_raw_fd().unsigned_abs(),
        padding: 0,
        key: last.as_ref().map_or(0, |last| last.as_ptr().expose_provenance() as u64),
        next: next.as_mut_ptr().expose_provenance() as u64,
    };
    let size = size_of::<NextKey>();
    // SAFETY: the kernel reads `request`, of the size given, and the key that it points to, and writes one to
    // `next`. The map's keys have the size of both, as the caller has checked.
    let found = unsafe { libc::syscall(libc::SYS_bpf, MAP_GET_NEXT_KEY, &raw const request, size) };
    if found == 0 {
        return Ok(Some(u32::from_ne_bytes(next)));
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_layouts_are_known_by_their_names() {
        for name in ["v0", "v5", "v12", "v5-partial"] {
            assert!(is_layout(Path::new(name)), "{name}");
        }
        for name in ["", "v", "v-partial", "vx", "5", "v5-other", "saved", "v-1", "v+1"] {
            assert!(!is_layout(Path::new(name)), "{name}");
        }
    }
}
