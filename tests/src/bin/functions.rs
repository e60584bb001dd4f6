//! Records which functions of the plugin an ADD and a DEL run, and writes the linker script that puts
//! these next to each other: `cni-plugin/functions.ld`.
//!
//! Containers are started and stopped on a node in namespaces of its own. This program takes the plugin's
//! place there, and runs the plugin instruction by instruction (`ptrace(2)`).
#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{self, Command, ExitCode},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    errno::Errno,
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use repoint_tests::{
    Container,
    dist::{self, dist},
    functions::{Functions, pattern, script},
    pooled::with_pool,
};
use serde_json::json;

/// Name of the plugin's executable, and of the copy of this program that runtimes call.
const PLUGIN: &str = "repoint-cni";
/// Name of the plugin's executable beside this program.
const REAL: &str = "plugin";
/// Folder of the traces, beside this program.
const TRACES: &str = "traces";
/// Argument of the process that starts containers.
const RUN: &str = "run";
/// The kinds of ADD and DEL, in the order in which their functions are placed: with slots that wait, and with
/// interfaces of their own. An ADD that builds a slot exceeds the time limit of a call, step by step.
const KINDS: [&str; 2] = ["warm", "direct"];
/// Starts and stops of a container before those that count.
const WARM_UP: usize = 2;
/// Where the script goes, in the workspace.
const SCRIPT: &str = "cni-plugin/functions.ld";

fn main() -> ExitCode {
    let mut arguments = env::args_os();
    let name = arguments.next().map(PathBuf::from).unwrap_or_default();
    let done = if name.file_name().is_some_and(|name| name == PLUGIN) {
        step().map(ExitCode::from)
    } else if arguments.next().is_some_and(|argument| argument == RUN) {
        run_containers().map(|()| ExitCode::SUCCESS)
    } else {
        write_script().map(|()| ExitCode::SUCCESS)
    };
    done.unwrap_or_else(|error| {
        eprintln!("functions: {error:#}");
        ExitCode::FAILURE
    })
}

/// The folder of this executable.
fn own_folder() -> Result<PathBuf> {
    let own = env::current_exe().context("find this executable")?;
    Ok(own.parent().context("no folder")?.to_owned())
}

/// Runs the plugin step by step in the place of this process, and records the addresses of its
/// instructions. Returns its exit status.
fn step() -> Result<u8> {
    let folder = own_folder()?;
    // The shell stops itself, so that it is traced before it executes the plugin.
    let mut shell = Command::new("sh");
    let mut plugin =
        shell.args(["-c", "kill -STOP $$; exec \"$0\""]).arg(folder.join(REAL)).spawn()?;
    let process = Pid::from_raw(plugin.id().try_into()?);
    if let Err(error) = seize(process) {
        plugin.kill()?;
        plugin.wait()?;
        return Err(error);
    }
    let (addresses, status) = trace(process)?;
    let mut text = String::new();
    for address in addresses {
        writeln!(text, "{address:x}")?;
    }
    let traces = folder.join(TRACES);
    let command = env::var("CNI_COMMAND").unwrap_or_default();
    if traces.exists() {
        fs::write(traces.join(format!("{command}.{}", process::id())), text)?;
    }
    Ok(status.try_into()?)
}

/// Begins to trace a process that stops itself, and lets it go on.
fn seize(process: Pid) -> Result<()> {
    let stopped = waitpid(process, Some(WaitPidFlag::WUNTRACED))?;
    ensure!(matches!(stopped, WaitStatus::Stopped(..)), "it did not stop: {stopped:?}");
    let ends_with_this = Options::PTRACE_O_EXITKILL;
    let events = Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACECLONE;
    ptrace::seize(process, ends_with_this | events)?;
    Ok(kill(process, Signal::SIGCONT)?)
}

