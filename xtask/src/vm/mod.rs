//! `cargo xtask vm`: a command in a virtual machine with another kernel.
//!
//! The guest has this machine's files, read-only below what it changes for itself, and a Debian kernel
//! that is unpacked, not installed. QEMU emulates: no KVM is needed, and everything takes many times as
//! long as here.

mod emulator;
mod guest;
mod kernel;
mod tool;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};

use crate::{build, command, paths, setup, tools};
use guest::Guest;
use kernel::Kernel;

/// Exit status where this machine cannot start a guest.
const CANNOT: u8 = 77;
/// Exit status where a guest did not say how its command ended.
const LOST: u8 = 70;

/// What to run, and where.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The kernel: 6.1 or 6.12, the newest that Debian has of it
    #[arg(long, default_value = "6.1")]
    kernel: String,
    /// Words for the kernel's command line, such as ipv6.disable=1
    #[arg(long)]
    append: Vec<String>,
    /// Memory of the guest, in MiB
    #[arg(long, default_value_t = 2048)]
    memory: u32,
    /// Minutes after which the guest is ended
    #[arg(long, default_value_t = 20)]
    minutes: u32,
    /// Only unpack kernel and emulator, and print the paths of the image and of the emulator
    #[arg(long, conflicts_with = "command")]
    unpack: bool,
    /// The command; without one, the suite `kernels` boots all kernels
    #[arg(last = true)]
    command: Vec<OsString>,
}

/// Runs the command in a guest, and exits as it does; or the suite `kernels`.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if !arguments.unpack && std::env::var_os("REPOINT_DIST").is_none() {
        build::run()?;
    }
    if arguments.command.is_empty() && !arguments.unpack {
        let mut suite = tools::cargo();
        suite.args([
            "test",
            "--package",
            "repoint-tests",
            "--test",
            "kernels",
            "--",
            "--nocapture",
        ]);
        return Err(command::exec(&mut suite));
    }
    let Prepared { kernel, emulator, vng } = match prepare(arguments) {
        Ok(prepared) => prepared,
        Err(error) => {
            eprintln!("error: this machine cannot start a guest: {error:#}");
            return Ok(ExitCode::from(CANNOT));
        }
    };
    if arguments.unpack {
        println!("{}\n{}", kernel.image.display(), emulator.display());
        return Ok(ExitCode::SUCCESS);
    }
    let guest = Guest {
        kernel: &kernel,
        emulator: &emulator,
        append: &arguments.append,
        memory: arguments.memory,
        minutes: arguments.minutes,
    };
    let status = guest.run(&vng, &arguments.command).context("run a guest")?;
    Ok(ExitCode::from(status.unwrap_or(LOST)))
}

/// What a guest needs.
struct Prepared {
    kernel: Kernel,
    emulator: PathBuf,
    vng: PathBuf,
}

/// Finds, unpacks or installs what a guest needs.
fn prepare(arguments: &Arguments) -> Result<Prepared> {
    setup::ensure(&[setup::Purpose::Guest])?;
    Ok(Prepared {
        kernel: Kernel::find(&arguments.kernel, &paths::kernels()?)?,
        emulator: emulator::find(&paths::emulator()?)?,
        vng: tool::virtme_ng(&paths::tools()?)?,
    })
}
