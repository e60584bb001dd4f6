//! `repoint-agent`: the daemon beside the plugin. ADD and DEL never wait for it.
//!
//! It keeps pools filled, scrubs slots that came back, hands the log of the eBPF programs to
//! `tracing`, and loads the data plane before the first container needs it.
#![forbid(unsafe_code)]

mod backoff;
mod heap;
mod housekeeping;
mod journal;
mod place;
mod pool_controller;
mod program_log;
mod scrubber;
mod signals;
mod sweeper;
mod watcher;
mod worker;

use std::{
    convert::Infallible,
    fs::{self, File},
    io::{self, IsTerminal as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use nix::fcntl::{Flock, FlockArg};
use repoint::{
    agent_socket,
    conf::Directories,
    datapath::{Datapath, DatapathError},
    failpoint,
    netns::foreign_mount_namespace,
    node::{Node, NodeError},
    private::{self, PrivateError},
    store::{Slot, StoreError},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::UnixDatagram,
    signal::unix::{SignalKind, signal},
    sync::Notify,
};
use tracing::{debug, error, info, warn};
use tracing_subscriber::EnvFilter;

use crate::{
    housekeeping::UplinkChange,
    place::PlaceError,
    pool_controller::PoolController,
    program_log::{LogReader, ProgramLogError},
    scrubber::Scrubber,
    watcher::{Watcher, watch},
    worker::work,
};

/// How often the agent looks whether its workers have ended.
const WORKER_INTERVAL: Duration = Duration::from_millis(5);
/// How long messages are gathered before the workers are woken.
const GATHERED: Duration = Duration::from_millis(3);

/// Keeps repoint's pools filled and its data plane loaded, and logs what its eBPF programs have to say.
///
/// The environment variable `RUST_LOG` chooses what is logged (default: `info`).
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where the state is that ends with the boot (key `runDir` of the network's configuration)
    #[arg(long, value_name = "DIR", default_value_os_t = Directories::default().run)]
    run_dir: PathBuf,
    /// Where the state is that outlives it (key `stateDir`)
    #[arg(long, value_name = "DIR", default_value_os_t = Directories::default().state)]
    state_dir: PathBuf,
    /// Where maps and programs are pinned (key `bpfDir`)
    #[arg(long, value_name = "DIR", default_value_os_t = Directories::default().bpf)]
    bpf_dir: PathBuf,
    /// How long after a sweep the next one begins
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    sweep_interval: Duration,
}

fn main() -> ExitCode {
    let heap = heap::keep_one();
    let arguments = Arguments::parse();
    // While there is one thread.
    let place = place::enter(&arguments.run_dir);
    match serve(&arguments, heap.err(), place) {
        Err(AgentError::Away) => {
            error!("cannot execute the agent again: {}", place::begin_again());
            ExitCode::FAILURE
        }
        Err(problem) => {
            error!("{problem}");
            ExitCode::FAILURE
        }
        Ok(()) => ExitCode::SUCCESS,
    }
}

/// Runs the agent. `several_heaps` is the error that kept the process from having one heap. `place`
/// is the mount namespace that the agent entered, if it did.
#[tokio::main(flavor = "current_thread")]
async fn serve(
    arguments: &Arguments,
    several_heaps: Option<io::Error>,
    place: Result<Option<PathBuf>, PlaceError>,
) -> Result<(), AgentError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    log.with_ansi(terminal).init();
    if let Some(error) = several_heaps {
        warn!(
            "memory will grow for some hours, by some MiB: cannot execute the agent again: {error}"
        );
    }
    if let Some(path) = place? {
        info!(
            "working in the mount namespace at {}, for which slots' namespaces are kept: the agent was \
             started in another",
            path.display()
        );
    }
    run(arguments).await
}

/// Runs until a signal asks to end, on one database after the other.
async fn run(arguments: &Arguments) -> Result<(), AgentError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(AgentError::Signal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(AgentError::Signal)?;
    let mut quit = signal(SignalKind::quit()).map_err(AgentError::Signal)?;
    let others = signals::Harmless::listen().map_err(AgentError::Signal)?;
    tokio::spawn(others.log());
    loop {
        tokio::select! {
            ended = look_after_node(arguments) => warn!(
                "beginning anew: {}; containers that run keep their traffic for a while, and their slots are \
                 not on record: put the database back, or stop them",
                ended?
            ),
            _ = interrupt.recv() => {
                info!("ending: interrupted");
                return Ok(());
            }
            _ = terminate.recv() => {
                info!("ending: asked to terminate");
                return Ok(());
            }
            _ = quit.recv() => {
                info!("ending: asked to quit");
                return Ok(());
            }
        }
    }
}

/// Manages the node while plugins use its database. Returns why they no longer do.
async fn look_after_node(arguments: &Arguments) -> Result<StoreError, AgentError> {
    let _only = only_agent(&arguments.run_dir)?;
    let directories = Directories {
        run: arguments.run_dir.clone(),
        state: arguments.state_dir.clone(),
        bpf: arguments.bpf_dir.clone(),
    };
    let node = Arc::new(Node::open(&directories)?.for_agent());
    // Before anything is made.
    node.ensure_host_netns()?;
    let socket = listen(&arguments.run_dir)?;
    drop(Datapath::load(&arguments.bpf_dir, &arguments.run_dir)?);
    info!(bpf_dir = %arguments.bpf_dir.display(), "the data plane is loaded");
    let uplink = Arc::new(UplinkChange::default());
    let controller = PoolController::new(Arc::clone(&node), Arc::clone(&uplink))?;
    let scrubber = Scrubber::new(Arc::clone(&node));
    let watcher = Watcher::new(Arc::clone(&node)).map_err(NodeError::from)?;
    failpoint::hit("agent:resumed");
    let (reloaded, for_controller, for_scrubber) = (Notify::new(), Notify::new(), Notify::new());
    let for_sweeper = Notify::new();
    let sweep =
        sweeper::sweep(Arc::clone(&node), arguments.sweep_interval, &reloaded, &for_sweeper);
    let ended = tokio::select! {
        ended = drain_logs(&node, &reloaded) => ended,
        ended = hear(socket, &arguments.run_dir, [&for_controller, &for_scrubber]) => match ended? {},
        ended = work(controller, &node, &for_controller) => ended,
        ended = work(scrubber, &node, &for_scrubber) => ended,
        away = leave_wrong_place(&arguments.run_dir) => Err(away),
        ended = watch(watcher, &node, [&for_controller, &for_sweeper], &uplink) => ended,
        ended = sweep => match ended {},
    };
    // Waits for the workers. No record would have what they still build, and no sweep of the next
    // database would expect it.
    while Arc::strong_count(&node) > 1 {
        tokio::time::sleep(WORKER_INTERVAL).await;
    }
    ended
}

/// Returns when the namespace store is for another mount namespace than the agent's. The agent may
/// have started before there was a store.
async fn leave_wrong_place(run_dir: &Path) -> AgentError {
    loop {
        tokio::time::sleep(place::INTERVAL).await;
        let run_dir = run_dir.to_owned();
        let look = move || foreign_mount_namespace(&run_dir);
        match tokio::task::spawn_blocking(look).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(_))) => {
                warn!(
                    "the agent is in another mount namespace than the one for which slots' namespaces are \
                     kept: going there"
                );
                return AgentError::Away;
            }
            Ok(Err(error)) => warn!("cannot find out where slots' namespaces are kept: {error}"),
            Err(_) => return AgentError::Worker("watch over the place"),
        }
    }
}

