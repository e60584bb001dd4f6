//! TCP and UDP between namespaces. A socket belongs to the network namespace of the thread that makes
//! it, for good: so threads make it there, and it is used from here.

use std::{
    fs::File,
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::{
    netns::{Netns, enter_open},
    wait,
};

/// How long any one step may take.
const LIMIT: Duration = Duration::from_secs(4);
/// How long a connection may take to be made, on a machine that does much else: a SYN and its first three
/// repetitions.
const CONNECT: Duration = Duration::from_secs(15);
/// How long an answer is awaited that must not come: a SYN and its first repetition.
const SILENCE: Duration = Duration::from_millis(1500);
/// Bytes sent each way over TCP: more than the window at the start of a connection.
const STREAM: usize = 256 * 1024;
/// Sizes of datagrams, in bytes; the last one goes in fragments.
const DATAGRAMS: [usize; 4] = [1, 64, 1200, 8000];

/// A party: a network namespace and what to call it in errors.
#[derive(Debug)]
pub struct Host {
    name: String,
    netns: File,
}

impl Host {
    /// The calling thread's namespace.
    pub fn here(name: &str) -> Result<Self> {
        Self::at(name, Path::new("/proc/thread-self/ns/net"))
    }

    /// The namespace that a container's path leads to now.
    pub fn container(netns: &Netns) -> Result<Self> {
        let name = netns.path().file_name().unwrap_or_default();
        Self::at(&name.to_string_lossy(), netns.path())
    }

    /// The namespace that a path leads to now.
    pub fn at(name: &str, path: &Path) -> Result<Self> {
        let netns = File::open(path).with_context(|| format!("open {}", path.display()))?;
        Ok(Self { name: name.to_owned(), netns })
    }

    /// The same party once more.
    pub fn again(&self) -> Result<Self> {
        let netns = self.netns.try_clone().context("duplicate a namespace's descriptor")?;
        Ok(Self { name: self.name.clone(), netns })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Listens for TCP at an address; port 0 is any that is free.
    pub fn listen(&self, address: impl Into<SocketAddr>) -> Result<TcpServer<'_>> {
        let address = address.into();
        let listener = self.make(|| TcpListener::bind(address), "listen at", address)?;
        listener.set_nonblocking(true).context("set a listener non-blocking")?;
        Ok(TcpServer { host: self, listener })
    }

    /// Runs `f` in a thread that is in the party's network namespace. Processes that it starts are
    /// there, too.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        enter_open(&self.netns, f).with_context(|| format!("in {}", self.name))
    }

    fn connect(&self, address: SocketAddr, limit: Duration) -> Result<TcpStream> {
        self.make(|| TcpStream::connect_timeout(&address, limit), "connect to", address)
    }

    /// A UDP socket that is bound to an address and waits some seconds for a datagram; port 0 is any
    /// that is free.
    pub fn bind_udp(&self, address: SocketAddr) -> Result<UdpSocket> {
        let socket = self.make(|| UdpSocket::bind(address), "bind UDP to", address)?;
        socket.set_read_timeout(Some(wait::patient(LIMIT))).context("set a socket's time limit")?;
        Ok(socket)
    }

    fn make<T: Send>(
        &self,
        f: impl FnOnce() -> std::io::Result<T> + Send,
        what: &str,
        address: SocketAddr,
    ) -> Result<T> {
        enter_open(&self.netns, || Ok(f()?))
            .with_context(|| format!("{}: {what} {address}", self.name))
    }
}

/// The numbers in datagrams of four bytes that sockets have received by now, big-endian.
pub fn numbers_received(sockets: &[UdpSocket]) -> Result<Vec<u32>> {
    let mut numbers = Vec::new();
    let mut buffer = [0; 8];
    for socket in sockets {
        socket.set_nonblocking(true).context("set non-blocking")?;
        while let Ok(length) = socket.recv(&mut buffer) {
            let number = buffer[..length].try_into().ok().map(u32::from_be_bytes);
            numbers.push(number.context("another datagram")?);
        }
    }
    Ok(numbers)
}

