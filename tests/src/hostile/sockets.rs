//! Sockets of an attacker: mappings and connections that outlive it, and what sockets leave in a
//! namespace.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr as UnixAddress, UnixListener},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    setsockopt_impl, sockopt_impl,
    sys::socket::{
        AddressFamily, Backlog, IpMembershipRequest, Ipv6MembershipRequest, MsgFlags, SockFlag,
        SockType, SockaddrIn, bind, listen, send, setsockopt, socket,
        sockopt::{BindToDevice, IpAddMembership, Ipv6AddMembership},
    },
    unistd::read,
};
use rustix::{
    io::{FdFlags, fcntl_setfd},
    ioctl::{Setter, ioctl},
};

use super::frames::{self, MARK};
use crate::traffic::Host;

/// Time between two datagrams or pieces of a stream.
const PACE: Duration = Duration::from_millis(5);
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(3);
/// How long a connection may take to be made, on a machine that does much else.
const CONNECT: Duration = Duration::from_secs(10);
/// Datagrams there and back before a mapping is left alone: the node's connection tracking takes it
/// for a stream then.
const EXCHANGES: u32 = 5;

sockopt_impl!(
    /// Length of a listener's queue of TCP fast open requests.
    TcpFastOpen,
    SetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_FASTOPEN,
    i32
);
sockopt_impl!(
    /// `struct in6_flowlabel_req`.
    FlowLabel,
    SetOnly,
    libc::IPPROTO_IPV6,
    IPV6_FLOWLABEL_MGR,
    [u8; 32]
);
/// Option of `linux/in6.h`.
const IPV6_FLOWLABEL_MGR: i32 = 32;
/// `ioctl` of `linux/if_tun.h` that makes or opens an interface.
const TUNSETIFF: rustix::ioctl::Opcode = 0x4004_54ca;
const IFF_TUN: u16 = 1;
const IFF_TAP: u16 = 2;
const IFF_NO_PI: u16 = 0x1000;

type Kept = BTreeMap<String, OwnedFd>;

#[expect(clippy::disallowed_methods, reason = "the pace of an attack")]
pub(super) fn pause(time: Duration) {
    thread::sleep(time);
}

/// Orders about sockets; none if the verb is none of these.
pub(super) fn carry_out(verb: &str, words: &[&str], kept: &mut Kept) -> Result<Option<String>> {
    let nothing = |()| String::new();
    match (verb, words) {
        ("udp-beat", [port]) => beat(port.parse()?).map(nothing),
        ("udp-send", [name, address, port]) => {
            udp_send(name, target(address, port)?, kept).map(nothing)
        }
        ("tcp-hold", [port]) => hold(port.parse()?).map(nothing),
        ("tcp-connect", [name, address, port]) => {
            tcp_connect(name, target(address, port)?, kept).map(nothing)
        }
        ("send", [name]) => send_mark(name, kept).map(nothing),
        ("fast-open", [port]) => fast_open(port.parse()?, kept).map(nothing),
        ("flow-label", []) => flow_label(kept).map(nothing),
        ("bind-device", [name, interface, address, port]) => {
            bind_device(name, interface, target(address, port)?, kept).map(nothing)
        }
        ("join", [name]) => join(name, kept).map(nothing),
        ("abstract", [name]) => abstract_listener(name, kept).map(nothing),
        ("sockets", [count]) => sockets(count.parse()?, kept).map(nothing),
        ("time-wait", [count]) => time_wait(count.parse()?).map(nothing),
        ("tun", [name, interface, kind]) => tun(name, interface, kind, kept).map(nothing),
        ("write-frame", [name]) => write_frame(name, kept).map(nothing),
        _ => return Ok(None),
    }
    .map(Some)
}

fn keep(kept: &mut Kept, name: &str, descriptor: impl Into<OwnedFd>) -> Result<()> {
    let descriptor = descriptor.into();
    fcntl_setfd(&descriptor, FdFlags::empty()).context("fcntl(F_SETFD)")?;
    kept.insert(name.to_owned(), descriptor);
    Ok(())
}

fn target(address: &str, port: &str) -> Result<SocketAddr> {
    Ok(SocketAddr::new(address.parse::<IpAddr>()?, port.parse()?))
}

/// How many messages with these bytes wait in a descriptor, whatever it is.
pub(super) fn count(descriptor: &OwnedFd, bytes: &[u8]) -> Result<usize> {
    match frames::count(descriptor, bytes) {
        Err(error) if error.downcast_ref() == Some(&Errno::ENOTSOCK) => in_file(descriptor, bytes),
        // A listener, or a connection that is gone.
        Err(error) if error.downcast_ref::<Errno>().is_some() => Ok(0),
        other => other,
    }
}

