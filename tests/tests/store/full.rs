//! A file system that is full: nobody is let in, everybody can leave, and when there is room again all
//! works.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use repoint::{
    model::TemplateDigest,
    store::{Store, StoreError},
};
use repoint_tests::{Agent, Container, Netns, Pooled, command, plugin::Attachment, with_pool};
use serde_json::json;

use crate::{data_file, everything_works, folder, run_cli};

/// Takes all that is left of a file system, to the last block.
fn fill(at: &Path) -> Result<PathBuf> {
    let path = at.join("others.log");
    let mut file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    loop {
        match file.write(&[7; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(path),
            Err(error) => return Err(error).context("fill a file system"),
        }
    }
}

/// Runs a test on a node whose `runDir` is a small file system of its own.
fn on_small_tmpfs(test: impl FnOnce(&Pooled<'_>) -> Result<()> + Send) -> Result<()> {
    with_pool(&json!({ "warm": 2, "maxSlots": 64 }), |pooled| {
        let run = &pooled.node().dirs().run;
        pooled.repoint(&["unload"])?;
        fs::create_dir(run)?;
        mount(Some("tmpfs"), run, Some("tmpfs"), MsFlags::empty(), Some("size=16m"))?;
        test(pooled)?;
        pooled.repoint(&["unload"])?;
        umount2(run, MntFlags::empty()).context("unmount runDir")?;
        Ok(fs::remove_dir(run)?)
    })
}

/// Puts as much into the database as goes in.
fn stuff(pooled: &Pooled<'_>) -> Result<StoreError> {
    let store = Store::open(&folder(pooled))?;
    let text = "x".repeat(1 << 16);
    for number in 0_u32..4096 {
        let mut digest = TemplateDigest([0xee; 32]);
        digest.0[..4].copy_from_slice(&number.to_be_bytes());
        if let Err(full) = store.grow(|transaction| transaction.put_template(&digest, &text)) {
            return Ok(full);
        }
    }
    anyhow::bail!("the database is never full")
}

fn links() -> Result<usize> {
    Ok(command::run("ip", ["-o", "link", "show", "group", "29297"])?.lines().count())
}

#[test]
fn a_full_file_system_keeps_nobody_in() -> Result<()> {
    on_small_tmpfs(|pooled| {
        let run = pooled.node().dirs().run.clone();
        pooled.repoint(&["pool", "set", "functions", "--config", "/run/functions.json"])?;
        pooled.fill()?;
        let (hit, swept) = (pooled.add_function("resize")?, pooled.add()?);
        let cold = pooled.add_with(|pod| pod.args("repoint.dev/mode=none"))?;
        let others = fill(&run)?;
        println!("{}", stuff(pooled)?);
        let length = fs::metadata(data_file(pooled))?.len();

        for mode in ["reuse", "none"] {
            let error =
                pooled.refused("ADD", |pod| pod.args(&format!("repoint.dev/mode={mode}")))?;
            ensure!(error.msg.contains("make room on its file system"), "{error:?}");
        }
        let nobody = Attachment::new("", Path::new(""));
        let status = pooled.network().call_single("STATUS", &nobody, None)?.error()?;
        println!("STATUS: {status:?}");
        ensure!(status.code == 50 && status.msg.contains("make room"), "{status:?}");
        let (code, said) = run_cli(pooled, &["pool", "fill", "functions", "--count", "3"])?;
        println!("pool fill: {code}: {said}");

        [&hit, &cold].into_iter().try_for_each(Container::check)?;
        command::run("ip", ["link", "del", &pooled.slot_of(&swept)?.host_ifname])?;
        swept.delete()?;
        swept.remove_netns()?;
        let (code, said) = run_cli(pooled, &["sweep", "--grace", "0s"])?;
        ensure!(code == 0, "{said}");
        let agent = Agent::start(pooled.node())?;
        hit.remove()?;
        cold.remove()?;
        pooled.wait_until("what came back waits", |pool| pool.parked == 1 && pool.total == 1)?;
        ensure!(links()? == pooled.slots()?.len(), "{} interfaces", links()?);
        ensure!(fs::metadata(data_file(pooled))?.len() == length, "the database grew");

        fs::remove_file(others)?;
        pooled.wait_until("the pool is full", |pool| pool.warm >= pool.target)?;
        pooled.add()?.remove()?;
        agent.stop()?;
        everything_works(pooled)
    })
}

/// All that repoint does to go away again finds the room that it takes.
#[test]
fn many_leave_a_full_file_system() -> Result<()> {
    on_small_tmpfs(|pooled| {
        pooled.repoint(&["pool", "set", "functions", "--config", "/run/functions.json"])?;
        // What is left of tenants is on record beyond their slots.
        let container = |number: usize| match number % 2 {
            0 => pooled.add(),
            _ => pooled.add_tenants(&format!("tenant-{number}"), "resize"),
        };
        let containers = (0..24).map(container).collect::<Result<Vec<_>>>()?;
        let others = fill(&pooled.node().dirs().run)?;
        println!("{}", stuff(pooled)?);
        for container in containers {
            container.remove()?;
        }
        pooled.repoint(&["pool", "drain", "functions"])?;
        ensure!(pooled.slots()?.is_empty() && links()? == 0, "{:?}", pooled.slots()?);
        Ok(fs::remove_file(others)?)
    })
}

/// Where there is no room to make a database, the first ADD says so, and the next one with room makes it.
#[test]
fn a_database_that_could_not_be_made_is_made_later() -> Result<()> {
    on_small_tmpfs(|pooled| {
        let run = pooled.node().dirs().run.clone();
        let filler = fill(&run)?;
        let netns = Netns::create("nobody")?;
        // From no room at all to some of what a new database takes.
        for kib in [0, 4, 8, 16, 64] {
            File::options().write(true).open(&filler)?.set_len((16 << 20) - kib * 1024)?;
            let pod = Attachment::new("nobody", netns.path());
            let error = pooled.network().call_single("ADD", &pod, None)?.error()?;
            ensure!(
                ["file system", "No space left"].iter().any(|words| error.msg.contains(words)),
                "{kib} KiB: {error:?}"
            );
        }
        fs::remove_file(filler)?;
        netns.remove()?;
        pooled.add()?.remove()?;
        everything_works(pooled)
    })
}
