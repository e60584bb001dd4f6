//! A node: a machine in namespaces of its own, with an uplink to an outside host.
//!
//! ```text
//!   outside                      node
//!   198.51.100.1   ──────────  198.51.100.2     uplink
//!   2001:db8:1::1              2001:db8:1::2
//! ```
//!
//! A node has a network namespace and a mount namespace. In the latter, `/run` and `/var/lib` are
//! empty, as after the first boot, and no BPF file system is mounted. What a test mounts, pins and
//! stores there ends with the namespaces, also when the test is killed; what it runs must lie
//! elsewhere. Its sysctls are those that the kernel begins with, whatever the machine's are
//! ([`crate::inherited`]). Threads get in by `setns`; `ip netns exec` would give every process a mount namespace
//! of its own, where no other process sees what it mounts.
//!
//! The outside host has no route to anything but its own link: a container that gets an answer from
//! it has been masqueraded.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    fs::{self, File},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    unistd::chdir,
};
use serde_json::{Value, json};

use crate::{
    command, inherited,
    netns::{enter_open, in_thread},
    processes,
    traffic::Host,
    wait,
};

/// Name of a node's interface to the outside, where nothing else is said.
pub const UPLINK: &str = Uplink::FIRST.name;
/// Such a node's IPv4 address on the uplink.
pub const NODE_V4: Ipv4Addr = Uplink::FIRST.node_v4;
/// Its IPv6 address on the uplink.
pub const NODE_V6: Ipv6Addr = Uplink::FIRST.node_v6;
/// Its outside host's IPv4 address.
pub const OUTSIDE_V4: Ipv4Addr = Uplink::FIRST.outside_v4;
/// Its outside host's IPv6 address.
pub const OUTSIDE_V6: Ipv6Addr = Uplink::FIRST.outside_v6;
/// Both addresses of such a node.
pub const NODE: [IpAddr; 2] = Uplink::FIRST.node();
/// Both addresses of its outside host.
pub const OUTSIDE: [IpAddr; 2] = Uplink::FIRST.outside();

/// A node's way to the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uplink {
    /// Name of the node's interface, and of the outside host's.
    pub name: &'static str,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// The node's IPv4 address, in a /24.
    pub node_v4: Ipv4Addr,
    /// The node's IPv6 address, in a /64.
    pub node_v6: Ipv6Addr,
    /// The outside host's IPv4 address.
    pub outside_v4: Ipv4Addr,
    /// The outside host's IPv6 address.
    pub outside_v6: Ipv6Addr,
}

impl Uplink {
    /// The uplink of a node for which a test names none.
    pub const FIRST: Self = Self {
        name: "uplink",
        mtu: 1500,
        node_v4: Ipv4Addr::new(198, 51, 100, 2),
        node_v6: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2),
        outside_v4: Ipv4Addr::new(198, 51, 100, 1),
        outside_v6: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1),
    };
    /// An uplink that has nothing in common with [`Self::FIRST`].
    pub const SECOND: Self = Self {
        name: "wan0",
        mtu: 1420,
        node_v4: Ipv4Addr::new(203, 0, 113, 7),
        node_v6: Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 7),
        outside_v4: Ipv4Addr::new(203, 0, 113, 254),
        outside_v6: Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0xfe),
    };

    /// Both addresses of the node.
    #[must_use]
    pub const fn node(&self) -> [IpAddr; 2] {
        [IpAddr::V4(self.node_v4), IpAddr::V6(self.node_v6)]
    }

    /// Both addresses of the outside host.
    #[must_use]
    pub const fn outside(&self) -> [IpAddr; 2] {
        [IpAddr::V4(self.outside_v4), IpAddr::V6(self.outside_v6)]
    }
}

/// Folders of the machine that are empty in a node.
const FRESH: [&str; 2] = ["/run", "/var/lib"];
const BPF_FILE_SYSTEM: &str = "/sys/fs/bpf";

