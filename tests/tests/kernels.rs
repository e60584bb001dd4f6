//! Other kernels, and nodes without IPv6: a container's whole life on Debian's kernels, in virtual
//! machines (`cargo xtask vm`), and on this one.
//!
//! The modules [`here`] and [`guest`] are what a guest runs of this suite; beside them, it runs the
//! packet tables of the suite `programs`.
#![cfg(test)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    dist::{self, dist},
    share::Share,
};

/// Exit status of `cargo xtask vm` where this machine cannot start a guest.
const CANNOT: i32 = 77;
/// Packet tables: modules of the suite `programs`.
const TABLES: [&str; 6] = [
    "addresses::",
    "destinations::forged",
    "destinations::large_packets",
    "destinations::packets_",
    "headers::",
    "protocols::",
];
/// Boots a kernel and runs [`here`], [`guest`] and the packet tables in it.
fn boots(kernel: &str, append: &[&str]) -> Result<()> {
    let own = env::current_exe().context("path of this suite")?;
    let programs = sibling(&own, "programs")?;
    let mut guest = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    guest.current_dir(dist::workspace());
    guest.env("REPOINT_DIST", dist()).stdin(Stdio::null()).stderr(Stdio::inherit());
    guest.args(["xtask", "vm", "--kernel", kernel]);
    for words in append {
        guest.args(["--append", words]);
    }
    let script = format!(
        r#""$0" here:: guest:: --include-ignored --nocapture --test-threads 1 --color never &&
           "$1" --color never {}"#,
        TABLES.join(" ")
    );
    // The emulated machine is slow, on a busy one more so.
    guest.args(["--", "env", "REPOINT_PATIENCE=10", "sh", "-c", &script]);
    guest.args([&own, &programs]);
    let output = guest.output().with_context(|| format!("run {guest:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    if output.status.code() == Some(CANNOT) {
        println!("skipped: this machine cannot start a guest; standard error says why");
        return Ok(());
    }
    ensure!(output.status.success(), "the guest's command: {}", output.status);
    ensure!(text.contains(&format!("kernel {kernel}.")), "another kernel than {kernel}");
    ensure!(!text.contains("skipped: "), "the guest skipped a part");
    let results: Vec<_> = text.lines().filter(|line| line.starts_with("test result: ")).collect();
    let passed = |line: &&str| line.starts_with("test result: ok. ") && !line.contains(" 0 passed");
    ensure!(results.len() == 2 && results.iter().all(passed), "{results:?}");
    Ok(())
}

/// The executable of another suite that was built last, beside this one.
fn sibling(own: &Path, name: &str) -> Result<PathBuf> {
    let folder = own.parent().context("this suite is in no folder")?;
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let built = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let (stem, hash) = path.file_name()?.to_str()?.rsplit_once('-')?;
        let is_suite = stem == name && hash.chars().all(|c| c.is_ascii_hexdigit());
        is_suite.then_some(Some((path.metadata().ok()?.modified().ok()?, path)))?
    });
    let newest = built.max().with_context(|| format!("suite {name} is not built"))?;
    Ok(newest.1)
}

/// Kernels, and what is appended to their command lines.
const BOOTS: [(&str, &[&str]); 3] = [("6.1", &[]), ("6.1", &["ipv6.disable=1"]), ("6.12", &[])];

/// One of them, or all under `cargo xtask test --whole`: each takes minutes without KVM.
#[test]
fn other_kernels() -> Result<()> {
    for (kernel, append) in Share::drawn(3)?.pick(&BOOTS) {
        println!("Linux {kernel} {append:?}");
        boots(kernel, append).with_context(|| format!("Linux {kernel} {append:?}"))?;
    }
    Ok(())
}

/// What any kernel must do.
mod here {
    use std::{env, fs, net::IpAddr};

    use anyhow::{Context as _, Result, ensure};
    use repoint_tests::{
        Container, Pooled,
        node::{NODE_V4, OUTSIDE, OUTSIDE_V4, Uplink, has_ipv6},
        traffic::{self, Host},
        with_network,
    };
    use serde_json::{Value, json};

    /// Ranges of both families, or of IPv4.
    fn ranges(both: bool) -> Value {
        let mut ranges = vec![json!([{ "subnet": "10.217.9.0/24" }])];
        ranges.extend(both.then(|| json!([{ "subnet": "fd00:217:9::/64" }])));
        ranges.into()
    }

    pub(super) fn with_pool(
        both: bool,
        test: impl FnOnce(&Pooled<'_>) -> Result<()> + Send,
    ) -> Result<()> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let families = if has_ipv6() { "IPv4 and IPv6" } else { "IPv4 alone" };
        println!("kernel {}, {families}", release.trim());
        let change = |configuration: &mut Value| {
            configuration["pool"] = json!({ "warm": 2, "maxSlots": 6 });
            configuration["ipam"]["ranges"] = ranges(both);
            if !both {
                configuration["ipam"]["routes"] = json!([{ "dst": "0.0.0.0/0" }]);
            }
        };
        with_network(Uplink::FIRST, change, test)
    }

    /// The network without its pool, under another name.
    fn direct(pooled: &Pooled<'_>) -> Result<repoint_tests::plugin::Network> {
        pooled.network_with(|configuration| {
            configuration["name"] = json!("direct");
            configuration.as_object_mut().map(|keys| keys.remove("pool"));
            let text = configuration["ipam"].to_string().replace("217", "218");
            configuration["ipam"] = serde_json::from_str(&text).unwrap_or_default();
        })
    }

