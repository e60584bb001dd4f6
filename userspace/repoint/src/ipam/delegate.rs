//! Address management by another plugin (CNI spec, section 4).

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

pub use super::execute::ExecuteError;
use super::execute::{Finished, execute};
use crate::{
    cni::{
        CniError, CniResult, CniVersion, ErrorCode, PluginName,
        json::{KeyError, Node, Object},
        result::ResultError,
    },
    failpoint,
    lock::{ByteLock, LOCK_TIMEOUT, LockError},
    model::AttachmentId,
};

/// How long a plugin may take. The `dhcp` plugin by itself waits for a lease for 62 s.
const LIMIT: Duration = Duration::from_secs(90);

/// Lock file in `runDir`: calls lock single bytes of it. It stays empty.
const LOCKS: &str = "ipam.lock";

/// Most of a plugin's output that an error repeats, in characters.
const LONGEST_SHOWN: usize = 300;

/// Another plugin, which gets the parameters of the present call.
#[derive(Debug)]
pub struct Delegate<'a> {
    executable: PathBuf,
    version: CniVersion,
    variables: Vec<(&'static str, OsString)>,
    input: &'a [u8],
    lock: Option<AttachmentLock>,
}

/// The lock of an attachment: a file, and a byte of it.
///
/// A call of a delegated plugin waits there for an earlier call for the same attachment.
#[derive(Debug, Clone)]
pub struct AttachmentLock {
    path: PathBuf,
    byte: u64,
}

impl AttachmentLock {
    /// The lock of an attachment in a node's run directory.
    ///
    /// None where that directory is missing, so that no other call can run.
    #[must_use]
    pub fn of(run_dir: &Path, attachment: &AttachmentId) -> Option<Self> {
        let AttachmentId { network, container, ifname } = attachment;
        let digest = Sha256::digest(format!("{network}/{container}/{ifname}"));
        let byte = digest.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes) >> 2);
        run_dir.is_dir().then(|| Self { path: run_dir.join(LOCKS), byte })
    }
}

