//! Forms of `CNI_NETNS`, with and without a pool: ADD either gives the container that the path leads to a
//! network, which CHECK, DEL, GC and PARK then find, or fails with an error that names the path.
#![cfg(test)]

use std::{
    fs::{self, File},
    os::fd::AsRawFd as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    mount::{MntFlags, MsFlags, mount, umount2},
};
use repoint_tests::{
    Netns, Pooled, command,
    plugin::Attachment,
    pooled::user,
    traffic::{self, Host},
    wait, with_pool,
};
use serde_json::{Value, json};

/// What a path leads to, besides the namespace itself.
struct Form {
    name: &'static str,
    /// Makes the path of the container with this namespace.
    path: fn(&Netns) -> Result<Made>,
    /// Whether a pool can serve it.
    pooled: bool,
}

/// A path, and what keeps it alive.
struct Made {
    path: PathBuf,
    file: Option<File>,
    process: Option<Child>,
    mounted: bool,
}

impl Made {
    fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), file: None, process: None, mounted: false }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill().ok();
            process.wait().ok();
        }
        if self.mounted {
            umount2(&self.path, MntFlags::MNT_DETACH).ok();
        }
    }
}

fn link(netns: &Netns) -> Result<Made> {
    let path = PathBuf::from("/run/link");
    symlink(netns.path(), &path).context("make a link")?;
    Ok(Made::at(path))
}

fn link_of_link(netns: &Netns) -> Result<Made> {
    // A relative one, which leads there from its own folder.
    let relative = netns.path().strip_prefix("/run").context("a namespace elsewhere")?;
    symlink(relative, "/run/first").context("make a link")?;
    symlink("first", "/run/second").context("make a link")?;
    Ok(Made::at("/run/second"))
}

fn linked_folder(netns: &Netns) -> Result<Made> {
    let folder = netns.path().parent().context("a folder")?;
    symlink(folder, "/run/folder").context("make a link")?;
    Ok(Made::at(Path::new("/run/folder").join(netns.path().file_name().context("a name")?)))
}

fn dots(netns: &Netns) -> Result<Made> {
    let name = netns.path().file_name().context("a name")?;
    let folder = netns.path().parent().context("a folder")?;
    Ok(Made::at(folder.join("..").join(folder.file_name().context("a name")?).join(name)))
}

/// A path of some 3,000 bytes, of which the kernel takes 4,095.
fn long(netns: &Netns) -> Result<Made> {
    let mut folder = PathBuf::from("/run/long");
    for number in 0..12 {
        folder.push(format!("{number:0>240}"));
    }
    fs::create_dir_all(&folder).context("make folders")?;
    bound(netns.path(), folder.join("netns"))
}

fn bound(of: &Path, path: PathBuf) -> Result<Made> {
    File::create_new(&path).with_context(|| format!("make {}", path.display()))?;
    let none = None::<&str>;
    mount(Some(of), &path, none, MsFlags::MS_BIND, none)
        .with_context(|| format!("bind {}", path.display()))?;
    let mut made = Made::at(path);
    made.mounted = true;
    Ok(made)
}

fn bind_of_bind(netns: &Netns) -> Result<Made> {
    bound(netns.path(), "/run/bound".into())
}

fn of_process(netns: &Netns) -> Result<Made> {
    let process = netns.run(|| {
        let mut sleep = Command::new("sleep");
        sleep.arg("600").stdin(Stdio::null()).spawn().context("start a process")
    })?;
    let path = format!("/proc/{}/ns/net", process.id());
    let mut made = Made::at(path);
    made.process = Some(process);
    Ok(made)
}

/// A descriptor that the plugin inherits.
fn descriptor(netns: &Netns) -> Result<Made> {
    let file = File::open(netns.path()).context("open the namespace")?;
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).context("let it be inherited")?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut made = Made::at(path);
    made.file = Some(file);
    Ok(made)
}

fn link_to_process(netns: &Netns) -> Result<Made> {
    let of_process = of_process(netns)?;
    symlink(&of_process.path, "/run/to-process").context("make a link")?;
    let mut made = Made::at("/run/to-process");
    let mut of_process = of_process;
    made.process = of_process.process.take();
    Ok(made)
}

