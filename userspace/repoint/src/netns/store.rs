//! The namespace store: slots' namespaces, in a mount namespace of their own.
//!
//! A network namespace without a process lives as long as its file is mounted somewhere. Thousands of
//! such mounts in the node's mount table would cost every program that works with it: every `umount`
//! takes 11 ms with 4,000 entries more, and runc, systemd and the kubelet read the table. So the slots'
//! namespaces are mounted in a mount namespace that holds nothing else, on a tmpfs with one file for each
//! slot. A mount of its own pins this mount namespace:
//!
//! ```text
//! <runDir>/mnt/        bind mount of itself, private: a mount namespace's file cannot be mounted
//!                      where the mount would propagate
//! <runDir>/mnt/ns      the mount namespace
//!   /<slot>            in there: a slot's network namespace
//! ```
//!
//! The kernel copies the mount of a mount namespace's file into no other mount namespace (`copy_tree`),
//! so that the pin exists only in the one in which it was made. In all others, the file that the pin
//! covers names that one.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::{fd::AsFd as _, unix::fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, setns, unshare},
    unistd::{Pid, chdir, gettid, pivot_root},
};

use super::{MountNamespace, Netns, NetnsError, NetnsInode, bind, kind_of, own};
use crate::{
    boot::boot_id,
    failpoint,
    lock::{LOCK_TIMEOUT, Lock, LockError},
    model::SlotId,
    private::{self, PrivateError},
    threads::{self, ThreadError},
};

/// Folder in `runDir` that holds the pin.
const FOLDER: &str = "mnt";
/// The pin in it.
const PIN: &str = "ns";
/// How often a namespace is unmounted that others mount meanwhile. One ADD mounts it once.
const RELEASES: u32 = 4;

/// What is wrong with the namespace store.
#[derive(Debug, thiserror::Error)]
pub enum NetnsStoreError {
    /// A system call failed.
    #[error("cannot {what} {path}: {call}: {source}")]
    Call {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system call.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// The way back is barred: the thread must do nothing more.
    #[error("cannot return to the node's mount namespace: setns: {source}")]
    Return {
        /// Why not.
        source: io::Error,
    },
    /// It is in another mount namespace.
    #[error(
        "slots' namespaces are kept in another mount namespace than this process's: {path} was made in \
         {home}; run it where the container runtime runs (without PrivateTmp= and the like; in a pod with \
         hostPID and through nsenter --target 1 --mount)"
    )]
    WrongMountNamespace {
        /// The pin's path.
        path: PathBuf,
        /// Device and inode number of the mount namespace in which it was made.
        home: String,
    },
    /// A namespace cannot be opened.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// Its folder or file is not the node's own.
    #[error(transparent)]
    Private(#[from] PrivateError),
    /// The lock for making or removing the store cannot be taken.
    #[error("cannot make or remove the namespace store: {0}")]
    Lock(#[from] LockError),
    /// A thread in the mount namespace cannot be started, or ended early.
    #[error(transparent)]
    Thread(#[from] ThreadError),
}

impl NetnsStoreError {
    fn call<E: Into<io::Error>>(
        what: &'static str,
        path: &Path,
        call: &'static str,
    ) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::Call { what, path, call, source: source.into() }
    }
}

/// The slots' namespaces, kept out of the node's mount table.
#[derive(Debug)]
pub struct NetnsStore {
    pin: File,
    path: PathBuf,
}

/// The store's root directory, open. Any thread can open the namespaces in it, and need not enter the
/// store.
#[derive(Debug)]
pub struct NetnsDirectory(File);

impl NetnsDirectory {
    /// Opens the namespace of a slot.
    pub fn netns(&self, slot: SlotId) -> Result<Netns, NetnsError> {
        Netns::open_in(self.0.as_fd(), Path::new(&slot.to_string()))
    }
}

/// The contents of the namespace store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Files named for slots: namespaces, or files on which none is mounted.
    pub slots: HashMap<SlotId, NetnsInode>,
    /// Names of all other files.
    pub strange: Vec<String>,
}

/// Proof that the calling thread is inside the namespace store.
#[derive(Debug)]
pub struct Inside(());

