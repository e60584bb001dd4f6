//! What an attacker does on order.
//!
//! An order is a line: a verb and its words. `shell` takes the rest of the line as a script, in which
//! `$FD_NAME` is the path of the descriptor that is kept as NAME.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::ErrorKind,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};
use rustix::{
    fs::{FlockOperation, flock, inotify},
    io::{FdFlags, fcntl_setfd},
    process::{DumpableBehavior, set_dumpable_behavior},
};

use super::{
    Channel, Message, Reply, SECRET, Watch, elf,
    frames::{self, Victim},
    links, sockets,
};

/// How long the other attacker may take to pass something on.
const PASSING: Duration = Duration::from_secs(10);
/// Time between two frames of a flood.
const PACE: Duration = Duration::from_millis(1);
/// What a script prints when the kernel lacks what it needs.
const UNSUPPORTED: &str = "unsupported:";
/// What tools say when the kernel lacks what they ask for.
const LACKS: [&str; 4] = [
    "Unknown device type",
    "Operation not supported",
    "Failed to load TC action module",
    "Protocol not supported",
];

/// All that an attacker keeps.
#[derive(Debug, Default)]
pub struct Attacker {
    peer: Option<Channel>,
    kept: BTreeMap<String, OwnedFd>,
    children: Vec<Child>,
}

impl Attacker {
    /// Carries out an order.
    pub fn obey(&mut self, order: Message) -> Reply {
        match self.carry_out(order) {
            Ok(text) => Reply::Done(text),
            Err(error) => {
                let text = format!("{error:#}");
                match text.split_once(UNSUPPORTED) {
                    Some((_, what)) => Reply::Unsupported(what.trim().to_owned()),
                    None if LACKS.iter().any(|lack| text.contains(lack)) => {
                        Reply::Unsupported(text)
                    }
                    None => Reply::Failed(text),
                }
            }
        }
    }

    fn carry_out(&mut self, order: Message) -> Result<String> {
        let text = order.text.trim();
        let (verb, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        let nothing = |()| String::new();
        match (verb, words.as_slice()) {
            ("peer", _) => self.meet(order.descriptors).map(nothing),
            ("shell", _) => self.shell(rest),
            ("keep-netns", [name]) => self.keep_netns(name).map(nothing),
            ("give", names) => self.give(names).map(nothing),
            ("receive", names) => self.receive(names).map(nothing),
            ("drop", [name]) => self.kept.remove(*name).map(|_| String::new()).context("no such"),
            ("enter", [name]) => self.enter(name).map(nothing),
            ("secrets", []) => self.secrets(),
            ("packet", [name, interface]) => self.packet(name, interface).map(nothing),
            ("spoof", [name, victim @ ..]) => self.spoof(name, victim),
            ("flood", [name, victim @ ..]) => self.flood(name, victim).map(nothing),
            ("nsid", [name, number]) => {
                links::assign_id(self.get(name)?, number.parse()?).map(nothing)
            }
            ("nsid-delete", [number, interface]) => {
                links::delete_by_id(number.parse()?, interface).map(nothing)
            }
            ("ipset", [set]) => links::create_ipset(set).map(nothing),
            ("object", [path, section, value]) => object(path, section, value).map(nothing),
            ("forks", [count]) => self.forks(count.parse()?).map(nothing),
            ("name-without-utf8", []) => {
                rustix::thread::set_name(c"\xff\xfe\xfd) R 1").context("prctl").map(nothing)
            }
            ("hide", []) => {
                set_dumpable_behavior(DumpableBehavior::NotDumpable).context("prctl").map(nothing)
            }
            ("lock-netns", []) => self.lock_netns().map(nothing),
            ("lock-tree", [folder]) => self.lock_tree(Path::new(folder)),
            ("watch-tree", [folder]) => self.watch_tree(Path::new(folder)),
            _ => match sockets::carry_out(verb, &words, &mut self.kept)? {
                Some(text) => Ok(text),
                None => bail!("no such order: {text}"),
            },
        }
    }

    fn keep(&mut self, name: &str, descriptor: OwnedFd) -> Result<()> {
        fcntl_setfd(&descriptor, FdFlags::empty()).context("fcntl(F_SETFD)")?;
        self.kept.insert(name.to_owned(), descriptor);
        Ok(())
    }

    fn get(&self, name: &str) -> Result<&OwnedFd> {
        self.kept.get(name).with_context(|| format!("nothing is kept as {name}"))
    }

    fn meet(&mut self, descriptors: Vec<OwnedFd>) -> Result<()> {
        let end = descriptors.into_iter().next().context("no descriptor")?;
        self.peer = Some(Channel::of(end));
        Ok(())
    }

    fn give(&self, names: &[&str]) -> Result<()> {
        let peer = self.peer.as_ref().context("no peer")?;
        let passed: Vec<_> =
            names.iter().map(|name| Ok(self.get(name)?.as_fd())).collect::<Result<_>>()?;
        peer.send("take these", &passed)
    }

    fn receive(&mut self, names: &[&str]) -> Result<()> {
        let peer = self.peer.as_ref().context("no peer")?;
        let message = peer.receive(PASSING)?.context("the peer has ended")?;
        ensure!(message.descriptors.len() == names.len(), "{} came", message.descriptors.len());
        for (name, descriptor) in names.iter().zip(message.descriptors) {
            self.keep(name, descriptor)?;
        }
        Ok(())
    }

    fn keep_netns(&mut self, name: &str) -> Result<()> {
        let file = File::open("/proc/thread-self/ns/net").context("open the namespace")?;
        self.keep(name, file.into())
    }

    fn enter(&self, name: &str) -> Result<()> {
        // This moves only the thread that carries out orders, which is the one that starts others.
        setns(self.get(name)?, CloneFlags::CLONE_NEWNET).context("setns(CLONE_NEWNET)")
    }

    fn shell(&self, script: &str) -> Result<String> {
        let variables = self.kept.iter().map(|(name, descriptor)| {
            let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
            (format!("FD_{name}"), path)
        });
        let output = Command::new("/bin/sh")
            .args(["-ec", script])
            .envs(variables)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .output()
            .context("run a shell")?;
        let said = [&output.stdout[..], &output.stderr].concat();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        ensure!(output.status.success(), "{}: {said}", output.status);
        Ok(said)
    }

    fn packet(&mut self, name: &str, interface: &str) -> Result<()> {
        self.keep(name, Watch::here()?.into_descriptor())?;
        self.keep(&format!("{name}-out"), frames::sender(interface)?)
    }

    fn spoof(&self, name: &str, victim: &[&str]) -> Result<String> {
        let (victim, own) = parse(victim)?;
        let socket = self.get(&format!("{name}-out"))?;
        let sent = frames::send_all(socket, &frames::lies(&victim, own)).context("send frames")?;
        Ok(format!("{sent} frames"))
    }

    fn flood(&self, name: &str, victim: &[&str]) -> Result<()> {
        let (victim, own) = parse(victim)?;
        let socket = self.get(&format!("{name}-out"))?.try_clone().context("duplicate a socket")?;
        let lies = frames::lies(&victim, own);
        thread::spawn(move || {
            loop {
                // A full queue or a link that is down: the next one may get through.
                frames::send_all(&socket, &lies).ok();
                sockets::pause(PACE);
            }
        });
        Ok(())
    }

    /// How many messages with the next owner's secret have reached any socket that is kept.
    fn secrets(&self) -> Result<String> {
        let mut found = 0;
        for descriptor in self.kept.values() {
            found += sockets::count(descriptor, SECRET)?;
        }
        Ok(found.to_string())
    }

    fn forks(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let child = Command::new("/bin/busybox").args(["sleep", "1000"]).spawn();
            self.children.push(child.context("start busybox sleep")?);
        }
        Ok(())
    }

