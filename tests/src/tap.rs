//! Packets on a party's interfaces, by a packet socket.

use std::{
    net::IpAddr,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
        socket, sockopt::RcvBuf,
    },
};

use crate::{packet::ETHERNET, traffic::Host};

/// Bytes of frames that may wait: more than any test sends.
const WAITING: usize = 4 << 20;

/// A packet of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Where it claims to come from.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// Bytes from the IP header on; of a super-packet, of all its segments.
    pub length: usize,
}

/// A packet socket, in a party's network namespace until it is dropped.
#[derive(Debug)]
pub struct Tap(OwnedFd);

impl Tap {
    /// Opens it; frames are kept from now on.
    pub fn open(host: &Host) -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let open = || {
            socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
                .context("open a packet socket")
        };
        let socket = host.run(open)?;
        setsockopt(&socket, RcvBuf, &WAITING).context("enlarge a packet socket's buffer")?;
        Ok(Self(socket))
    }

    /// Opens it on one interface, on which frames can be sent as well.
    pub fn open_on(host: &Host, interface: &str) -> Result<Self> {
        let tap = Self::open(host)?;
        host.run(|| {
            let address = getifaddrs()
                .context("list interfaces")?
                .filter(|entry| entry.interface_name == interface)
                .find_map(|entry| entry.address?.as_link_addr().copied())
                .with_context(|| format!("{interface} is not there"))?;
            bind(tap.0.as_raw_fd(), &address).context("bind a packet socket")
        })?;
        Ok(tap)
    }

    /// Sends a frame as it is.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = send(self.0.as_raw_fd(), frame, MsgFlags::empty()).context("send a frame")?;
        ensure!(sent == frame.len(), "{sent} of {} bytes were sent", frame.len());
        Ok(())
    }

    /// The packets of IP that have come and gone since the last call.
    pub fn seen(&self) -> Result<Vec<Seen>> {
        let mut frame = [0; 128];
        let mut found = Vec::new();
        loop {
            match recv(self.0.as_raw_fd(), &mut frame, MsgFlags::MSG_TRUNC) {
                Ok(length) => {
                    let ends = ends(&frame[..length.min(frame.len())]);
                    let length = length.saturating_sub(ETHERNET);
                    let seen =
                        |[source, destination]: [IpAddr; 2]| Seen { source, destination, length };
                    found.extend(ends.map(seen));
                }
                Err(Errno::EAGAIN) => return Ok(found),
                Err(error) => return Err(error).context("receive frames"),
            }
        }
    }

    /// The packets of IP that have come and gone since the last call, and are from or to one of these
    /// addresses. An interface sends others by itself: reports of multicast groups above all.
    pub fn packets(&self, addresses: &[IpAddr]) -> Result<usize> {
        let is_meant = |seen: &&Seen| {
            addresses.contains(&seen.source) || addresses.contains(&seen.destination)
        };
        Ok(self.seen()?.iter().filter(is_meant).count())
    }
}

/// Source and destination of the packet in an Ethernet frame, if it is one of IP.
fn ends(frame: &[u8]) -> Option<[IpAddr; 2]> {
    let packet = frame.get(ETHERNET..)?;
    let v4 = |at: usize| Some(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?.into());
    let v6 = |at: usize| Some(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?.into());
    match frame.get(12..14)? {
        [0x08, 0x00] => Some([v4(12)?, v4(16)?]),
        [0x86, 0xdd] => Some([v6(8)?, v6(24)?]),
        _ => None,
    }
}
