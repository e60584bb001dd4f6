//! SCTP between namespaces, by sockets of the kernel.
//!
//! A server is bound to one address, and a client to none: the client's first packet lists all addresses of
//! its namespace, as an ordinary program's does.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::OwnedFd,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::net::{
    AddressFamily, SocketType, acceptfrom, bind, connect, getsockname, ipproto, listen, socket,
    sockopt::{Timeout, set_socket_timeout},
};

use crate::{
    traffic::{Host, pattern},
    wait,
};

/// How long any one step may take: an INIT and its first repetitions.
const LIMIT: Duration = Duration::from_secs(15);
/// Bytes sent each way: more than the window at the start of an association.
const STREAM: usize = 64 * 1024;
/// Bytes of one message: more than one packet takes.
const MESSAGE: usize = 4000;

/// Whether the kernel has SCTP, or loads it now.
#[must_use]
pub fn is_supported() -> bool {
    socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::SCTP)).is_ok()
}

/// A party that listens for SCTP.
#[derive(Debug)]
pub struct Server {
    name: String,
    listener: OwnedFd,
    address: SocketAddr,
}

impl Server {
    /// Listens at an address; port 0 is any that is free.
    pub fn start(host: &Host, address: SocketAddr) -> Result<Self> {
        let listener = open(host, address.ip())?;
        bind(&listener, &address).with_context(|| format!("bind SCTP to {address}"))?;
        listen(&listener, 8).context("listen for SCTP")?;
        let address = getsockname(&listener).context("address of a listener")?;
        let address = address.try_into().context("an IP address")?;
        Ok(Self { name: host.name().to_owned(), listener, address })
    }

    /// A client connects to `target`, which may be another address than the server's own, sends data and
    /// gets them back. Gives the client's address as the server sees it.
    pub fn exchange(&self, client: &Host, target: SocketAddr) -> Result<SocketAddr> {
        let what = || format!("SCTP from {} to {target} of {}", client.name(), self.name);
        let socket = open(client, target.ip())?;
        thread::scope(|scope| {
            let served = scope.spawn(|| self.serve());
            let sent = connect(&socket, &target).context("connect");
            let sent = sent.and_then(|()| send_and_compare(socket.into()));
            let served = served.join().map_err(|_| anyhow!("the server panicked"))?;
            sent.and(served.context("the server's side"))
        })
        .with_context(what)
    }

    /// Accepts one client, and sends back what it sends.
    fn serve(&self) -> Result<SocketAddr> {
        let (stream, peer) = acceptfrom(&self.listener).context("accept an association")?;
        let peer =
            peer.context("a peer without an address")?.try_into().context("an IP address")?;
        limit(&stream, wait::patient(LIMIT))?;
        let (mut stream, mut data) = (TcpStream::from(stream), vec![0; STREAM]);
        stream.read_exact(&mut data).context("receive")?;
        send(&mut stream, &data)?;
        // The client ends the association when it has all of it.
        ensure!(stream.read(&mut [0]).context("await the end")? == 0, "more data");
        Ok(peer)
    }
}

/// SCTP from `client` to `server` at an address, data both ways. Gives the client's address as the server
/// sees it.
pub fn sctp(client: &Host, server: &Host, address: IpAddr) -> Result<IpAddr> {
    let listening = Server::start(server, (address, 0).into())?;
    Ok(listening.exchange(client, listening.address)?.ip())
}

/// Whether an association opens from `client` at `source` within a time.
pub fn opens(
    client: &Host,
    source: SocketAddr,
    target: SocketAddr,
    time: Duration,
) -> Result<bool> {
    let socket = open(client, target.ip())?;
    limit(&socket, time)?;
    bind(&socket, &source).with_context(|| format!("bind SCTP to {source}"))?;
    Ok(connect(&socket, &target).is_ok())
}

fn open(host: &Host, like: IpAddr) -> Result<OwnedFd> {
    let family = if like.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let open = || socket(family, SocketType::STREAM, Some(ipproto::SCTP)).context("open for SCTP");
    let socket = host.run(open)?;
    limit(&socket, wait::patient(LIMIT))?;
    Ok(socket)
}

/// Bounds each step: also connecting and accepting.
fn limit(socket: &OwnedFd, time: Duration) -> Result<()> {
    for timeout in [Timeout::Recv, Timeout::Send] {
        set_socket_timeout(socket, timeout, Some(time)).context("set a socket's time limit")?;
    }
    Ok(())
}

fn send_and_compare(mut stream: TcpStream) -> Result<()> {
    let data = pattern(STREAM);
    send(&mut stream, &data)?;
    let mut returned = vec![0; STREAM];
    stream.read_exact(&mut returned).context("receive what was sent")?;
    ensure!(returned == data, "what came back differs");
    Ok(())
}

fn send(stream: &mut TcpStream, data: &[u8]) -> Result<()> {
    data.chunks(MESSAGE).try_for_each(|message| stream.write_all(message)).context("send")
}
