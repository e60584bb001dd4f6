//! What a container is asked for from elsewhere: a page by HTTP, and echoes by ICMP. busybox does both.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{command, traffic::Host, wait};

/// Debian's static busybox.
pub const BUSYBOX: &str = "/bin/busybox";
/// Where the server listens.
const PORT: u16 = 8080;
/// How long an answer may take that must come.
const LIMIT: Duration = Duration::from_secs(5);
/// How long an answer is awaited that must not come.
const SILENCE: Duration = Duration::from_secs(1);

/// A server in a container, which answers with a name. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    process: Child,
    name: String,
    folder: PathBuf,
}

impl Server {
    /// Starts a server that answers with the party's name, and waits until it listens.
    pub fn start(host: &Host) -> Result<Self> {
        let folder = Path::new("/run/www").join(host.name());
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        fs::write(folder.join("name"), host.name()).context("write a page")?;
        let port = PORT.to_string();
        let process = host.run(|| {
            Command::new(BUSYBOX)
                .args(["httpd", "-f", "-p", &port, "-h"])
                .arg(&folder)
                .stdin(Stdio::null())
                .spawn()
                .context("start busybox httpd")
        })?;
        let server = Self { process, name: host.name().to_owned(), folder };
        wait::until(LIMIT, "the server listens", || {
            let listeners = host.run(|| command::run("ss", ["-Hltn"]))?;
            ensure!(listeners.contains(&format!(":{PORT} ")), "{listeners}");
            Ok(())
        })?;
        Ok(server)
    }

    /// Fails unless the server answers the party at every address, and so does the kernel to echo
    /// requests.
    pub fn answers(&self, from: &Host, addresses: &[IpAddr]) -> Result<()> {
        for &address in addresses {
            let target = SocketAddr::new(address, PORT);
            let got = from.run(|| get(target)).with_context(|| format!("{target} is asked"))?;
            ensure!(got == self.name, "{target} is {got:?} to {}, not {}", from.name(), self.name);
            let (address, seconds) = (address.to_string(), LIMIT.as_secs().to_string());
            from.run(|| command::run(BUSYBOX, ["ping", "-c", "1", "-W", &seconds, &address]))
                .with_context(|| format!("{address} is pinged"))?;
        }
        Ok(())
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ended = self.process.kill().and_then(|()| self.process.wait());
        if let Err(error) = ended.and_then(|_| fs::remove_dir_all(&self.folder)) {
            eprintln!("a server is left: {error}");
        }
    }
}

/// Asks for the page by HTTP 1.0.
fn get(target: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&target, LIMIT).context("connect")?;
    stream.set_read_timeout(Some(LIMIT)).context("set a stream's time limit")?;
    stream.write_all(b"GET /name HTTP/1.0\r\n\r\n").context("send a request")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("receive an answer")?;
    let (head, page) = answer.split_once("\r\n\r\n").context("the answer has no end")?;
    ensure!(head.contains(" 200 "), "{head}");
    Ok(page.to_owned())
}

/// Fails if any of the parties gets an answer from an address: to a connection to the server's port,
/// or to an echo request.
pub fn silent(from: &[&Host], addresses: &[IpAddr]) -> Result<()> {
    let pairs = from.iter().flat_map(|host| addresses.iter().map(move |address| (*host, *address)));
    thread::scope(|scope| {
        let asked: Vec<_> = pairs
            .flat_map(|(host, address)| {
                [
                    scope.spawn(move || no_connection(host, address)),
                    scope.spawn(move || no_echo(host, address)),
                ]
            })
            .collect();
        asked.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))
        })
    })
}

fn no_connection(from: &Host, address: IpAddr) -> Result<()> {
    let target = SocketAddr::new(address, PORT);
    let connected = from.run(|| Ok(TcpStream::connect_timeout(&target, SILENCE).is_ok()))?;
    ensure!(!connected, "{} reaches {target}", from.name());
    Ok(())
}

fn no_echo(from: &Host, address: IpAddr) -> Result<()> {
    let seconds = SILENCE.as_secs().to_string();
    let output = from.run(|| {
        let mut ping = Command::new(BUSYBOX);
        ping.args(["ping", "-c", "1", "-W", &seconds]).arg(address.to_string());
        command::output_with_input(&mut ping, &[])
    })?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(!output.status.success(), "{address} answers {}:\n{said}", from.name());
    Ok(())
}
