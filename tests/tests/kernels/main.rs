//! Other kernels, and nodes without IPv6: a container's whole life on Debian's kernels, in virtual
//! machines (`cargo xtask vm`), and on this one.
//!
//! The modules [`here`] and [`guest`] are what a guest runs of this suite; beside them, it runs the
//! packet tables of the suite `programs`, and the recipes of the suite `policy_objects` that are about SCTP.
#![cfg(test)]

mod guest;
mod here;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    dist::{self, dist},
    share::Share,
};

/// Exit status of `cargo xtask vm` where this machine cannot start a guest.
const CANNOT: i32 = 77;
/// How many test executables each part runs.
const EXECUTABLES: usize = 2;
/// How long a guest may take on a busy machine.
const MINUTES: &str = "40";
/// Packet tables: modules of the suite `programs`.
const TABLES: [&str; 11] = [
    "addresses::",
    "destinations::forged",
    "destinations::large_packets",
    "destinations::packets_",
    "headers::",
    "pins::the_verifier",
    "policies::errors",
    "policies::flows",
    "policies::fragments",
    "policies::rules",
    "protocols::",
];

/// What a guest runs.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// A container's whole life, and the packet tables.
    Life,
    /// What needs kernel modules that this machine lacks, and then a life of IPv4 beside them.
    Modules,
}

impl Part {
    /// The shell's words for it; `$0` is this suite, `$1` the suite `programs`, `$2` the suite `policy_objects`.
    fn script(self) -> String {
        let own = |tests: &str| {
            format!(r#""$0" {tests} --include-ignored --nocapture --test-threads 1 --color never"#)
        };
        match self {
            Self::Life => format!(
                r#"{} && "$1" --color never {}"#,
                own("here:: guest:: --skip guest::modules::"),
                TABLES.join(" ")
            ),
            Self::Modules => format!(
                r#"{} && "$2" --color never --nocapture recipes_hold_under_real_sctp"#,
                own("guest::modules:: here::ipv4")
            ),
        }
    }
}

/// Boots a kernel and runs a part in it.
fn boots(kernel: &str, append: &[&str], part: Part) -> Result<()> {
    let own = env::current_exe().context("path of this suite")?;
    let (programs, objects) = (sibling(&own, "programs")?, sibling(&own, "policy_objects")?);
    let mut guest = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    guest.current_dir(dist::workspace());
    guest.env("REPOINT_DIST", dist()).stdin(Stdio::null());
    guest.args(["xtask", "vm", "--kernel", kernel, "--minutes", MINUTES]);
    for words in append {
        guest.args(["--append", words]);
    }
    // The emulated machine is slow, on a busy one more so.
    guest.args(["--", "env", "REPOINT_PATIENCE=10", "sh", "-c", &part.script()]);
    guest.args([&own, &programs, &objects]);
    let output = guest.output().with_context(|| format!("run {guest:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    // Never inherited: virtme-ng opens a standard error that is a file anew, and empties it.
    println!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(CANNOT) {
        println!("skipped: this machine cannot start a guest; standard error says why");
        return Ok(());
    }
    ensure!(output.status.success(), "the guest's command: {}", output.status);
    ensure!(text.contains(&format!("kernel {kernel}.")), "another kernel than {kernel}");
    ensure!(!text.contains("skipped: "), "the guest skipped a part");
    let results: Vec<_> = text.lines().filter(|line| line.starts_with("test result: ")).collect();
    let passed = |line: &&str| line.starts_with("test result: ok. ") && !line.contains(" 0 passed");
    ensure!(results.len() == EXECUTABLES && results.iter().all(passed), "{results:?}");
    Ok(())
}

/// The executable of another suite that was built last, beside this one.
fn sibling(own: &Path, name: &str) -> Result<PathBuf> {
    let folder = own.parent().context("this suite is in no folder")?;
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let built = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let (stem, hash) = path.file_name()?.to_str()?.rsplit_once('-')?;
        let is_suite = stem == name && hash.chars().all(|c| c.is_ascii_hexdigit());
        is_suite.then_some(Some((path.metadata().ok()?.modified().ok()?, path)))?
    });
    let newest = built.max().with_context(|| format!("suite {name} is not built"))?;
    Ok(newest.1)
}

/// Kernels, what is appended to their command lines, and what runs there.
const BOOTS: [(&str, &[&str], Part); 5] = [
    ("6.1", &[], Part::Life),
    ("6.1", &["ipv6.disable=1"], Part::Life),
    ("6.12", &[], Part::Life),
    ("6.1", &[], Part::Modules),
    ("6.12", &[], Part::Modules),
];

/// One of them, or all under `cargo xtask test --whole`: each takes minutes without KVM.
#[test]
fn other_kernels() -> Result<()> {
    for (kernel, append, part) in Share::drawn(5)?.pick(&BOOTS) {
        println!("Linux {kernel} {append:?}, {part:?}");
        boots(kernel, append, part)
            .with_context(|| format!("Linux {kernel} {append:?}, {part:?}"))?;
    }
    Ok(())
}
