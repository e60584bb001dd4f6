//! One call of one plugin: environment and standard input in, exit status and JSON out.

use std::{
    ffi::{OsStr, OsString},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::Value;

use crate::{command, wait::patient};

/// How long a call may take.
const LIMIT: Duration = Duration::from_mins(1);

/// What a plugin is called with (CNI spec, section 2).
#[derive(Debug, Clone)]
pub struct Call {
    plugin: PathBuf,
    environment: Vec<(&'static str, OsString)>,
    stdin: Vec<u8>,
}

impl Call {
    /// A call of `CNI_COMMAND` with a configuration; nothing else is set.
    #[must_use]
    pub fn new(plugin: impl Into<PathBuf>, verb: &str, configuration: &Value) -> Self {
        let stdin = configuration.to_string().into_bytes();
        Self { plugin: plugin.into(), environment: vec![("CNI_COMMAND", verb.into())], stdin }
    }

    /// Sets `CNI_CONTAINERID`.
    #[must_use]
    pub fn container_id(self, id: &str) -> Self {
        self.variable("CNI_CONTAINERID", id)
    }

    /// Sets `CNI_NETNS`.
    #[must_use]
    pub fn netns(self, path: &Path) -> Self {
        self.variable("CNI_NETNS", path)
    }

    /// Sets `CNI_IFNAME`.
    #[must_use]
    pub fn ifname(self, name: &str) -> Self {
        self.variable("CNI_IFNAME", name)
    }

    /// Sets `CNI_ARGS`.
    #[must_use]
    pub fn args(self, args: &str) -> Self {
        self.variable("CNI_ARGS", args)
    }

    /// Sets `CNI_PATH`.
    #[must_use]
    pub fn path(self, path: &str) -> Self {
        self.variable("CNI_PATH", path)
    }

    /// Replaces standard input by bytes that need not be JSON.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Sets another variable of the environment.
    #[must_use]
    pub fn variable(mut self, name: &'static str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name, value.as_ref().to_owned()));
        self
    }

    /// The command that the call runs, without standard input.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.plugin);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// What it has on standard input.
    #[must_use]
    pub fn input(&self) -> &[u8] {
        &self.stdin
    }

    /// Runs it to its end in the calling thread's namespaces.
    pub fn run(&self) -> Result<Outcome> {
        self.run_signalled(&[(patient(LIMIT), Signal::SIGKILL)])
    }

    /// Like [`Self::run`], but sends the process these signals. It sends each signal this long after the
    /// one before.
    pub fn run_signalled(&self, signals: &[(Duration, Signal)]) -> Result<Outcome> {
        let mut command = self.command();
        let start = Instant::now();
        let output = command::output_signalled(&mut command, &self.stdin, signals)?;
        Ok(Outcome {
            call: self.name(),
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            duration: start.elapsed(),
        })
    }

    fn name(&self) -> String {
        let plugin = self.plugin.file_name().unwrap_or_default().to_string_lossy();
        let verb = self.environment.first().map(|(_, verb)| verb.to_string_lossy());
        format!("{plugin} {}", verb.unwrap_or_default())
    }
}

/// How a call ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    call: String,
    /// Exit status.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// From before the process was made to after its end.
    pub duration: Duration,
}

/// What a plugin prints when it fails (CNI spec, section 5, Error).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CniError {
    /// Numeric code; below 100 the spec's own.
    pub code: u32,
    /// Short message.
    pub msg: String,
    /// Longer description.
    #[serde(default)]
    pub details: String,
}

impl Outcome {
    /// Whether it was killed before it ended by itself.
    #[must_use]
    pub fn was_killed(&self) -> bool {
        self.status.signal().is_some()
    }

    /// What was called: the plugin and the verb.
    #[must_use]
    pub fn call(&self) -> &str {
        &self.call
    }

    /// Fails with what the plugin said when the call did not succeed.
    pub fn success(self) -> Result<Self> {
        if self.status.success() {
            return Ok(self);
        }
        let said = format!("{} {}", self.stdout.trim(), self.stderr.trim());
        bail!("{}: {}: {}", self.call, self.status, said.trim())
    }

    /// The one JSON document of a call that succeeded.
    pub fn json(self) -> Result<Value> {
        let outcome = self.success()?;
        serde_json::from_str(&outcome.stdout)
            .with_context(|| format!("{}: output {:?}", outcome.call, outcome.stdout))
    }

    /// The error of a call that failed as the spec wants it.
    pub fn error(self) -> Result<CniError> {
        if self.status.success() {
            bail!("{} succeeded, an error was expected: {}", self.call, self.stdout.trim());
        }
        serde_json::from_str(&self.stdout).map_err(|error| {
            anyhow!(
                "{}: {}: no CNI error: {error}: {:?} {}",
                self.call,
                self.status,
                self.stdout,
                self.stderr
            )
        })
    }
}
