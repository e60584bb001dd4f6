//! `repoint`: the operator's commands for a node.
#![forbid(unsafe_code)]

mod activate;
mod config;
mod counters;
mod endpoints;
mod events;
mod exit;
mod identities;
mod isolate;
mod label;
mod load;
mod node;
mod output;
mod party;
mod policy;
mod pool;
mod replicate;
mod slots;
mod status;
mod sweep;
mod template;
mod tenants;
mod unload;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, error::ErrorKind};
use nix::unistd::geteuid;
use repoint::{conf::Directories, model::Tenant};

use output::CommandError;

/// What the exit status says, for `--help`.
const STATUSES: &str = "\
Exit status:
  0   done
  1   the node, the kernel or the database refused
  2   `sweep --dry-run` found something that a sweep would repair
  3   a network, container, tenant, template, policy, slot or file of this name does not exist
  4   the folders hold nothing of repoint: another one is meant, or nothing was set up yet
  5   not permitted: run it as root
  64  the command line is wrong";

/// Manages repoint's networks on this node.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = STATUSES)]
struct Arguments {
    /// Where the state is that ends with the boot (key `runDir` of the network's configuration)
    #[arg(long, global = true, value_name = "DIR", default_value_os_t = Directories::default().run)]
    run_dir: PathBuf,
    /// Where the state is that outlives it (key `stateDir`)
    #[arg(long, global = true, value_name = "DIR", default_value_os_t = Directories::default().state)]
    state_dir: PathBuf,
    /// Where maps and programs are pinned (key `bpfDir`)
    #[arg(long, global = true, value_name = "DIR", default_value_os_t = Directories::default().bpf)]
    bpf_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load the eBPF programs and maps and pin them; the first ADD does it, too
    Load,
    /// Remove programs, maps, the masquerade rule and the database
    Unload {
        /// Also when containers have slots: they are taken down first, and the containers lose their
        /// network
        #[arg(long)]
        force: bool,
    },
    /// Show the node's state in a few lines
    Status,
    /// List slots
    Slots {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List pools and how ADDs were served; set, fill, drain and remove them
    Pool {
        #[command(subcommand)]
        action: Option<pool::Action>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Build slots ahead of time and keep them inactive: for anybody, or for one function
    Prepare(replicate::Prepare),
    /// Make a template of a network's configuration, or of what a container has, and slots of it
    Replicate(replicate::Replicate),
    /// List templates; show, compare, confirm, delete, export and import them
    Template {
        #[command(subcommand)]
        action: Option<template::Action>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a function a slot of a pool and print the path of its network namespace
    Activate(activate::Activate),
    /// Take the slot back that `activate` gave
    Park(activate::Park),
    /// List tenants with how many slots each has
    Tenants {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List the numbers that stand for functions and containers in the maps
    Identities {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Change which containers of the node those of a network reach, for the containers that run
    Isolate(isolate::Wanted),
    /// Apply, list, show, delete, explain and test network policies
    Policy {
        #[command(subcommand)]
        action: Option<policy::Action>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Declare labels and named ports of a function or tenant, which policies choose by
    Label(label::Wanted),
    /// Delete what a tenant's containers left, so that no container gets it: for a tenant that was
    /// deleted and made again under the same name
    Evict {
        /// The tenant
        #[arg(long, value_name = "NAME")]
        tenant: Tenant,
    },
    /// Find what is stale in the database, the kernel and the maps, and put it right
    Sweep(sweep::Sweep),
    /// List the addresses in the maps and where packets to them go
    Endpoints {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show dropped packets one by one: the last ones, or as they are dropped
    Events(events::Wanted),
    /// Show what became of packets, by reason
    Counters {
        /// Dropped packets only, by slot and reason, most packets first
        #[arg(long)]
        slots: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    /// Whether it looks at the node, whose folders are root's.
    const fn needs_root(&self) -> bool {
        !matches!(self, Self::Policy { action: Some(policy::Action::Test { .. }), .. })
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return misused(&error),
    };
    if arguments.command.needs_root() && !geteuid().is_root() {
        return exit(Err(CommandError::NotRoot { user: geteuid().as_raw() }));
    }
    let directories =
        Directories { run: arguments.run_dir, state: arguments.state_dir, bpf: arguments.bpf_dir };
    let done = match arguments.command {
        Command::Sweep(wanted) => return exit(sweep::run(&directories, &wanted)),
        Command::Load => load::run(&directories),
        Command::Unload { force } => unload::run(&directories, force),
        Command::Status => status::run(&directories),
        Command::Slots { json } => slots::run(&directories, json),
        Command::Pool { action, json } => pool::run(&directories, action, json),
        Command::Prepare(wanted) => replicate::prepare(&directories, wanted),
        Command::Replicate(wanted) => replicate::run(&directories, &wanted),
        Command::Template { action, json } => template::run(&directories, action, json),
        Command::Activate(wanted) => activate::activate(&directories, wanted),
        Command::Park(wanted) => activate::park(&directories, wanted),
        Command::Tenants { json } => tenants::list(&directories, json),
        Command::Identities { json } => identities::run(&directories, json),
        Command::Isolate(wanted) => isolate::run(&directories, &wanted),
        Command::Policy { action, json } => return exit(policy::run(&directories, action, json)),
        Command::Label(wanted) => label::run(&directories, wanted),
        Command::Evict { tenant } => tenants::evict(&directories, &tenant),
        Command::Endpoints { json } => endpoints::run(&directories, json),
        Command::Events(wanted) => events::run(&directories, &wanted),
        Command::Counters { slots: true, json } => counters::drops::run(&directories, json),
        Command::Counters { slots: false, json } => counters::run(&directories, json),
    };
    exit(done.map(|()| ExitCode::SUCCESS))
}

/// Prints what is wrong with the command line, or the help that it asks for.
fn misused(error: &clap::Error) -> ExitCode {
    // If the message cannot be printed, the exit status still reports the error.
    error.print().ok();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(exit::USAGE),
    }
}

fn exit(done: Result<ExitCode, CommandError>) -> ExitCode {
    done.unwrap_or_else(|error| {
        eprintln!("repoint: {error}");
        exit::status(&error)
    })
}