impl NetnsStore {
    /// Opens the store, if there is one. The error is [`NetnsStoreError::WrongMountNamespace`] if the
    /// store belongs to another mount namespace.
    pub fn open_existing(run_dir: &Path) -> Result<Option<Self>, NetnsStoreError> {
        let path = pin_path(run_dir);
        let pin = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(NetnsStoreError::call("open", &path, "open"))?,
        };
        let found = kind_of(&pin).map_err(NetnsStoreError::call("look at", &path, "fstatfs"))?;
        if found == Some(CloneFlags::CLONE_NEWNS) {
            return Ok(Some(Self { pin, path }));
        }
        check_host_netns(pin, path).map(|()| None)
    }

    /// Opens the store, and makes it if there is none. A new store also replaces one that was made for
    /// another mount namespace than the runtimes'.
    pub fn open(run_dir: &Path) -> Result<Self, NetnsStoreError> {
        let is_there = || match Self::open_existing(run_dir) {
            Err(NetnsStoreError::WrongMountNamespace { home, .. }) if is_of_init(&home) => Ok(None),
            found => found,
        };
        if let Some(existing) = is_there()? {
            return Ok(existing);
        }
        let _lock = lock(run_dir)?;
        if let Some(existing) = is_there()? {
            return Ok(existing);
        }
        pin_new(run_dir)?;
        let path = pin_path(run_dir);
        Self::open_existing(run_dir)?.ok_or_else(|| {
            NetnsStoreError::call("find", &path, "open")(io::Error::from(io::ErrorKind::NotFound))
        })
    }

    /// Opens the store, if there is one for this mount namespace. Like [`Self::open`], it replaces a
    /// store that was made for another mount namespace than the runtimes'.
    pub fn open_own(run_dir: &Path) -> Result<Option<Self>, NetnsStoreError> {
        match Self::open_existing(run_dir) {
            Err(NetnsStoreError::WrongMountNamespace { .. }) => Self::open(run_dir).map(Some),
            found => found,
        }
    }

    /// Opens the store for the agent, which may run in any mount namespace. It makes the store only if
    /// the old one was for this mount namespace and lost its pin, or if runtimes are in this mount
    /// namespace. Otherwise a plugin or the CLI makes the store when it records a pool.
    pub fn open_for_agent(run_dir: &Path) -> Result<Option<Self>, NetnsStoreError> {
        if let Some(existing) = Self::open_existing(run_dir)? {
            return Ok(Some(existing));
        }
        let line = fs::read_to_string(pin_path(run_dir)).unwrap_or_default();
        let own = MountNamespace::current().ok();
        let lost = own.zip(MountNamespace::read(&line)).is_some_and(|(own, home)| home.is(&own));
        if lost || is_of_init(&line) { Self::open(run_dir).map(Some) } else { Ok(None) }
    }

    /// Unmounts the store. The namespaces in it end, unless they are in use.
    pub fn remove(run_dir: &Path) -> Result<(), NetnsStoreError> {
        let folder = run_dir.join(FOLDER);
        if !folder.exists() {
            return Ok(());
        }
        let _lock = lock(run_dir)?;
        for path in [folder.join(PIN), folder.clone()] {
            unmount_all(&path)?;
            failpoint::hit("netns-store:unmounted");
        }
        fs::remove_dir_all(&folder).map_err(NetnsStoreError::call("remove", &folder, "rmdir"))
    }

    /// Inode number of the mount namespace, as in `/proc/PID/ns/mnt`.
    pub fn inode(&self) -> Result<NetnsInode, NetnsStoreError> {
        let metadata = self.pin.metadata();
        let metadata = metadata.map_err(NetnsStoreError::call("look at", &self.path, "fstat"))?;
        Ok(NetnsInode::of(&metadata))
    }

    /// Calls `work` with the calling thread inside the store.
    ///
    /// The thread shares its root and working directory with no other afterwards, and its working
    /// directory is `/`. After [`NetnsStoreError::Return`] it is still inside and must not go on.
    pub fn enter<T>(&self, work: impl FnOnce(&Inside) -> T) -> Result<T, NetnsStoreError> {
        let path = Path::new(own("/proc/self/ns/mnt", "/proc/thread-self/ns/mnt"));
        let home = File::open(path).map_err(NetnsStoreError::call("open", path, "open"))?;
        let entered = match setns(&self.pin, CloneFlags::CLONE_NEWNS) {
            // Threads that share `fs_struct` cannot change the mount namespace (mntns_install).
            Err(nix::Error::EINVAL) => unshare(CloneFlags::CLONE_FS)
                .and_then(|()| setns(&self.pin, CloneFlags::CLONE_NEWNS)),
            other => other,
        };
        entered.map_err(NetnsStoreError::call("enter", &self.path, "setns"))?;
        let value = work(&Inside(()));
        setns(&home, CloneFlags::CLONE_NEWNS)
            .map_err(|errno| NetnsStoreError::Return { source: errno.into() })?;
        Ok(value)
    }

    /// Opens the store's root directory, in a thread that enters the store. The calling thread stays
    /// where it is.
    pub fn directory(&self) -> Result<NetnsDirectory, NetnsStoreError> {
        let root = Path::new("/");
        let open = || File::options().read(true).custom_flags(libc::O_PATH).open(root);
        let enter = || self.enter(|_| open());
        let opened = threads::run(enter)??;
        opened.map(NetnsDirectory).map_err(NetnsStoreError::call("open", root, "open"))
    }

    /// Opens the namespace of a slot.
    pub fn netns(&self, slot: SlotId) -> Result<Netns, NetnsStoreError> {
        Ok(self.enter(|inside| inside.netns(slot))??)
    }
}

