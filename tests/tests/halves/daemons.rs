//! Network managers that run on the node, and take every interface for theirs.

use std::{
    fs::{self, File},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use repoint_tests::{missing, wait, with_pool};
use serde_json::json;

use super::{
    churn::{churn, wait_for_traffic},
    wait_until_whole,
};

/// Where Debian has systemd's network manager.
const NETWORKD: &str = "/lib/systemd/systemd-networkd";
/// Where it keeps what it knows, and its account.
const STATE: &str = "/run/systemd/netif";
const ACCOUNT: &str = "systemd-network:systemd-network";
/// Its log.
const LOG: &str = "/run/networkd.log";
/// How long it takes at most to have seen all interfaces.
const SOON: Duration = Duration::from_secs(10);
/// How long containers come and go while it runs, and how often it begins anew meanwhile.
const LONG: Duration = Duration::from_secs(3);
const TIMES: usize = 4;

/// As operators write it who want every interface to come up, and, each other time, one MTU.
const CATCH_ALL: [&str; 2] = [
    "[Match]\nName=rp*\n[Network]\nDHCP=yes\nLinkLocalAddressing=ipv6\nIPv6AcceptRA=yes\nIPForward=no\n",
    "[Match]\nName=rp*\n[Link]\nMTUBytes=1400\n[Network]\nDHCP=yes\nLinkLocalAddressing=ipv6\n",
];

/// systemd-networkd, without systemd and D-Bus. Dropping it kills it.
struct Networkd(Child);

impl Networkd {
    /// Starts it, and waits until it has seen all interfaces.
    fn start(configuration: &str) -> Result<Self> {
        for folder in
            [&format!("{STATE}/links"), &format!("{STATE}/leases"), "/run/systemd/network"]
        {
            fs::create_dir_all(folder).with_context(|| format!("create {folder}"))?;
        }
        fs::write("/run/systemd/network/10-all.network", configuration)
            .context("configure networkd")?;
        let log = File::create(LOG).context("create its log")?;
        // Where /sys can be written to, it waits for udev.
        let script = format!(
            "chown -R {ACCOUNT} {STATE} && mount -t sysfs -o ro sysfs /sys && exec {NETWORKD}"
        );
        let process = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .env("SYSTEMD_LOG_TARGET", "console")
            .env("SYSTEMD_LOG_LEVEL", "info")
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("its log")?)
            .stderr(log)
            .spawn()
            .context("start systemd-networkd")?;
        let mut networkd = Self(process);
        wait::until(SOON, "networkd has seen all interfaces", || {
            let log = fs::read_to_string(LOG).context("read its log")?;
            let ended = networkd.0.try_wait().context("wait for it")?;
            ensure!(ended.is_none(), "it ended: {ended:?}: {log}");
            ensure!(log.contains("Enumeration completed"), "{log}");
            Ok(())
        })?;
        Ok(networkd)
    }
}

impl Drop for Networkd {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// It sets MTUs and sysctls, and drops what it did not configure, each time that it begins.
#[test]
fn containers_have_traffic_while_systemd_networkd_manages_all_interfaces() -> Result<()> {
    if missing([NETWORKD]) {
        return Ok(());
    }
    with_pool(&json!({ "warm": 6, "maxSlots": 32 }), |pooled| {
        let agent = pooled.agent()?;
        let lasting = pooled.add()?;
        let ended = AtomicBool::new(false);
        let (containers, longest) = thread::scope(|scope| {
            let containers = scope.spawn(|| churn(pooled, &ended));
            let managed = (0..TIMES).try_for_each(|number| {
                let configuration = CATCH_ALL[number % CATCH_ALL.len()];
                let (networkd, begun) = (Networkd::start(configuration)?, Instant::now());
                while begun.elapsed() < LONG {
                    thread::park_timeout(LONG);
                }
                drop(networkd);
                anyhow::Ok(())
            });
            ended.store(true, Ordering::Relaxed);
            let counted = containers.join().map_err(|_| anyhow!("the churn panicked"))??;
            managed.and(Ok(counted))
        })?;
        println!("{containers} containers, traffic after {longest:?} at most");
        println!("{}", fs::read_to_string(LOG).context("read networkd's log")?);
        wait_for_traffic(&lasting)?;
        let slots = pooled.slots()?;
        let records = slots.iter().map(|slot| super::record(pooled, slot));
        wait_until_whole(&records.collect::<Result<Vec<_>>>()?)?;
        lasting.remove()?;
        println!("{}", agent.log()?);
        agent.stop()
    })
}