/// Takes the lock that keeps out a second agent. Makes the run directory if it is missing.
fn only_agent(run_dir: &Path) -> Result<Flock<File>, AgentError> {
    let path = run_dir.join("agent.lock");
    private::folder(run_dir)?;
    let file = private::file(File::options().create(true).append(true), &path)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::Error::EWOULDBLOCK => AgentError::Second { path: path.clone() },
        other => AgentError::Lock { path: path.clone(), source: other.into() },
    })
}

/// Listens for plugins, after it has removed the socket of a killed agent.
fn listen(run_dir: &Path) -> Result<UnixDatagram, AgentError> {
    let path = agent_socket::path(run_dir);
    let failed = |source| AgentError::Listen { path: path.clone(), source };
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    failpoint::hit("agent:silent");
    let socket = UnixDatagram::bind(&path).map_err(failed)?;
    private::socket(&path)?;
    failpoint::hit("agent:listens");
    Ok(socket)
}

/// Wakes the workers whenever a plugin or the CLI sends something; returns on failure only. Makes a
/// removed socket again, because plugins would not find the agent.
async fn hear(
    mut socket: UnixDatagram,
    run_dir: &Path,
    workers: [&Notify; 2],
) -> Result<Infallible, AgentError> {
    let path = agent_socket::path(run_dir);
    let inode = || fs::symlink_metadata(&path).map(|found| found.ino()).ok();
    loop {
        let own = inode();
        tokio::select! {
            ended = hear_all(socket, workers) => match ended? {},
            () = removed(|| inode() != own) => {}
        }
        socket = loop {
            match listen(run_dir) {
                Ok(again) => break again,
                // Where the folder is gone as well, the agent begins anew.
                Err(error) => warn!("{error}"),
            }
            tokio::time::sleep(place::INTERVAL).await;
        };
        warn!("{} was removed, and is made again: plugins did not find the agent", path.display());
        // The workers handle what plugins left meanwhile.
        workers.into_iter().for_each(Notify::notify_one);
    }
}

