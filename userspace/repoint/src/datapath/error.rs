//! Why the data plane refused.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
};

use aya::{EbpfError, maps::MapError, pin::PinError, programs::ProgramError};
use nix::errno::Errno;
use repoint_common::endpoint::MAX_ENTRIES;

use crate::{lock::LockError, private::PrivateError};

/// Why the data plane cannot be loaded, opened, changed or unloaded.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// `bpfDir` is somewhere where nothing can be pinned.
    #[error(
        "bpfDir {folder} is not on a BPF file system: mount one there (mount -t bpf bpf {folder}), \
         or choose a folder below /sys/fs/bpf",
        folder = folder.display()
    )]
    NotOnBpfFileSystem {
        /// `bpfDir`.
        folder: PathBuf,
    },
    /// A mount would hide what is there.
    #[error("{mount_point} is no BPF file system, and not empty: nothing is mounted over it")]
    Occupied {
        /// Where the file system belongs.
        mount_point: &'static str,
    },
    /// The BPF file system cannot be mounted.
    #[error("cannot mount a BPF file system at {mount_point}: {}", cause(source))]
    Mount {
        /// Where.
        mount_point: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
    /// An operation on a folder or pin failed.
    #[error("cannot {action} {path}: {}", cause(source), path = path.display())]
    Folder {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// A folder is not the node's own.
    #[error(transparent)]
    Private(#[from] PrivateError),
    /// The lock for loading or unloading cannot be taken.
    #[error("cannot load or unload the data plane: {0}")]
    Lock(#[from] LockError),
    /// The embedded object was refused.
    #[error("cannot load the eBPF object: {}", cause(source))]
    Load {
        /// What refused it, and why.
        source: Box<EbpfError>,
    },
    /// The embedded object is not the one that this code belongs to.
    #[error("the eBPF object has no {kind} {name}: it was not built with this executable")]
    Missing {
        /// Map or program.
        kind: &'static str,
        /// Its name.
        name: &'static str,
    },
    /// A program was refused.
    #[error("cannot load eBPF program {name}: {}", cause(source))]
    Program {
        /// Its name.
        name: &'static str,
        /// The verifier's word.
        source: Box<ProgramError>,
    },
    /// A map or program cannot be pinned.
    #[error("cannot pin {path}: {}", cause(source), path = path.display())]
    Pin {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: PinError,
    },
    /// A pinned program cannot be opened.
    #[error("cannot open pinned program {path}: {}", cause_at_pin(source), path = path.display())]
    OpenProgram {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: Box<ProgramError>,
    },
    /// A pinned map cannot be opened.
    #[error("cannot open pinned map {path}: {}", cause_at_pin(source), path = path.display())]
    OpenMap {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: Box<MapError>,
    },
    /// A pinned map is not laid out as this code knows it.
    #[error(
        "pinned map {path} has another layout: {source}; another build of repoint made it: remove \
         the node's containers, then run `repoint unload` and `repoint load`",
        path = path.display()
    )]
    Layout {
        /// Where it is.
        path: PathBuf,
        /// What differs.
        source: Box<MapError>,
    },
    /// Another version of repoint has slots on the node.
    #[error(
        "{folder} is the data plane of another version of repoint, and has slots, which this version's \
         programs would not know: stop the node's containers, then run `repoint unload`; or take all \
         slots down with `repoint unload --force`",
        folder = folder.display()
    )]
    OtherLayout {
        /// Its pins.
        folder: PathBuf,
    },
    /// The kernel refuses something about tcx.
    #[error(
        "cannot {action} {name} of interface {ifindex} by tcx, which key hook of the network asks for: \
         {}{}",
        cause(source),
        advice_on_tcx(source)
    )]
    Tcx {
        /// What was tried.
        action: &'static str,
        /// A program's name.
        name: &'static str,
        /// The interface.
        ifindex: u32,
        /// The kernel's word.
        source: io::Error,
    },
    /// A map is full.
    #[error(
        "map {map} is full: it holds {MAX_ENTRIES} entries, the most that a node can have: remove \
         containers, or lower pool.maxSlots; if there are fewer (`repoint endpoints`), run `repoint \
         sweep`"
    )]
    Full {
        /// Its name.
        map: &'static str,
    },
    /// An entry that must be there is not.
    #[error(
        "{key} is not in map {map}: the pinned maps are another data plane's than the slot was built \
         with, since the BPF file system was unmounted or the pins were removed; run `repoint sweep`"
    )]
    Absent {
        /// Of what.
        key: String,
        /// Name of the map.
        map: &'static str,
    },
    /// A map's entry cannot be read or changed.
    #[error("cannot {action} {key} of map {map}: {}", cause(source))]
    Entry {
        /// What was tried.
        action: &'static str,
        /// The entry's key.
        key: String,
        /// The map's name.
        map: &'static str,
        /// The kernel's word.
        source: Box<MapError>,
    },
}

impl DatapathError {
    /// For `map_err` over what is done to a folder or pin.
    pub(super) fn folder<E: Into<io::Error>>(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Folder { action, path, source: source.into() }
    }

    /// For `map_err` over what is done by tcx.
    pub(crate) fn tcx(
        action: &'static str,
        name: &'static str,
        ifindex: u32,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Tcx { action, name, ifindex, source }
    }
}

/// Kernels that do not know tcx refuse the type of attachment.
fn advice_on_tcx(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EINVAL) => "; tcx needs kernel 6.6: say \"hook\": \"clsact\" on older ones",
        _ => "",
    }
}

/// The causes of an error, and what can be done about it.
fn cause(error: &(dyn Error + 'static)) -> String {
    let advice = match number(error) {
        Some(Errno::EPERM | Errno::EACCES) => {
            "; root is needed, with CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN"
        }
        Some(Errno::ENOSYS) => "; the kernel lacks CONFIG_BPF_SYSCALL",
        Some(Errno::ENODEV) => "; the kernel lacks the BPF file system (CONFIG_BPF_SYSCALL)",
        _ => "",
    };
    chain(error) + advice
}

/// The same for a pin that cannot be opened.
fn cause_at_pin(error: &(dyn Error + 'static)) -> String {
    match number(error) {
        // Loading makes the folder whole, and unloading takes it away whole.
        Some(Errno::ENOENT) => chain(error) + "; the pin is missing: run `repoint sweep`",
        _ => cause(error),
    }
}

/// The texts of an error and its sources: those of aya name the system call and leave its error to
/// the source.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for source in sources(error).skip(1).map(ToString::to_string) {
        if !text.contains(&source) {
            text = format!("{text}: {source}");
        }
    }
    text
}

/// An error, its source, the source's, and so on.
fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The kernel's error number, where the error has one among its causes.
fn number(error: &(dyn Error + 'static)) -> Option<Errno> {
    sources(error)
        .filter_map(<dyn Error>::downcast_ref::<io::Error>)
        .find_map(io::Error::raw_os_error)
        .map(Errno::from_raw)
}
