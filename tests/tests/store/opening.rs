//! Many processes that open a database at once, also while it is not there.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use repoint::store::Store;

use crate::{
    process::{Process, Role},
    whole,
};

/// A folder that is removed in the end.
#[derive(Debug)]
pub struct Temporary(PathBuf);

impl Temporary {
    /// A name of a folder that is not there.
    pub fn new() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("repoint-store-{}-{number}", process::id()));
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", path.display()))
            }
            _ => Ok(Self(path)),
        }
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It may not have been made.
        fs::remove_dir_all(&self.0).ok();
    }
}

#[test]
fn many_open_at_once_what_is_not_there() -> Result<()> {
    let folder = Temporary::new()?;
    let mut processes = Vec::new();
    for number in 0..200 {
        processes.push(Process::start(folder.path(), Role::Number, number)?);
    }
    let mut numbers = BTreeSet::new();
    for process in &mut processes {
        numbers.insert(process.wait_until_there()?);
    }
    ensure!(numbers.len() == 200, "{} slot numbers for 200 processes", numbers.len());
    ensure!(whole(&Store::open(folder.path())?)?.slots.len() == 200);
    Ok(())
}

/// Who makes it may be killed meanwhile.
#[test]
fn killed_makers_leave_what_others_finish() -> Result<()> {
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..20 {
        let folder = Temporary::new()?;
        let start = |number| Process::start(folder.path(), Role::Number, number);
        let victims = (0..4).map(start).collect::<Result<Vec<_>>>()?;
        let mut survivor = start(4)?;
        // Somewhere between being executed and being done.
        let until = Instant::now() + Duration::from_micros(random.u64(..15_000));
        while Instant::now() < until {
            thread::yield_now();
        }
        victims.into_iter().try_for_each(Process::kill)?;
        survivor.wait_until_there()?;
        whole(&Store::open(folder.path())?)?;
    }
    Ok(())
}

/// What was begun and never finished is begun anew, if there is nothing in it.
#[test]
fn files_of_any_length_below_the_shortest_are_begun_anew() -> Result<()> {
    for length in [0, 1, 100, 4095, 4096, 5000, 8191] {
        let folder = Temporary::new()?;
        fs::create_dir_all(folder.path())?;
        fs::write(folder.path().join("data.mdb"), vec![0; length])?;
        let store = Store::open(folder.path()).with_context(|| format!("{length} bytes"))?;
        store.grow(|transaction| crate::add_slot(transaction, 1))?;
        whole(&store)?;
    }
    Ok(())
}
