//! `repoint load`.

use std::io::{self, Write as _};

use repoint::{conf::Directories, datapath::Datapath};

use crate::output::CommandError;

/// Loads the data plane and says where it is.
pub(crate) fn run(directories: &Directories) -> Result<(), CommandError> {
    drop(Datapath::load(&directories.bpf, &directories.run)?);
    writeln!(io::stdout(), "programs and maps are pinned below {}", directories.bpf.display())?;
    Ok(())
}