/// Addresses of the instructions that a process runs after its `execve`, in all its threads, and its exit
/// status.
fn trace(process: Pid) -> Result<(BTreeSet<u64>, i32)> {
    let (mut addresses, mut is_plugin) = (BTreeSet::new(), false);
    loop {
        let status = waitpid(None, Some(WaitPidFlag::__WALL))?;
        let signal = match status {
            WaitStatus::Exited(task, status) if task == process => return Ok((addresses, status)),
            WaitStatus::Signaled(task, signal, _) if task == process => {
                bail!("the plugin was ended by {signal}")
            }
            WaitStatus::PtraceEvent(_, _, event) => {
                is_plugin |= event == ptrace::Event::PTRACE_EVENT_EXEC as i32;
                None
            }
            WaitStatus::Stopped(_, Signal::SIGTRAP | Signal::SIGCONT | Signal::SIGSTOP) => None,
            WaitStatus::Stopped(_, signal) => Some(signal),
            _ => continue,
        };
        let Some(task) = status.pid() else { continue };
        let resumed = if is_plugin {
            let next = instruction(task);
            addresses.extend(next.as_ref().ok());
            next.and_then(|_| ptrace::step(task, signal))
        } else {
            ptrace::cont(task, signal)
        };
        match resumed {
            // The thread ended meanwhile.
            Err(Errno::ESRCH) => {}
            resumed => resumed?,
        }
    }
}

/// Address of the instruction that a stopped thread runs next.
fn instruction(task: Pid) -> nix::Result<u64> {
    let registers = ptrace::getregs(task)?;
    #[cfg(target_arch = "x86_64")]
    return Ok(registers.rip);
    #[cfg(target_arch = "aarch64")]
    return Ok(registers.pc);
}

/// Starts and stops containers of each kind.
fn run_containers() -> Result<()> {
    with_pool(&json!({ "warm": 3, "maxSlots": 8 }), |pooled| {
        let agent = pooled.agent()?;
        record("warm", || {
            for container in [pooled.add_function("one")?, pooled.add()?] {
                end(container)?;
            }
            pooled.wait_until("the pool is full", |pool| pool.warm >= pool.target).map(drop)
        })?;
        record("direct", || end(pooled.add_with(|own| own.args("repoint.dev/mode=none"))?))?;
        agent.stop()
    })
}

fn end(container: Container<'_>) -> Result<()> {
    container.delete()?;
    container.remove_netns()
}

/// Calls `turn` a few times, and keeps the traces of the last call.
fn record(kind: &str, turn: impl Fn() -> Result<()>) -> Result<()> {
    for _ in 0..WARM_UP {
        turn()?;
    }
    let traces = own_folder()?.join(TRACES);
    fs::create_dir(&traces)?;
    turn()?;
    Ok(fs::rename(&traces, traces.with_extension(kind))?)
}

/// Runs containers with this program in the plugin's place, and writes the script.
fn write_script() -> Result<()> {
    let folder = dist::workspace().join("target/functions");
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder)?;
    for name in ["repoint", "repoint-agent", "repoint.bpf.o"] {
        fs::copy(dist().join(name), folder.join(name)).with_context(|| name.to_owned())?;
    }
    fs::copy(dist::plugin(), folder.join(REAL))?;
    fs::copy(env::current_exe()?, folder.join(PLUGIN))?;
    let runner = folder.join("runner");
    fs::copy(env::current_exe()?, &runner)?;
    let status = Command::new(&runner).arg(RUN).env("REPOINT_DIST", &folder).status()?;
    ensure!(status.success(), "the containers failed: {status}");
    let functions = Functions::of(&folder.join(REAL))?;
    let mut patterns = Vec::new();
    for kind in KINDS {
        for pattern in run_functions(&functions, &folder.join(TRACES).with_extension(kind))? {
            if !patterns.contains(&pattern) {
                patterns.push(pattern);
            }
        }
    }
    for function in ["6assign", "6direct"] {
        let is_there = patterns.iter().any(|pattern| pattern.contains(function));
        ensure!(is_there, "no function of {function} was run");
    }
    let path = dist::workspace().join(SCRIPT);
    fs::write(&path, script(&patterns)).with_context(|| path.display().to_string())?;
    println!("{}: {} functions", path.display(), patterns.len());
    Ok(())
}

/// Patterns of the functions whose instructions are in a folder's traces.
fn run_functions(functions: &Functions, traces: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(traces).with_context(|| traces.display().to_string())? {
        for line in fs::read_to_string(entry?.path())?.lines() {
            let function = functions.at(u64::from_str_radix(line, 16)?);
            found.extend(function.map(|function| pattern(&function.name)));
        }
    }
    Ok(found)
}
