//! What takes much away at once: a reboot that keeps `runDir`, a `runDir` that is wiped, a BPF file
//! system that is unmounted. One sweep, and everything works.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::statfs::{TMPFS_MAGIC, statfs},
};
use repoint_tests::{
    Pooled, command,
    pooled::{NAME, SOON},
    traffic::{self, Host},
    wait, with_pool,
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

/// Where the kernel reports the number of the boot.
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

/// No process waits for a sweep: the first to open the database forgets the other boot's slots,
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
        // The namespace store was another mount namespace's.
        let home = "4:4026531999:00000000-2222-3333-4444-555555555555";
        write(&pooled.node().dirs().run.join("mnt/ns"), home)?;
        dry_run(pooled)?.ensure("boot", "due")?;
        dry_run(pooled)?.ensure("boot", "due")?;
        let new = pooled.add()?;
        ensure!(pooled.slots()?.len() == 1, "{:?}", pooled.slots()?);
        let record = record(pooled, &pooled.slot_of(&new)?)?;
        ensure!(record.owns_netns(), "it was not built for the pool: {record:#?}");
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
        let reported = dry_run(pooled)?;
        reported.ensure("boot", "due")?;
        ensure!(reported.findings.len() == 1 && pooled.slots()?.len() == 3, "{reported:#?}");
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

/// A new database knows nothing of the interfaces of the old one. A container that runs keeps its own until
/// an operator has had time to act, or says that it is enough.
#[test]
fn after_run_was_wiped_under_live_slots() -> Result<()> {
    for is_deleted in [true, false] {
        with_pool(&json!({ "warm": 3, "maxSlots": 16 }), |pooled| {
            pooled.fill()?;
            let lost = pooled.add()?;
            let links = || command::run("ip", ["-o", "link", "show", "group", "29297"]);
            ensure!(links()?.lines().count() == 3, "{}", links()?);
            fs::remove_dir_all(pooled.node().dirs().run.join("state"))?;
            let swept = sweep(pooled, &[])?;
            ensure!(swept.count("link", "done") == 2 && swept.status == 0, "{swept:#?}");
            ensure!(swept.count("link", "waits") == 1, "{swept:#?}");
            ensure!(swept.count("namespace", "done") == 2, "{swept:#?}");
            ensure!(swept.count("endpoint", "done") == 4, "{swept:#?}");
            traffic::all(&Host::here("node")?, &lost.host()?, &lost.addresses()?)?;
            if is_deleted {
                // One mount is left for the runtime.
                lost.remove()?;
                sweep(pooled, &[])?;
            } else {
                sweep(pooled, &["--grace", "0s"])?.ensure("link", "done")?;
                lost.remove()?;
            }
            ensure!(links()?.is_empty(), "{}", links()?);
            dry_run(pooled)?.ensure_empty()?;
            pooled.repoint(&["pool", "set", NAME, "--config", "/run/functions.json"])?;
            everything_works(pooled)
        })?;
    }
    Ok(())
}

/// Something is lost of a node.
type Lose = fn(&Pooled<'_>) -> Result<()>;

/// Ways to lose the database under an agent.
const LOST: [(&str, Lose); 3] = [
    ("its folder is removed", |pooled| {
        Ok(fs::remove_dir_all(pooled.node().dirs().run.join("state"))?)
    }),
    ("its file is replaced", |pooled| {
        let state = pooled.node().dirs().run.join("state");
        fs::write(state.join("new"), "")?;
        Ok(fs::rename(state.join("new"), state.join("data.mdb"))?)
    }),
    ("all of runDir is removed that can be", |pooled| {
        for entry in fs::read_dir(&pooled.node().dirs().run)? {
            let path = entry?.path();
            // Namespaces are mounted in one of the folders.
            drop(if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) });
        }
        Ok(())
    }),
];

/// One from the pool, and one in its runtime's namespace.
#[test]
fn running_containers_keep_their_traffic_when_the_database_is_lost() -> Result<()> {
    for (what, lose) in LOST {
        println!("{what}:");
        with_pool(&json!({ "warm": 2, "maxSlots": 16 }), |pooled| {
            let agent = pooled.agent_sweeping(Duration::from_millis(300))?;
            let slot = pooled.add()?;
            let own = pooled.add_with(|own| own.args("repoint.dev/mode=none"))?;
            lose(pooled)?;
            // Each sweep that spares both warns of both.
            wait::until(SOON, "four sweeps have spared both containers", || {
                let log = agent.log()?;
                let spared = |line: &&str| {
                    line.contains("WARN")
                        && line.contains("the database was lost")
                        && line.contains("waits")
                };
                let (warned, began) =
                    (log.lines().filter(spared).count(), log.contains("beginning anew"));
                ensure!(warned >= 8 && began, "{log}");
                Ok(())
            })?;
            let (node, outside) = (Host::here("node")?, pooled.node().outside_host()?);
            for one in [&slot, &own] {
                traffic::all(&node, &one.host()?, &one.addresses()?)?;
                traffic::all(&one.host()?, &outside, &pooled.node().uplink().outside())?;
            }
            // Others get other addresses.
            let other = pooled.add_with(|own| own.args("repoint.dev/mode=none"))?;
            traffic::all(&other.host()?, &slot.host()?, &slot.addresses()?)?;
            traffic::all(&node, &other.host()?, &other.addresses()?)?;
            other.remove()?;
            // DEL leaves the path as the runtime made it.
            slot.remove()?;
            own.remove()?;
            pooled.repoint(&["pool", "set", NAME, "--config", "/run/functions.json"])?;
            pooled.wait_until("the pool is full", |pool| pool.warm >= pool.target)?;
            wait::until(SOON, "nothing is left of the old database", || {
                let links = command::run("ip", ["-o", "link", "show", "group", "29297"])?;
                let slots = pooled.slots()?;
                ensure!(links.lines().count() == slots.len(), "{links}{slots:#?}");
                Ok(())
            })?;
            agent.stop()?;
            sweep(pooled, &[])?;
            everything_works(pooled)
        })
        .context(what)?;
    }
    Ok(())
}

/// Slots that wait are of the data plane that is lost: no container gets one that passes nothing.
#[test]
fn no_add_succeeds_without_network_when_pins_are_lost() -> Result<()> {
    let lost: [(&str, Lose); 3] = [
        ("the BPF file system is unmounted", |_| Ok(umount2("/sys/fs/bpf", MntFlags::MNT_DETACH)?)),
        ("another is mounted over it", |_| {
            Ok(mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), None::<&str>)?)
        }),
        ("the pins are removed", |pooled| Ok(fs::remove_dir_all(&pooled.node().dirs().bpf)?)),
    ];
    for (what, lose) in lost {
        println!("{what}:");
        with_pool(&json!({ "warm": 4, "maxSlots": 16 }), |pooled| {
            pooled.fill()?;
            lose(pooled)?;
            let here = Host::here("node")?;
            let mut all = Vec::new();
            for _ in 0..3 {
                let one = pooled.add()?;
                traffic::all(&here, &one.host()?, &one.addresses()?)?;
                all.push(one);
            }
            sweep(pooled, &[])?;
            pooled.fill()?;
            let hit = pooled.add()?;
            ensure!(pooled.pool()?.declined == 3, "{:?}", pooled.pool()?);
            traffic::all(&here, &hit.host()?, &hit.addresses()?)?;
            all.push(hit);
            all.into_iter().try_for_each(|one| one.remove())?;
            dry_run(pooled)?.ensure_empty()
        })
        .context(what)?;
    }
    Ok(())
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