impl Inside {
    /// Opens the namespace of a slot.
    ///
    /// The namespace is the one on record only if its inode number is: an empty file has another.
    pub fn netns(&self, slot: SlotId) -> Result<Netns, NetnsError> {
        Netns::open_own(&path_of(slot))
    }

    /// Keeps a namespace as a slot's. Its mount covers what an earlier slot of this number left, before
    /// the database was made anew.
    pub fn keep(&self, slot: SlotId, netns: &Netns) -> Result<(), NetnsStoreError> {
        let path = path_of(slot);
        drop(private::file(OpenOptions::new().create(true).append(true), &path)?);
        failpoint::hit("keep:file");
        bind(netns.as_fd(), &path).map_err(NetnsStoreError::call("mount", &path, "move_mount"))
    }

    /// Releases a slot's namespace, which ends when nothing else holds it. A missing namespace is not an
    /// error.
    pub fn release(&self, slot: SlotId) -> Result<(), NetnsStoreError> {
        let path = path_of(slot);
        let mut tries = RELEASES;
        loop {
            unmount_all(&path)?;
            failpoint::hit("let-go:unmounted");
            tries -= 1;
            match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                // An ADD whose slot is deleted meanwhile has just mounted its namespace here.
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy && tries > 0 => {}
                removed => {
                    return removed.map_err(NetnsStoreError::call("remove", &path, "unlink"));
                }
            }
        }
    }

    /// The contents of the store.
    pub fn kept(&self) -> Result<Kept, NetnsStoreError> {
        let root = Path::new("/");
        let entries = fs::read_dir(root).map_err(NetnsStoreError::call("list", root, "open"))?;
        let mut kept = Kept::default();
        for entry in entries {
            let entry = entry.map_err(NetnsStoreError::call("list", root, "getdents"))?;
            let name = entry.file_name();
            let Some(slot) = name.to_str().and_then(|name| name.parse().ok()) else {
                kept.strange.push(name.to_string_lossy().into_owned());
                continue;
            };
            // An entry's own metadata are those of what is under the mount.
            match fs::metadata(entry.path()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                found => {
                    let path = entry.path();
                    let found = found.map_err(NetnsStoreError::call("look at", &path, "stat"))?;
                    kept.slots.insert(slot, NetnsInode::of(&found));
                }
            }
        }
        Ok(kept)
    }
}

/// Whether the store belongs to another mount namespace that has tasks. `line` is the text of the file
/// beneath the pin.
///
/// The store is free if it was made for this mount namespace and lost its pin, if its mount namespace was
/// of another boot, or if no task is in that one any more.
fn is_others(line: &str) -> Result<bool, NetnsStoreError> {
    let path = Path::new("/proc/self/ns/mnt");
    let own = MountNamespace::current();
    let own = own.map_err(NetnsStoreError::call::<io::Error>("look at", path, "stat"))?;
    // A line that names none was not written whole: the process that wrote it was killed.
    let Some(home) = MountNamespace::read(line) else { return Ok(false) };
    if home.is(&own) || !home.is_of_boot(&boot_id().unwrap_or_default()) {
        return Ok(false);
    }
    let tasks = Path::new("/proc");
    let found = home.find();
    let found =
        found.map_err(NetnsStoreError::call::<io::Error>("look for tasks in", tasks, "open"))?;
    Ok(found.is_some() || !home.is_in_sight())
}

