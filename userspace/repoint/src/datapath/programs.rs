//! The pinned programs.

use std::{
    os::fd::{AsFd as _, BorrowedFd},
    path::{Path, PathBuf},
};

use aya::programs::{ProgramFd, ProgramInfo};

use super::{DatapathError, Pins};

/// Name of the program of the ingress hook: what a container sends.
pub const FROM_CONTAINER: &str = "from_container";
/// Name of the program of the egress hook: what the host stack sends to a container.
pub const TO_CONTAINER: &str = "to_container";

/// Names of the pinned programs.
pub(super) const NAMES: [&str; 2] = [FROM_CONTAINER, TO_CONTAINER];

/// The programs, open.
#[derive(Debug)]
pub struct Programs {
    from_container: ProgramFd,
    to_container: ProgramFd,
    numbers: [u32; 2],
}

impl Programs {
    pub(super) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        let (from_container, from) = open(pins.path(FROM_CONTAINER))?;
        let (to_container, to) = open(pins.path(TO_CONTAINER))?;
        Ok(Self { from_container, to_container, numbers: [from, to] })
    }

    /// The kernel's numbers of the programs: from the container, to it.
    #[must_use]
    pub fn numbers(&self) -> [u32; 2] {
        self.numbers
    }

    /// The program for the ingress hook of a host-side interface.
    #[must_use]
    pub fn from_container(&self) -> BorrowedFd<'_> {
        self.from_container.as_fd()
    }

    /// The program for the egress hook of a host-side interface.
    #[must_use]
    pub fn to_container(&self) -> BorrowedFd<'_> {
        self.to_container.as_fd()
    }
}

/// The kernel's number of a pinned program, if the programs are loaded.
pub fn program_id(bpf_dir: &Path, name: &str) -> Result<Option<u32>, DatapathError> {
    let pins = Pins::existing(bpf_dir)?;
    pins.map(|pins| open(pins.path(name)).map(|(_, id)| id)).transpose()
}

/// Opens a pinned program; returns it with its number. It does not use `SchedClassifier::from_pin`, which
/// asks the kernel for all its BPF features first and takes a hundred times as long.
fn open(path: PathBuf) -> Result<(ProgramFd, u32), DatapathError> {
    let info = ProgramInfo::from_pin(&path);
    info.and_then(|info| Ok((info.fd()?, info.id())))
        .map_err(|source| DatapathError::OpenProgram { path, source: Box::new(source) })
}
