//! What takes much away at once: a reboot that keeps `runDir`, a `runDir` that is wiped, a BPF file
//! system that is unmounted. One sweep, and everything works.

use std::fs;

use anyhow::{Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use repoint_tests::{
    Pooled, command,
    pooled::NAME,
    traffic::{self, Host},
    with_pool,
};
use serde_json::json;

use crate::{
    report::{dry_run, sweep},
    with_records, write,
};

/// Everything works: slots are built, and a container talks.
fn everything_works(pooled: &Pooled<'_>) -> Result<()> {
    pooled.fill()?;
    let one = pooled.add()?;
    one.check()?;
    traffic::all(&Host::here("node")?, &one.host()?, &one.addresses()?)?;
    one.remove()?;
    dry_run(pooled)?.ensure_empty()
}

/// The kernel's objects are gone, and it has another number for the boot.
#[test]
fn after_a_reboot_that_kept_the_database() -> Result<()> {
    with_pool(&json!({ "warm": 3, "maxSlots": 16 }), |pooled| {
        pooled.fill()?;
        drop(pooled.add()?);
        let dirs = pooled.node().dirs();
        for slot in pooled.slots()? {
            command::run("ip", ["link", "del", &slot.host_ifname])?;
        }
        command::run("nft", ["delete", "table", "inet", "repoint"])?;
        for path in [dirs.run.join("mnt/ns"), dirs.run.join("mnt")] {
            umount2(&path, MntFlags::MNT_DETACH)?;
        }
        umount2("/sys/fs/bpf", MntFlags::MNT_DETACH)?;
        let boot = "/proc/sys/kernel/random/boot_id";
        write("/run/boot".as_ref(), "11111111-2222-3333-4444-555555555555\n")?;
        let none = None::<&str>;
        mount(Some("/run/boot"), boot, none, MsFlags::MS_BIND, none)?;
        let told = dry_run(pooled)?;
        told.ensure("boot", "due")?;
        ensure!(told.findings.len() == 1 && pooled.slots()?.len() == 3, "{told:#?}");
        let swept = sweep(pooled, &[])?;
        swept.ensure("boot", "done")?;
        ensure!(swept.status == 0 && pooled.slots()?.is_empty(), "{swept:#?}");
        everything_works(pooled)?;
        umount2(boot, MntFlags::MNT_DETACH)?;
        // What the test is about is over, and the next sweep is of the real boot.
        let real = fs::read_to_string(boot)?;
        with_records(pooled, |transaction| transaction.put_boot(real.trim()))?;
        Ok(fs::remove_file("/run/boot")?)
    })
}

/// A new database knows nothing of the interfaces of the old one, and nobody can DEL them.
#[test]
fn after_run_was_wiped_under_live_slots() -> Result<()> {
    with_pool(&json!({ "warm": 3, "maxSlots": 16 }), |pooled| {
        pooled.fill()?;
        let lost = pooled.add()?;
        let links = || command::run("ip", ["-o", "link", "show", "group", "29297"]);
        ensure!(links()?.lines().count() == 3, "{}", links()?);
        fs::remove_dir_all(pooled.node().dirs().run.join("state"))?;
        let swept = sweep(pooled, &[])?;
        ensure!(swept.count("link", "done") == 3 && swept.status == 0, "{swept:#?}");
        ensure!(swept.count("namespace", "done") == 3, "{swept:#?}");
        ensure!(swept.count("endpoint", "done") == 6, "{swept:#?}");
        ensure!(links()?.is_empty(), "{}", links()?);
        drop(lost);
        pooled.repoint(&["pool", "set", NAME, "--config", "/run/functions.json"])?;
        everything_works(pooled)
    })
}

/// Containers talk again, to each other and to the outside, with the programs of a new data plane.
#[test]
fn after_the_bpf_file_system_was_unmounted() -> Result<()> {
    with_pool(&json!({ "warm": 3, "maxSlots": 16 }), |pooled| {
        pooled.fill()?;
        let (one, two) = (pooled.add()?, pooled.add()?);
        for add_first in [false, true] {
            umount2("/sys/fs/bpf", MntFlags::MNT_DETACH)?;
            // An ADD that comes before the sweep loads a data plane that knows nobody.
            let early = if add_first { Some(pooled.add()?) } else { None };
            let swept = sweep(pooled, &[])?;
            ensure!(swept.status == 0, "{swept:#?}");
            swept.ensure("entries", "done")?;
            swept.ensure("filter", "done")?;
            dry_run(pooled)?.ensure_empty()?;
            traffic::all(&one.host()?, &two.host()?, &two.addresses()?)?;
            traffic::all(&Host::here("node")?, &one.host()?, &one.addresses()?)?;
            one.check()?;
            early.map_or(Ok(()), |early| early.remove())?;
            everything_works(pooled)?;
        }
        one.remove()?;
        two.remove()
    })
}
