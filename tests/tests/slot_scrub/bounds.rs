//! Namespaces that hold more than is looked at.

use std::{
    fmt::Write as _,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use repoint::slot::{Scrubbed, User};
use repoint_tests::command;

use super::fixture::{Built, clean, with_slot};

/// More than is looked at of any kind.
const MANY: u32 = 6000;
/// How long a scrub of such a namespace may take, by a debug build on a busy machine.
const QUICK: Duration = Duration::from_millis(1500);

/// Has `ip` execute a line for each number.
fn ip(slot: &Built, count: u32, line: impl Fn(u32) -> String) -> Result<()> {
    let mut lines = String::new();
    for number in 0..count {
        writeln!(lines, "{}", line(number))?;
    }
    slot.netns.run(|| command::run_with_input("ip", ["-batch", "-"], lines.as_bytes()))??;
    Ok(())
}

fn is_too_much(slot: &Built, named: &str) -> Result<()> {
    let start = Instant::now();
    slot.is_different(named)?;
    println!("  after {:?}", start.elapsed());
    ensure!(start.elapsed() < QUICK, "it took {:?}", start.elapsed());
    Ok(())
}

fn quad(number: u32) -> String {
    std::net::Ipv4Addr::from(0x0a80_0000 + number).to_string()
}

#[test]
fn many_routes_are_too_much() -> Result<()> {
    with_slot(|slot| {
        ip(slot, MANY, |number| format!("route add blackhole {}", quad(number)))?;
        is_too_much(slot, " routes")
    })
}

/// Fewer than are too much: all are deleted, though they do not fit into one message.
#[test]
fn some_thousand_routes_and_neighbours_are_repaired() -> Result<()> {
    with_slot(|slot| {
        ip(slot, 3000, |number| format!("route add blackhole {}", quad(number)))?;
        let neighbour = |number| {
            format!(
                "neighbour add {} dev eth0 lladdr 02:00:00:00:00:01 nud reachable",
                quad(number)
            )
        };
        ip(slot, 500, neighbour)?;
        match slot.scrub()? {
            Scrubbed::Clean { repaired } => ensure!(repaired.len() == 3000, "{}", repaired.len()),
            other => anyhow::bail!("{other:?}"),
        }
        let again = slot.scrub()?;
        ensure!(again == clean(), "{again:?}");
        Ok(())
    })
}

#[test]
fn many_addresses_are_too_much() -> Result<()> {
    with_slot(|slot| {
        ip(slot, MANY, |number| format!("address add {}/32 dev lo", quad(number)))?;
        is_too_much(slot, "more than")
    })
}

#[test]
fn many_neighbours_are_too_much() -> Result<()> {
    with_slot(|slot| {
        let neighbour = |number| {
            format!(
                "neighbour add {} dev eth0 lladdr 02:00:00:00:00:01 nud permanent",
                quad(number)
            )
        };
        ip(slot, MANY, neighbour)?;
        is_too_much(slot, " neighbours")
    })
}

#[test]
fn many_rules_of_nftables_are_too_much() -> Result<()> {
    with_slot(|slot| {
        let mut ruleset = String::from("table inet t { chain c {\n");
        for number in 0..MANY {
            writeln!(ruleset, "tcp dport {number} counter accept")?;
        }
        ruleset += "}\n}\n";
        slot.netns.run(|| command::run_with_input("nft", ["-f", "-"], ruleset.as_bytes()))??;
        is_too_much(slot, " nftables rules")
    })
}

#[test]
fn many_links_are_too_much() -> Result<()> {
    with_slot(|slot| {
        ip(slot, 60, |number| format!("link add i{number} type ifb"))?;
        is_too_much(slot, " sysctls")
    })
}

#[test]
fn many_sockets_are_a_use_that_is_found_at_once() -> Result<()> {
    with_slot(|slot| {
        let sockets: Result<Vec<_>, _> = slot
            .netns
            .run(|| (0..500).map(|_| std::net::TcpListener::bind("127.0.0.1:0")).collect())?;
        let sockets = sockets?;
        let start = Instant::now();
        let scrubbed = slot.scrub()?;
        ensure!(matches!(scrubbed, Scrubbed::InUse(User::Sockets { .. })), "{scrubbed:?}");
        ensure!(start.elapsed() < QUICK, "it took {:?}", start.elapsed());
        drop(sockets);
        Ok(())
    })
}

/// As many as end by themselves over a minute in a busy function: all are ended.
#[test]
fn some_thousand_connections_in_time_wait_are_ended() -> Result<()> {
    with_slot(|slot| {
        slot.netns.run(|| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            for _ in 0..3000 {
                let client = std::net::TcpStream::connect(listener.local_addr()?)?;
                let server = listener.accept()?.0;
                drop(client);
                drop(server);
            }
            anyhow::Ok(())
        })??;
        let start = Instant::now();
        let scrubbed = slot.scrub()?;
        println!("{scrubbed:?} after {:?}", start.elapsed());
        ensure!(matches!(scrubbed, Scrubbed::Clean { .. }), "{scrubbed:?}");
        Ok(())
    })
}

#[test]
#[ignore = "a measurement: a million routes, addresses and neighbours"]
fn what_a_million_objects_cost() -> Result<()> {
    const MILLION: u32 = 1_000_000;
    for (kind, count) in [("routes", MILLION), ("neighbours", 200_000)] {
        with_slot(|slot| {
            ip(slot, count, |number| match kind {
                "routes" => format!("route add blackhole {}", quad(number)),
                _ => format!(
                    "neighbour add {} dev eth0 lladdr 02:00:00:00:00:01 nud permanent",
                    quad(number)
                ),
            })?;
            fs::write("/proc/self/clear_refs", "5")?;
            let before = peak()?;
            let start = Instant::now();
            slot.is_different(kind)?;
            let elapsed = start.elapsed();
            println!("{count} {kind}: {elapsed:?}, {} KiB more at the peak", peak()? - before);
            Ok(())
        })?;
    }
    Ok(())
}

/// Most memory that this process had since the peak was forgotten, in KiB.
fn peak() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
