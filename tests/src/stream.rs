//! Streams of numbered datagrams, which mark a moment: what was sent before it may arrive,
//! what was sent after must not.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sys::socket::{setsockopt, sockopt};

use crate::{
    traffic::{Host, unspecified},
    wait,
};

/// Time between two datagrams.
const PACE: Duration = Duration::from_millis(2);
/// Memory for datagrams that are not read yet, bytes: those of half a minute.
const BUFFER: usize = 16 << 20;
/// How long some datagrams may take.
const LIMIT: Duration = Duration::from_secs(10);

/// A socket that sends numbered datagrams, one every other millisecond, until it is dropped.
#[derive(Debug)]
pub struct Stream {
    name: String,
    begun: Arc<AtomicU64>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A socket that receives one stream.
#[derive(Debug)]
pub struct Receiver {
    socket: UdpSocket,
    last: u64,
    arrived: u64,
}

/// Starts a stream from one party to an address of another.
pub fn start(from: &Host, to: &Host, address: std::net::IpAddr) -> Result<(Stream, Receiver)> {
    start_to(from, to, (address, 0).into())
}

/// The same to a port; 0 is any that is free.
pub fn start_to(from: &Host, to: &Host, address: SocketAddr) -> Result<(Stream, Receiver)> {
    let receiver = Receiver::bind(to, address)?;
    let target = receiver.socket.local_addr().context("address of a socket")?;
    Ok((Stream::send(from, target)?, receiver))
}

impl Stream {
    fn send(from: &Host, target: SocketAddr) -> Result<Self> {
        let socket = from.bind_udp(unspecified(target.ip()))?;
        let begun = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = mpsc::channel();
        let number = Arc::clone(&begun);
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
                let next = number.fetch_add(1, Ordering::SeqCst) + 1;
                // Refusals are answers, too.
                socket.send_to(&next.to_be_bytes(), target).ok();
            }
        });
        let name = format!("{} to {target}", from.name());
        Ok(Self { name, begun, stop: Some(stop), thread: Some(thread) })
    }

    /// From where it goes to where.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of the last datagram whose sending has begun.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// Ends it; gives the number of its last datagram.
    #[must_use]
    pub fn end(self) -> u64 {
        let begun = Arc::clone(&self.begun);
        drop(self);
        begun.load(Ordering::SeqCst)
    }

    /// Waits until datagrams up to this number have been sent.
    pub fn wait_until_sent(&self, number: u64) -> Result<()> {
        wait::until(LIMIT, &format!("{}: datagram {number} is sent", self.name), || {
            ensure!(self.begun() > number, "{} were", self.begun());
            Ok(())
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(_)) = ended {
            eprintln!("the stream from {} panicked", self.name);
        }
    }
}

impl Receiver {
    fn bind(host: &Host, address: SocketAddr) -> Result<Self> {
        let socket = host.bind_udp(address)?;
        socket.set_nonblocking(true).context("set a socket non-blocking")?;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).context("set a socket's buffer")?;
        Ok(Self { socket, last: 0, arrived: 0 })
    }

    /// The highest number that has arrived until now.
    pub fn last(&mut self) -> Result<u64> {
        let mut number = [0; 8];
        loop {
            match self.socket.recv(&mut number) {
                Ok(length) if length == number.len() => {
                    self.last = self.last.max(u64::from_be_bytes(number));
                    self.arrived += 1;
                }
                Ok(length) => return Err(anyhow!("a datagram of {length} bytes")),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return Ok(self.last);
                }
                Err(error) => return Err(error).context("receive"),
            }
        }
    }

    /// Waits until so many datagrams have arrived in all.
    pub fn wait_until_all(&mut self, sent: u64) -> Result<()> {
        wait::until(LIMIT, "all datagrams arrive", || {
            self.last()?;
            ensure!(self.arrived == sent, "{} of {sent}", self.arrived);
            Ok(())
        })
    }

    /// Waits until some datagrams have arrived that were sent after this one.
    pub fn wait_until_beyond(&mut self, number: u64) -> Result<()> {
        wait::until(LIMIT, &format!("datagrams beyond {number} arrive"), || {
            let last = self.last()?;
            ensure!(last > number, "{last} was the last");
            Ok(())
        })
    }
}