/// Returns when something `is_gone`.
async fn removed(is_gone: impl Fn() -> bool) {
    while !is_gone() {
        tokio::time::sleep(place::INTERVAL).await;
    }
}

/// Wakes the workers a moment after a message. Calls come in bursts: work for the first call would take the
/// database's lock and the CPU from the next calls. Where the queue is full meanwhile, only lines of the log
/// are lost.
async fn hear_all(
    mut socket: UnixDatagram,
    workers: [&Notify; 2],
) -> Result<Infallible, AgentError> {
    let mut message = [0; agent_socket::LONGEST];
    loop {
        let length = socket.recv(&mut message).await.map_err(AgentError::Receive)?;
        log_message(&message[..length]);
        // While the socket is not registered with the runtime, further messages wake no thread.
        let unregistered = socket.into_std().map_err(AgentError::Receive)?;
        tokio::time::sleep(GATHERED).await;
        while let Ok(length) = unregistered.recv(&mut message) {
            log_message(&message[..length]);
        }
        socket = UnixDatagram::from_std(unregistered).map_err(AgentError::Receive)?;
        workers.into_iter().for_each(Notify::notify_one);
    }
}

/// Logs what a plugin or the CLI says.
fn log_message(message: &[u8]) {
    if !message.is_empty() {
        debug!("{}", String::from_utf8_lossy(message));
    }
}

/// Reads the programs' log, and the log of new programs once they are `reloaded`. Returns on failure only.
async fn drain_logs(node: &Arc<Node>, reloaded: &Notify) -> Result<StoreError, AgentError> {
    loop {
        tokio::select! {
            ended = drain_log(node) => match ended? {},
            () = reloaded.notified() => info!("the data plane was loaded anew"),
        }
    }
}

/// Hands what the programs log to `tracing`, as it comes; returns on failure only.
async fn drain_log(node: &Arc<Node>) -> Result<Infallible, AgentError> {
    let named = Arc::clone(node);
    let name = move |ifindex| slot_at(&named, ifindex);
    let log = LogReader::open_existing(&node.directories.bpf, name)?;
    let log = log.ok_or(AgentError::Unloaded)?;
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

/// The slot with this interface, for the programs' log, which has only the index.
fn slot_at(node: &Node, ifindex: u32) -> Option<String> {
    let slots = node.slots().ok()?;
    slots.iter().find(|slot| slot.host_ifindex() == Some(ifindex)).map(Slot::described)
}

/// Why the agent ends.
#[derive(Debug, thiserror::Error)]
enum AgentError {
    #[error("cannot listen for signals: {0}")]
    Signal(#[source] io::Error),
    #[error("cannot wait for the log of the eBPF programs: {0}")]
    Wait(#[source] io::Error),
    #[error("the agent is in another mount namespace than the runtimes")]
    Away,
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Private(#[from] PrivateError),
    #[error("cannot lock {path}: {source}")]
    Lock { path: PathBuf, source: io::Error },
    #[error("another repoint-agent runs already: it holds {path}")]
    Second { path: PathBuf },
    #[error("cannot listen at {path}: {source}")]
    Listen { path: PathBuf, source: io::Error },
    #[error("cannot hear plugins: {0}")]
    Receive(#[source] io::Error),
    #[error("cannot wait for notifications of the kernel: {0}")]
    Watch(#[source] io::Error),
    #[error("the {0} ended early")]
    Worker(&'static str),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("the data plane was unloaded while the agent started")]
    Unloaded,
    #[error(transparent)]
    ProgramLog(#[from] ProgramLogError),
    #[error(transparent)]
    Datapath(#[from] DatapathError),
}
