//! One call, timed.

use std::{
    env,
    ffi::OsString,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::contestant::{Contestant, Operation};
use crate::dist;

/// A call that is ready to be made.
pub struct Timed {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    stdin: Vec<u8>,
    operation: Operation,
}

impl Timed {
    /// An operation of a contestant, for interface `eth0` of a container.
    pub fn new(
        contestant: &Contestant,
        operation: Operation,
        container_id: &str,
        netns: &Path,
    ) -> Self {
        let configuration = contestant.configuration.as_ref();
        Self {
            program: contestant.program.clone(),
            arguments: Vec::new(),
            environment: vec![
                // The reference plugins look for iptables.
                ("PATH", env::var_os("PATH").unwrap_or_default()),
                ("CNI_PATH", dist::cni_path().into()),
                ("CNI_COMMAND", operation.name().into()),
                ("CNI_CONTAINERID", container_id.into()),
                ("CNI_NETNS", netns.into()),
                ("CNI_IFNAME", "eth0".into()),
            ],
            stdin: configuration.map_or_else(Vec::new, |value| value.to_string().into_bytes()),
            operation,
        }
    }

    /// The same call, made by another program, which is given `arguments` and then the plugin.
    pub fn by(self, program: &str, arguments: impl IntoIterator<Item = OsString>) -> Self {
        let mut arguments: Vec<OsString> = arguments.into_iter().collect();
        arguments.push(self.program.into());
        Self { program: program.into(), arguments, ..self }
    }

    /// Makes it in the calling thread's namespaces. Gives the time from before the process is made until
    /// it has ended and no process holds its output any more, which is what libcni waits for.
    ///
    /// Standard input is a pipe that holds all of it from the start.
    pub fn run(&self) -> Result<Duration> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear();
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let (stdin, mut filling) = io::pipe().context("make a pipe")?;
        filling.write_all(&self.stdin).context("write to a pipe that nobody reads yet")?;
        drop(filling);
        let (mut output, writing) = io::pipe().context("make a pipe")?;
        command
            .stdin(stdin)
            .stdout(writing.try_clone().context("duplicate a pipe")?)
            .stderr(writing);
        let mut said = Vec::new();

        let start = Instant::now();
        let child = command.spawn();
        // It holds our ends of the pipes.
        drop(command);
        let mut child = child.with_context(|| format!("run {}", self.program.display()))?;
        let read = output.read_to_end(&mut said);
        let status = child.wait();
        let duration = start.elapsed();

        read.context("read the output of a plugin")?;
        let status = status.context("wait for a plugin")?;
        if !status.success() {
            let (program, verb) = (self.program.display(), self.operation.name());
            let said = String::from_utf8_lossy(&said);
            bail!("{program} {verb}: {status}: {}", said.trim());
        }
        Ok(duration)
    }
}
