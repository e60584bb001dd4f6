//! Where things are pinned.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use repoint_common::LAYOUT_VERSION;

use super::DatapathError;
use crate::failpoint;

/// The folder of pins of this layout version.
#[derive(Debug, Clone)]
pub struct Pins {
    folder: PathBuf,
}

impl Pins {
    /// The folder of pins below `bpf_dir`, there or not.
    pub fn below(bpf_dir: &Path) -> Self {
        Self { folder: bpf_dir.join(format!("v{LAYOUT_VERSION}")) }
    }

    /// The folder of pins below `bpf_dir`, if it is there.
    pub fn existing(bpf_dir: &Path) -> Result<Option<Self>, DatapathError> {
        let pins = Self::below(bpf_dir);
        Ok(pins.exist()?.then_some(pins))
    }

    /// Whether the folder is there.
    pub fn exist(&self) -> Result<bool, DatapathError> {
        let found = self.folder.try_exists();
        found.map_err(DatapathError::folder("look for", &self.folder))
    }

    /// Inode number of the folder, if it is there.
    pub fn inode(&self) -> Result<Option<u64>, DatapathError> {
        match fs::metadata(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            found => {
                let found = found.map_err(DatapathError::folder("look for", &self.folder))?;
                Ok(Some(found.ino()))
            }
        }
    }

    /// Path of a pinned object.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder's path while the folder is incomplete. A process is filling or emptying it, or was
    /// killed over that.
    pub fn partial(&self) -> PathBuf {
        // Not an extension: the BPF file system reserves names with a dot (bpf_lookup).
        self.folder.with_file_name(format!("v{LAYOUT_VERSION}-partial"))
    }

    /// Which of these names are not pinned in the folder.
    pub fn missing(
        &self,
        names: impl IntoIterator<Item = &'static str>,
    ) -> Result<Vec<&'static str>, DatapathError> {
        let mut missing = Vec::new();
        for name in names {
            let path = self.path(name);
            let found = path.try_exists().map_err(DatapathError::folder("look for", &path))?;
            if !found {
                missing.push(name);
            }
        }
        Ok(missing)
    }

    /// Removes what there is of [`Self::partial`].
    pub fn clear_partial(&self) -> Result<(), DatapathError> {
        Self::remove_folder(&self.partial())
    }

    /// Removes a folder of pins, if it is there.
    pub fn remove_folder(folder: &Path) -> Result<(), DatapathError> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(DatapathError::folder("read", folder))?,
        };
        for entry in entries {
            let pin = entry.map_err(DatapathError::folder("read", folder))?.path();
            fs::remove_file(&pin).map_err(DatapathError::folder("remove", &pin))?;
            failpoint::hit("pins:removed");
        }
        fs::remove_dir(folder).map_err(DatapathError::folder("remove", folder))
    }
}