/// A party that listens for TCP.
#[derive(Debug)]
pub struct TcpServer<'a> {
    host: &'a Host,
    listener: TcpListener,
}

impl TcpServer<'_> {
    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().context("address of a listener")
    }

    /// Fails if a client gets a connection at `target`, which may be another address than the server's own.
    pub fn refuses(&self, client: &Host, target: SocketAddr) -> Result<()> {
        match client.connect(target, SILENCE) {
            Ok(_) => bail!("{} reaches {target} of {}", client.name, self.host.name),
            Err(_) => Ok(()),
        }
    }

    /// A client connects to `target`, which may be another address than the server's own, sends data
    /// and gets them back. Gives the client's address as the server sees it.
    pub fn exchange(&self, client: &Host, target: SocketAddr) -> Result<SocketAddr> {
        let stream = client
            .connect(target, wait::patient(CONNECT))
            .inspect_err(|_| report(&[client, self.host]))?;
        let (accepted, peer) = wait::until(LIMIT, "accept a connection", || {
            self.listener.accept().with_context(|| format!("{} accepts", self.host.name))
        })?;
        thread::scope(|scope| {
            let echo = scope.spawn(|| echo(accepted));
            let sent = send_and_compare(stream)
                .with_context(|| format!("TCP from {} to {target}", client.name));
            let echoed = echo.join().map_err(|_| anyhow!("the server panicked"))?;
            sent.and(echoed.context("the server's side"))
        })?;
        Ok(peer)
    }
}

/// Prints what the kernel has to say of packets that do not arrive: in the namespace of the node, which
/// is the calling thread's, and in those of the parties.
fn report(parties: &[&Host]) {
    const COMMANDS: [&str; 6] = [
        "ip -stats neighbour show nud all",
        "ip -stats -oneline link show",
        "ip -4 route show table all; ip -6 route show table all; ip rule show",
        "nft list ruleset",
        "cat /proc/net/nf_conntrack",
        "sysctl -a --pattern '^net.ipv[46].conf.*[.](forwarding|rp_filter)$'",
    ];
    let show = |name: &str| {
        for shell in COMMANDS {
            match crate::command::run("sh", ["-c", shell]) {
                Ok(text) => println!("{name}: {shell}:\n{text}"),
                Err(error) => println!("{name}: {error:#}"),
            }
        }
    };
    show("the node");
    for party in parties {
        let shown = party.run(|| {
            show(party.name());
            Ok(())
        });
        if let Err(error) = shown {
            println!("{error:#}");
        }
    }
}

/// TCP from `client` to `server` at `address`, data both ways. Gives the client's address as the
/// server sees it.
pub fn tcp(client: &Host, server: &Host, address: IpAddr) -> Result<IpAddr> {
    let listening = server.listen((address, 0))?;
    Ok(listening.exchange(client, listening.address()?)?.ip())
}

/// UDP from `client` to `server` at `address`: datagrams of several sizes there and back. Gives the
/// client's address as the server sees it.
pub fn udp(client: &Host, server: &Host, address: IpAddr) -> Result<IpAddr> {
    let listening = server.bind_udp((address, 0).into())?;
    let target = listening.local_addr().context("address of a socket")?;
    udp_by(client, &listening, target)
}

/// The same with a server's socket, and to `target`, which may be another address than its own.
pub fn udp_by(client: &Host, server: &UdpSocket, target: SocketAddr) -> Result<IpAddr> {
    let socket = client.bind_udp(unspecified(target.ip()))?;
    socket.connect(target).with_context(|| format!("{}: route to {target}", client.name))?;
    let mut seen = None;
    for size in DATAGRAMS {
        let what = || format!("UDP of {size} bytes from {} to {target}", client.name);
        seen = Some(datagram(&socket, server, size).with_context(what)?);
    }
    seen.context("no datagram was sent")
}

