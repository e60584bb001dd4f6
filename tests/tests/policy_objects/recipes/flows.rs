//! Real flows: TCP, UDP, SCTP and pings.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::AsRawFd as _,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sys::{
    socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket,
        sockopt::SendTimeout,
    },
    time::{TimeVal, TimeValLike as _},
};
use repoint_policy::Traffic;
use repoint_tests::{command, sctp, traffic::Host, wait, web::BUSYBOX};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// `IPPROTO_SCTP`
pub const SCTP: u8 = 132;
/// How long an allowed flow may take.
const LIMIT: Duration = Duration::from_secs(15);
/// How long a denied flow is watched.
const SILENCE: Duration = Duration::from_secs(1);

/// A flow of one family, and what is to become of it.
pub struct Flow {
    pub line: u64,
    pub from: Host,
    pub source: SocketAddr,
    pub to: Host,
    pub target: SocketAddr,
    pub traffic: Traffic,
    pub allow: bool,
}

/// Opens all flows, and fails unless those arrive that are to.
pub fn judge(flows: &[Flow]) -> Result<(usize, usize)> {
    let servers = Servers::new(flows)?;
    let arrived = thread::scope(|scope| {
        let tries: Vec<_> =
            flows.iter().map(|flow| scope.spawn(|| flow.arrives(&servers))).collect();
        let ends = tries.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("panic"))?);
        ends.collect::<Result<Vec<_>>>()
    })?;
    let mut wrong = Vec::new();
    for (flow, arrived) in flows.iter().zip(arrived) {
        if arrived != flow.allow {
            let Flow { line, target, traffic, .. } = flow;
            wrong.push(format!("line {line}: {traffic:?} to {target} arrives: {arrived}"));
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    let allowed = flows.iter().filter(|flow| flow.allow).count();
    Ok((allowed, flows.len() - allowed))
}

/// A server for each target.
struct Servers {
    _tcp: Vec<TcpListener>,
    _sctp: Vec<sctp::Server>,
    udp: BTreeMap<SocketAddr, UdpSocket>,
    /// Datagrams that a flow's thread has received for another flow.
    received: Mutex<BTreeSet<String>>,
}

impl Servers {
    fn new(flows: &[Flow]) -> Result<Self> {
        let (mut listening, mut tcp, mut sctp) = (BTreeSet::new(), Vec::new(), Vec::new());
        let mut udp = BTreeMap::new();
        for Flow { to, target, traffic, .. } in flows {
            match traffic.protocol {
                TCP if listening.insert((TCP, *target)) => {
                    tcp.push(to.run(|| TcpListener::bind(target).context("listen"))?);
                }
                SCTP if listening.insert((SCTP, *target)) => {
                    sctp.push(sctp::Server::start(to, *target)?);
                }
                UDP if !udp.contains_key(target) => {
                    let socket = to.run(|| UdpSocket::bind(target).context("bind"))?;
                    socket.set_nonblocking(true).context("set non-blocking")?;
                    udp.insert(*target, socket);
                }
                _ => {}
            }
        }
        Ok(Self { _tcp: tcp, _sctp: sctp, udp, received: Mutex::default() })
    }

    /// Whether a datagram has come.
    fn has(&self, target: SocketAddr, payload: &str) -> Result<bool> {
        let socket = self.udp.get(&target).context("no server")?;
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = [0; 128];
        while let Ok(length) = socket.recv(&mut buffer) {
            received.insert(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        Ok(received.contains(payload))
    }
}

impl Flow {
    fn arrives(&self, servers: &Servers) -> Result<bool> {
        let arrives = match self.traffic.protocol {
            TCP => self.from.run(|| connects(self.source, self.target, self.limit())),
            UDP => self.is_received(servers),
            SCTP => sctp::opens(&self.from, self.source, self.target, wait::patient(self.limit())),
            _ => Ok(self.is_answered()),
        };
        arrives.with_context(|| format!("line {}", self.line))
    }

    /// How long to wait: until it is there, or for as long as a packet may take.
    fn limit(&self) -> Duration {
        if self.allow { LIMIT } else { SILENCE }
    }

    fn is_received(&self, servers: &Servers) -> Result<bool> {
        let client = self.from.run(|| UdpSocket::bind(self.source).context("bind"))?;
        let payload = format!("{} {}", self.line, self.target);
        client.send_to(payload.as_bytes(), self.target).context("send")?;
        let arrived = wait::until(self.limit(), "it arrives", || {
            ensure!(servers.has(self.target, &payload)?, "it does not");
            Ok(())
        });
        Ok(arrived.is_ok())
    }

    fn is_answered(&self) -> bool {
        let (source, target) = (self.source.ip().to_string(), self.target.ip().to_string());
        let seconds = self.limit().as_secs().to_string();
        let mut arguments = vec!["ping", "-c", "1", "-W", &seconds];
        if !self.source.ip().is_unspecified() {
            arguments.extend(["-I", &source]);
        }
        arguments.push(&target);
        self.from.run(|| command::run(BUSYBOX, arguments).map(drop)).is_ok()
    }
}

/// Whether a TCP connection opens.
fn connects(source: SocketAddr, target: SocketAddr, limit: Duration) -> Result<bool> {
    let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, SendTimeout, &TimeVal::milliseconds(limit.as_millis().try_into()?))?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(source))?;
    Ok(connect(socket.as_raw_fd(), &SockaddrStorage::from(target)).is_ok())
}