    fn lock_netns(&mut self) -> Result<()> {
        self.keep_netns("lock")?;
        flock(self.get("lock")?, FlockOperation::NonBlockingLockExclusive).context("flock")
    }

    fn lock_tree(&mut self, folder: &Path) -> Result<String> {
        let mut files = Vec::new();
        let mut refused = 0;
        walk(folder, &mut |path, is_folder| {
            if is_folder {
                return;
            }
            let opened = File::options().read(true).write(true).open(path);
            let opened = opened.or_else(|_| File::open(path));
            match opened {
                Ok(file) => files.push((path.display().to_string(), file)),
                Err(_) => refused += 1,
            }
        });
        let mut held = Vec::new();
        for (path, file) in files {
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                held.push(path.clone());
            }
            let records = sockets::lock_records(&file);
            self.keep(&format!("lock-{path}"), file.into())?;
            if records {
                held.push(format!("{path} (records)"));
            }
        }
        Ok(format!("locked {held:?}, {refused} files refused"))
    }

    fn watch_tree(&mut self, folder: &Path) -> Result<String> {
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).context("inotify_init")?;
        let (mut watched, mut refused) = (0, 0);
        walk(folder, &mut |path, _| match inotify::add_watch(
            &watch,
            path,
            inotify::WatchFlags::ALL_EVENTS,
        ) {
            Ok(_) => watched += 1,
            Err(_) => refused += 1,
        });
        self.keep("inotify", watch)?;
        Ok(format!("{watched} watched, {refused} refused"))
    }
}

fn parse(words: &[&str]) -> Result<(Victim, [u8; 6])> {
    let [v4, v6, mac, peer, gateway, own] = words else {
        bail!("a victim is: IPv4, IPv6, MAC, peer, gateway's MAC, own MAC");
    };
    let victim = Victim {
        v4: v4.parse()?,
        v6: v6.parse()?,
        mac: hardware(mac)?,
        peer: peer.parse()?,
        gateway: hardware(gateway)?,
    };
    Ok((victim, hardware(own)?))
}

fn hardware(text: &str) -> Result<[u8; 6]> {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).with_context(|| format!("address {text}")))
        .collect::<Result<_>>()?;
    bytes.try_into().map_err(|_| anyhow::anyhow!("{text} has not six bytes"))
}

fn object(path: &str, section: &str, value: &str) -> Result<()> {
    let section = match section {
        "xdp" => "xdp",
        "flow_dissector" => "flow_dissector",
        "sk_lookup" => "sk_lookup",
        "classifier" => "classifier",
        _ => bail!("no section {section}"),
    };
    fs::write(path, elf::program(section, value.parse()?)).with_context(|| format!("write {path}"))
}

/// Visits a folder and all below it, as far as it can be read.
fn walk(path: &Path, visit: &mut dyn FnMut(&Path, bool)) {
    visit(path, true);
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotADirectory => return,
        Err(_) => return,
    };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path(), visit),
            Ok(_) => visit(&entry.path(), false),
            Err(_) => {}
        }
    }
}
