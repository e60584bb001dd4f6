//! The proof that a slot's namespace is unused, and bringing it back: one thing that a container
//! may have left at a time, and all together.
#![cfg(test)]

mod bounds;
mod cost;
mod elsewhere;
mod fixture;
mod kernel;
mod raw;
mod repairs;
mod sockets;
mod users;

use std::{collections::HashSet, time::Instant};

use anyhow::{Result, ensure};
use repoint::slot::{Fingerprint, Scrubbed};

use fixture::{clean, with_slot, with_slots};

#[test]
fn slots_of_one_configuration_have_one_fingerprint() -> Result<()> {
    with_slots(&[5, 6], |slots| {
        let [one, two] = slots else { unreachable!("two were asked for") };
        println!("{}", one.expected.lines().join("\n"));
        ensure!(
            one.expected.difference(&two.expected).is_none(),
            "{:?}",
            one.expected.difference(&two.expected)
        );
        ensure!(one.expected.digest() == two.expected.digest());
        let decoded = Fingerprint::decode(&one.expected.encode())?;
        ensure!(two.scrub_against(&decoded)? == clean());
        Ok(())
    })
}

#[test]
fn an_untouched_namespace_is_clean_each_time() -> Result<()> {
    with_slot(|slot| {
        for round in 0..5 {
            // The sockets of the last time are gone then, and are not waited for.
            slot.wait_for_sockets()?;
            let start = Instant::now();
            let scrubbed = slot.scrub()?;
            println!("scrub {round}: {:?}", start.elapsed());
            ensure!(scrubbed == clean(), "{scrubbed:?}");
        }
        Ok(())
    })
}

/// What the sysctl shows is zeros, also where a user set zeros: it is another each time.
#[test]
fn the_key_of_tcp_fast_open_is_another_after_each_scrub() -> Result<()> {
    with_slot(|slot| {
        let mut keys = HashSet::new();
        for _ in 0..3 {
            slot.shell("echo 0-0-0-0 > /proc/sys/net/ipv4/tcp_fastopen_key")?;
            ensure!(slot.scrub()? == clean());
            keys.insert(slot.shell("cat /proc/sys/net/ipv4/tcp_fastopen_key")?);
        }
        println!("{keys:?}");
        ensure!(keys.len() == 3 && !keys.iter().any(|key| key.starts_with("00000000-00000000")));
        Ok(())
    })
}

#[test]
fn what_was_learned_is_forgotten() -> Result<()> {
    with_slot(|slot| {
        slot.shell(
            "nft 'add table inet t; add chain inet t c { type filter hook output priority 0; };
                  add rule inet t c ct state new accept'
             ip neigh add 10.217.1.99 dev eth0 lladdr 02:00:00:00:00:99 nud reachable
             ip neigh add 10.217.1.98 dev eth0 lladdr 02:00:00:00:00:98 nud noarp
             ping -c 1 -W 1 127.0.0.1 || true",
        )?;
        println!("{}", slot.shell("cat /proc/sys/net/netfilter/nf_conntrack_count; ip neigh")?);
        let scrubbed = slot.scrub()?;
        ensure!(matches!(scrubbed, Scrubbed::Clean { .. }), "{scrubbed:?}");
        ensure!(slot.shell("cat /proc/sys/net/netfilter/nf_conntrack_count")?.trim() == "0");
        let neighbours = slot.shell("ip neigh show nud all")?;
        ensure!(!neighbours.contains("10.217.1.9"), "{neighbours}");
        let metrics = slot.shell("ip tcp_metrics show")?;
        ensure!(metrics.is_empty(), "{metrics}");
        Ok(())
    })
}