    /// A container's addresses are reached, and reach the node and the outside.
    fn has_traffic(pooled: &Pooled<'_>, container: &Container<'_>) -> Result<()> {
        let (inside, here) = (container.host()?, Host::here("node")?);
        let outside = pooled.node().outside_host()?;
        for address in container.addresses()? {
            traffic::tcp(&here, &inside, address)?;
            let there = OUTSIDE.into_iter().find(|there| there.is_ipv4() == address.is_ipv4());
            let there = there.context("no such family outside")?;
            traffic::tcp(&inside, &outside, there)?;
            traffic::udp(&inside, &outside, there)?;
        }
        let seen = traffic::tcp(&inside, &outside, OUTSIDE_V4.into())?;
        ensure!(seen == IpAddr::from(NODE_V4), "the outside sees {seen}");
        Ok(())
    }

    /// Load, PREPARE, hits, traffic, DEL, scrub, reuse, direct ADD, CHECK, GC, sweep and unload.
    pub(super) fn whole_life(pooled: &Pooled<'_>) -> Result<()> {
        pooled.fill()?;
        let one = pooled.add_function("one")?;
        let direct = direct(pooled)?;
        let two = Container::add(&direct, "direct")?;
        for container in [&one, &two] {
            has_traffic(pooled, container)?;
            container.check()?;
        }
        for (from, to) in [(&one, &two), (&two, &one)] {
            for address in to.addresses()? {
                traffic::tcp(&from.host()?, &to.host()?, address)?;
            }
        }
        let slot = pooled.slot_of(&one)?.slot;
        one.remove()?;
        // Scrubbed by DEL itself: the same function has the same slot again. Looking at a namespace has a
        // bound in time of the processor, which an emulated one can exceed: then the slot is renewed.
        let mut ends = vec!["parked"];
        ends.extend(env::var_os("REPOINT_PATIENCE").map(|_| "gone"));
        let is_kept = pooled.wait_for_slot(&slot, &ends)? == "parked";
        println!("slot {slot} is {}", if is_kept { "kept" } else { "renewed" });
        let again = pooled.add_function("one")?;
        ensure!((pooled.slot_of(&again)?.slot == slot) == is_kept, "another slot");
        has_traffic(pooled, &again)?;
        again.check()?;
        let hits: &[_] = if is_kept { &[("reused", 1), ("warm", 1)] } else { &[("warm", 2)] };
        pooled.ensure_adds(hits)?;
        let report = pooled.repoint(&["sweep", "--json"])?;
        let report: Value = serde_json::from_str(&report)?;
        ensure!(report["findings"] == json!([]), "{report}");
        let known = direct.with_valid(["direct"]);
        known.call_single("GC", two.attachment(), None)?.success()?;
        two.check()?;
        two.remove()?;
        again.remove()?;
        with_agent(pooled)
    }

    /// An agent fills the pool, and sweeps.
    fn with_agent(pooled: &Pooled<'_>) -> Result<()> {
        let agent = pooled.agent()?;
        let container = pooled.add_function("two")?;
        has_traffic(pooled, &container)?;
        container.remove()?;
        agent.stop()
    }

    #[test]
    fn ipv4_networks_live_their_whole_life() -> Result<()> {
        with_pool(false, whole_life)
    }

    #[test]
    fn networks_of_both_families_live_their_whole_life_or_are_refused() -> Result<()> {
        if has_ipv6() {
            return with_pool(true, whole_life);
        }
        with_pool(false, |pooled| {
            let both = |pooled: &Pooled<'_>, pool: bool| {
                pooled.network_with(|configuration| {
                    configuration["name"] = json!(format!("both{pool}"));
                    configuration["ipam"]["ranges"] = ranges(true);
                    if !pool {
                        configuration.as_object_mut().map(|keys| keys.remove("pool"));
                    }
                })
            };
            for pool in [false, true] {
                let network = both(pooled, pool)?;
                let netns = repoint_tests::Netns::create("both")?;
                let attachment = repoint_tests::plugin::Attachment::new("both", netns.path());
                for verb in ["ADD", "STATUS"] {
                    let error = network.call_single(verb, &attachment, None)?.error()?;
                    println!("{verb}: code {}: {}", error.code, error.msg);
                    ensure!(error.msg.contains("the node's kernel has no IPv6"), "{error:?}");
                    ensure!(verb == "STATUS" || error.code == 7, "code {}", error.code);
                }
                network.del(&attachment, None)?;
                netns.remove()?;
            }
            Ok(())
        })
    }
}

/// What changes the whole machine, and so is for guests.
mod guest {
    use std::fs;

    use anyhow::{Context as _, Result};
    use repoint_tests::node::has_ipv6;

    /// Namespaces that are made inherit the node's settings, and the node has IPv6 switched off.
    #[test]
    #[ignore = "it changes a sysctl that holds for the whole machine: `cargo xtask vm` runs it"]
    fn slots_work_where_namespaces_inherit_that_ipv6_is_off() -> Result<()> {
        if !has_ipv6() {
            return Ok(());
        }
        let path = "/proc/sys/net/core/devconf_inherit_init_net";
        // 3: from the namespace of the process that makes one.
        fs::write(path, "3").with_context(|| format!("write {path}"))?;
        super::here::with_pool(true, |pooled| {
            for what in ["all", "default"] {
                let path = format!("/proc/sys/net/ipv6/conf/{what}/forwarding");
                fs::write(&path, "1").with_context(|| format!("write {path}"))?;
            }
            let path = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
            fs::write(path, "1").with_context(|| format!("write {path}"))?;
            super::here::whole_life(pooled)
        })
    }
}
