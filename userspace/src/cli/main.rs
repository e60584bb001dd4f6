//! `repoint`: what an operator does with a node, and what he sees of it.
#![forbid(unsafe_code)]

mod activate;
mod config;
mod counters;
mod endpoints;
mod load;
mod output;
mod pool;
mod replicate;
mod slots;
mod status;
mod sweep;
mod template;
mod unload;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use repoint::conf::Directories;

/// Looks after repoint's networks on this node.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
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
    /// Tell in a few lines how the node is
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
    /// Find what is stale in the database, the kernel and the maps, and put it right
    Sweep(sweep::Sweep),
    /// List the addresses in the maps and where packets to them go
    Endpoints {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell what became of packets, by reason
    Counters {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
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
        Command::Endpoints { json } => endpoints::run(&directories, json),
        Command::Counters { json } => counters::run(&directories, json),
    };
    exit(done.map(|()| ExitCode::SUCCESS))
}

fn exit(done: Result<ExitCode, output::CommandError>) -> ExitCode {
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("repoint: {error}");
            ExitCode::FAILURE
        }
    }
}
