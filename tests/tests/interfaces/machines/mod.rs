//! Virtual machines behind a container's interface, as Kata and Firecracker run them: a real kernel finds the
//! gateway by ARP and by neighbour discovery.

mod initramfs;

use std::{
    env, fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::{
    signal::Signal,
    socket::{Shutdown, shutdown},
};
use repoint_common::{GATEWAY_V4, GATEWAY_V6, mac::GATEWAY_MAC};
use repoint_tests::{
    Container, Node, command,
    dist::{dist, workspace},
    networks::{network, pool},
    node::{NODE, OUTSIDE},
    share::Share,
    traffic::Host,
    wait,
};

use super::{
    guests::{Redirection, redirect},
    skipped,
};

/// The machine's kernel.
const SERIES: &str = "6.1";
/// Exit status of `cargo xtask vm` where this machine cannot start a guest.
const CANNOT: i32 = 77;
/// Where the node and the outside host send back what they get over TCP.
const PORT: u16 = 8080;
/// How long a machine may take: many times what it takes where nothing else runs.
const LIMIT: Duration = Duration::from_mins(3);
/// How long the machine may say nothing on a connection.
const SILENCE: Duration = Duration::from_secs(15);
const ROUNDS: [&str; 2] = ["first", "second"];

/// What boots a machine.
struct Boot {
    /// The image of a kernel that is unpacked on this machine.
    image: PathBuf,
    /// QEMU.
    emulator: PathBuf,
}

/// What boots machines; none: this machine cannot start one.
fn boot() -> Result<Option<Boot>> {
    let mut find = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    find.current_dir(workspace()).env("REPOINT_DIST", dist());
    find.args(["xtask", "vm", "--kernel", SERIES, "--unpack"]);
    // It may have to be downloaded.
    let output =
        command::output_signalled(&mut find, &[], &[(Duration::from_mins(10), Signal::SIGKILL)])?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(CANNOT) {
        println!("skipped: {said}");
        return Ok(None);
    }
    ensure!(output.status.success(), "{find:?}: {}: {said}", output.status);
    let paths = String::from_utf8(output.stdout).context("paths")?;
    let (image, emulator) = paths.trim().split_once('\n').context("not two paths")?;
    Ok(Some(Boot { image: image.into(), emulator: emulator.into() }))
}

/// Folder of the modules of a kernel, by its image.
fn modules(image: &Path) -> Result<PathBuf> {
    let name = image.file_name().and_then(|name| name.to_str()).context("name of an image")?;
    let release = name.strip_prefix("vmlinuz-").context("another name of an image")?;
    let folder = image.parent().and_then(Path::parent).context("folder of an image")?;
    Ok(folder.join("lib/modules").join(release))
}

/// A machine in a container, from its boot until it powers off. Gives what it wrote to its serial port.
fn boots(boot: &Boot, container: &Container<'_>, rules: Redirection) -> Result<String> {
    let there = NODE.into_iter().chain(OUTSIDE).map(|address| address.to_string());
    let there: Vec<_> = there.collect();
    let [v4, v6] = container.addresses()?.try_into().ok().context("not two addresses")?;
    let settings = format!(
        "OWN_V4={v4} OWN_V6={v6} GATEWAY_V4={} GATEWAY_V6={} PORT={PORT} THERE=\"{}\"\n",
        Ipv4Addr::from(GATEWAY_V4),
        Ipv6Addr::from(GATEWAY_V6),
        there.join(" ")
    );
    // On the node, /run is a file system that ends with it.
    let initrd = Path::new("/run/initramfs");
    fs::write(initrd, initramfs::make(&modules(&boot.image)?, &settings)?)
        .context("write initramfs")?;
    let mut qemu = Command::new(&boot.emulator);
    qemu.args(["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"]);
    qemu.args(["-accel", "tcg", "-m", "160"]).arg("-kernel").arg(&boot.image);
    qemu.arg("-initrd").arg(initrd);
    // On a busy machine the emulated timer fails the check that the kernel makes of it.
    qemu.args(["-append", "console=ttyS0 quiet panic=-1 no_timer_check"]);
    qemu.args(["-netdev", "tap,id=net,ifname=tap0,script=no,downscript=no"]);
    let output = container.host()?.run(|| {
        redirect(rules)?;
        let link = command::run("ip", ["-brief", "link", "show", "eth0"])?;
        let mac = link.split_whitespace().nth(2).context("an interface without an address")?;
        // The card needs no program that boots from it.
        qemu.args(["-device", &format!("virtio-net-pci,netdev=net,romfile=,mac={mac}")]);
        command::output_signalled(&mut qemu, &[], &[(wait::patient(LIMIT), Signal::SIGKILL)])
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    let console = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    ensure!(output.status.success(), "{qemu:?}: {}: {said}\n{console}", output.status);
    Ok(console)
}

/// Fails unless the machine got all answers, and found both gateways by asking.
fn has_all(console: &str) -> Result<()> {
    let results: Vec<_> = console.lines().filter_map(|line| line.strip_prefix("result ")).collect();
    let has = |wanted: &str| {
        ensure!(results.contains(&wanted), "no \"{wanted}\"");
        Ok(())
    };
    let mac = GATEWAY_MAC.map(|byte| format!("{byte:02x}")).join(":");
    for round in ROUNDS {
        has(&format!("{round} begins with 0 neighbours"))?;
        for there in NODE.into_iter().chain(OUTSIDE) {
            has(&format!("{round} ping {there}"))?;
            has(&format!("{round} tcp {there}"))?;
        }
        for gateway in
            [IpAddr::from(Ipv4Addr::from(GATEWAY_V4)), IpAddr::from(Ipv6Addr::from(GATEWAY_V6))]
        {
            let begin = format!("{round} neighbour {gateway} lladdr {mac}");
            let is_known = results.iter().any(|line| line.starts_with(&begin));
            ensure!(is_known, "no \"{begin}\"");
        }
    }
    Ok(())
}

/// Sends back what it gets at a port of two parties, until `f` has ended.
fn with_echo<T>(hosts: [Host; 2], f: impl FnOnce() -> Result<T>) -> Result<T> {
    let [one, two] = hosts.map(|host| {
        host.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)).context("listen"))
    });
    let listeners = [one?, two?];
    thread::scope(|scope| {
        for listener in &listeners {
            scope.spawn(|| {
                listener.incoming().map_while(Result::ok).for_each(|stream| echo(&stream));
            });
        }
        let outcome = f();
        for listener in &listeners {
            // The thread that accepts gets an error.
            let ended = shutdown(listener.as_raw_fd(), Shutdown::Both).context("end listening");
            ended.unwrap_or_else(|error| eprintln!("{error:#}"));
        }
        outcome
    })
}

