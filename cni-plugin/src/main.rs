//! `repoint-cni`: the CNI plugin.
//!
//! It takes a call in the protocol's form, has [`repoint::lifecycle`] do it, and answers in the
//! protocol's form. Standard output gets one JSON document or nothing, in one write at the end.

#![forbid(unsafe_code)]

mod dispatch;
mod environment;

use std::{
    env,
    io::{self, IsTerminal as _, Read as _, Write as _},
    process::ExitCode,
};

use repoint::{cni::CniVersion, slot};

use dispatch::{Failure, answer};
use environment::{Command, Environment, EnvironmentError};

/// More than a configuration commonly has, bytes: it is then read by one call.
const COMMON_INPUT: usize = 4096;

fn main() -> ExitCode {
    if let Some(interface) = interface_to_remove() {
        return remove(&interface);
    }
    match run() {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(answer)) => print(answer, ExitCode::SUCCESS),
        Err(failure) => print(failure.to_json(), ExitCode::FAILURE),
    }
}

/// The interface that another call of this executable wants removed. Runtimes give no arguments.
fn interface_to_remove() -> Option<String> {
    let mut arguments = env::args().skip(1);
    let verb = arguments.next()?;
    (verb == slot::REMOVE_INTERFACE).then(|| arguments.next()).flatten()
}

fn remove(interface: &str) -> ExitCode {
    match slot::remove_for_another(interface) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("repoint-cni: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What to print on success.
fn run() -> Result<Option<String>, Failure> {
    let environment = Environment::new(&|name| env::var_os(name));
    let command = match environment.command() {
        Err(EnvironmentError::NoCommand) if io::stdin().is_terminal() => {
            introduce();
            return Ok(None);
        }
        command => command?,
    };
    let input = read(command).map_err(|error| Failure::input(&error))?;
    answer(command, &environment, input)
}

/// Reads standard input. Nobody types the one key that VERSION may be given.
fn read(command: Command) -> io::Result<Vec<u8>> {
    let mut input = Vec::with_capacity(COMMON_INPUT);
    let mut stdin = io::stdin().lock();
    if command != Command::Version || !stdin.is_terminal() {
        stdin.read_to_end(&mut input)?;
    }
    Ok(input)
}

/// Prints an answer. A runtime that does not get it must not take the call for successful.
fn print(mut answer: String, code: ExitCode) -> ExitCode {
    answer.push('\n');
    let mut stdout = io::stdout().lock();
    match stdout.write_all(answer.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => code,
        Err(error) => {
            eprintln!("repoint-cni: writing the answer to standard output: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Tells a person what this is.
fn introduce() {
    eprintln!(
        "repoint-cni {}: a CNI plugin, which container runtimes run with CNI_COMMAND set and a \
         network configuration on standard input.\nCNI spec versions: {}.\n\
         To look at a node by hand, use the command repoint.",
        env!("CARGO_PKG_VERSION"),
        CniVersion::ALL.map(CniVersion::as_str).join(", "),
    );
}
