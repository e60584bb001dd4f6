//! The node's own folders and files: root's alone, whichever process makes them first and with any
//! umask; and a standard input of any length.
#![cfg(test)]

use std::{
    fs::{self, File, Permissions},
    io::{BufRead as _, BufReader},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::stat::{Mode, umask};
use repoint_tests::{
    Agent, Container, Netns, Node, Snapshot,
    cli::repoint,
    dist, missing,
    plugin::{Attachment, Call, CniError, Network},
};
use serde_json::{Value, json};

/// A user of the node without any rights.
const NOBODY: u32 = 65534;
/// What an ADD that waits for no lock takes at most; one that waits takes 30 s.
const PROMPT: Duration = Duration::from_secs(10);
/// The project's code of what the node refuses.
const NODE_FAILURE: u32 = 100;
/// The spec's code of what cannot be decoded.
const DECODING_FAILURE: u32 = 6;

/// Which process makes the node's folders and files.
#[derive(Debug, Clone, Copy)]
enum Maker {
    Agent,
    Plugin,
    Cli,
}

impl Maker {
    const ALL: [Self; 3] = [Self::Agent, Self::Plugin, Self::Cli];

    /// Makes them.
    fn make(self, node: &Node, network: &Network) -> Result<()> {
        match self {
            Self::Agent => Agent::start(node)?.stop(),
            Self::Plugin => Container::add(network, "first")?.remove(),
            Self::Cli => repoint(node, &["load"]).map(drop),
        }
    }
}

fn configuration(node: &Node) -> Value {
    let mut configuration = json!({
        "cniVersion": "1.1.0", "name": "files", "type": "repoint-cni", "ipMasq": true,
        "pool": { "warm": 0, "maxSlots": 8 },
        "ipam": { "ranges": [[{ "subnet": "10.217.7.0/24" }]], "routes": [{ "dst": "0.0.0.0/0" }] },
    });
    node.dirs().patch(&mut configuration);
    configuration
}

/// Calls `test` on a node where nothing of repoint's is, with a network, while processes take no
/// rights from what they make; sees that nothing is left after `repoint unload`.
fn with_node(test: impl FnOnce(&Node, &Network) -> Result<()> + Send) -> Result<()> {
    if missing([dist::plugin(), dist::cli(), dist::agent()]) {
        return Ok(());
    }
    umask(Mode::empty());
    let node = Node::new()?;
    node.run(|| {
        let before = Snapshot::take(node.dirs())?;
        let network = Network::new(&configuration(&node), dist::cni_path())?;
        test(&node, &network)?;
        if node.dirs().run.exists() || node.dirs().bpf.exists() {
            repoint(&node, &["unload"])?;
        }
        before.wait_until_restored(node.dirs())
    })
}

/// Every folder, file and socket below a path, and itself, without what is mounted there.
fn walk(path: &Path) -> Result<Vec<PathBuf>> {
    let own = |path: &Path| {
        fs::symlink_metadata(path).with_context(|| format!("stat {}", path.display()))
    };
    let found = own(path)?;
    let mut all = vec![path.to_owned()];
    if found.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("list {}", path.display()))? {
            let entry = entry?.path();
            if own(&entry)?.dev() == found.dev() {
                all.extend(walk(&entry)?);
            }
        }
    }
    Ok(all)
}

/// Fails unless all below these folders is root's alone.
fn ensure_private(folders: &[&Path]) -> Result<()> {
    for path in folders.iter().map(|folder| walk(folder)).collect::<Result<Vec<_>>>()?.concat() {
        let found = fs::symlink_metadata(&path)?;
        let rights = found.mode() & 0o7777;
        println!("{rights:o} {}", path.display());
        let expected = if found.is_dir() { 0o700 } else { 0o600 };
        ensure!(found.uid() == 0, "{} is of user {}", path.display(), found.uid());
        ensure!(rights == expected, "{} has rights {rights:o}", path.display());
    }
    Ok(())
}

/// A process of a user without rights that holds the lock of a file.
#[derive(Debug)]
struct Holder(Child);

