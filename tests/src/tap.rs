//! Packets on a party's interfaces, by a packet socket.

use std::{
    net::IpAddr,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket,
        sockopt::RcvBuf,
    },
};

use crate::traffic::Host;

/// Bytes of frames that may wait: more than any test sends.
const WAITING: usize = 4 << 20;

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

    /// The packets of IP that have come and gone since the last call, and are from or to one of these
    /// addresses. An interface sends others by itself: reports of multicast groups above all.
    pub fn packets(&self, addresses: &[IpAddr]) -> Result<usize> {
        let mut frame = [0; 128];
        let mut count = 0;
        loop {
            match recv(self.0.as_raw_fd(), &mut frame, MsgFlags::empty()) {
                Ok(length) => {
                    let ends = ends(&frame[..length.min(frame.len())]);
                    count += usize::from(ends.is_some_and(|ends| {
                        ends.iter().any(|address| addresses.contains(address))
                    }));
                }
                Err(Errno::EAGAIN) => return Ok(count),
                Err(error) => return Err(error).context("receive frames"),
            }
        }
    }
}

/// Source and destination of the packet in an Ethernet frame, if it is one of IP.
fn ends(frame: &[u8]) -> Option<[IpAddr; 2]> {
    let packet = frame.get(14..)?;
    let v4 = |at: usize| Some(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?.into());
    let v6 = |at: usize| Some(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?.into());
    match frame.get(12..14)? {
        [0x08, 0x00] => Some([v4(12)?, v4(16)?]),
        [0x86, 0xdd] => Some([v6(8)?, v6(24)?]),
        _ => None,
    }
}
