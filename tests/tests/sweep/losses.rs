//! What takes much away at once: a reboot that keeps `runDir`, a `runDir` that is wiped, a BPF file
//! system that is unmounted. One sweep, and everything works.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::statfs::{TMPFS_MAGIC, statfs},
};
use repoint_tests::{
    Pooled, command,
    pooled::NAME,
    traffic::{self, Host},
    with_pool,
};
use serde_json::json;

use crate::{
    record,
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

/// Where the kernel tells the number of the boot.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The kernel's objects are gone, and it has another number for the boot.
fn reboot(pooled: &Pooled<'_>) -> Result<()> {
    let dirs = pooled.node().dirs();
    for slot in pooled.slots()? {
        command::run("ip", ["link", "del", &slot.host_ifname])?;
    }
    command::run("nft", ["delete", "table", "inet", "repoint"])?;
    for path in [dirs.run.join("mnt/ns"), dirs.run.join("mnt")] {
        umount2(&path, MntFlags::MNT_DETACH)?;
    }
    umount2("/sys/fs/bpf", MntFlags::MNT_DETACH)?;
    write("/run/boot".as_ref(), "11111111-2222-3333-4444-555555555555\n")?;
    let none = None::<&str>;
    Ok(mount(Some("/run/boot"), BOOT, none, MsFlags::MS_BIND, none)?)
}

/// A database on a disk, in the place of a node's: a folder, which is removed in the end.
struct OnDisk {
    folder: PathBuf,
    place: PathBuf,
}

impl OnDisk {
    /// None where tests have no disk.
    fn of(pooled: &Pooled<'_>) -> Result<Option<Self>> {
        let folder = std::env::temp_dir().join(format!("repoint-disk-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let place = pooled.node().dirs().run.join("state");
        let disk = Self { folder, place };
        if statfs(&disk.folder)?.filesystem_type() == TMPFS_MAGIC {
            println!("skipped: {} is on a tmpfs", disk.folder.display());
            return Ok(None);
        }
        fs::copy(disk.place.join("data.mdb"), disk.folder.join("data.mdb"))?;
        fs::remove_file(disk.place.join("data.mdb"))?;
        let none = None::<&str>;
        mount(Some(&disk.folder), &disk.place, none, MsFlags::MS_BIND, none)?;
        Ok(Some(disk))
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        // It may not have been mounted.
        umount2(&self.place, MntFlags::MNT_DETACH).ok();
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// Nobody waits for a sweep: whoever is the first to open the database forgets the other boot's slots,
/// and what is built then stays.
#[test]
fn an_add_before_the_first_sweep_after_a_reboot_is_served_and_stays() -> Result<()> {
    with_pool(&json!({ "warm": 3, "maxSlots": 16 }), |pooled| {
        pooled.fill()?;
        let old = pooled.add()?;
        let Some(disk) = OnDisk::of(pooled)? else { return old.remove() };
        let path = record(pooled, &pooled.slot_of(&old)?)?.netns_path.context("no path")?;
        reboot(pooled)?;
        umount2(&path, MntFlags::MNT_DETACH)?;
        // The place of slots' namespaces was another mount namespace's.
        let home = "4:4026531999:00000000-2222-3333-4444-555555555555";
        write(&pooled.node().dirs().run.join("mnt/ns"), home)?;
        dry_run(pooled)?.ensure("boot", "due")?;
        dry_run(pooled)?.ensure("boot", "due")?;
        let new = pooled.add()?;
        ensure!(pooled.slots()?.len() == 1, "{:?}", pooled.slots()?);
        let record = record(pooled, &pooled.slot_of(&new)?)?;
        ensure!(record.owns_netns, "it was not built for the pool: {record:#?}");
        // The runtime cleans up behind what it had.
        old.remove()?;
        let swept = sweep(pooled, &[])?;
        ensure!(swept.status == 0 && swept.count("link", "done") == 0, "{swept:#?}");
        new.check()?;
        traffic::all(&Host::here("node")?, &new.host()?, &new.addresses()?)?;
        new.remove()?;
        everything_works(pooled)?;
        pooled.repoint(&["pool", "drain", NAME])?;
        ensure!(pooled.slots()?.is_empty(), "{:?}", pooled.slots()?);
        umount2(BOOT, MntFlags::MNT_DETACH)?;
        drop(disk);
        Ok(fs::remove_file("/run/boot")?)
    })
}

#[test]
fn after_a_reboot_that_kept_the_database() -> Result<()> {
    with_pool(&json!({ "warm": 3, "maxSlots": 16 }), |pooled| {
        pooled.fill()?;
        drop(pooled.add()?);
        reboot(pooled)?;
        let told = dry_run(pooled)?;
        told.ensure("boot", "due")?;
        ensure!(told.findings.len() == 1 && pooled.slots()?.len() == 3, "{told:#?}");
        let swept = sweep(pooled, &[])?;
        swept.ensure("boot", "done")?;
        ensure!(swept.status == 0 && pooled.slots()?.is_empty(), "{swept:#?}");
        everything_works(pooled)?;
        umount2(BOOT, MntFlags::MNT_DETACH)?;
        // What the test is about is over, and the next sweep is of the real boot.
        let real = fs::read_to_string(BOOT)?;
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
