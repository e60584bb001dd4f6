//! Links are bounced, and routes and nftables flushed, while containers come and go.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use repoint_tests::{Pooled, command, traffic, traffic::Host, wait, with_pool};
use serde_json::json;

use crate::REPAIRED;

/// How long containers come and go.
const LONG: Duration = Duration::from_secs(12);
/// How long the storm lasts at least.
const STORM: Duration = Duration::from_secs(5);
/// How long a datagram may take: the next one is tried then.
const ONE_TRY: Duration = Duration::from_millis(200);
/// Between two blows.
const PAUSE: Duration = Duration::from_millis(1500);

/// What a network manager does when it reloads, one after the other.
fn blow(number: usize) {
    let groups = ["29296", "29297"];
    // An interface may be deleted meanwhile: what fails is of no interest.
    match number % 4 {
        0 => groups.iter().for_each(|group| {
            drop(command::run("ip", ["link", "set", "group", group, "down"]));
            drop(command::run("ip", ["link", "set", "group", group, "up"]));
        }),
        1 => drop(command::run("ip", ["route", "flush", "scope", "link", "proto", "boot"])),
        2 => drop(command::run("ip", ["-6", "route", "flush", "root", "fd00::/8"])),
        _ => drop(command::run("nft", ["flush", "ruleset"])),
    }
}

/// Traffic of a container within the time that an agent takes to repair.
pub(crate) fn wait_for_traffic(container: &repoint_tests::Container<'_>) -> Result<Duration> {
    let (node, host, begun) = (Host::here("node")?, container.host()?, Instant::now());
    let had = wait::until(REPAIRED, "the container has traffic", || {
        let addresses = container.addresses()?;
        addresses
            .iter()
            .try_for_each(|own| traffic::first_datagram_within(ONE_TRY, &node, &host, *own))
    });
    had.with_context(|| format!("{:?}: {}", container.addresses(), ways()))?;
    Ok(begun.elapsed())
}

/// The node's links, routes, neighbours and switches, for an error.
fn ways() -> String {
    let lists = [
        "ip -oneline link",
        "ip route",
        "ip -6 route show table all",
        "ip neigh",
        "sysctl -a --pattern ipv6.conf.rp.*(disable_ipv6|forwarding)",
    ];
    let list = |words: &str| {
        let mut words = words.split(' ');
        command::run(words.next().unwrap_or_default(), words).unwrap_or_else(|e| e.to_string())
    };
    lists.map(list).join("\n")
}

pub(crate) fn churn(pooled: &Pooled<'_>, ended: &AtomicBool) -> Result<(usize, Duration)> {
    let (mut number, mut longest) = (0, Duration::ZERO);
    while !ended.load(Ordering::Relaxed) {
        let container = pooled.add_function(["a", "b", "c"][number % 3])?;
        longest = longest.max(wait_for_traffic(&container)?);
        container.remove()?;
        number += 1;
    }
    Ok((number, longest))
}

#[test]
fn containers_have_traffic_while_others_flush_what_is_theirs() -> Result<()> {
    with_pool(&json!({ "warm": 8, "maxSlots": 32 }), |pooled| {
        let agent = pooled.agent_sweeping(Duration::from_hours(1))?;
        let lasting = pooled.add()?;
        let ended = AtomicBool::new(false);
        let begun = Instant::now();
        let result = thread::scope(|scope| {
            let containers = scope.spawn(|| churn(pooled, &ended));
            let mut blows = 0;
            while begun.elapsed() < LONG {
                blow(blows);
                blows += 1;
                thread::park_timeout(PAUSE);
            }
            ended.store(true, Ordering::Relaxed);
            let counted = containers.join().map_err(|_| anyhow!("the churn panicked"))??;
            anyhow::Ok((blows, counted))
        });
        let (blows, (containers, longest)) = result?;
        println!("{containers} containers, {blows} blows, traffic after {longest:?} at most");
        ensure!(containers > 0, "no container came");
        wait_for_traffic(&lasting)?;
        lasting.remove()?;
        agent.stop()
    })
}

/// A storm of changes on slots' interfaces costs the agent a bounded share of the CPU.
#[test]
fn a_storm_of_notifications_leaves_the_agent_idle() -> Result<()> {
    with_pool(&json!({ "warm": 8, "maxSlots": 32 }), |pooled| {
        let agent = pooled.agent_sweeping(Duration::from_hours(1))?;
        let slot = pooled.slots()?.into_iter().next().context("no slot")?;
        let change = |mac: u32| {
            let dev = &slot.host_ifname;
            format!("neigh replace 192.0.2.9 lladdr 02:00:00:00:00:{mac:02x} dev {dev}\n")
        };
        let storm: String = (0..20_000).map(|number| change(number % 250)).collect();
        let (before, begun) = (cpu_of(agent.pid())?, Instant::now());
        let mut changes = 0;
        while begun.elapsed() < STORM {
            command::run_with_input("ip", ["-batch", "-"], storm.as_bytes())?;
            changes += 20_000;
        }
        let (took, lasted) = (cpu_of(agent.pid())?.saturating_sub(before), begun.elapsed());
        let share = took.as_secs_f64() / lasted.as_secs_f64();
        println!(
            "{changes} changes within {lasted:?}: {took:?} of the CPU, {:.0} %",
            share * 100.0
        );
        ensure!(share < 0.35, "the agent took {took:?} of {lasted:?}");
        agent.stop()
    })
}

/// What a process took of the CPU, with the threads that have ended.
fn cpu_of(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("read a stat")?;
    let (_, rest) = stat.rsplit_once(')').context("a stat without a name")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |number: usize| fields.get(number).and_then(|text| text.parse::<u64>().ok());
    let ticks = field(11).zip(field(12)).map(|(user, system)| user + system);
    // USER_HZ is 100 on every architecture that this is built for.
    Ok(Duration::from_millis(10 * ticks.context("a stat without times")?))
}
