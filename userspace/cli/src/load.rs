//! `repoint load`.

use std::io::{self, Write as _};

use repoint::{conf::Directories, node::Node};

use crate::output::CommandError;

/// Loads the data plane and says where it is.
pub(crate) fn run(directories: &Directories) -> Result<(), CommandError> {
    // The database, too: a node without one looks like a misspelt folder to other commands.
    let node = Node::open(directories)?;
    node.load_datapath()?;
    node.synchronise_policies()?;
    writeln!(io::stdout(), "programs and maps are pinned below {}", directories.bpf.display())?;
    Ok(())
}
