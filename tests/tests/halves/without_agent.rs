//! Without an agent: the sweep by hand, the scrub, and an ADD that finds a slot.

use anyhow::{Result, ensure};
use repoint_tests::{command, dist, traffic, with_pool};
use serde_json::Value;

use crate::{Three, damage, ensure_one_whole, ensure_traffic, ensure_whole, few};

/// Findings of `repoint sweep`: kind, name and outcome of each, and its exit status.
fn sweep(
    pooled: &repoint_tests::Pooled<'_>,
    arguments: &[&str],
) -> Result<Vec<(String, String, String)>> {
    let dirs = pooled.node().dirs();
    let mut command = std::process::Command::new(dist::cli());
    command.arg("--run-dir").arg(&dirs.run).arg("--bpf-dir").arg(&dirs.bpf);
    command.args(["sweep", "--json"]).args(arguments);
    let output = command::output_with_input(&mut command, &[])?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let findings = report["findings"].as_array().cloned().unwrap_or_default();
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let read = |finding: &Value| {
        println!(
            "  {}: {}: {}",
            text(finding, "name"),
            text(finding, "why"),
            text(finding, "outcome")
        );
        (text(finding, "kind"), text(finding, "name"), text(finding, "outcome"))
    };
    Ok(findings.iter().map(read).collect())
}

#[test]
fn a_sweep_repairs_each_part_of_slots_that_wait_and_of_those_in_use() -> Result<()> {
    with_pool(&few(), |pooled| {
        pooled.fill()?;
        damage::with_bridge(|| {
            let three = Three::new(pooled)?;
            for (what, kind, damage) in damage::ALL {
                println!("{what}:");
                three.slots().into_iter().try_for_each(damage)?;
                let error = three.container.check().err();
                ensure!(error.is_some(), "CHECK does not see: {what}");
                println!("  CHECK: {:#}", error.into_iter().next().unwrap());
                let due = sweep(pooled, &["--dry-run"])?;
                let done = sweep(pooled, &[])?;
                for slot in three.slots() {
                    let is_its = |outcome: &str| {
                        let wanted = (kind.to_owned(), slot.slot.clone(), outcome.to_owned());
                        move |found: &(String, String, String)| *found == wanted
                    };
                    ensure!(due.iter().any(is_its("due")), "{what} of {slot:?}: {due:?}");
                    ensure!(done.iter().any(is_its("done")), "{what} of {slot:?}: {done:?}");
                    ensure_one_whole(pooled, slot)?;
                }
                three.container.check()?;
                ensure!(sweep(pooled, &["--dry-run"])?.is_empty(), "{what}: something is left");
            }
            ensure_traffic(pooled, &three.container)?;
            three.container.remove()
        })
    })
}

/// The slot is used again: nothing is built in its place.
#[test]
fn an_add_repairs_the_slot_that_it_finds() -> Result<()> {
    with_pool(&few(), |pooled| {
        pooled.fill()?;
        damage::with_bridge(|| {
            let first = pooled.add_function("resize")?;
            let slot = pooled.slot_of(&first)?;
            first.remove()?;
            for (what, _, damage) in damage::ALL {
                println!("{what}");
                damage(&slot)?;
                let again = pooled.add_function("resize")?;
                let found = pooled.slot_of(&again)?;
                ensure!(found.slot == slot.slot, "{what}: not the same slot: {found:?}");
                ensure_one_whole(pooled, &found)?;
                ensure_traffic(pooled, &again)?;
                again.check()?;
                again.remove()?;
            }
            Ok(())
        })
    })
}

/// A warm slot whose interface is gone is no slot: the container is served all the same.
#[test]
fn an_add_does_not_give_a_slot_whose_interface_is_gone() -> Result<()> {
    with_pool(&few(), |pooled| {
        pooled.fill()?;
        for slot in pooled.slots()? {
            damage::ip(&["link", "del", &slot.host_ifname])?;
        }
        let containers = [pooled.add()?, pooled.add()?];
        containers.iter().try_for_each(|container| ensure_traffic(pooled, container))?;
        containers.into_iter().try_for_each(repoint_tests::Container::remove)
    })
}

/// DEL scrubs in line: what was changed while the container ran is repaired, and the slot is kept.
#[test]
fn a_scrub_repairs_the_half_on_the_node() -> Result<()> {
    with_pool(&few(), |pooled| {
        pooled.fill()?;
        damage::with_bridge(|| {
            for (what, _, damage) in damage::ALL {
                println!("{what}");
                let container = pooled.add_function("resize")?;
                let slot = pooled.slot_of(&container)?;
                damage(&slot)?;
                container.remove()?;
                pooled.wait_for_slot(&slot.slot, &["parked"])?;
                ensure_one_whole(pooled, &slot)?;
            }
            Ok(())
        })
    })
}

/// The uplink is bounced and all routes to containers are flushed between ADDs.
#[test]
fn every_add_has_traffic_though_routes_are_flushed_between() -> Result<()> {
    with_pool(&few(), |pooled| {
        pooled.fill()?;
        for round in 0..6 {
            // Where there is no such route any more, the command fails.
            drop(command::run("ip", ["route", "flush", "scope", "link", "proto", "boot"]));
            drop(command::run("ip", ["-6", "route", "flush", "root", "fd00::/8"]));
            for slot in pooled.slots()? {
                damage::ALL[0].2(&slot)?;
            }
            let container = pooled.add_function(if round % 2 == 0 { "a" } else { "b" })?;
            let host = container.host()?;
            let node = traffic::Host::here("node")?;
            traffic::all(&node, &host, &container.addresses()?)?;
            container.remove()?;
        }
        Ok(())
    })
}

/// Interfaces that are made while `conf.default.forwarding` is 0 forward all the same.
#[test]
fn a_slot_forwards_whatever_new_interfaces_do() -> Result<()> {
    with_pool(&few(), |pooled| {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        std::fs::write("/proc/sys/net/ipv4/conf/default/forwarding", "0")?;
        pooled.fill()?;
        let container = pooled.add()?;
        ensure_traffic(pooled, &container)?;
        container.check()?;
        ensure_whole(&crate::record(pooled, &pooled.slot_of(&container)?)?)?;
        container.remove()?;
        Ok(std::fs::write("/proc/sys/net/ipv4/conf/default/forwarding", "1")?)
    })
}