/// Fails unless what `client` sends to `target` over UDP is refused: by "port unreachable".
pub fn udp_is_refused(client: &Host, target: SocketAddr) -> Result<()> {
    let socket = client.bind_udp(unspecified(target.ip()))?;
    socket.connect(target).with_context(|| format!("{}: route to {target}", client.name))?;
    socket.send(&[0; 64]).context("send")?;
    match socket.recv(&mut [0; 64]) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        other => bail!("{} to {target}: not refused: {other:?}", client.name),
    }
}

/// One datagram from `client` to `server` at `address`, and one back.
pub fn first_datagram(client: &Host, server: &Host, address: IpAddr) -> Result<()> {
    first_datagram_within(LIMIT, client, server, address)
}

/// The same, of a datagram that arrives within `limit`: for what is tried again.
pub fn first_datagram_within(
    limit: Duration,
    client: &Host,
    server: &Host,
    address: IpAddr,
) -> Result<()> {
    let listening = server.bind_udp((address, 0).into())?;
    let limit = Some(wait::patient(limit));
    listening.set_read_timeout(limit).context("set a socket's time limit")?;
    let target = listening.local_addr().context("address of a socket")?;
    let socket = client.bind_udp(unspecified(address))?;
    socket.connect(target).with_context(|| format!("{}: route to {target}", client.name))?;
    let what = || format!("a first datagram from {} to {target}", client.name);
    datagram(&socket, &listening, 64).with_context(what).map(drop)
}

/// Both protocols from `client` to `server` at each address; fails at the first that does not pass.
pub fn all(client: &Host, server: &Host, addresses: &[IpAddr]) -> Result<()> {
    for &address in addresses {
        tcp(client, server, address)?;
        udp(client, server, address)?;
    }
    Ok(())
}

/// Fails if `client` gets any answer from `server` at `address` over TCP.
pub fn no_tcp(client: &Host, server: &Host, address: IpAddr) -> Result<()> {
    // It must listen until the end: a refusal would pass for silence.
    let listening = server.listen((address, 0))?;
    listening.refuses(client, listening.address()?)
}

fn datagram(client: &UdpSocket, server: &UdpSocket, size: usize) -> Result<IpAddr> {
    let data = pattern(size);
    let mut buffer = vec![0; size + 1];
    client.send(&data).context("send")?;
    let (length, peer) = server.recv_from(&mut buffer).context("the server receives")?;
    server.send_to(&buffer[..length], peer).context("the server answers")?;
    let length = client.recv(&mut buffer).context("the client receives")?;
    ensure!(buffer[..length] == data, "{length} of {size} bytes came back, or they differ");
    Ok(peer.ip())
}

fn echo(mut stream: TcpStream) -> Result<()> {
    limit(&stream)?;
    let mut data = Vec::new();
    stream.read_to_end(&mut data).context("receive")?;
    stream.write_all(&data).context("send back")
}

fn send_and_compare(mut stream: TcpStream) -> Result<()> {
    limit(&stream)?;
    let data = pattern(STREAM);
    stream.write_all(&data).context("send")?;
    stream.shutdown(Shutdown::Write).context("end sending")?;
    let mut returned = Vec::new();
    stream.read_to_end(&mut returned).context("receive")?;
    ensure!(returned == data, "{} of {STREAM} bytes came back, or they differ", returned.len());
    Ok(())
}

fn limit(stream: &TcpStream) -> Result<()> {
    stream.set_nonblocking(false).context("set a stream blocking")?;
    stream.set_read_timeout(Some(wait::patient(LIMIT))).context("set a stream's time limit")?;
    stream.set_write_timeout(Some(wait::patient(LIMIT))).context("set a stream's time limit")
}

/// Bytes of which no two nearby parts are equal.
pub(crate) fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i ^ (i >> 8)).to_le_bytes()[0]).collect()
}

/// Any address of the family, and any port.
#[must_use]
pub fn unspecified(like: IpAddr) -> SocketAddr {
    let any: IpAddr = match like {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    (any, 0).into()
}
