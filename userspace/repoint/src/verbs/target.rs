//! Where a slot's namespace is mounted for a caller that has no namespace of its own.

use std::{
    borrow::Cow,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::{failpoint, node::NodeError};

/// Where a path leads, if it is a symbolic link: the kernel would mount over the link itself.
pub(super) fn resolve(path: &Path) -> Result<Cow<'_, Path>, NodeError> {
    if !fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
        return Ok(Cow::Borrowed(path));
    }
    let failed = |source| NodeError::Target { path: path.to_owned(), source };
    path.canonicalize().map(Cow::Owned).map_err(failed)
}

/// An empty file to mount on. What was made for it is removed again unless it is kept.
#[derive(Debug)]
pub(super) struct Target<'a> {
    path: &'a Path,
    /// Whether the file was made.
    file: bool,
    /// The folders that were made, the innermost first.
    folders: Vec<&'a Path>,
}

impl<'a> Target<'a> {
    /// Makes the file, with its folders, if it is not there.
    pub(crate) fn create(path: &'a Path) -> Result<Self, NodeError> {
        let failed = |source| NodeError::Target { path: PathBuf::from(path), source };
        let folders = path.ancestors().skip(1).take_while(|folder| !folder.exists()).collect();
        let mut target = Self { path, file: false, folders };
        if let Some(folder) = path.parent() {
            // Below `runDir` no other user gets here. Elsewhere a gateway that is not root needs to.
            DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(failed)?;
            failpoint::hit("target:folder");
        }
        match File::options().create_new(true).append(true).mode(0o600).open(path) {
            Ok(_) => target.file = true,
            // The file exists. If a namespace is mounted on it, the claim finds its attachment.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        failpoint::hit("target:file");
        Ok(target)
    }

    /// Leaves it there.
    pub(crate) fn keep(mut self) {
        (self.file, self.folders) = (false, Vec::new());
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        // Report why nothing was mounted on it, not the error of the cleanup. A folder in which another
        // process has put something stays.
        if self.file {
            drop(fs::remove_file(self.path));
        }
        self.folders.iter().for_each(|folder| drop(fs::remove_dir(folder)));
    }
}
