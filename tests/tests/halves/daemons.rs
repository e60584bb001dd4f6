//! Daemons that manage the node's network, and take every interface and rule for theirs.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use repoint_tests::{Pooled, command, missing, node::OUTSIDE, traffic, wait, with_pool};
use serde_json::{Value, json};

use super::{
    churn::{churn, wait_for_traffic},
    wait_until_whole,
};

/// Where Debian has systemd's network manager.
const NETWORKD: &str = "/lib/systemd/systemd-networkd";
/// Where that keeps what it knows, and its account.
const STATE: &str = "/run/systemd/netif";
const ACCOUNT: &str = "systemd-network:systemd-network";
/// The log of the daemon.
const LOG: &str = "/run/daemon.log";
/// How long a daemon takes at most until it is ready, or has ended.
const SOON: Duration = Duration::from_secs(10);
/// How long containers come and go while it runs, and how often it begins anew meanwhile.
const LONG: Duration = Duration::from_secs(3);
const TIMES: usize = 4;

/// As operators write it who want every interface to come up, and, each other time, one MTU.
const CATCH_ALL: [&str; 2] = [
    "[Match]\nName=rp*\n[Network]\nDHCP=yes\nLinkLocalAddressing=ipv6\nIPv6AcceptRA=yes\nIPForward=no\n",
    "[Match]\nName=rp*\n[Link]\nMTUBytes=1400\n[Network]\nDHCP=yes\nLinkLocalAddressing=ipv6\n",
];

/// A daemon that manages the node's network. Dropping it ends it.
struct Daemon(Child);

impl Daemon {
    /// Starts a shell script that executes the daemon, in a mount namespace of its own, and waits until its
    /// log says that it is ready.
    fn start(script: &str, ready: &str) -> Result<Self> {
        let log = File::create(LOG).context("create its log")?;
        let process = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .env("SYSTEMD_LOG_TARGET", "console")
            .env("SYSTEMD_LOG_LEVEL", "info")
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("its log")?)
            .stderr(log)
            .spawn()
            .context("start the daemon")?;
        let mut daemon = Self(process);
        wait::until(SOON, "the daemon is ready", || {
            let log = read_log()?;
            let ended = daemon.0.try_wait().context("wait for it")?;
            ensure!(ended.is_none(), "it ended: {ended:?}: {log}");
            ensure!(log.contains(ready), "{log}");
            Ok(())
        })?;
        Ok(daemon)
    }

    /// systemd-networkd, without systemd and D-Bus.
    fn networkd(configuration: &str) -> Result<Self> {
        for folder in
            [&format!("{STATE}/links"), &format!("{STATE}/leases"), "/run/systemd/network"]
        {
            fs::create_dir_all(folder).with_context(|| format!("create {folder}"))?;
        }
        fs::write("/run/systemd/network/10-all.network", configuration)
            .context("configure networkd")?;
        // Where /sys can be written to, it waits for udev.
        let script = format!(
            "chown -R {ACCOUNT} {STATE} && mount -t sysfs -o ro sysfs /sys && exec {NETWORKD}"
        );
        Self::start(&script, "Enumeration completed")
    }

    /// FRR's zebra, below `root`. It wants to be of its group.
    fn zebra(root: &Path) -> Result<Self> {
        let (root, own) = (root.display(), "/run/zebra");
        let script = format!(
            "mkdir -p {own} && touch {own}/zebra.conf &&
             {{ cat /etc/group; echo frrvty:x:64999:root; }} > {own}/group &&
             mount --bind {own}/group /etc/group &&
             LD_LIBRARY_PATH={root}/usr/lib/x86_64-linux-gnu/frr:{root}/usr/lib/x86_64-linux-gnu \
             exec {root}/usr/lib/frr/zebra -u root -g root -f {own}/zebra.conf --vty_socket {own} \
             -i {own}/pid -z {own}/zserv -A 127.0.0.1 --log stdout --log-level info"
        );
        Self::start(&script, "starting: vty")
    }

    /// Docker's daemon, below `root`.
    fn dockerd(root: &Path) -> Result<Self> {
        let (root, own) = (root.display(), "/run/dockerd");
        let script = format!(
            "PATH={root}/usr/sbin:{root}/usr/bin:$PATH \
             exec dockerd --data-root {own}/data --exec-root {own}/exec --pidfile {own}/pid \
             --host unix://{own}/socket --storage-driver vfs"
        );
        Self::start(&script, "API listen on")
    }
}