/// The store's mount namespace, if it is not this process's and has tasks.
pub fn foreign_mount_namespace(run_dir: &Path) -> Result<Option<MountNamespace>, NetnsStoreError> {
    match NetnsStore::open_existing(run_dir) {
        Err(NetnsStoreError::WrongMountNamespace { home, .. }) => Ok(MountNamespace::read(&home)),
        found => found.map(|_| None),
    }
}

/// Refuses a pin that was made in another mount namespace in which tasks are.
fn check_host_netns(mut file: File, path: PathBuf) -> Result<(), NetnsStoreError> {
    let mut line = String::new();
    file.read_to_string(&mut line).map_err(NetnsStoreError::call("read", &path, "read"))?;
    if is_others(&line)? {
        Err(NetnsStoreError::WrongMountNamespace { path, home: line })
    } else {
        Ok(())
    }
}

/// Whether this process is in the first process's mount namespace. Runtimes are there, so that a pin that
/// was made for another one (`home`) is in the wrong place. A container without `hostPID` has a first
/// process of its own.
fn is_of_init(home: &str) -> bool {
    let both = (MountNamespace::current(), MountNamespace::of_init());
    matches!(both, (Ok(own), Ok(init)) if own.is(&init))
        && MountNamespace::read(home).is_some_and(|home| home.is_in_sight())
}

fn path_of(slot: SlotId) -> PathBuf {
    Path::new("/").join(slot.to_string())
}

fn pin_path(run_dir: &Path) -> PathBuf {
    run_dir.join(FOLDER).join(PIN)
}

/// Takes the lock that keeps two processes from making the store.
fn lock(run_dir: &Path) -> Result<Lock, LockError> {
    Lock::exclusive(&run_dir.join("mnt.lock"), LOCK_TIMEOUT)
}

/// Unmounts whatever is mounted at a path, layer by layer.
fn unmount_all(path: &Path) -> Result<(), NetnsStoreError> {
    loop {
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            // Not a mount point, or not there.
            Err(nix::Error::EINVAL | nix::Error::ENOENT) => return Ok(()),
            Err(errno) => return Err(NetnsStoreError::call("unmount", path, "umount2")(errno)),
        }
    }
}

/// Removes the file of a pin: the kernel unmounts what other mount namespaces have on it
/// (`detach_mounts`), so that no process there goes on with a store that is no longer valid.
fn remove_foreign(folder: &Path) -> Result<(), NetnsStoreError> {
    let pin = folder.join(PIN);
    match fs::remove_file(&pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(NetnsStoreError::call("remove", &pin, "unlink")(error))
        }
        _ => {
            failpoint::hit("netns-store:removed");
            Ok(())
        }
    }
}

/// Makes a mount namespace and mounts its file as the pin.
fn pin_new(run_dir: &Path) -> Result<(), NetnsStoreError> {
    let folder = run_dir.join(FOLDER);
    unmount_all(&folder.join(PIN))?;
    unmount_all(&folder)?;
    remove_foreign(&folder)?;
    private::folder(&folder)?;
    failpoint::hit("netns-store:folder");
    let none = None::<&str>;
    let made = NetnsStoreError::call("mount", &folder, "mount");
    mount(Some(&folder), &folder, none, MsFlags::MS_BIND, none).map_err(made)?;
    failpoint::hit("netns-store:bound");
    let made = NetnsStoreError::call("make private", &folder, "mount");
    mount(none, &folder, none, MsFlags::MS_PRIVATE, none).map_err(made)?;
    failpoint::hit("netns-store:private");
    let pin = folder.join(PIN);
    let mut file = private::file(OpenOptions::new().create(true).truncate(true).write(true), &pin)?;
    let own = MountNamespace::current().map_err(NetnsStoreError::call("look at", &pin, "stat"))?;
    let written = file.write_all(own.line().as_bytes());
    written.map_err(NetnsStoreError::call("write", &pin, "write"))?;
    failpoint::hit("netns-store:home");
    mount_new_namespace(&folder, &pin)?;
    failpoint::hit("netns-store:pinned");
    Ok(())
}

