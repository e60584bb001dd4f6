//! Ethernet frames with a false sender, and sockets that see frames.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send,
        setsockopt, socket, sockopt::RcvBuf,
    },
};

use crate::traffic::Host;

/// What every frame and datagram of a former owner holds.
pub const MARK: &[u8] = b"left-by-the-former-owner";
/// What the next owner's datagrams hold.
pub const SECRET: &[u8] = b"for-the-next-owner-alone";

/// Bytes of frames that may wait.
const WAITING: usize = 8 << 20;
/// Longest frame, with what offloads put together.
const LONGEST: usize = 70_000;

/// A packet socket that sees all frames of the namespace in which it was made.
#[derive(Debug)]
pub struct Watch(OwnedFd);

impl Watch {
    /// Opens it in a party's namespace; frames are kept from now on.
    pub fn open(host: &Host) -> Result<Self> {
        host.run(Self::here)
    }

    /// The same, in the calling thread's namespace.
    pub fn here() -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
            .context("open a packet socket")?;
        setsockopt(&socket, RcvBuf, &WAITING).context("enlarge a packet socket's buffer")?;
        Ok(Self(socket))
    }

    /// How many frames that hold these bytes have passed since the last call.
    pub fn count(&self, bytes: &[u8]) -> Result<usize> {
        count(&self.0, bytes)
    }

    /// The socket itself.
    #[must_use]
    pub fn into_descriptor(self) -> OwnedFd {
        self.0
    }
}

/// How many messages that hold these bytes wait in a socket; they are taken out of it.
pub(super) fn count(socket: &impl AsFd, bytes: &[u8]) -> Result<usize> {
    let mut frame = vec![0; LONGEST];
    let mut found = 0;
    loop {
        match recv(socket.as_fd().as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT) {
            Ok(0) | Err(Errno::EAGAIN | Errno::ENOTCONN) => return Ok(found),
            Ok(length) => {
                let mut windows = frame[..length].windows(bytes.len());
                found += usize::from(windows.any(|window| window == bytes));
            }
            // The interface went, or the peer refused: more may wait behind that.
            Err(Errno::ENETDOWN | Errno::ECONNREFUSED | Errno::EHOSTUNREACH) => {}
            Err(error) => return Err(error).context("receive frames"),
        }
    }
}

/// A packet socket that sends frames by one interface of the calling thread's namespace.
pub(super) fn sender(interface: &str) -> Result<OwnedFd> {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)
        .context("open a packet socket")?;
    bind(socket.as_raw_fd(), &link_address(interface)?)
        .with_context(|| format!("bind a packet socket to {interface}"))?;
    Ok(socket)
}

fn link_address(interface: &str) -> Result<LinkAddr> {
    let mut links =
        getifaddrs().context("getifaddrs")?.filter(|link| link.interface_name == interface);
    let address = links.find_map(|link| link.address?.as_link_addr().copied());
    address.with_context(|| format!("no interface {interface}"))
}

/// The container that frames lie about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Victim {
    pub(super) v4: Ipv4Addr,
    pub(super) v6: Ipv6Addr,
    pub(super) mac: [u8; 6],
    /// Destination of datagrams in its name.
    pub(super) peer: Ipv4Addr,
    /// The gateway's hardware address.
    pub(super) gateway: [u8; 6],
}

/// One of each lie: claims of its addresses by ARP and NDP, a datagram in its name, one to it.
pub(super) fn lies(victim: &Victim, own: [u8; 6]) -> [Vec<u8>; 5] {
    let (everybody, all_nodes) = ([0xff; 6], [0x33, 0x33, 0, 0, 0, 1]);
    [
        arp_reply(victim, own),
        frame(all_nodes, own, 0x86dd, &advertisement(victim, own)),
        frame(victim.gateway, own, 0x0800, &datagram(victim.v4, victim.peer)),
        frame(victim.gateway, victim.mac, 0x0800, &datagram(victim.v4, victim.peer)),
        frame(everybody, own, 0x0800, &datagram(victim.peer, victim.v4)),
    ]
}

/// Sends frames; gives how many the kernel took.
pub(super) fn send_all(socket: &impl AsFd, frames: &[Vec<u8>]) -> io::Result<usize> {
    let mut taken = 0;
    let mut last = None;
    for frame in frames {
        match send(socket.as_fd().as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT) {
            Ok(_) => taken += 1,
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) if taken == 0 => Err(error.into()),
        _ => Ok(taken),
    }
}

fn frame(to: [u8; 6], from: [u8; 6], protocol: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &protocol.to_be_bytes(), payload].concat()
}

fn arp_reply(victim: &Victim, own: [u8; 6]) -> Vec<u8> {
    let fixed = [0, 1, 8, 0, 6, 4, 0, 2];
    let address = victim.v4.octets();
    let claim = [&fixed[..], &own, &address, &[0xff; 6], &address, MARK].concat();
    frame([0xff; 6], own, 0x0806, &claim)
}

/// A UDP datagram with the mark, without a checksum of its own.
fn datagram(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let length = u16::try_from(8 + MARK.len()).unwrap_or_default();
    let udp = [&[0x12, 0x34, 0x12, 0x34], &length.to_be_bytes()[..], &[0, 0], MARK].concat();
    let total = (20 + length).to_be_bytes();
    let mut header = [0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 17, 0, 0]
        .into_iter()
        .chain(from.octets())
        .chain(to.octets())
        .collect::<Vec<u8>>();
    let sum = checksum(&header).to_be_bytes();
    header[10..12].copy_from_slice(&sum);
    [header, udp].concat()
}

/// An unsolicited neighbour advertisement with an overriding claim (RFC 4861, 4.4); the mark is in an
/// option that no receiver knows.
fn advertisement(victim: &Victim, own: [u8; 6]) -> Vec<u8> {
    let everybody = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets();
    let words = u8::try_from((2 + MARK.len()).div_ceil(8)).unwrap_or_default();
    let mut option = [&[253, words][..], MARK].concat();
    option.resize(usize::from(words) * 8, 0);
    let target = victim.v6.octets();
    let mut message =
        [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &target, &[2, 1], &own, &option].concat();
    let length = u16::try_from(message.len()).unwrap_or_default().to_be_bytes();
    let pseudo = [&target[..], &everybody, &[0, 0], &length, &[0, 0, 0, 58], &message].concat();
    message[2..4].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    [&[0x60, 0, 0, 0, length[0], length[1], 58, 255][..], &target, &everybody, &message].concat()
}

/// The internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::checksum;

    /// The header of RFC 1071's most copied example.
    #[test]
    fn a_header_with_its_checksum_sums_to_zero() {
        let mut header =
            [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 192, 168, 0, 1, 192, 168, 0, 199];
        assert_eq!(checksum(&header), 0xb861);
        header[10..12].copy_from_slice(&0xb861_u16.to_be_bytes());
        assert_eq!(checksum(&header), 0);
    }
}