fn echo(stream: &TcpStream) {
    let limit = Some(wait::patient(SILENCE));
    let bounded = stream.set_read_timeout(limit).and(stream.set_write_timeout(limit));
    // Where it fails, the machine misses its answer.
    bounded.and_then(|()| io::copy(&mut &*stream, &mut &*stream)).ok();
}

/// Rules, and whether the container is a slot of a pool.
const PARTS: [(Redirection, bool); 4] = [
    (Redirection::Kata, false),
    (Redirection::Kata, true),
    (Redirection::TcRedirectTap, false),
    (Redirection::TcRedirectTap, true),
];

/// One of them, or all under `cargo xtask test --whole`: each takes half a minute on a busy machine.
#[test]
fn virtual_machines_find_their_gateway() -> Result<()> {
    if skipped() || !Path::new("/dev/net/tun").exists() {
        println!("skipped: there is no plugin, or no /dev/net/tun");
        return Ok(());
    }
    let Some(boot) = boot()? else { return Ok(()) };
    for (rules, pooled) in Share::drawn(4)?.pick(&PARTS) {
        let node = Node::new()?;
        node.run(|| {
            let network = network(&node, "machines", 7, |conf| pool(conf, pooled))?;
            let container = Container::add(&network, "machine")?;
            let hosts = [Host::here("node")?, node.outside_host()?];
            let console = with_echo(hosts, || boots(&boot, &container, rules))?;
            let found = has_all(&console);
            found.with_context(|| format!("{rules:?}, pooled {pooled}:\n{console}"))?;
            println!("{rules:?}, pooled {pooled}: the machine has its network");
            container.check()?;
            container.remove()
        })?;
    }
    Ok(())
}
