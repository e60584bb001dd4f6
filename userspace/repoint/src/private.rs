//! The node's own folders (0700) and files (0600), whatever the umask.
//!
//! A process that can open a file, even for reading alone, can lock it (`flock(2)`), and keep every ADD
//! of the node waiting. The process that makes a folder or file sets its rights. Every process that uses
//! it checks them: an older build, or an operator, may have made it with wider rights.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions},
    io,
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
    },
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;

/// Rights of a folder.
const FOLDER: u32 = 0o700;
/// Rights of a file.
const FILE: u32 = 0o600;
/// Rights of missing folders above the node's own, which are made.
const ABOVE: u32 = 0o755;
/// All rights of a file mode.
const RIGHTS: u32 = 0o7777;
/// System folders, whose rights other programs need as they are.
const SHARED: [&str; 7] =
    ["/var/cache", "/var/lib", "/var/run", "/var/tmp", "/dev/shm", "/sys/fs", "/sys/fs/bpf"];

/// A folder or file cannot be the node's own.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// A system call failed.
    #[error("cannot {call} {path}: {source}")]
    Call {
        /// The system call.
        call: &'static str,
        /// Its argument.
        path: PathBuf,
        /// Its error.
        source: io::Error,
    },
    /// Another user owns it.
    #[error(
        "{path} belongs to user {owner}, and this process is user {user}'s: remove it, or name another \
         folder (keys runDir, stateDir and bpfDir)"
    )]
    Foreign {
        /// The folder or file.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// The number of this process's user.
        user: u32,
    },
}

impl PrivateError {
    /// Whether a folder on the way to it is missing.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Call { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Makes a missing folder and its parents; restricts it to the user.
///
/// The rights of a system folder, such as `/run`, stay as they are.
pub fn folder(path: &Path) -> Result<(), PrivateError> {
    if existing(path)? {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(path);
    let above = DirBuilder::new().recursive(true).mode(ABOVE).create(parent);
    above.map_err(failed("mkdir", parent))?;
    match DirBuilder::new().mode(FOLDER).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed("mkdir", path)(error));
        }
        // This process made the folder, or another process did meanwhile.
        _ => {}
    }
    existing(path).map(drop)
}

/// Restricts an existing folder to the user; reports whether there is one.
pub fn existing(path: &Path) -> Result<bool, PrivateError> {
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        found => found.map_err(failed("stat", path))?,
    };
    check_owner(&found, path)?;
    if found.mode() & RIGHTS == FOLDER || is_shared(path) {
        return Ok(true);
    }
    let folder = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path);
    let folder = folder.map_err(failed("open", path))?;
    folder.set_permissions(Permissions::from_mode(FOLDER)).map_err(failed("fchmod", path))?;
    Ok(true)
}

/// Opens a file, and restricts it to the user; `options` may make it.
pub fn file(options: &mut OpenOptions, path: &Path) -> Result<File, PrivateError> {
    // A symbolic link may lead to a file of another program.
    let file = options.mode(FILE).custom_flags(libc::O_NOFOLLOW).open(path);
    let file = file.map_err(failed("open", path))?;
    let found = file.metadata().map_err(failed("fstat", path))?;
    check_owner(&found, path)?;
    if found.mode() & RIGHTS != FILE {
        file.set_permissions(Permissions::from_mode(FILE)).map_err(failed("fchmod", path))?;
    }
    Ok(file)
}

/// Restricts a socket to the user.
pub fn socket(path: &Path) -> Result<(), PrivateError> {
    fs::set_permissions(path, Permissions::from_mode(FILE)).map_err(failed("chmod", path))
}

fn check_owner(found: &Metadata, path: &Path) -> Result<(), PrivateError> {
    let (owner, user) = (found.uid(), geteuid().as_raw());
    if owner == user {
        return Ok(());
    }
    Err(PrivateError::Foreign { path: path.to_owned(), owner, user })
}

fn is_shared(path: &Path) -> bool {
    // The root directory and its entries.
    path.components().count() <= 2 || SHARED.iter().any(|shared| path == Path::new(shared))
}

fn failed(call: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PrivateError {
    let path = path.to_owned();
    move |source| PrivateError::Call { call, path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    fn rights(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & RIGHTS
    }

    fn appending() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        options
    }

    #[test]
    fn a_new_folder_is_the_users_alone_and_those_above_it_are_not() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("above/own");
        folder(&path).unwrap();
        assert_eq!(rights(&path), 0o700);
        assert_eq!(rights(path.parent().unwrap()) & 0o700, 0o700);
        assert_eq!(rights(path.parent().unwrap()) & 0o022, 0);
    }

    #[test]
    fn rights_of_a_folder_and_of_a_file_that_are_too_wide_are_taken_away() {
        let place = tempfile::tempdir().unwrap();
        let (path, lock) = (place.path().join("own"), place.path().join("own/a.lock"));
        fs::create_dir(&path).unwrap();
        fs::write(&lock, "").unwrap();
        for wide in [0o755, 0o777, 0o1777, 0o000] {
            fs::set_permissions(&path, Permissions::from_mode(wide)).unwrap();
            fs::set_permissions(&lock, Permissions::from_mode(wide)).unwrap();
            assert!(existing(&path).unwrap());
            drop(file(&mut appending(), &lock).unwrap());
            assert_eq!((rights(&path), rights(&lock)), (0o700, 0o600), "from {wide:o}");
        }
    }

    #[test]
    fn a_folder_of_the_systems_keeps_its_rights() {
        for path in ["/", "/run", "/tmp", "/var/lib", "/sys/fs/bpf"] {
            assert!(is_shared(Path::new(path)), "{path}");
        }
        for path in ["/run/repoint", "/var/lib/repoint", "/sys/fs/bpf/repoint"] {
            assert!(!is_shared(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn what_another_user_owns_is_refused_by_name() {
        if !geteuid().is_root() {
            println!("skipped: only root can give a file away");
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let (path, lock) = (place.path().join("own"), place.path().join("a.lock"));
        fs::create_dir(&path).unwrap();
        fs::write(&lock, "").unwrap();
        for given in [&path, &lock] {
            chown(given, Some(65534), None).unwrap();
        }
        let errors =
            [folder(&path).unwrap_err(), file(&mut appending(), &lock).map(drop).unwrap_err()];
        for error in errors.map(|error| error.to_string()) {
            assert!(error.contains("belongs to user 65534"), "{error}");
            assert!(error.contains("runDir"), "{error}");
        }
    }

    #[test]
    fn a_link_is_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let (target, link) = (place.path().join("target"), place.path().join("a.lock"));
        fs::write(&target, "").unwrap();
        fs::set_permissions(&target, Permissions::from_mode(0o644)).unwrap();
        symlink(&target, &link).unwrap();
        let error = file(&mut appending(), &link).map(drop).unwrap_err();
        assert!(matches!(error, PrivateError::Call { call: "open", .. }), "{error}");
        assert_eq!(rights(&target), 0o644);
    }

    #[test]
    fn a_file_in_a_folders_place_is_an_error() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("own");
        fs::write(&path, "").unwrap();
        let error = folder(&path).unwrap_err().to_string();
        assert!(error.contains("Not a directory"), "{error}");
    }
}
