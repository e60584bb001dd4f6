//! `repoint-cni`: the CNI plugin.
//!
//! It takes a call in the protocol's form, has [`repoint::verbs`] do it, and answers in the
//! protocol's form. Standard output gets one JSON document or nothing, in one write at the end.

#![cfg_attr(not(test), no_main)]

mod dispatch;
mod environment;
#[cfg(not(test))]
#[expect(unsafe_code, reason = "handlers of signals have no safe form")]
mod lifeline;
#[cfg(any(test, target_env = "musl"))]
#[expect(unsafe_code, reason = "it gives out memory")]
mod memory;
#[cfg(all(not(test), not(target_env = "musl")))]
#[expect(unsafe_code, reason = "it gives out memory")]
mod refused;

#[cfg(not(test))]
use std::ffi::{CStr, c_char, c_int};
use std::{
    env,
    io::{self, IsTerminal as _, Read as _, Write as _},
};

use repoint::{cni::CniVersion, slot};

use dispatch::{Failure, answer};
use environment::{Command, Environment, EnvironmentError};

/// Buffer for standard input, bytes. Configurations are commonly smaller, so that one call reads them.
const COMMON_INPUT: usize = 4096;
/// Longest standard input that is read, bytes: a GC of ten thousand attachments has one.
const MOST_INPUT: u64 = 4 << 20;

/// Entry point that the C library calls instead of the standard library's own `main`. That one
/// costs 60 µs of the 400 µs that any executable takes: it reads `/proc/self/maps` to find the
/// stack's guard page, and sets up a stack for the handler that would report its overflow.
/// `SIGPIPE` keeps its default, too, so that it ends a plugin whose runtime is gone.
#[cfg(not(test))]
#[expect(unsafe_code, reason = "the C library finds it by this name")]
// SAFETY: no other `main` is linked: `no_main` keeps the compiler from making one.
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, arguments: *const *const c_char) -> c_int {
    lifeline::prepare();
    let count = usize::try_from(count).unwrap_or_default();
    let arguments = (1..count).map(|index| {
        // SAFETY: the C library passes as many texts as it counts, each ending with a zero, which
        // live as long as the process.
        unsafe { CStr::from_ptr(*arguments.add(index)) }.to_string_lossy().into_owned()
    });
    start(arguments).into()
}

/// What the tests' own `main` stands for.
#[cfg(test)]
fn main() -> std::process::ExitCode {
    start(env::args().skip(1)).into()
}

/// Exit status of success.
const SUCCESS: u8 = 0;
/// Exit status of failure.
const FAILURE: u8 = 1;

fn start(arguments: impl Iterator<Item = String>) -> u8 {
    if let Some(interface) = interface_to_remove(arguments) {
        return remove(&interface);
    }
    match run() {
        Ok(None) => SUCCESS,
        Ok(Some(answer)) => print(answer, SUCCESS),
        Err(failure) => print(failure.to_json(), FAILURE),
    }
}

/// The interface that another call of this executable wants removed. Runtimes give no arguments.
fn interface_to_remove(mut arguments: impl Iterator<Item = String>) -> Option<String> {
    let verb = arguments.next()?;
    (verb == slot::REMOVE_INTERFACE).then(|| arguments.next()).flatten()
}

fn remove(interface: &str) -> u8 {
    match slot::remove_for_another(interface) {
        Ok(()) => SUCCESS,
        Err(error) => {
            eprintln!("repoint-cni: {error}");
            FAILURE
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
    let stdin = io::stdin().lock();
    // VERSION reads no terminal: an operator does not type the one key that it may be given.
    let input =
        if command == Command::Version && stdin.is_terminal() { Vec::new() } else { read(stdin)? };
    answer(command, &environment, input)
}

/// Reads a configuration, of at most [`MOST_INPUT`] bytes; what follows is left where it is.
fn read(stdin: impl io::Read) -> Result<Vec<u8>, Failure> {
    let mut input = Vec::with_capacity(COMMON_INPUT);
    let read = stdin.take(MOST_INPUT + 1).read_to_end(&mut input);
    match read.map_err(|error| Failure::input(&error))? {
        length if length as u64 > MOST_INPUT => Err(Failure::too_long(MOST_INPUT)),
        _ => Ok(input),
    }
}

/// Prints an answer. A runtime that does not get it must not take the call for successful.
fn print(mut answer: String, code: u8) -> u8 {
    answer.push('\n');
    let mut stdout = io::stdout().lock();
    match stdout.write_all(answer.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => code,
        Err(error) => {
            eprintln!("repoint-cni: writing the answer to standard output: {error}");
            FAILURE
        }
    }
}

/// Prints, for a person, what this executable is.
fn introduce() {
    eprintln!(
        "repoint-cni {}: a CNI plugin, which container runtimes run with CNI_COMMAND set and a \
         network configuration on standard input.\nCNI spec versions: {}.\n\
         To look at a node by hand, use the command repoint.",
        env!("CARGO_PKG_VERSION"),
        CniVersion::ALL.map(CniVersion::as_str).join(", "),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_is_read_up_to_its_bound_and_no_further() {
        let longest = usize::try_from(MOST_INPUT).unwrap();
        assert_eq!(read(io::repeat(b' ').take(MOST_INPUT)).unwrap().len(), longest);
        let mut endless = io::repeat(b' ').take(u64::MAX);
        let error = read(&mut endless).unwrap_err().to_json();
        assert!(error.contains("longer than 4194304 bytes"), "{error}");
        let taken = u64::MAX - endless.limit();
        assert_eq!(taken, MOST_INPUT + 1, "bytes were read");
    }
}
