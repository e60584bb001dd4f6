//! `repoint-agent`: the daemon beside the plugin. ADD and DEL never wait for it.
//!
//! It drains what the eBPF programs log into `tracing`, and sees to it that the data plane is
//! loaded before the first container asks.
#![forbid(unsafe_code)]

use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use repoint::{
    conf::Directories,
    datapath::{Datapath, DatapathError, LogReader},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{SignalKind, signal},
};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

/// Keeps repoint's data plane loaded and logs what its eBPF programs have to say.
///
/// The environment variable `RUST_LOG` chooses what is logged (default: `info`).
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where the state is that ends with the boot (key `runDir` of the network's configuration)
    #[arg(long, value_name = "DIR", default_value_os_t = Directories::default().run)]
    run_dir: PathBuf,
    /// Where maps and programs are pinned (key `bpfDir`)
    #[arg(long, value_name = "DIR", default_value_os_t = Directories::default().bpf)]
    bpf_dir: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    log.with_ansi(terminal).init();
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            error!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// Runs until a signal asks to end.
async fn run(arguments: &Arguments) -> Result<(), AgentError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(AgentError::Signal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(AgentError::Signal)?;
    drop(Datapath::load(&arguments.bpf_dir, &arguments.run_dir)?);
    info!(bpf_dir = %arguments.bpf_dir.display(), "the data plane is loaded");
    tokio::select! {
        ended = drain_log(&arguments.bpf_dir) => return ended,
        _ = interrupt.recv() => info!("ending: interrupted"),
        _ = terminate.recv() => info!("ending: asked to terminate"),
    }
    Ok(())
}

/// Hands what the programs log to `tracing`, as it comes; returns on failure only.
async fn drain_log(bpf_dir: &Path) -> Result<(), AgentError> {
    let log = LogReader::open_existing(bpf_dir)?.ok_or(AgentError::Unloaded)?;
    #[expect(
        deprecated,
        reason = "its successor is unsafe: the descriptor must stay the same and open, which it \
                  does as long as the reader lives"
    )]
    let mut log = AsyncFd::with_interest(log, Interest::READABLE).map_err(AgentError::Wait)?;
    loop {
        let mut ready = log.readable_mut().await.map_err(AgentError::Wait)?;
        ready.get_inner_mut().drain();
        ready.clear_ready();
    }
}

/// Why the agent ends.
#[derive(Debug, thiserror::Error)]
enum AgentError {
    #[error("cannot listen for signals: {0}")]
    Signal(#[source] io::Error),
    #[error("cannot wait for the log of the eBPF programs: {0}")]
    Wait(#[source] io::Error),
    #[error("the data plane was unloaded while the agent started")]
    Unloaded,
    #[error(transparent)]
    Datapath(#[from] DatapathError),
}
