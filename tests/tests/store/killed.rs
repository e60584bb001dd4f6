//! Processes that are killed while they work with a database.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use repoint::store::Store;

use crate::{
    add_slot,
    opening::Temporary,
    process::{Process, Role},
    whole,
};

/// LMDB's own table of readers has 126 places.
const READERS: u32 = 150;
/// How long a call may take that waits for nobody.
const AT_ONCE: Duration = Duration::from_secs(5);

/// LMDB's own table of readers would be full of them.
#[test]
fn readers_that_are_killed_hold_up_nobody() -> Result<()> {
    let folder = Temporary::new()?;
    let store = Store::open(folder.path())?;
    for number in 0..READERS {
        let mut reader = Process::start(folder.path(), Role::Read, number)?;
        reader.wait_until_there()?;
        // Others read meanwhile.
        whole(&store)?;
        reader.kill()?;
        let begun = Instant::now();
        store.grow(|transaction| add_slot(transaction, number))?;
        ensure!(begun.elapsed() < AT_ONCE, "a writer waited {:?}", begun.elapsed());
    }
    ensure!(whole(&store)?.slots.len() == READERS as usize);
    Ok(())
}

#[test]
fn a_writer_that_is_killed_leaves_nothing_of_its_transaction() -> Result<()> {
    let folder = Temporary::new()?;
    let store = Store::open(folder.path())?;
    for round in 0..20 {
        let mut writer = Process::start(folder.path(), Role::Write, round)?;
        writer.wait_until_there()?;
        writer.kill()?;
        let begun = Instant::now();
        store.grow(|transaction| add_slot(transaction, round))?;
        ensure!(begun.elapsed() < AT_ONCE, "the next one waited {:?}", begun.elapsed());
        ensure!(whole(&store)?.slots.len() == round as usize + 1);
    }
    Ok(())
}

/// Kills writers wherever they are: waiting, in a transaction, in the midst of a commit.
#[test]
fn writers_that_are_killed_at_any_time_leave_whole_records() -> Result<()> {
    let folder = Temporary::new()?;
    let store = Store::open(folder.path())?;
    let start = |number: u32| Process::start(folder.path(), Role::Churn, number);
    let mut writers = (0..6).map(start).collect::<Result<Vec<_>>>()?;
    let mut random = fastrand::Rng::with_seed(7);
    let (begun, mut kills) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(5) {
        let mut victim = writers.swap_remove(random.usize(..writers.len()));
        // It has begun, and what it does at this moment is left to chance.
        victim.wait_until_there()?;
        victim.kill()?;
        kills += 1;
        whole(&store)?;
        writers.push(start(6 + kills)?);
    }
    drop(writers);
    println!("{kills} writers were killed; {} slots are on record", whole(&store)?.slots.len());
    ensure!(kills > 10, "{kills} kills prove nothing");
    Ok(())
}
