//! What slots need of the node beside their interfaces: forwarding, and the masquerade rule.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{command, wait, with_pool};

use crate::{REPAIRED, ensure_traffic, few};

/// Takes something away that slots need of the node.
type Take = fn() -> Result<()>;

const ALL: [(&str, &str, Take); 4] = [
    ("the whole ruleset is flushed", "masquerade", || {
        command::run("nft", ["flush", "ruleset"]).map(drop)
    }),
    ("the chain is flushed", "masquerade", || {
        command::run("nft", ["flush", "chain", "inet", "repoint", "postrouting"]).map(drop)
    }),
    ("IPv4 is not forwarded", "ip_forward", || write("/proc/sys/net/ipv4/ip_forward")),
    ("IPv6 is not forwarded", "forwarding", || write("/proc/sys/net/ipv6/conf/all/forwarding")),
];

fn write(path: &str) -> Result<()> {
    fs::write(path, "0").with_context(|| format!("write {path}"))
}

/// Fails unless the node forwards both families and masquerades.
fn ensure_met() -> Result<()> {
    for path in ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"] {
        let value = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
        ensure!(value.trim() == "1", "{path} is {value}");
    }
    let rules = command::run("nft", ["list", "table", "inet", "repoint"])?;
    ensure!(rules.contains("masquerade"), "{rules}");
    Ok(())
}

#[test]
fn an_add_that_is_a_hit_restores_what_the_node_lacks() -> Result<()> {
    with_pool(&few(), |pooled| {
        pooled.fill()?;
        pooled.add_function("resize")?.remove()?;
        for (what, _, take) in ALL {
            println!("{what}");
            take()?;
            let container = pooled.add_function("resize")?;
            ensure_met().context(what)?;
            ensure_traffic(pooled, &container).context(what)?;
            container.check()?;
            take()?;
            let error = container.check().err().with_context(|| format!("CHECK: {what}"))?;
            println!("  CHECK: {error:#}");
            container.remove()?;
            pooled.repoint(&["sweep"])?;
        }
        pooled.ensure_adds(&[("reused", 4), ("warm", 1)])
    })
}

#[test]
fn a_sweep_restores_what_the_node_lacks() -> Result<()> {
    with_pool(&few(), |pooled| {
        pooled.fill()?;
        for (what, words, take) in ALL {
            take()?;
            let report = pooled.repoint(&["sweep"])?;
            println!("{report}");
            ensure!(report.contains(words) && report.contains("done: "), "{what}: {report}");
            ensure_met().context(what)?;
        }
        Ok(())
    })
}

#[test]
fn an_agent_restores_what_the_node_lacks() -> Result<()> {
    with_pool(&few(), |pooled| {
        let agent = pooled.agent_sweeping(Duration::from_hours(1))?;
        let container = pooled.add()?;
        for (what, _, take) in ALL {
            take()?;
            wait::until(REPAIRED, what, ensure_met)?;
            ensure_traffic(pooled, &container).context(what)?;
            container.check()?;
        }
        container.remove()?;
        agent.stop()
    })
}