const FORMS: [Form; 9] = [
    Form { name: "symbolic link", path: link, pooled: true },
    Form { name: "link of a link", path: link_of_link, pooled: true },
    Form { name: "folder that is a link", path: linked_folder, pooled: true },
    Form { name: "with ..", path: dots, pooled: true },
    Form { name: "very long", path: long, pooled: true },
    Form { name: "bind mount of a bind mount", path: bind_of_bind, pooled: true },
    Form { name: "/proc/PID/ns/net", path: of_process, pooled: false },
    Form { name: "/proc/self/fd/N", path: descriptor, pooled: false },
    Form { name: "link to /proc/PID/ns/net", path: link_to_process, pooled: false },
];

fn clear() {
    for path in ["/run/link", "/run/first", "/run/second", "/run/folder", "/run/bound"] {
        fs::remove_file(path).ok();
    }
    fs::remove_file("/run/to-process").ok();
    fs::remove_dir_all("/run/long").ok();
}

/// How an attachment is taken away.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Del,
    /// The path, or what it is a link to, is gone before.
    DelWithoutPath,
    Gc,
    Park,
}

/// ADD, CHECK and traffic by a path of this form; then it is taken away, and the namespace at the path is
/// the runtime's again.
fn lives(pooled: &Pooled<'_>, form: &Form, way: Way, mode: &str) -> Result<()> {
    let name = pooled.name();
    let netns = Netns::create(&name)?;
    let own = Netns::inode_at(netns.path())?;
    let place = (form.path)(&netns)?;
    let args = format!("{};repoint.dev/mode={mode}", user("acme", "resize"));
    let attachment = Attachment::new(&name, &place.path).args(&args);
    let network = pooled.network();
    let result = network.add(&attachment)?;
    let served = pooled.slots()?.into_iter().find(|slot| slot.container.as_ref() == Some(&name));
    let served = served.context("no slot has the container")?;
    let is_pooled = mode != "none" && form.pooled;
    ensure!((served.served() != "none") == is_pooled, "it was served {:?}", served.decision);
    ensure!(
        result["interfaces"].as_array().is_some_and(|interfaces| {
            interfaces.iter().any(|one| one["sandbox"] == json!(place.path))
        }),
        "the result has another path than it was given: {result}"
    );
    network.check(&attachment, &result)?;
    let host = Host::at(&name, &place.path)?;
    traffic::all(&Host::here("node")?, &host, &addresses(&result)?)?;
    drop(host);
    let gone = Attachment { netns: Some("/nowhere".into()), ..attachment.clone() };
    match way {
        Way::Del => network.del(&attachment, Some(&result))?,
        Way::DelWithoutPath => {
            if fs::symlink_metadata(&place.path).is_ok_and(|found| found.is_symlink())
                && !place.path.starts_with("/proc")
            {
                fs::remove_file(&place.path).context("remove the link")?;
            }
            network.del(&gone, Some(&result))?;
        }
        Way::Gc => {
            let call = network.with_valid([]);
            call.call_single("GC", &gone, None)?.success()?;
        }
        Way::Park if is_pooled => {
            network.call_single("PARK", &gone, None)?.success()?;
        }
        Way::Park => {
            let error = network.call_single("PARK", &attachment, None)?.error()?;
            ensure!(error.msg.contains("runtime's"), "{error:?}");
            network.del(&attachment, Some(&result))?;
        }
    }
    ensure!(Netns::inode_at(netns.path())? == own, "the slot's namespace is still at the path");
    let links = netns.run(|| command::run("ip", ["-brief", "link"]))?;
    ensure!(links.lines().count() == 1, "the runtime's namespace holds:\n{links}");
    wait::until(repoint_tests::pooled::SOON, "the slot is back", || {
        let back = pooled.slots()?.into_iter().all(|slot| slot.container.as_ref() != Some(&name));
        ensure!(back, "the container is on record");
        Ok(())
    })?;
    drop(place);
    clear();
    netns.remove()
}

fn addresses(result: &Value) -> Result<Vec<std::net::IpAddr>> {
    let ips = result["ips"].as_array().context("no ips")?;
    let parse = |ip: &Value| {
        let text = ip["address"].as_str().context("no address")?;
        Ok(text.split('/').next().unwrap_or_default().parse()?)
    };
    ips.iter().map(parse).collect()
}