/// Frames that wait in the descriptor of a tun device.
fn in_file(file: &OwnedFd, bytes: &[u8]) -> Result<usize> {
    let flags = fcntl(file, FcntlArg::F_GETFL).context("fcntl(F_GETFL)")?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(file, FcntlArg::F_SETFL(flags)).context("fcntl(F_SETFL)")?;
    let mut frame = vec![0; 70_000];
    let mut found = 0;
    while let Ok(length @ 1..) = read(file, &mut frame) {
        found += usize::from(frame[..length].windows(bytes.len()).any(|part| part == bytes));
    }
    Ok(found)
}

/// Answers the first datagrams, and goes on sending to where they came from.
fn beat(port: u16) -> Result<()> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).context("bind UDP")?;
    thread::spawn(move || {
        socket.set_read_timeout(Some(PACE)).ok();
        let (mut peers, mut buffer) = (Vec::new(), [0; 64]);
        loop {
            if let Ok((_, peer)) = socket.recv_from(&mut buffer)
                && !peers.contains(&peer)
            {
                peers.push(peer);
            }
            for peer in &peers {
                socket.send_to(MARK, peer).ok();
            }
        }
    });
    Ok(())
}

fn udp_send(name: &str, target: SocketAddr, kept: &mut Kept) -> Result<()> {
    let socket = UdpSocket::bind(crate::traffic::unspecified(target.ip())).context("bind UDP")?;
    socket.connect(target).with_context(|| format!("route to {target}"))?;
    socket.set_read_timeout(Some(LIMIT)).context("set a time limit")?;
    let mut buffer = [0; 64];
    for _ in 0..EXCHANGES {
        socket.send(b"remember me").context("send")?;
        socket.recv(&mut buffer).context("receive")?;
    }
    keep(kept, name, socket)
}

/// Accepts connections, and goes on sending over each.
fn hold(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).context("listen")?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || pour(&stream));
        }
    });
    Ok(())
}

fn pour(stream: &TcpStream) {
    stream.set_nodelay(true).ok();
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    loop {
        // A full window is no end: what was sent is sent again.
        send(stream.as_raw_fd(), MARK, flags).ok();
        pause(PACE);
    }
}

fn tcp_connect(name: &str, target: SocketAddr, kept: &mut Kept) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&target, CONNECT)
        .with_context(|| format!("connect {target}"))?;
    stream.set_read_timeout(Some(LIMIT)).context("set a time limit")?;
    let mut first = [0; 1];
    stream.read_exact(&mut first).context("receive")?;
    keep(kept, name, stream)
}

fn send_mark(name: &str, kept: &Kept) -> Result<()> {
    let socket = kept.get(name).with_context(|| format!("nothing is kept as {name}"))?;
    for _ in 0..EXCHANGES {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        send(socket.as_raw_fd(), MARK, flags).context("send")?;
    }
    Ok(())
}

/// Listens with TCP fast open, upon which the kernel makes a key for the namespace.
fn fast_open(port: u16, kept: &mut Kept) -> Result<()> {
    keep(kept, "fast-open", fast_open_listener(port)?)
}

fn fast_open_listener(port: u16) -> Result<OwnedFd> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .context("open a socket")?;
    bind(socket.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, port)).context("bind")?;
    setsockopt(&socket, TcpFastOpen, &16).context("setsockopt(TCP_FASTOPEN)")?;
    listen(&socket, Backlog::new(16).context("a backlog")?).context("listen")?;
    Ok(socket)
}

/// The key of TCP fast open that a listener in a party's namespace has; the kernel makes one if there
/// is none.
pub fn fast_open_key(host: &Host) -> Result<String> {
    host.run(|| {
        let _listener = fast_open_listener(0)?;
        let key = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_fastopen_key");
        Ok(key.context("read tcp_fastopen_key")?.trim().to_owned())
    })
}

/// Takes an exclusive flow label, for the longest linger time of RFC 3697.
fn flow_label(kept: &mut Kept) -> Result<()> {
    let socket = UdpSocket::bind("[::]:0").context("bind UDP")?;
    let destination = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1).octets();
    let mut request = [0; 32];
    request[..16].copy_from_slice(&destination);
    request[16..20].copy_from_slice(&0x000b_ad00_u32.to_be_bytes());
    // IPV6_FL_A_GET, IPV6_FL_S_EXCL, IPV6_FL_F_CREATE, no expiry, 60 s of linger.
    request[21] = 1;
    request[22..24].copy_from_slice(&1_u16.to_ne_bytes());
    request[24..26].copy_from_slice(&60_u16.to_ne_bytes());
    request[26..28].copy_from_slice(&60_u16.to_ne_bytes());
    setsockopt(&socket, FlowLabel, &request).context("setsockopt(IPV6_FLOWLABEL_MGR)")?;
    keep(kept, "flow-label", socket)
}

