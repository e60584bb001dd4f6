//! What a verb is asked to do.

use std::{ffi::OsString, net::IpAddr, path::PathBuf};

use crate::{
    cni::{CniArgs, PluginName},
    conf::NetConf,
    ipam::{AttachmentLock, Delegate, DelegateError},
    model::{AttachmentId, NetnsPath},
};

/// A request about one attachment: ADD, CHECK or DEL.
#[derive(Debug, Clone)]
pub struct Request {
    /// The network's configuration.
    pub conf: NetConf,
    /// What is to be attached, checked or detached.
    pub attachment: AttachmentId,
    /// The container's network namespace: always given on ADD and CHECK; on DEL it may be gone.
    pub netns: Option<NetnsPath>,
    /// `CNI_ARGS`.
    pub args: CniArgs,
    /// Where other plugins are.
    pub cni_path: Vec<PathBuf>,
    /// The configuration as it was read, for plugins that this one calls.
    pub input: Vec<u8>,
    /// An executable that removes interfaces when it is called with
    /// [`crate::slot::REMOVE_INTERFACE`], so that this process need not wait for the kernel's grace
    /// period.
    pub remover: Option<PathBuf>,
}

/// A request about a network: GC or STATUS.
#[derive(Debug, Clone)]
pub struct NetworkRequest {
    /// The network's configuration.
    pub conf: NetConf,
    /// Where other plugins are.
    pub cni_path: Vec<PathBuf>,
    /// The configuration as it was read, for plugins that this one calls.
    pub input: Vec<u8>,
    /// An executable that removes interfaces when it is called with
    /// [`crate::slot::REMOVE_INTERFACE`], so that this process need not wait for the kernel's grace
    /// period.
    pub remover: Option<PathBuf>,
}

impl Request {
    /// The addresses that the runtime asks for.
    #[must_use]
    pub fn requested_addresses(&self) -> Vec<IpAddr> {
        self.conf.requested_addresses(&self.args)
    }

    /// The IPAM plugin of the network, ready to be called with this request.
    pub fn delegate(&self, plugin: &PluginName) -> Result<Delegate<'_>, DelegateError> {
        let netns = self.netns.as_ref().map(|netns| netns.as_path().into());
        let variables = vec![
            ("CNI_CONTAINERID", self.attachment.container.as_str().into()),
            ("CNI_IFNAME", self.attachment.ifname.as_str().into()),
            ("CNI_NETNS", netns.unwrap_or_default()),
            ("CNI_ARGS", self.args.as_str().into()),
            ("CNI_PATH", joined(&self.cni_path)),
        ];
        let version = self.conf.cni_version;
        let found = Delegate::find(plugin, &self.cni_path, version, variables, &self.input)?;
        Ok(found.locked(AttachmentLock::of(&self.conf.directories.run, &self.attachment)))
    }
}

impl NetworkRequest {
    /// The IPAM plugin of the network, ready to be called with this request.
    pub fn delegate(&self, plugin: &PluginName) -> Result<Delegate<'_>, DelegateError> {
        let none = |name| (name, OsString::new());
        let mut variables =
            ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS"].map(none).to_vec();
        variables.push(("CNI_PATH", joined(&self.cni_path)));
        Delegate::find(plugin, &self.cni_path, self.conf.cni_version, variables, &self.input)
    }
}

/// The value of `CNI_PATH`. Directories that were split at colons hold none.
fn joined(path: &[PathBuf]) -> OsString {
    let mut joined = OsString::new();
    for directory in path {
        if !joined.is_empty() {
            joined.push(":");
        }
        joined.push(directory);
    }
    joined
}