/// Why a delegated plugin failed.
#[derive(Debug, thiserror::Error)]
pub enum DelegateError {
    /// There is no list of directories to look in.
    #[error("CNI_PATH is missing: the plugin {plugin}, which ipam.type names, is searched there")]
    NoPath {
        /// The plugin.
        plugin: PluginName,
    },
    /// No directory of `CNI_PATH` holds the plugin.
    #[error("found no executable of the plugin {plugin}, which ipam.type names, in {path:?}")]
    NotFound {
        /// The plugin.
        plugin: PluginName,
        /// The directories of `CNI_PATH`.
        path: Vec<PathBuf>,
    },
    /// An earlier call for the same attachment has not ended.
    #[error("an earlier call of an IPAM plugin for this attachment has not ended")]
    Busy(#[from] LockError),
    /// The plugin could not be run to its end.
    #[error("running {} for {command}", executable.display())]
    Execute {
        /// The executable.
        executable: PathBuf,
        /// The verb.
        command: &'static str,
        /// Why.
        source: ExecuteError,
    },
    /// The plugin answered with an error.
    #[error(transparent)]
    Refused(CniError),
    /// The plugin failed without a CNI error.
    #[error("{} failed at {command} ({status}) and printed {output:?}", executable.display())]
    Failed {
        /// The executable.
        executable: PathBuf,
        /// The verb.
        command: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// What it printed.
        output: String,
    },
    /// The plugin's result cannot be used.
    #[error("{} answered {command} with {output:?}", executable.display())]
    BadResult {
        /// The executable.
        executable: PathBuf,
        /// The verb.
        command: &'static str,
        /// What it printed.
        output: String,
        /// What is wrong with that.
        source: ResultError,
    },
}

impl DelegateError {
    /// The error to print: the plugin's own, where it gave one.
    #[must_use]
    pub fn to_cni(&self) -> CniError {
        let code = match self {
            Self::Refused(error) => return error.clone(),
            Self::NoPath { .. } => ErrorCode::INVALID_ENVIRONMENT,
            Self::BadResult { .. } => ErrorCode::DECODING_FAILURE,
            // The process that writes the executable at this moment will be done soon.
            Self::Execute { source: ExecuteError::Spawn(error), .. }
                if error.kind() == std::io::ErrorKind::ExecutableFileBusy =>
            {
                ErrorCode::TRY_AGAIN_LATER
            }
            Self::Busy(error) if error.is_held() => ErrorCode::TRY_AGAIN_LATER,
            Self::Busy(_) | Self::NotFound { .. } | Self::Execute { .. } | Self::Failed { .. } => {
                ErrorCode::DELEGATE_FAILURE
            }
        };
        CniError::from_error(code, self)
    }
}

impl<'a> Delegate<'a> {
    /// Finds a plugin in the directories of `CNI_PATH`. `version` is the configuration's,
    /// `variables` are the parameters of the call (`CNI_CONTAINERID` and so on, without
    /// `CNI_COMMAND`), `input` is the configuration as it was read.
    pub fn find(
        plugin: &PluginName,
        path: &[PathBuf],
        version: CniVersion,
        variables: Vec<(&'static str, OsString)>,
        input: &'a [u8],
    ) -> Result<Self, DelegateError> {
        if path.is_empty() {
            return Err(DelegateError::NoPath { plugin: plugin.clone() });
        }
        let candidates = path.iter().map(|directory| directory.join(plugin));
        let executable = candidates.into_iter().find(|candidate| candidate.is_file());
        let not_found = || DelegateError::NotFound { plugin: plugin.clone(), path: path.to_vec() };
        let executable = executable.ok_or_else(not_found)?;
        Ok(Self { executable, version, variables, input, lock: None })
    }

    /// Makes ADD and DEL wait for an earlier call for the attachment.
    ///
    /// A plugin continues when the process that called it is killed. An address that the plugin reserves
    /// then would belong to no attachment.
    #[must_use]
    pub fn locked(self, lock: Option<AttachmentLock>) -> Self {
        Self { lock, ..self }
    }

    /// Calls ADD: the plugin allocates addresses.
    ///
    /// After an error the caller calls [`Self::del`] (CNI spec, section 4).
    pub fn add(&self) -> Result<CniResult, DelegateError> {
        let output = self.call("ADD", self.input)?;
        CniResult::from_json(&output, self.version)
            .map_err(|source| self.bad_result("ADD", &output, source))
    }

    /// Calls DEL: the plugin releases what the attachment holds.
    pub fn del(&self) -> Result<(), DelegateError> {
        self.call("DEL", self.input).map(drop)
    }

    /// Calls CHECK: the plugin checks what the attachment holds.
    pub fn check(&self) -> Result<(), DelegateError> {
        self.call("CHECK", self.input).map(drop)
    }

    /// Calls GC: the plugin releases what no valid attachment holds.
    ///
    /// A plugin that is too old for GC is not called.
    pub fn gc(&self) -> Result<(), DelegateError> {
        self.call_latest("GC")
    }

    /// Calls STATUS: the plugin reports whether it can allocate.
    ///
    /// A plugin that is too old for STATUS counts as able to allocate.
    pub fn status(&self) -> Result<(), DelegateError> {
        self.call_latest("STATUS")
    }

    /// Calls a verb of version 1.1.0, if the plugin supports that version.
    fn call_latest(&self, command: &'static str) -> Result<(), DelegateError> {
        if !self.supports(CniVersion::V1_1_0)? {
            return Ok(());
        }
        self.call(command, self.input).map(drop)
    }

    /// Whether the plugin's answer to VERSION lists a version.
    fn supports(&self, version: CniVersion) -> Result<bool, DelegateError> {
        let input = format!("{{\"cniVersion\":\"{}\"}}", self.version);
        let output = match self.call("VERSION", input.as_bytes()) {
            Ok(output) => output,
            // The plugin is older than 0.2.0, which added VERSION.
            Err(DelegateError::Refused(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let versions = supported_versions(&output)
            .map_err(|source| self.bad_result("VERSION", &output, source))?;
        Ok(versions.iter().any(|supported| supported == version.as_str()))
    }

    /// Runs the plugin once, and returns its output.
    fn call(&self, command: &'static str, input: &[u8]) -> Result<Vec<u8>, DelegateError> {
        let mut variables = self.variables.clone();
        variables.push(("CNI_COMMAND", command.into()));
        let lock = self.lock.as_ref().filter(|_| matches!(command, "ADD" | "DEL"));
        let taken = lock
            .map(|AttachmentLock { path, byte }| ByteLock::take(path, *byte, LOCK_TIMEOUT))
            .transpose();
        let lock = match taken {
            // A process of an earlier call may hold the lock for ever: DEL continues without it.
            Err(error) if error.is_held() && command == "DEL" => None,
            taken => taken?,
        };
        failpoint::hit("delegate:locked");
        let finished = execute(&self.executable, &variables, input, lock.as_ref(), LIMIT);
        let finished = finished.map_err(|source| DelegateError::Execute {
            executable: self.executable.clone(),
            command,
            source,
        })?;
        if finished.status.success() {
            return Ok(finished.output);
        }
        Err(refusal(&self.executable, command, &finished))
    }

    fn bad_result(
        &self,
        command: &'static str,
        output: &[u8],
        source: ResultError,
    ) -> DelegateError {
        let executable = self.executable.clone();
        DelegateError::BadResult { executable, command, output: shown(output), source }
    }
}

/// The error of a plugin that failed.
fn refusal(executable: &Path, command: &'static str, finished: &Finished) -> DelegateError {
    let printed = serde_json::from_slice::<Value>(&finished.output).ok();
    let error = printed
        .as_ref()
        .and_then(|value| CniError::read(&Object::root(value, "the error").ok()?).ok());
    error.map_or_else(
        || DelegateError::Failed {
            executable: executable.to_owned(),
            command,
            status: finished.status,
            output: shown(&finished.output),
        },
        DelegateError::Refused,
    )
}

fn supported_versions(answer: &[u8]) -> Result<Vec<String>, ResultError> {
    let answer: Value = serde_json::from_slice(answer)?;
    let answer = Object::root(&answer, "the answer")?;
    let versions = answer.require("supportedVersions", "a list of versions")?;
    let text = |node: Node<'_>| Ok(node.string("a version")?.to_owned());
    let versions: Result<_, KeyError> = versions.items("a list of versions")?.map(text).collect();
    Ok(versions?)
}

/// Output for an error, cut when it is long.
fn shown(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim().chars().take(LONGEST_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::Write as _,
        process::{Command, Stdio},
    };

    use tempfile::TempDir;

    use super::*;

    /// A directory with an executable plugin `p`, a shell script.
    ///
    /// A child process writes the file. If this process opened it for writing, a child of another
    /// test could inherit the descriptor, and executing the file would fail.
    fn plugin(script: &str) -> TempDir {
        let directory = TempDir::new().unwrap();
        let write = "cat > \"$0\" && chmod 755 \"$0\"";
        let mut child = Command::new("sh")
            .args(["-c".as_ref(), write.as_ref(), directory.path().join("p").as_os_str()])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let text = format!("#!/bin/sh\ncd '{}'\n{script}", directory.path().display());
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        directory
    }

    fn delegate(directory: &TempDir) -> Delegate<'static> {
        let path = [PathBuf::from("/nonexistent"), directory.path().to_owned()];
        let variables = vec![("CNI_IFNAME", "eth0".into())];
        let name = "p".parse().unwrap();
        Delegate::find(&name, &path, CniVersion::V1_1_0, variables, b"{\"name\":\"n\"}").unwrap()
    }

    #[test]
    fn it_gets_the_same_input_and_environment() {
        let directory = plugin(
            "cat > input; echo $CNI_COMMAND $CNI_IFNAME > environment\n\
             echo '{\"ips\": [{\"address\": \"10.1.0.5/24\"}]}'",
        );
        let result = delegate(&directory).add().unwrap();
        assert_eq!(result.ips[0].address.to_string(), "10.1.0.5/24");
        let read = |name| fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(read("input"), "{\"name\":\"n\"}");
        assert_eq!(read("environment"), "ADD eth0\n");
    }

    #[test]
    fn its_error_is_passed_on_with_its_code() {
        let directory =
            plugin("echo '{\"code\": 11, \"msg\": \"busy\", \"details\": \"d\"}'; exit 1");
        let error = delegate(&directory).del().unwrap_err().to_cni();
        assert_eq!((error.code, error.msg.as_str()), (ErrorCode::TRY_AGAIN_LATER, "busy"));
    }

    #[test]
    fn a_failure_without_an_error_tells_what_was_printed() {
        for (script, reported) in [("echo oops; exit 3", "oops"), ("kill -9 $$", "signal: 9")] {
            let error = delegate(&plugin(script)).check().unwrap_err().to_cni();
            assert_eq!(error.code, ErrorCode::DELEGATE_FAILURE, "{error}");
            assert!(error.msg.contains(reported) && error.msg.contains("CHECK"), "{error}");
        }
    }

    #[test]
    fn a_result_that_cannot_be_used_is_named() {
        let directory = plugin("echo '{\"ips\": [{\"address\": \"10.1.0.5\"}]}'");
        let error = delegate(&directory).add().unwrap_err().to_cni();
        assert_eq!(error.code, ErrorCode::DECODING_FAILURE, "{error}");
        assert!(error.details.starts_with("ips[0].address is "), "{error}");
    }

    #[test]
    fn gc_and_status_go_only_to_a_plugin_that_knows_them() {
        let script = |versions: &str| {
            format!(
                "echo $CNI_COMMAND >> calls\n[ $CNI_COMMAND = VERSION ] || exit 0\n\
                 echo '{{\"cniVersion\": \"1.0.0\", \"supportedVersions\": [{versions}]}}'"
            )
        };
        for (versions, calls) in [
            ("\"1.0.0\"", "VERSION\nVERSION\n"),
            ("\"1.0.0\", \"1.1.0\"", "VERSION\nGC\nVERSION\nSTATUS\n"),
        ] {
            let directory = plugin(&script(versions));
            let delegate = delegate(&directory);
            delegate.gc().unwrap();
            delegate.status().unwrap();
            assert_eq!(fs::read_to_string(directory.path().join("calls")).unwrap(), calls);
        }
    }

    #[test]
    fn a_plugin_of_before_version_is_not_asked_for_status() {
        let directory = plugin("echo '{\"code\": 4, \"msg\": \"unknown command\"}'; exit 1");
        delegate(&directory).status().unwrap();
    }

    #[test]
    fn a_plugin_that_is_nowhere_is_named() {
        let find = |path: &[PathBuf]| {
            let name = "no-such-plugin".parse().unwrap();
            Delegate::find(&name, path, CniVersion::V1_0_0, Vec::new(), b"").unwrap_err().to_cni()
        };
        let error = find(&["/nonexistent".into(), "/".into()]);
        assert_eq!(error.code, ErrorCode::DELEGATE_FAILURE);
        assert!(
            error.msg.contains("no-such-plugin") && error.msg.contains("/nonexistent"),
            "{error}"
        );
        let error = find(&[]);
        assert_eq!(error.code, ErrorCode::INVALID_ENVIRONMENT);
        assert!(error.msg.contains("CNI_PATH"), "{error}");
    }
}
