//! What any kernel must do.

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

pub fn with_pool(both: bool, test: impl FnOnce(&Pooled<'_>) -> Result<()> + Send) -> Result<()> {
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
pub fn whole_life(pooled: &Pooled<'_>) -> Result<()> {
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