/// Makes a mount namespace and mounts its file.
///
/// The kernel mounts the file of a mount namespace only in an older mount namespace (`mnt_ns_loop`). It
/// takes the age from numbers of which each processor has a supply (`gen_cookie_next`), so that a mount
/// namespace made by another processor may look older than it is. The processor that made ours has only
/// higher numbers left. The node's first mount namespace is older than all; a container's is not.
fn mount_new_namespace(folder: &Path, pin: &Path) -> Result<(), NetnsStoreError> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).map_err(NetnsStoreError::call(
        "choose a processor for",
        folder,
        "sched_getaffinity",
    ))?;
    let numbers = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    for cpu in [None].into_iter().chain(numbers.map(Some)) {
        let mounted = with_new_mount_namespace(folder, cpu, |namespace| {
            bind(namespace.as_fd(), pin).map_err(NetnsStoreError::call("mount", pin, "move_mount"))
        });
        match mounted {
            Err(NetnsStoreError::Call { ref source, .. })
                if source.raw_os_error() == Some(libc::ELOOP) => {}
            other => return other,
        }
    }
    Err(NetnsStoreError::call("mount", pin, "move_mount")(nix::Error::ELOOP))
}

/// Has a thread make a mount namespace, on a processor of choice if any, and calls `pin` with it
/// while the thread lives.
fn with_new_mount_namespace(
    folder: &Path,
    cpu: Option<usize>,
    pin: impl FnOnce(File) -> Result<(), NetnsStoreError>,
) -> Result<(), NetnsStoreError> {
    let (ready, is_ready) = mpsc::channel();
    let (done, is_done) = mpsc::channel::<()>();
    thread::scope(|scope| {
        threads::spawn(scope, move || {
            // The namespace lives by this thread until it is pinned.
            let made = cpu.map_or(Ok(()), |cpu| stay_on(cpu, folder));
            let made = made.and_then(|()| empty_mount_namespace(folder)).map(|()| gettid());
            if ready.send(made).is_ok() {
                is_done.recv().ok();
            }
        })?;
        let thread = is_ready.recv().map_err(|_| ThreadError::Ended)??;
        let path = PathBuf::from(format!("/proc/self/task/{thread}/ns/mnt"));
        let pinned =
            File::open(&path).map_err(NetnsStoreError::call("open", &path, "open")).and_then(pin);
        drop(done);
        pinned
    })
}

/// Keeps the calling thread on one processor.
fn stay_on(cpu: usize, folder: &Path) -> Result<(), NetnsStoreError> {
    let mut set = CpuSet::new();
    set.set(cpu)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .map_err(NetnsStoreError::call("choose a processor for", folder, "sched_setaffinity"))
}

/// Moves the calling thread into a new mount namespace with only a tmpfs. Copies of the node's mounts
/// would keep their file systems busy.
fn empty_mount_namespace(folder: &Path) -> Result<(), NetnsStoreError> {
    let call = |what, name| NetnsStoreError::call::<nix::Error>(what, folder, name);
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)
        .map_err(call("make a mount namespace for", "unshare"))?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(call("make private all above", "mount"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("repoint"), folder, Some("tmpfs"), flags, Some("mode=0700"))
        .map_err(call("mount a tmpfs on", "mount"))?;
    chdir(folder).map_err(call("enter", "chdir"))?;
    pivot_root(".", ".").map_err(call("make a root of", "pivot_root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(call("leave all but", "umount2"))?;
    chdir("/").map_err(call("enter", "chdir"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_no_pin() {
        let folder = tempfile::tempdir().unwrap();
        assert!(NetnsStore::open_existing(folder.path()).unwrap().is_none());
        fs::create_dir(folder.path().join(FOLDER)).unwrap();
        let open = |line: &str| {
            fs::write(pin_path(folder.path()), line).unwrap();
            NetnsStore::open_existing(folder.path())
        };
        let own = MountNamespace::current().unwrap().line();
        // The line of a namespace that ended, too.
        for line in ["", "4:1", &own] {
            assert!(open(line).unwrap().is_none(), "{line}");
        }
    }
}
