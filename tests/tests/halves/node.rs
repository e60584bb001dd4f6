//! What slots need of the node beside their interfaces: forwarding, and the masquerade rule.

use std::{
    fs,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use repoint::slot::Forwarding;
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

/// Writers of `ip_forward` that do not get RTNL at once disturb each other in the kernel. Whenever all of
/// them report success, every interface must forward.
#[test]
fn forwarding_is_in_force_though_others_switch_it_on_at_the_same_time() -> Result<()> {
    const ROUNDS: usize = 1000;
    with_pool(&few(), |_| {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let churn = ["one", "other"].map(|name| scope.spawn(|| come_and_go(name, &is_over)));
            let outcome = (0..ROUNDS).try_for_each(|round| {
                write("/proc/sys/net/ipv4/ip_forward")?;
                switch_on_at_once(3)?;
                let value = fs::read_to_string("/proc/sys/net/ipv4/conf/uplink/forwarding")?;
                ensure!(value.trim() == "1", "round {round}: the uplink does not forward");
                Ok(())
            });
            is_over.store(true, Ordering::Relaxed);
            let ended = churn.into_iter().try_for_each(joined);
            outcome.and(ended)
        })
    })
}

/// Makes and deletes a link until `is_over` is set: RTNL is held most of the time.
fn come_and_go(name: &str, is_over: &AtomicBool) -> Result<()> {
    let lines = format!("link add {name} type veth peer name {name}-peer\nlink del {name}\n");
    while !is_over.load(Ordering::Relaxed) {
        command::run_with_input("ip", ["-batch", "-"], lines.repeat(50).as_bytes())?;
    }
    Ok(())
}

fn switch_on_at_once(count: usize) -> Result<()> {
    let barrier = Barrier::new(count);
    let switch_on = || {
        barrier.wait();
        Forwarding::Ipv4.switch_on().map(drop).context("switch forwarding on")
    };
    thread::scope(|scope| {
        let writers: Vec<_> = (0..count).map(|_| scope.spawn(switch_on)).collect();
        writers.into_iter().try_for_each(joined)
    })
}

fn joined(thread: ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    thread.join().map_err(|_| anyhow!("a thread that panicked"))?
}
