//! A containerd of a node's own.

use std::{
    fs::{self, File},
    os::unix::{fs::symlink, net::UnixStream},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{Node, command, dist::REFERENCE_PLUGINS, wait};
use serde_json::Value;

use crate::image;

/// containerd's socket, on the node.
pub(crate) const SOCKET: &str = "/run/containerd/containerd.sock";
const CONFIGURATION: &str = "/run/containerd.toml";
const LOG: &str = "/run/containerd.log";
const NETWORKS: &str = "/run/cni/networks";
const PLUGINS: &str = "/run/cni/plugins";
const START: Duration = Duration::from_secs(20);

/// A running containerd. Dropping it ends all that runs on the node.
pub(crate) struct Containerd<'a> {
    node: &'a Node,
    process: Child,
    cgroup: String,
}

impl<'a> Containerd<'a> {
    /// Starts containerd on the node whose namespaces the calling thread is in, with one network and
    /// the image, and waits until it answers.
    pub(crate) fn start(node: &'a Node, network: &Value, plugin: &Path) -> Result<Self> {
        write_files(network, plugin)?;
        let log = File::create(LOG).with_context(|| format!("create {LOG}"))?;
        let process = Command::new("containerd")
            .args(["--config", CONFIGURATION])
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("duplicate the log's descriptor")?)
            .stderr(log)
            .spawn()
            .context("start containerd")?;
        let cgroup = format!("/repoint-test-{}", process::id());
        let containerd = Self { node, process, cgroup };
        wait::until(START, "containerd answers", || {
            UnixStream::connect(SOCKET).with_context(|| format!("connect to {SOCKET}"))
        })?;
        import_image()?;
        Ok(containerd)
    }

    /// The cgroup that all pods are to be in.
    pub(crate) fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// The last lines of its log that speak of a failure.
    pub(crate) fn complaints() -> String {
        let log = fs::read_to_string(LOG).unwrap_or_default();
        let failed = log.lines().filter(|line| line.contains("level=error"));
        let failed: Vec<&str> = failed.collect();
        failed[failed.len().saturating_sub(20)..].join("\n")
    }

    /// Ends containerd, which must be without a pod then: no process may be left on the node.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end()?;
        let left = self.node.processes()?;
        ensure!(left.is_empty(), "processes of pods are left: {left:?}");
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let pid = self.process.id().to_string();
        if self.process.try_wait().context("ask for containerd's status")?.is_none() {
            command::run("kill", ["-TERM", &pid])?;
        }
        wait::until(START, "containerd ends", || {
            let status = self.process.try_wait().context("ask for containerd's status")?;
            ensure!(status.is_some(), "process {pid} is running");
            Ok(())
        })
    }
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.end().and_then(|()| self.node.end_processes()) {
            eprintln!("containerd is left: {error:#}");
        }
        // The kernel empties the cgroup of a process that was killed some time after.
        let removed = wait::until(START, "cgroups are gone", || remove_cgroups(&self.cgroup));
        if let Err(error) = removed {
            eprintln!("cgroups are left: {error:#}");
        }
    }
}

fn write_files(network: &Value, plugin: &Path) -> Result<()> {
    for folder in [NETWORKS, PLUGINS] {
        fs::create_dir_all(folder).with_context(|| format!("create {folder}"))?;
    }
    // containerd itself runs loopback in every pod; others may be in the chain.
    for entry in fs::read_dir(REFERENCE_PLUGINS).context("read the reference plugins' folder")? {
        link_plugin(&entry.context("read the reference plugins' folder")?.path())?;
    }
    link_plugin(plugin)?;
    let list = Path::new(NETWORKS).join("10-test.conflist");
    fs::write(&list, network.to_string()).with_context(|| format!("write {}", list.display()))?;
    fs::write(CONFIGURATION, configuration()).with_context(|| format!("write {CONFIGURATION}"))
}

fn link_plugin(plugin: &Path) -> Result<()> {
    let name = plugin.file_name().context("the plugin's path has no name")?;
    symlink(plugin, Path::new(PLUGINS).join(name))
        .with_context(|| format!("link {}", plugin.display()))
}

fn configuration() -> String {
    let image = image::NAME;
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
# A process without CAP_SYS_RESOURCE may not lower its own score.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{PLUGINS}"
conf_dir = "{NETWORKS}"
"#
    )
}

fn import_image() -> Result<()> {
    let archive = image::archive()?;
    let arguments = ["--address", SOCKET, "--namespace", "k8s.io", "images", "import", "-"];
    command::run_with_input("ctr", arguments, &archive).map(drop)
}

/// Removes a cgroup from every hierarchy. Runtimes remove those of containers that they stop; of
/// those that were killed they remain.
fn remove_cgroups(name: &str) -> Result<()> {
    let mounts = fs::read_to_string("/proc/thread-self/mounts").context("read the mount table")?;
    let hierarchies = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next()?;
        fields.next()?.starts_with("cgroup").then_some(point)
    });
    for hierarchy in hierarchies {
        remove_folders(&PathBuf::from(format!("{hierarchy}{name}")))?;
    }
    Ok(())
}

/// Removes a folder of folders: files of a cgroup cannot be unlinked, and go with it.
fn remove_folders(folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        remove_folders(&entry.path())?;
    }
    fs::remove_dir(folder).with_context(|| format!("remove {}", folder.display()))
}
