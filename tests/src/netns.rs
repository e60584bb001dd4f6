//! Network namespaces of containers, made, entered and removed as container runtimes do.

use std::{
    fs::{self, File},
    io,
    os::fd::AsFd,
    panic,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    getsockopt_impl, libc,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sockopt_impl,
    sys::{
        socket::{AddressFamily, SockFlag, SockType, getsockopt, socket},
        stat::stat,
    },
};

use crate::inherited;

/// Where runtimes and `ip netns` keep network namespaces.
pub const FOLDER: &str = "/run/netns";
/// The calling thread's mount namespace.
const OWN_MOUNTS: &str = "/proc/thread-self/ns/mnt";

/// A network namespace bind-mounted below [`FOLDER`]. Dropping it removes it, in the mount namespace
/// that it was made in; with the end of another one it ends by itself.
#[derive(Debug)]
pub struct Netns {
    path: PathBuf,
    mounts: Inode,
}

/// Device and inode number of a namespace.
pub type Inode = (u64, u64);

impl Netns {
    /// Makes a namespace as containerd does: an empty file, and the namespace of a thread that
    /// unshared it bind-mounted over that. `lo` is down, and what it inherits from the machine is reset.
    pub fn create(name: &str) -> Result<Self> {
        fs::create_dir_all(FOLDER).with_context(|| format!("create {FOLDER}"))?;
        let path = Path::new(FOLDER).join(name);
        File::create_new(&path).with_context(|| format!("create {}", path.display()))?;
        let netns = Self { path, mounts: inode(Path::new(OWN_MOUNTS))? };
        in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("unshare(CLONE_NEWNET)")?;
            inherited::reset()?;
            let own = Path::new("/proc/thread-self/ns/net");
            mount(Some(own), netns.path(), None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .with_context(|| format!("bind the namespace to {}", netns.path().display()))
        })?;
        Ok(netns)
    }

    /// Its path, for `CNI_NETNS`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `f` in the namespace that the path leads to now.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        enter(&self.path, f)
    }

    /// Device and inode number of the namespace that the path leads to now.
    pub fn inode(&self) -> Result<Inode> {
        inode(&self.path)
    }

    /// Device and inode number of the namespace that a path leads to.
    pub fn inode_at(path: &Path) -> Result<Inode> {
        inode(path)
    }

    /// The kernel's number of the namespace that the path leads to now.
    pub fn cookie(&self) -> Result<u64> {
        self.run(cookie)
    }

    /// Removes it as a runtime does: one unmount and one unlink. Fails when something is still
    /// mounted there then, which is how a plugin's stray mount shows.
    pub fn remove(self) -> Result<()> {
        umount2(&self.path, MntFlags::MNT_DETACH)
            .with_context(|| format!("unmount {}", self.path.display()))?;
        if umount2(&self.path, MntFlags::MNT_DETACH) != Err(Errno::EINVAL) {
            bail!("something was mounted under the namespace at {}", self.path.display());
        }
        fs::remove_file(&self.path).with_context(|| format!("unlink {}", self.path.display()))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // The same path may be something else in another mount namespace.
        if inode(Path::new(OWN_MOUNTS)).ok() != Some(self.mounts) {
            return;
        }
        while umount2(&self.path, MntFlags::MNT_DETACH).is_ok() {}
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                eprintln!("{} is left: {error}", self.path.display());
            }
            // `remove` may have taken it away.
            _ => {}
        }
    }
}

sockopt_impl!(
    /// Cookie of the network namespace that a socket belongs to.
    NetnsCookie,
    GetOnly,
    libc::SOL_SOCKET,
    libc::SO_NETNS_COOKIE,
    u64
);

/// The kernel's number of the calling thread's network namespace, which no other namespace has until
/// the next boot (`SO_NETNS_COOKIE`, Linux 5.14). Inode numbers are given again at once.
pub fn cookie() -> Result<u64> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None);
    getsockopt(&socket.context("open a socket")?, NetnsCookie)
        .context("getsockopt(SO_NETNS_COOKIE)")
}

fn inode(path: &Path) -> Result<Inode> {
    let found = stat(path).with_context(|| format!("stat {}", path.display()))?;
    Ok((found.st_dev, found.st_ino))
}

/// Runs `f` in a thread of its own, in the network namespace that the path leads to now.
pub fn enter<T: Send>(path: &Path, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let namespace = File::open(path).with_context(|| format!("open {}", path.display()))?;
    enter_open(&namespace, f).with_context(|| format!("in {}", path.display()))
}

/// Runs `f` in a thread of its own, in the open network namespace.
///
/// Processes and threads that it starts are there, too. The mount namespace is the caller's.
pub fn enter_open<T: Send>(
    namespace: &(impl AsFd + Sync),
    f: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    in_thread(|| {
        setns(namespace, CloneFlags::CLONE_NEWNET).context("setns(CLONE_NEWNET)")?;
        f()
    })
}

/// Runs `f` in a thread of its own, so that it may change its namespaces. A panic goes on in the
/// caller.
pub fn in_thread<T: Send>(f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| scope.spawn(f).join())
        .unwrap_or_else(|payload| panic::resume_unwind(payload))
}
