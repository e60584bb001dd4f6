//! One guest: from its kernel to the exit status of its command.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt::Write as _,
    fs,
    io::{self, BufRead as _, BufReader, PipeReader, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
};

use anyhow::{Context as _, Result};

use super::kernel::Kernel;
use crate::{command, paths};

/// What the guest's last line begins with; the exit status follows.
const ENDED: &str = "repoint-vm: exit ";
/// Variables of the environment that the command has in the guest, too.
const PASSED_ON: [&str; 5] = [
    "REPOINT_DIST",
    "REPOINT_DIST_FAILPOINTS",
    "REPOINT_CONFORMANCE",
    "RUST_BACKTRACE",
    "RUST_LOG",
];

/// A guest to be started.
#[derive(Debug)]
pub(super) struct Guest<'a> {
    pub kernel: &'a Kernel,
    pub emulator: &'a Path,
    pub append: &'a [String],
    /// In MiB.
    pub memory: u32,
    pub minutes: u32,
}

impl Guest<'_> {
    /// Runs a command in the guest, with its output on ours; none: the guest ended before it.
    pub(super) fn run(&self, vng: &Path, command: &[OsString]) -> Result<Option<u8>> {
        let script = Script::write(command)?;
        let mut guest = self.command(vng, &script.0);
        let line = command::shell_line(&guest);
        eprintln!("+ {line}");
        // vng writes the console to either, depending on what they are. It would open a file anew, and
        // empty it.
        let (reader, writer) = io::pipe().context("make a pipe")?;
        guest
            .stdin(Stdio::null())
            .stdout(writer.try_clone().context("share a pipe")?)
            .stderr(writer);
        let mut child = guest.spawn().with_context(|| format!("`{line}` does not start"))?;
        // This closes the pipe's writing ends on this side.
        drop(guest);
        let status = pass_on(reader);
        child.wait().with_context(|| format!("wait for `{line}`"))?;
        status.with_context(|| format!("output of `{line}`"))
    }

    fn command(&self, vng: &Path, script: &Path) -> Command {
        // `timeout` ends the whole process group, QEMU included.
        let mut guest = Command::new("timeout");
        guest.arg(format!("{}m", self.minutes)).arg(vng);
        guest.arg("--run").arg(&self.kernel.image);
        // Without KVM; and without virtiofs, which needs a daemon of its own.
        // The guest's console is the only way out for its output: the others need udev here.
        guest.args(["--verbose", "--append", "quiet"]);
        // On a busy machine the emulated timer fails the check that the kernel makes of it, and the boot ends.
        guest.args(["--append", "no_timer_check"]);
        guest.args(["--disable-kvm", "--force-9p", "--cpus", "2", "--memory"]);
        guest.arg(format!("{}M", self.memory));
        for words in self.append {
            guest.arg("--append").arg(words);
        }
        let path = env::var_os("PATH").unwrap_or_default();
        // vng calls the emulator, and the other programs of its package, by their names.
        let folders =
            [vng, self.emulator].map(|program| program.parent().unwrap_or(program).to_owned());
        let path = env::join_paths(folders.into_iter().chain(env::split_paths(&path)));
        guest.envs(path.ok().map(|path| ("PATH", path)));
        // Cargo's, which would be Python's as well.
        guest.env_remove("LD_LIBRARY_PATH");
        guest.arg("--exec").arg(format!("sh {}", quoted(script.as_os_str())));
        guest
    }
}

/// Passes on what the guest prints, and finds how its command ended.
fn pass_on(output: PipeReader) -> io::Result<Option<u8>> {
    let (mut status, mut stdout) = (None, io::stdout().lock());
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        stdout.write_all(line)?;
        stdout.write_all(b"\n")?;
        stdout.flush()?;
        let text = String::from_utf8_lossy(line);
        status = text.strip_prefix(ENDED).and_then(|code| code.trim().parse().ok()).or(status);
    }
    Ok(status)
}

/// A file that the guest's shell runs, gone when it is dropped.
struct Script(PathBuf);

impl Script {
    fn write(command: &[OsString]) -> Result<Self> {
        let folder = paths::workspace().join("target/vm");
        let script = Self(folder.join(format!("{}.sh", process::id())));
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&script.0, text(command)))
            .with_context(|| format!("write {}", script.0.display()))?;
        Ok(script)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // What is left is written over some day.
        fs::remove_file(&self.0).ok();
    }
}

fn text(command: &[OsString]) -> String {
    let mut text = String::from(
        "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp\n",
    );
    for name in PASSED_ON {
        if let Some(value) = env::var_os(name) {
            let _ = writeln!(text, "export {name}={}", quoted(&value));
        }
    }
    if let Some(dist) = env::var_os("REPOINT_DIST") {
        let _ = writeln!(text, "{}", local_copy(&dist));
    }
    let words: Vec<_> = command.iter().map(|word| quoted(word)).collect();
    let place = quoted(paths::workspace().as_os_str());
    let _ = writeln!(text, "mount -t bpf bpf /sys/fs/bpf");
    let _ = writeln!(text, "cd {place} || exit 1\n{}\necho \"{ENDED}$?\"", words.join(" "));
    text
}

/// Has the executables in the guest's memory: over 9p they would be read anew at each call.
fn local_copy(dist: &OsStr) -> String {
    let from = quoted(dist);
    format!(
        "mkdir /tmp/repoint-dist && cp {from}/repoint* /tmp/repoint-dist && \
         export REPOINT_DIST=/tmp/repoint-dist"
    )
}

fn quoted(word: &OsStr) -> String {
    let text = String::from_utf8_lossy(word.as_bytes());
    shlex::try_quote(&text).map_or_else(|_| text.clone().into_owned(), |quoted| quoted.into_owned())
}
