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
use repoint_tests::{Pooled, command, missing, node::OUTSIDE, share, traffic, wait, with_pool};
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

/// A system bus on which everything is allowed, and that starts nothing.
const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen>
<auth>EXTERNAL</auth><policy context="default"><allow send_destination="*" eavesdrop="true"/>
<allow eavesdrop="true"/><allow own="*"/><allow user="*"/></policy></busconfig>"#;
/// firewalld's zone for interfaces of slots.
const TRUSTED: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<zone target="ACCEPT"><short>Trusted</short><interface name="rp+"/></zone>"#;
/// Docker's rules.
const DOCKER: &str = include_str!("docker.rules");

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

    /// A daemon that needs a system bus. `packages` lie over the machine's own files, and so find what they
    /// depend on.
    fn on_a_bus(packages: &Path, configure: &str, command: &str, ready: &str) -> Result<Self> {
        fs::write("/run/bus.conf", BUS).context("configure the bus")?;
        let packages = packages.display();
        let script = format!(
            "set -e; mkdir -p /run/overlay; mount -t tmpfs tmpfs /run/overlay; cd /run/overlay
             mkdir upper work root packages; cp -a {packages}/. packages
             mount -t overlay overlay -o lowerdir=packages:/,upperdir=upper,workdir=work root; cd root
             mount -t proc proc proc; mount -t sysfs -o ro sysfs sys; mount --rbind /dev dev
             mount -t tmpfs tmpfs run; mkdir -p run/dbus run/NetworkManager var/lib/NetworkManager
             cp /run/bus.conf run; {configure}
             exec chroot . /bin/sh -c '
                 setpriv --pdeathsig KILL dbus-daemon --config-file=/run/bus.conf --nofork --nopidfile &
                 while [ ! -S /run/dbus/system_bus_socket ]; do sleep 0.05; done; exec {command}'"
        );
        Self::start(&script, ready)
    }

    /// NetworkManager, which takes every interface for its own.
    fn network_manager(packages: &Path) -> Result<Self> {
        let configure = "mkdir -p etc/NetworkManager; printf '[main]\\nplugins=keyfile\\ndns=none\\n' \
                         > etc/NetworkManager/NetworkManager.conf";
        Self::on_a_bus(packages, configure, "NetworkManager --debug", "starting connection")
    }

    /// firewalld, whose trusted zone has the interfaces of slots.
    fn firewalld(packages: &Path) -> Result<Self> {
        let configure = format!(
            "mkdir -p etc/firewalld/zones; echo '{TRUSTED}' > etc/firewalld/zones/trusted.xml"
        );
        let command = "firewalld --nofork --nopid --debug=2";
        Self::on_a_bus(packages, &configure, command, "org.fedoraproject.FirewallD1")
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

/// Whether everything is asked for; else the test is skipped, which this says.
fn is_whole() -> bool {
    if !share::is_whole() {
        println!("skipped: it is a part of `cargo xtask test --whole`");
    }
    share::is_whole()
}

/// Containers come and go while a daemon is started again and again: each has traffic soon, and in the end
/// every slot is whole.
fn containers_come_and_go_beside(
    pooled: &Pooled<'_>,
    start: impl Fn(usize) -> Result<Option<Daemon>>,
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
            Daemon::networkd(CATCH_ALL[number % CATCH_ALL.len()]).map(Some)
        })
    })
}

/// It reads all interfaces, addresses and routes, and deletes stale ones of its own.
#[test]
fn containers_have_traffic_while_zebra_manages_routes() -> Result<()> {
    let Some(root) = unpacked("frr", "usr/lib/frr/zebra") else { return Ok(()) };
    with_pool(&pool(), |pooled| {
        containers_come_and_go_beside(pooled, |_| Daemon::zebra(&root).map(Some))
    })
}

/// It brings every interface up, asks for leases, and gives link-local addresses.
#[test]
fn containers_have_traffic_while_network_manager_manages_all_interfaces() -> Result<()> {
    if !is_whole() {
        return Ok(());
    }
    let Some(root) = unpacked("managers", "usr/sbin/NetworkManager") else { return Ok(()) };
    with_pool(&pool(), |pooled| {
        containers_come_and_go_beside(pooled, |_| Daemon::network_manager(&root).map(Some))
    })
}

/// It replaces its rules each time that it begins.
#[test]
fn containers_have_traffic_while_firewalld_manages_rules() -> Result<()> {
    if !is_whole() {
        return Ok(());
    }
    let Some(root) = unpacked("managers", "usr/sbin/firewalld") else { return Ok(()) };
    with_pool(&pool(), |pooled| {
        containers_come_and_go_beside(pooled, |_| Daemon::firewalld(&root).map(Some))?;
        let left = command::run("nft", ["list", "tables"])?;
        // It removes them when it ends, unless it is killed.
        ensure!(!left.contains("firewalld"), "{left}");
        Ok(())
    })
}

/// Docker drops forwarded packets of others. An operator lets slots' packets pass, as docs/install.md says.
#[test]
fn containers_have_traffic_while_dockers_rules_are_loaded() -> Result<()> {
    with_pool(&pool(), |pooled| {
        containers_come_and_go_beside(pooled, |_| {
            command::run_with_input("iptables-restore", &[] as &[&str], DOCKER.as_bytes())?;
            fs::write(LOG, "no daemon runs").context("write a log")?;
            Ok(None)
        })?;
        remove_dockers_tables()
    })
}

/// It replaces its rules each time that it begins.
#[test]
fn containers_have_traffic_while_docker_manages_rules() -> Result<()> {
    if !is_whole() {
        return Ok(());
    }
    let Some(root) = unpacked("docker", "usr/sbin/dockerd") else { return Ok(()) };
    with_pool(&pool(), |pooled| {
        drop(Daemon::dockerd(&root)?);
        let dropped = command::run("iptables", ["-S", "FORWARD"])?;
        ensure!(dropped.contains("-P FORWARD DROP"), "Docker drops nothing: {dropped}");
        for direction in ["-i", "-o"] {
            let rule = ["-I", "DOCKER-USER", direction, "rp+", "-j", "ACCEPT"];
            command::run("iptables", rule)?;
        }
        containers_come_and_go_beside(pooled, |_| Daemon::dockerd(&root).map(Some))?;
        remove_dockers_tables()?;
        command::run("ip", ["link", "delete", "docker0"]).map(drop)
    })
}

fn remove_dockers_tables() -> Result<()> {
    let tables = ["filter", "nat"];
    tables
        .iter()
        .try_for_each(|table| command::run("nft", ["delete", "table", "ip", table]).map(drop))
}
