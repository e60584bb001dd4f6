//! A network's configuration out of a file.

use std::{fs, path::Path};

use repoint::conf::{Directories, NetConf};
use serde_json::{Map, Value};

use crate::output::CommandError;

/// Name of the plugin in a network configuration list.
const PLUGIN: &str = "repoint-cni";

/// Reads a .conf or .conflist, which must be of this node.
pub(crate) fn read(directories: &Directories, file: &Path) -> Result<NetConf, CommandError> {
    let text = fs::read(file)
        .map_err(|source| CommandError::ReadConfig { path: file.to_owned(), source })?;
    let conf = NetConf::parse(&network(&text, file)?)
        .map_err(|source| CommandError::Config { path: file.to_owned(), source })?;
    if conf.directories.run != directories.run {
        return Err(CommandError::OtherNode {
            path: file.to_owned(),
            run_dir: conf.directories.run.clone(),
        });
    }
    Ok(conf)
}

/// Our plugin's configuration out of a list, with the list's name and version, as runtimes pass it.
/// Other text is passed on unchanged, and the library reports what is wrong with it.
fn network(text: &[u8], file: &Path) -> Result<Vec<u8>, CommandError> {
    let mut document: Map<String, Value> = serde_json::from_slice(text).unwrap_or_default();
    let Some(Value::Array(plugins)) = document.remove("plugins") else {
        return Ok(text.to_owned());
    };
    let ours = plugins.into_iter().find(|plugin| plugin["type"] == PLUGIN);
    let Some(Value::Object(mut plugin)) = ours else {
        return Err(CommandError::NotOurs { path: file.to_owned() });
    };
    for key in ["cniVersion", "name"] {
        if let Some(value) = document.remove(key) {
            plugin.insert(key.to_owned(), value);
        }
    }
    Ok(Value::Object(plugin).to_string().into_bytes())
}
