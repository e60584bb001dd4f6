//! The node that a command is about, which must be there.

use repoint::{conf::Directories, datapath::Maps, node::Node};

use crate::output::CommandError;

/// Opens the node; an error where its run folder has no database.
///
/// An empty answer would look like a healthy node: the folder may be misspelt.
pub(crate) fn open(directories: &Directories) -> Result<Node, CommandError> {
    let absent = || CommandError::NoNode { run_dir: directories.run.clone() };
    Node::open_existing(directories)?.ok_or_else(absent)
}

/// Opens the maps; an error where the data plane is not loaded.
pub(crate) fn maps(directories: &Directories) -> Result<Maps, CommandError> {
    let absent = || CommandError::NotLoaded { bpf_dir: directories.bpf.clone() };
    Maps::open_existing(&directories.bpf)?.ok_or_else(absent)
}