fn every_form(way: Way, mode: &str) -> Result<()> {
    with_pool(&json!({ "warm": 2, "maxSlots": 8 }), |pooled| {
        pooled.fill()?;
        clear();
        for form in &FORMS {
            println!("{way:?}, mode {mode}: {}", form.name);
            lives(pooled, form, way, mode).with_context(|| form.name)?;
            // The next one finds a slot again, parked or new.
            pooled.fill()?;
        }
        Ok(())
    })
}

#[test]
fn each_form_of_path_is_attached_and_deleted_with_a_pool() -> Result<()> {
    every_form(Way::Del, "reuse")
}

#[test]
fn each_form_of_path_is_attached_and_deleted_without_a_slot_of_the_pool() -> Result<()> {
    every_form(Way::Del, "none")
}

#[test]
fn each_form_of_path_is_deleted_when_the_path_is_gone() -> Result<()> {
    every_form(Way::DelWithoutPath, "reuse")
}

#[test]
fn each_form_of_path_is_collected() -> Result<()> {
    every_form(Way::Gc, "reuse")
}

#[test]
fn each_form_of_path_is_parked() -> Result<()> {
    every_form(Way::Park, "reuse")
}

/// Paths that lead to no namespace: the error names them, and nothing is left. DEL does not need one.
#[test]
fn a_path_that_leads_nowhere_is_an_error_that_names_it() -> Result<()> {
    with_pool(&json!({ "warm": 2, "maxSlots": 8 }), |pooled| {
        pooled.fill()?;
        let netns = Netns::create("target")?;
        symlink("/run/nothing", "/run/dangling").context("make a link")?;
        symlink("/run/circle", "/run/circle").context("make a link")?;
        File::create_new("/run/empty").context("make a file")?;
        symlink("/run/empty", "/run/to-empty").context("make a link")?;
        let slash = format!("{}/", netns.path().display());
        let too_long = format!("/run/{}", "a/".repeat(2500));
        for (path, said) in [
            ("/run/dangling", "No such file"),
            // glibc: "Too many levels of symbolic links"; musl: "Symbolic link loop".
            ("/run/circle", "ymbolic link"),
            ("/run/to-empty", "is not a network namespace"),
            ("/run/empty", "is not a network namespace"),
            (slash.as_str(), "Not a directory"),
            ("netns/target", "must be absolute"),
            ("./netns", "must be absolute"),
            // glibc: "File name too long"; musl: "Filename too long".
            (too_long.as_str(), "name too long"),
            ("/run", "is not a network namespace"),
        ] {
            for mode in ["reuse", "none"] {
                let error = pooled.refused("ADD", |mut own| {
                    own.netns = Some(path.into());
                    own.args(&format!("{};repoint.dev/mode={mode}", user("acme", "resize")))
                })?;
                let text = format!("{} {}", error.msg, error.details);
                ensure!(error.code == 4, "{path}: {error:?}");
                ensure!(text.contains(said), "{path}: {said:?} is not said: {text}");
                ensure!(text.contains(path), "{path} is not named: {text}");
            }
        }
        netns.remove()
    })
}

/// `repoint activate --netns` mounts where a link leads, too.
#[test]
fn the_cli_follows_a_link() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 8 }), |pooled| {
        pooled.fill()?;
        File::create_new("/run/empty").context("make a file")?;
        symlink("/run/empty", "/run/to-empty").context("make a link")?;
        let words = ["activate", "--function", "resize", "--netns", "/run/to-empty"];
        pooled.repoint(&words)?;
        let slot = repoint_tests::cli::slot_of(pooled.node(), "resize")?;
        ensure!(Some(Netns::inode_at(Path::new("/run/empty"))?.1) == slot.netns_inode, "{slot:?}");
        pooled.repoint(&["park", "resize"])?;
        ensure!(fs::metadata("/run/empty")?.is_file(), "/run/empty is still a namespace");
        symlink("/run/nothing", "/run/dangling").context("make a link")?;
        let words = ["activate", "--function", "resize", "--netns", "/run/dangling"];
        let error = pooled.repoint(&words).err().context("it was mounted over the link")?;
        ensure!(format!("{error:#}").contains("/run/dangling"), "{error:#}");
        Ok(())
    })
}
