//! Tools of the system: `ip`, `nft`, `bpftool`.

use std::{
    ffi::OsStr,
    io::{self, Write as _},
    process::{Command, Output, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::wait::patient;

/// How long a command may take.
const LIMIT: Duration = Duration::from_mins(1);

/// Runs a tool in the calling thread's namespaces, and gives its standard output.
///
/// Fails when it cannot be run, or exits with another status than 0; the error has the command line
/// and what the tool said.
pub fn run<I>(program: &str, arguments: I) -> Result<String>
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    run_with_input(program, arguments, &[])
}

/// Like [`run`], with `input` on standard input.
pub fn run_with_input<I>(program: &str, arguments: I, input: &[u8]) -> Result<String>
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command.args(arguments);
    let output = output_with_input(&mut command, input)?;
    successful(&command, output)
}

/// Runs a command to its end with `input` on standard input; any exit status is a success here.
///
/// It kills a command that takes longer than a minute.
pub fn output_with_input(command: &mut Command, input: &[u8]) -> Result<Output> {
    output_signalled(command, input, &[(patient(LIMIT), Signal::SIGKILL)])
}

/// Like [`output_with_input`], but sends the command these signals. It sends each signal this long after
/// the one before.
pub fn output_signalled(
    command: &mut Command,
    input: &[u8],
    signals: &[(Duration, Signal)],
) -> Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("run {command:?}"))?;
    let pid = Pid::from_raw(child.id().try_into().context("a process id")?);
    let stdin = child.stdin.take();
    let (ended, end) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            for (time, signal) in signals {
                if end.recv_timeout(*time) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                // It may end at this very moment.
                kill(pid, *signal).ok();
            }
        });
        let written = stdin.map_or(Ok(()), |mut stdin| stdin.write_all(input));
        let output = child.wait_with_output().with_context(|| format!("wait for {command:?}"));
        drop(ended);
        match written {
            // It did not read its input to the end: its exit status says what it thinks.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            other => other.with_context(|| format!("write to {command:?}"))?,
        }
        output
    })
}

fn successful(command: &Command, output: Output) -> Result<String> {
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {}", output.status, said.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("output of {command:?}"))
}