/// A machine in namespaces of its own. Dropping it ends its processes and releases its namespaces.
#[derive(Debug)]
pub struct Node {
    netns: File,
    mounts: File,
    outside: File,
    uplink: Uplink,
    dirs: Dirs,
}

/// The plugin's folders, as a network configuration names them. They are not the defaults, so that a
/// plugin that ignores the configuration fails the tests.
#[derive(Debug, Clone)]
pub struct Dirs {
    /// `runDir`: the state environment, locks.
    pub run: PathBuf,
    /// `stateDir`: what outlives a reboot.
    pub state: PathBuf,
    /// `bpfDir`: pinned programs and maps.
    pub bpf: PathBuf,
}

impl Dirs {
    fn new() -> Self {
        Self {
            run: "/run/repoint-test".into(),
            state: "/var/lib/repoint-test".into(),
            bpf: Path::new(BPF_FILE_SYSTEM).join("repoint-test"),
        }
    }

    /// The arguments of the CLI that name them.
    #[must_use]
    pub fn arguments(&self) -> [OsString; 6] {
        let [run, state, bpf] = [&self.run, &self.state, &self.bpf].map(Into::into);
        ["--run-dir".into(), run, "--state-dir".into(), state, "--bpf-dir".into(), bpf]
    }

    /// Whether there is a database: something made the node.
    #[must_use]
    pub fn has_database(&self) -> bool {
        self.run.join("state/data.mdb").exists()
    }

    /// Sets the three keys in a plugin's configuration.
    pub fn patch(&self, configuration: &mut Value) {
        configuration["runDir"] = json!(self.run);
        configuration["stateDir"] = json!(self.state);
        configuration["bpfDir"] = json!(self.bpf);
    }
}

impl Node {
    /// Makes a node and its outside host, with addresses, default routes and `lo` up.
    pub fn new() -> Result<Self> {
        Self::with(Uplink::FIRST)
    }

    /// The same with another uplink.
    pub fn with(uplink: Uplink) -> Result<Self> {
        let (netns, mounts) = in_thread(make_machine).context("make a node")?;
        let outside = in_thread(make_netns).context("make an outside host")?;
        let node = Self { netns, mounts, outside, uplink, dirs: Dirs::new() };
        node.connect().context("connect a node to its outside host")?;
        Ok(node)
    }