impl Drop for Daemon {
    /// Ends it as init does, so that it ends its own children.
    fn drop(&mut self) {
        if let Ok(pid) = self.0.id().try_into() {
            kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
        }
        let ended = wait::until(SOON, "the daemon ends", || {
            self.0.try_wait().context("wait for it")?.context("it runs still")
        });
        if ended.is_err() {
            // It may have ended by now.
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }
}

fn read_log() -> Result<String> {
    fs::read_to_string(LOG).context("read the daemon's log")
}

/// The folder of a daemon that `cargo xtask test` unpacked; none: the test is skipped, which this says.
fn unpacked(name: &str, program: &str) -> Option<PathBuf> {
    let folder = env::var_os("REPOINT_DAEMONS").map(|folder| Path::new(&folder).join(name));
    let found = folder.filter(|folder| folder.join(program).exists());
    if found.is_none() {
        println!(
            "skipped: {program} is not below $REPOINT_DAEMONS/{name} (cargo xtask test unpacks it)"
        );
    }
    found
}

/// Containers come and go while a daemon is started again and again: each has traffic soon, and in the end
/// every slot is whole.
fn containers_come_and_go_beside(
    pooled: &Pooled<'_>,
    start: impl Fn(usize) -> Result<Daemon>,
) -> Result<()> {
    let agent = pooled.agent()?;
    let lasting = pooled.add()?;
    let ended = AtomicBool::new(false);
    let (containers, longest) = thread::scope(|scope| {
        let containers = scope.spawn(|| churn(pooled, &ended));
        let managed = (0..TIMES).try_for_each(|number| {
            let (daemon, begun) = (start(number)?, Instant::now());
            while begun.elapsed() < LONG {
                thread::park_timeout(LONG);
            }
            drop(daemon);
            anyhow::Ok(())
        });
        ended.store(true, Ordering::Relaxed);
        let counted = containers.join().map_err(|_| anyhow!("the churn panicked"))??;
        managed.and(Ok(counted))
    })?;
    println!("{containers} containers, traffic after {longest:?} at most");
    println!("{}", read_log()?);
    wait_for_traffic(&lasting)?;
    let outside = pooled.node().outside_host()?;
    traffic::all(&lasting.host()?, &outside, &OUTSIDE)?;
    let slots = pooled.slots()?;
    let records = slots.iter().map(|slot| super::record(pooled, slot));
    wait_until_whole(&records.collect::<Result<Vec<_>>>()?)?;
    lasting.remove()?;
    println!("{}", agent.log()?);
    agent.stop()
}

fn pool() -> Value {
    json!({ "warm": 6, "maxSlots": 32 })
}

/// It sets MTUs and sysctls, and drops what it did not configure, each time that it begins.
#[test]
fn containers_have_traffic_while_systemd_networkd_manages_all_interfaces() -> Result<()> {
    if missing([NETWORKD]) {
        return Ok(());
    }
    with_pool(&pool(), |pooled| {
        containers_come_and_go_beside(pooled, |number| {
            Daemon::networkd(CATCH_ALL[number % CATCH_ALL.len()])
        })
    })
}

/// It reads all interfaces, addresses and routes, and deletes stale ones of its own.
#[test]
fn containers_have_traffic_while_zebra_manages_routes() -> Result<()> {
    let Some(root) = unpacked("frr", "usr/lib/frr/zebra") else { return Ok(()) };
    with_pool(&pool(), |pooled| containers_come_and_go_beside(pooled, |_| Daemon::zebra(&root)))
}

/// It replaces its rules each time that it begins, and drops forwarded packets of others. An operator lets
/// slots' packets pass, as docs/install.md says.
#[test]
fn containers_have_traffic_while_docker_manages_rules() -> Result<()> {
    let Some(root) = unpacked("docker", "usr/sbin/dockerd") else { return Ok(()) };
    with_pool(&pool(), |pooled| {
        drop(Daemon::dockerd(&root)?);
        let dropped = command::run("iptables", ["-S", "FORWARD"])?;
        ensure!(dropped.contains("-P FORWARD DROP"), "Docker drops nothing: {dropped}");
        for direction in ["-i", "-o"] {
            let rule = ["-I", "DOCKER-USER", direction, "rp+", "-j", "ACCEPT"];
            command::run("iptables", rule)?;
        }
        containers_come_and_go_beside(pooled, |_| Daemon::dockerd(&root))?;
        // It leaves its rules and its bridge.
        for table in ["filter", "nat"] {
            command::run("nft", ["delete", "table", "ip", table])?;
        }
        command::run("ip", ["link", "delete", "docker0"]).map(drop)
    })
}
