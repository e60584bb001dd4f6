//! Pages of the LMDB environments.
//!
//! There is no table of readers: repoint keeps readers and writers apart by a lock on the data file.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use anyhow::{Context as _, Result};
use lmdb::{Environment, EnvironmentFlags};

use super::reading::{Group, Reading, float};
use crate::node::Dirs;

/// How far pages may rise, percent of their number: of some fifty, one is two percent.
const PAGES: f64 = 5.0;
/// LMDB's data file in the folder.
const DATA: &str = "data.mdb";
/// Bytes of a block, the unit of `st_blocks` (stat(2)).
const BLOCK: u32 = 512;
/// The largest of both map sizes; reading needs no more than the file has.
const MAP_SIZE: usize = 256 << 20;

/// Of both environments: pages in use, pages of the file, and what the file takes.
pub(super) fn readings(dirs: &Dirs) -> Result<Vec<Reading>> {
    let mut readings = Vec::new();
    for (name, folder) in
        [("state", dirs.run.join("state")), ("templates", dirs.state.join("templates"))]
    {
        readings.extend(environment(name, &folder)?);
    }
    Ok(readings)
}

fn environment(name: &str, folder: &Path) -> Result<[Reading; 3]> {
    let pages = Pages::read(folder).with_context(|| format!("look at {}", folder.display()))?;
    let data = folder.join(DATA);
    let metadata = fs::metadata(&data).with_context(|| format!("stat {}", data.display()))?;
    let blocks = float(usize::try_from(metadata.blocks())?);
    let kibibytes = blocks * f64::from(BLOCK) / 1024.0;
    let level =
        |what, figure| Reading::level(Group::Database, format!("{name}, {what}"), figure, PAGES);
    Ok([
        level("pages in use", (float(pages.used), "")),
        level("pages of the file", (float(pages.all), "")),
        level("file", (kibibytes, "KiB")),
    ])
}

struct Pages {
    used: usize,
    all: usize,
}

impl Pages {
    /// Counts under the readers' lock, so that no process writes meanwhile.
    fn read(folder: &Path) -> Result<Self> {
        let data = File::open(folder.join(DATA)).context("open its file")?;
        data.lock_shared().context("lock it")?;
        let flags = EnvironmentFlags::READ_ONLY | EnvironmentFlags::NO_LOCK;
        let environment = Environment::new()
            .set_flags(flags | EnvironmentFlags::NO_TLS)
            .set_map_size(MAP_SIZE)
            .open(folder)
            .context("open it")?;
        let all = environment.info().context("count its pages")?.last_pgno() + 1;
        let free = environment.freelist().context("count its free pages")?;
        Ok(Self { used: all.saturating_sub(free), all })
    }
}