impl Holder {
    /// Tries to lock a file, which is opened for reading; none where it cannot be.
    fn lock(file: &Path) -> Result<Option<Self>> {
        let mut command = Command::new("flock");
        command.arg("--exclusive").arg("--nonblock").arg(file).args(["-c", "echo held; read line"]);
        let child = command.uid(NOBODY).gid(NOBODY).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = Self(child.stderr(Stdio::null()).spawn().context("run flock")?);
        let mut line = String::new();
        let stdout = holder.0.stdout.take().context("no standard output")?;
        BufReader::new(stdout).read_line(&mut line).context("read what flock prints")?;
        Ok((line == "held\n").then_some(holder))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.stdin.take();
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The error of a call that must fail.
fn refused(network: &Network, verb: &str) -> Result<CniError> {
    let netns = Netns::create("refused")?;
    let error = network.call_single(verb, &Attachment::new("refused", netns.path()), None)?;
    let error = error.error()?;
    println!("{verb}: code {}: {} {}", error.code, error.msg, error.details);
    netns.remove()?;
    Ok(error)
}

/// Whichever process makes the files first, one without rights keeps no ADD waiting.
fn no_lock_is_held(maker: Maker) -> Result<()> {
    with_node(|node, network| {
        maker.make(node, network)?;
        // Everything that an ADD may wait for is there.
        let own = |own: Attachment| own.args("repoint.dev/mode=none");
        Container::add_with(network, "one", own)?.remove()?;
        let files = walk(&node.dirs().run)?;
        let files: Vec<_> = files.into_iter().filter(|path| path.is_file()).collect();
        ensure!(files.iter().any(|file| file.ends_with("build.0.lock")), "{files:?}");
        ensure!(files.iter().any(|file| file.ends_with("data.mdb")), "{files:?}");
        let holders = files.iter().map(|file| Ok((file, Holder::lock(file)?)));
        let holders = holders.collect::<Result<Vec<_>>>()?;
        let held: Vec<_> = holders.iter().filter(|(_, holder)| holder.is_some()).collect();
        println!("user {NOBODY} holds {held:?}");
        let begin = Instant::now();
        let added = Container::add_with(network, "two", own);
        let added = added.with_context(|| format!("ADD while user {NOBODY} holds {held:?}"))?;
        ensure!(begin.elapsed() < PROMPT, "ADD took {:?}", begin.elapsed());
        ensure!(held.is_empty(), "user {NOBODY} holds {held:?}");
        drop(holders);
        added.remove()
    })
}

#[test]
fn no_process_without_rights_holds_a_lock_of_files_that_the_agent_makes() -> Result<()> {
    no_lock_is_held(Maker::Agent)
}

#[test]
fn no_process_without_rights_holds_a_lock_of_files_that_the_plugin_makes() -> Result<()> {
    no_lock_is_held(Maker::Plugin)
}

#[test]
fn no_process_without_rights_holds_a_lock_of_files_that_the_cli_makes() -> Result<()> {
    no_lock_is_held(Maker::Cli)
}

#[test]
fn folders_and_files_are_roots_alone_whichever_process_makes_them() -> Result<()> {
    for maker in Maker::ALL {
        with_node(|node, network| {
            maker.make(node, network)?;
            let dirs = node.dirs();
            ensure_private(&[&dirs.run, &dirs.bpf]).with_context(|| format!("{maker:?} alone"))?;
            let agent = Agent::start(node)?;
            let nobody = Attachment::new("", Path::new(""));
            network.call_single("REPLICATE", &nobody, None)?.success()?;
            let container = Container::add(network, "one")?;
            ensure_private(&[&dirs.run, &dirs.bpf, &dirs.state])?;
            container.remove()?;
            agent.stop()
        })?;
    }
    Ok(())
}

/// What an older build, or an operator, made with wider rights.
#[test]
fn rights_that_are_too_wide_are_taken_away() -> Result<()> {
    with_node(|node, network| {
        let dirs = node.dirs();
        let nobody = Attachment::new("", Path::new(""));
        network.call_single("REPLICATE", &nobody, None)?.success()?;
        let own = |own: Attachment| own.args("repoint.dev/mode=none");
        Container::add_with(network, "one", own)?.remove()?;
        let lock = dirs.run.join("build.0.lock");
        let wide = [&dirs.run, &dirs.state, &dirs.bpf, &lock];
        for path in wide {
            let rights = if path == &lock { 0o644 } else { 0o777 };
            fs::set_permissions(path, Permissions::from_mode(rights))?;
        }
        network.call_single("REPLICATE", &nobody, None)?.success()?;
        Container::add_with(network, "two", own)?.remove()?;
        ensure_private(&[&dirs.run, &dirs.state, &dirs.bpf])
    })
}

#[test]
fn a_folder_of_another_user_is_refused_by_every_program() -> Result<()> {
    with_node(|node, network| {
        let run = &node.dirs().run;
        fs::create_dir(run).context("make the run folder")?;
        chown(run, Some(NOBODY), Some(NOBODY)).context("give the run folder away")?;
        let words = ["belongs to user 65534", "remove it", &*run.to_string_lossy()];
        let says = |said: String| {
            println!("{said}");
            let missing = words.iter().find(|word| !said.contains(**word));
            ensure!(missing.is_none(), "{missing:?} is not in {said}");
            Ok(())
        };
        for verb in ["ADD", "ACTIVATE", "PREPARE"] {
            let error = refused(network, verb)?;
            ensure!(error.code == NODE_FAILURE, "code {}", error.code);
            says(error.msg)?;
        }
        for command in [&["load"][..], &["prepare", "--config", "/run/files.json"]] {
            fs::write("/run/files.json", configuration(node).to_string())?;
            let refusal = repoint(node, command).err();
            says(format!("{:#}", refusal.with_context(|| format!("{command:?} succeeded"))?))?;
        }
        says(Agent::fail(node)?)?;
        ensure!(fs::read_dir(run)?.next().is_none(), "something was made in it");
        fs::remove_dir(run).context("remove the run folder")
    })
}

/// The system's folders are not the node's to close.
#[test]
fn a_folder_of_the_systems_keeps_its_rights() -> Result<()> {
    with_node(|node, _| {
        let mut configuration = configuration(node);
        configuration["runDir"] = json!("/run");
        let network = Network::new(&configuration, dist::cni_path())?;
        let own = |own: Attachment| own.args("repoint.dev/mode=none");
        let container = Container::add_with(&network, "one", own)?;
        let rights = fs::metadata("/run")?.mode() & 0o7777;
        ensure!(rights == 0o755, "/run has rights {rights:o}");
        for name in ["state", "state/data.mdb", "build.0.lock"] {
            let rights = fs::metadata(Path::new("/run").join(name))?.mode() & 0o077;
            ensure!(rights == 0, "others have rights {rights:o} to {name}");
        }
        container.remove()?;
        let bpf = node.dirs().bpf.to_string_lossy().into_owned();
        let words = ["--run-dir", "/run", "--bpf-dir", &bpf, "unload"];
        repoint_tests::command::run(&dist::cli().to_string_lossy(), words).map(drop)
    })
}

/// An endless standard input.
#[test]
fn an_input_without_end_is_an_error() -> Result<()> {
    if missing([dist::plugin()]) {
        return Ok(());
    }
    for verb in ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "PREPARE"] {
        // A bound on its memory: a plugin that reads on does not take the machine's.
        let call = Call::new(dist::plugin(), verb, &Value::Null).container_id("one").ifname("eth0");
        let plugin = call.command();
        let mut command = Command::new("timeout");
        command.args(["60", "prlimit", "--data=268435456", "--"]).arg(plugin.get_program());
        command.envs(plugin.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let zeros = File::open("/dev/zero").context("open /dev/zero")?;
        let output = command.stdin(zeros).output().with_context(|| format!("run {command:?}"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{verb}: {}: {said}", output.status);
        let error: CniError = serde_json::from_str(&said).with_context(|| format!("{said:?}"))?;
        ensure!(output.status.code() == Some(1), "{verb} ended with {}", output.status);
        ensure!(error.code == DECODING_FAILURE, "{verb}: code {}", error.code);
        ensure!(error.msg.contains("standard input is longer than 4194304 bytes"), "{said}");
    }
    Ok(())
}