fn bind_device(name: &str, interface: &str, target: SocketAddr, kept: &mut Kept) -> Result<()> {
    let socket = UdpSocket::bind(crate::traffic::unspecified(target.ip())).context("bind UDP")?;
    setsockopt(&socket, BindToDevice, &interface.into()).context("setsockopt(SO_BINDTODEVICE)")?;
    socket.connect(target).with_context(|| format!("route to {target}"))?;
    keep(kept, name, socket)
}

/// Joins a group of each family, and keeps the memberships.
fn join(name: &str, kept: &mut Kept) -> Result<()> {
    let four = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5353)).context("bind UDP")?;
    let group = IpMembershipRequest::new(Ipv4Addr::new(239, 1, 2, 3), None);
    // By the route to the group, as programs do that name no interface.
    setsockopt(&four, IpAddMembership, &group).context("setsockopt(IP_ADD_MEMBERSHIP)")?;
    let six = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 5354)).context("bind UDP")?;
    let group = Ipv6MembershipRequest::new(Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0, 0x1234));
    setsockopt(&six, Ipv6AddMembership, &group).context("setsockopt(IPV6_ADD_MEMBERSHIP)")?;
    keep(kept, name, four)?;
    keep(kept, &format!("{name}6"), six)
}

fn abstract_listener(name: &str, kept: &mut Kept) -> Result<()> {
    let address = UnixAddress::from_abstract_name(name).context("an abstract name")?;
    let listener = UnixListener::bind_addr(&address).context("bind a Unix socket")?;
    keep(kept, name, listener)
}

fn sockets(count: usize, kept: &mut Kept) -> Result<()> {
    for number in 0..count {
        let socket = UdpSocket::bind("127.0.0.1:0").context("bind UDP")?;
        kept.insert(format!("socket-{number}"), socket.into());
    }
    Ok(())
}

fn time_wait(count: usize) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
    let target = listener.local_addr().context("address of a listener")?;
    for _ in 0..count {
        let client = TcpStream::connect(target).context("connect")?;
        let server = listener.accept().context("accept")?.0;
        drop(client);
        drop(server);
    }
    Ok(())
}

/// Makes a tun or tap device that exists as long as its descriptor does.
fn tun(name: &str, interface: &str, kind: &str, kept: &mut Kept) -> Result<()> {
    let file =
        File::options().read(true).write(true).open("/dev/net/tun").context("open /dev/net/tun")?;
    let flags = if kind == "tap" { IFF_TAP } else { IFF_TUN } | IFF_NO_PI;
    ensure!(interface.len() < 16, "{interface} is too long");
    // struct ifreq: the name, then flags.
    let mut request = [0_u8; 40];
    request[..interface.len()].copy_from_slice(interface.as_bytes());
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    set_interface(&file, request).context("ioctl(TUNSETIFF)")?;
    keep(kept, name, file)
}

#[expect(unsafe_code, reason = "no crate has a safe TUNSETIFF")]
fn set_interface(file: &impl AsFd, request: [u8; 40]) -> rustix::io::Result<()> {
    // SAFETY: TUNSETIFF reads a struct ifreq, 40 bytes of which any are valid, and keeps no pointer.
    unsafe { ioctl(file, Setter::<TUNSETIFF, [u8; 40]>::new(request)) }
}

/// Sends a marked frame into the namespace, as the wire behind a tap device.
fn write_frame(name: &str, kept: &Kept) -> Result<()> {
    let file = kept.get(name).with_context(|| format!("nothing is kept as {name}"))?;
    let frame = [&[0xff; 12][..], &[0x88, 0xb5], MARK].concat();
    nix::unistd::write(file, &frame).context("write a frame")?;
    Ok(())
}

/// Locks all records of a file, for reading where it cannot be had for writing (`F_OFD_SETLK`); returns
/// whether that could be done.
pub(super) fn lock_records(file: &File) -> bool {
    let lock = |kind| {
        let lock = libc::flock { l_type: kind, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
        fcntl(file, FcntlArg::F_OFD_SETLK(&lock)).is_ok()
    };
    [libc::F_WRLCK, libc::F_RDLCK].into_iter().any(|kind| i16::try_from(kind).is_ok_and(lock))
}
