//! The file system that pins live in.

use std::{fs, path::Path};

use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::DatapathError;
use crate::failpoint;

/// The usual mount point, for which the kernel has an empty folder.
const MOUNT_POINT: &str = "/sys/fs/bpf";

/// Ensures that `folder` is on a BPF file system, or will be when it is created: mounts one at
/// [`MOUNT_POINT`] when that is where the folder belongs, and nowhere else.
pub fn provide(folder: &Path) -> Result<(), DatapathError> {
    if is_on_bpf_file_system(folder)? {
        return Ok(());
    }
    if !folder.starts_with(MOUNT_POINT) {
        return Err(DatapathError::NotOnBpfFileSystem { folder: folder.to_owned() });
    }
    mount_it()
}

/// Looks at the nearest folder above that exists.
fn is_on_bpf_file_system(folder: &Path) -> Result<bool, DatapathError> {
    let nearest = folder.ancestors().find(|ancestor| ancestor.exists());
    let nearest = nearest.unwrap_or(Path::new("/"));
    let found = statfs(nearest).map_err(DatapathError::folder("examine", nearest))?;
    Ok(found.filesystem_type() == BPF_FS_MAGIC)
}

fn mount_it() -> Result<(), DatapathError> {
    let mut entries =
        fs::read_dir(MOUNT_POINT).map_err(DatapathError::folder("read", MOUNT_POINT))?;
    if entries.next().is_some() {
        return Err(DatapathError::Occupied { mount_point: MOUNT_POINT });
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("bpf"), MOUNT_POINT, Some("bpf"), flags, Some("mode=0700"))
        .map_err(|errno| DatapathError::Mount { mount_point: MOUNT_POINT, source: errno.into() })?;
    failpoint::hit("load:mounted");
    Ok(())
}
