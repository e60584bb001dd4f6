//! The system calls of one ADD that is served from a pool.

use std::{ffi::OsString, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use super::{
    contestant::{Contestant, Operation},
    pool::Pool,
    timed::Timed,
};
use crate::{Netns, Node, dist::workspace};

/// What no line of the trace may begin with, after the process id: there is nothing to build.
const ABSENT: [&str; 5] = ["socket(AF_NETLINK", "fork(", "vfork(", "clone(", "clone3("];

/// Columns of the table, and what its header ends with.
const COLUMNS: &str = "calls,errors,name";
const HEADER: &str = "errors syscall";

/// System calls, counted.
#[derive(Debug, Clone, Serialize)]
pub struct Trace {
    /// Name of the contestant.
    pub contestant: &'static str,
    /// The table of `strace -c`.
    pub summary: String,
}

/// Traces an ADD, and fails where there is a netlink socket or another process in it.
pub(super) fn run(contestant: &Contestant, node: &Node) -> Result<Trace> {
    eprintln!("trace: one ADD of {}", contestant.name);
    let file = workspace().join("target/bench/add.strace");
    let pool = Pool::of(contestant, node).context("a network without a pool")?;
    node.run(|| {
        let netns = Netns::create("trace")?;
        let call = |operation| Timed::new(contestant, operation, "trace", netns.path());
        let before = pool.status()?;
        // The calls, of descendants as well, and the table; without times, which are strace's.
        let arguments = ["-f", "-C", "-S", "calls", "-U", COLUMNS, "-o"];
        let arguments = arguments.map(OsString::from).into_iter();
        call(Operation::Add).by("strace", arguments.chain([file.clone().into()])).run()?;
        pool.require_hits(&before, 1)?;
        call(Operation::Del).run()?;
        pool.until_at_rest()
    })?;
    Ok(Trace { contestant: contestant.name, summary: summary(&file)? })
}

fn summary(file: &Path) -> Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let table = text.find(HEADER).context("strace printed no table")?;
    let (calls, table) = text.split_at(text[..table].rfind('\n').map_or(0, |end| end + 1));
    for line in calls.lines() {
        // "PID call(arguments) = value"
        let call = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        let found = ABSENT.iter().find(|absent| call.starts_with(**absent));
        ensure!(found.is_none(), "an ADD that is served from a pool does {line}");
    }
    ensure!(calls.contains("move_mount("), "no namespace was mounted: {}", file.display());
    Ok(table.to_owned())
}
