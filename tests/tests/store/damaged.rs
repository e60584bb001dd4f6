//! Files that are not what repoint left there.

use std::fs::{self, File};

use anyhow::{Context as _, Result, ensure};
use lmdb::{Database, EnvironmentFlags, RwTransaction, Transaction as _, WriteFlags};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use repoint_tests::{Pooled, with_pool};
use serde_json::json;

use crate::{data_file, everything_says, everything_works, folder, move_away};

/// Changes a table without the library.
fn in_lmdb(
    pooled: &Pooled<'_>,
    table: &str,
    change: impl FnOnce(&mut RwTransaction<'_>, Database) -> Result<()>,
) -> Result<()> {
    let environment = lmdb::Environment::new()
        .set_flags(EnvironmentFlags::NO_LOCK | EnvironmentFlags::NO_TLS)
        .set_map_size(256 << 20)
        .set_max_dbs(16)
        .open(&folder(pooled))?;
    let table = environment.open_db(Some(table))?;
    let mut transaction = environment.begin_rw_txn()?;
    change(&mut transaction, table)?;
    Ok(transaction.commit()?)
}

/// Damages the database under slots in use and slots that wait, sees what is said, and does what is
/// advised.
fn damaged(words: &[&str], damage: fn(&Pooled<'_>) -> Result<()>) -> Result<()> {
    with_pool(&json!({ "warm": 3, "maxSlots": 16 }), |pooled| {
        pooled.fill()?;
        let lost = pooled.add()?;
        damage(pooled)?;
        everything_says(pooled, &lost, words)?;
        move_away(pooled)?;
        // A DEL that comes after all finds nothing to do. What is mounted at its path is nobody's.
        lost.delete()?;
        everything_works(pooled)
    })
}

#[test]
fn a_file_that_was_cut_off() -> Result<()> {
    damaged(&["bytes long and should be at least", "move the folder away"], |pooled| {
        let file = File::options().write(true).open(data_file(pooled))?;
        Ok(file.set_len(3 * 4096)?)
    })
}

#[test]
fn a_file_of_garbage() -> Result<()> {
    damaged(&["MDB_INVALID", "move the folder away"], |pooled| {
        let mut garbage = vec![0; 1 << 17];
        fastrand::Rng::with_seed(1).fill(&mut garbage);
        Ok(fs::write(data_file(pooled), garbage)?)
    })
}

#[test]
fn another_schema() -> Result<()> {
    damaged(&["has schema version 77", "repoint unload --force"], |pooled| {
        in_lmdb(pooled, "meta", |transaction, table| {
            let other = 77_u32.to_le_bytes();
            Ok(transaction.put(table, b"schema", &other, WriteFlags::empty())?)
        })
    })
}

/// Slots that nobody would find are found again.
#[test]
fn a_lost_index() -> Result<()> {
    with_pool(&json!({ "warm": 3, "maxSlots": 16 }), |pooled| {
        pooled.fill()?;
        let one = pooled.add()?;
        in_lmdb(pooled, "index", |transaction, table| Ok(transaction.clear_db(table)?))?;
        ensure!(pooled.pool()?.warm == 0, "{:?}", pooled.pool()?);
        let swept = pooled.repoint(&["sweep"])?;
        println!("{swept}");
        ensure!(swept.lines().filter(|line| line.contains(" index ")).count() == 3, "{swept}");
        ensure!(pooled.pool()?.warm == 2, "{:?}", pooled.pool()?);
        pooled.add()?.remove()?;
        one.remove()?;
        everything_works(pooled)
    })
}

/// A file of length 0 is a lost database, not a damaged one.
#[test]
fn an_empty_file() -> Result<()> {
    with_pool(&json!({ "warm": 3, "maxSlots": 16 }), |pooled| {
        pooled.fill()?;
        let lost = pooled.add()?;
        File::options().write(true).open(data_file(pooled))?.set_len(0)?;
        let swept = pooled.repoint(&["sweep"])?;
        ensure!(swept.contains("is not on record"), "{swept}");
        lost.delete()?;
        everything_works(pooled)
    })
}

#[test]
fn a_read_only_run_dir() -> Result<()> {
    with_pool(&json!({ "warm": 3, "maxSlots": 16 }), |pooled| {
        pooled.fill()?;
        let one = pooled.add()?;
        let state = folder(pooled);
        let none = None::<&str>;
        mount(Some(&state), &state, none, MsFlags::MS_BIND, none).context("bind")?;
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, &state, none, flags, none).context("remount")?;
        everything_says(pooled, &one, &["data.mdb", "Read-only file system"])?;
        umount2(&state, MntFlags::empty())?;
        one.check()?;
        one.remove()?;
        everything_works(pooled)
    })
}