    /// Runs `f` in a thread that is in the node's namespaces. Processes and threads that it starts
    /// are there, too.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        in_thread(|| {
            // Threads share their file system context; the kernel lets none of them leave the
            // mount namespace before that is undone (mntns_install).
            unshare(CloneFlags::CLONE_FS).context("unshare(CLONE_FS)")?;
            let directory = env::current_dir().context("get the working directory")?;
            setns(&self.mounts, CloneFlags::CLONE_NEWNS).context("setns(CLONE_NEWNS)")?;
            // A thread comes into a mount namespace at its root, and stays there where the node
            // lacks the folder.
            chdir(&directory).ok();
            setns(&self.netns, CloneFlags::CLONE_NEWNET).context("setns(CLONE_NEWNET)")?;
            f()
        })
    }

    /// Runs `f` in a thread that is in the outside host's network namespace.
    pub fn outside<T: Send>(&self, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        enter_open(&self.outside, f)
    }

    /// The outside host as a party of traffic.
    pub fn outside_host(&self) -> Result<Host> {
        self.outside(|| Host::here("outside"))
    }

    /// Processes that are in the node's namespaces, and their descendants.
    pub fn processes(&self) -> Result<BTreeSet<i32>> {
        processes::all_in(&self.mounts, &self.netns)
    }

    /// Kills the processes that are in the node's namespaces, and their descendants.
    pub fn end_processes(&self) -> Result<()> {
        processes::end_all_in(&self.mounts, &self.netns)
    }

    /// The plugin's folders on this node.
    #[must_use]
    pub fn dirs(&self) -> &Dirs {
        &self.dirs
    }

    /// Its way to the outside.
    #[must_use]
    pub fn uplink(&self) -> &Uplink {
        &self.uplink
    }

    fn connect(&self) -> Result<()> {
        self.make_link()?;
        let Uplink { name, mtu, node_v4, node_v6, outside_v4, outside_v6 } = self.uplink;
        // An interface of a smaller MTU has no IPv6 (RFC 8200), and takes no word of it.
        let has_ipv6 = has_ipv6() && mtu >= 1280;
        // This needs a message of its own: in one message the kernel brings the interface up first, which
        // gives it an address.
        let quiet = if has_ipv6 { " addrgenmode none" } else { "" };
        self.outside(|| {
            ip_batch(&format!(
                "link set lo up
                 addr add {outside_v4}/24 dev {name}
                 link set {name} mtu {mtu}{quiet}
                 link set {name} up"
            ))
        })?;
        self.run(|| {
            ip_batch(&format!(
                "addr add {node_v4}/24 dev {name}
                 link set {name} mtu {mtu}{quiet}
                 link set {name} up
                 route add default via {outside_v4}"
            ))
        })?;
        if !has_ipv6 {
            return Ok(());
        }
        let own = |address| format!("addr add {address}/64 dev {name} nodad");
        self.outside(|| ip_batch(&own(outside_v6)))?;
        self.run(|| {
            ip_batch(&format!("{}\nroute add default via {outside_v6}", own(node_v6)))?;
            wait_until_local(node_v6)
        })?;
        self.outside(|| wait_until_local(outside_v6))
    }

    fn make_link(&self) -> Result<()> {
        let outside = format!("/proc/{}/fd/{}", process::id(), self.outside.as_raw_fd());
        let name = self.uplink.name;
        self.run(|| {
            ip_batch(&format!(
                "link set lo up
                 link add {name} type veth peer name {name} netns {outside}"
            ))
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.end_processes() {
            eprintln!("processes of a node are left: {error:#}");
        }
    }
}

/// Whether the kernel has IPv6.
#[must_use]
pub fn has_ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

fn ip_batch(commands: &str) -> Result<()> {
    command::run_with_input("ip", ["-batch", "-"], commands.as_bytes()).map(drop)
}

/// Waits for an IPv6 address: the kernel makes its route from a work queue, also without duplicate
/// address detection (`addrconf_dad_work`).
fn wait_until_local(address: Ipv6Addr) -> Result<()> {
    wait::until(Duration::from_secs(5), "an address is the machine's own", || {
        let routes = command::run("ip", ["-6", "route", "show", "table", "local"])?;
        ensure!(routes.contains(&format!("local {address} ")), "no {address} in {routes:?}");
        Ok(())
    })
}

fn make_netns() -> Result<File> {
    unshare(CloneFlags::CLONE_NEWNET).context("unshare(CLONE_NEWNET)")?;
    inherited::reset()?;
    own_namespace("net")
}

fn make_machine() -> Result<(File, File)> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .context("unshare(CLONE_NEWNS | CLONE_NEWNET)")?;
    inherited::reset()?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .context("make all mounts private")?;
    detach_below(BPF_FILE_SYSTEM)?;
    for folder in FRESH {
        detach_below(folder)?;
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
            .with_context(|| format!("mount a tmpfs at {folder}"))?;
    }
    Ok((own_namespace("net")?, own_namespace("mnt")?))
}

/// Detaches what is mounted at a folder or below it, so that this mount namespace keeps nothing of
/// the machine's in use, namespaces of its containers above all.
fn detach_below(folder: &str) -> Result<()> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").context("read mountinfo")?;
    let points: Vec<&str> = table.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    for point in points.into_iter().rev().filter(|point| Path::new(point).starts_with(folder)) {
        match umount2(point, MntFlags::MNT_DETACH) {
            // Its parent went first, and took it along.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(error) => return Err(error).with_context(|| format!("unmount {point}")),
        }
    }
    Ok(())
}

fn own_namespace(kind: &str) -> Result<File> {
    let path = format!("/proc/thread-self/ns/{kind}");
    File::open(&path).with_context(|| format!("open {path}"))
}
