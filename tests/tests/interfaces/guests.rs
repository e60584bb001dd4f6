//! Guests behind a container's interface, and containers that lost their neighbours: who asks for the
//! gateway gets an answer.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd as _,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use repoint_common::{GATEWAY_V4, GATEWAY_V6, mac::GATEWAY_MAC};
use repoint_tests::{
    Container, Node, command,
    networks::{POOLED, network, pool},
    node::NODE,
    packet::{
        self, ETHERNET, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ICMPV6, Ipv4, Ipv6, Mac,
        checksum,
    },
    traffic::{self, Host},
    wait,
    web::BUSYBOX,
};

use super::skipped;

const LIMIT: Duration = Duration::from_secs(5);
/// The guest's own Ethernet address.
const GUEST: Mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// The tc rules by which all packets move between a container's interface and a tap. They are the same but for
/// the match: both take every packet.
#[derive(Debug, Clone, Copy)]
pub enum Redirection {
    /// Kata's, in its model `tcfilter`.
    Kata,
    /// The plugin's of this name, for Firecracker.
    TcRedirectTap,
}

/// Makes `tap0` in the calling thread's namespace, and the rules between it and `eth0`.
pub fn redirect(rules: Redirection) -> Result<()> {
    let matched = match rules {
        Redirection::Kata => "u8",
        Redirection::TcRedirectTap => "u32",
    };
    command::run("ip", ["tuntap", "add", "tap0", "mode", "tap"])?;
    command::run("ip", ["link", "set", "tap0", "up"])?;
    for (from, to) in [("eth0", "tap0"), ("tap0", "eth0")] {
        command::run("tc", ["qdisc", "add", "dev", from, "ingress"])?;
        let filter = ["filter", "add", "dev", from, "parent", "ffff:", "protocol", "all"];
        let every = ["u32", "match", matched, "0", "0"];
        let action = ["action", "mirred", "egress", "redirect", "dev", to];
        command::run("tc", [&filter[..], &every, &action].concat())?;
    }
    Ok(())
}

/// A virtual machine as far as its network goes: it answers nothing by itself.
struct Guest {
    tap: File,
    addresses: Vec<IpAddr>,
}

impl Guest {
    /// Puts it behind a container's interface.
    fn new(container: &Container<'_>, rules: Redirection) -> Result<Self> {
        let tap = container.host()?.run(|| {
            redirect(rules)?;
            open_tap("tap0")
        })?;
        Ok(Self { tap, addresses: container.addresses()? })
    }

    /// Sends a frame, again each time that nothing came, until `wanted` takes one for the answer.
    fn ask<T>(&self, what: &str, frame: &[u8], wanted: impl Fn(&[u8]) -> Option<T>) -> Result<T> {
        (&self.tap).write_all(frame).context("write to the tap")?;
        wait::until(LIMIT, what, || {
            let mut buffer = [0; 2048];
            match (&self.tap).read(&mut buffer) {
                Ok(length) => wanted(&buffer[..length]).context("another frame"),
                Err(error) => {
                    (&self.tap).write_all(frame).context("write to the tap")?;
                    Err(error).context("read from the tap")
                }
            }
        })
    }

    /// The gateway's Ethernet address, as the network reports it.
    fn gateway(&self, own: IpAddr) -> Result<Mac> {
        let what = format!("the gateway's address for {own}");
        match own {
            IpAddr::V4(own) => {
                let head = [0, 1, 8, 0, 6, 4, 0, 1];
                let question = [&head[..], &GUEST, &own.octets(), &[0; 6], &GATEWAY_V4].concat();
                let frame = packet::frame([0xff; 6], GUEST, ETHERTYPE_ARP, &question);
                self.ask(&what, &frame, |frame| {
                    let is_answer = frame.len() >= 42
                        && frame[..6] == GUEST
                        && frame[12..14] == ETHERTYPE_ARP.to_be_bytes()
                        && frame[20..22] == [0, 2]
                        && frame[28..32] == GATEWAY_V4;
                    is_answer.then(|| frame[22..28].try_into().unwrap())
                })
            }
            IpAddr::V6(_) => {
                let own: Ipv6Addr = "fe80::5054:ff:fe12:3456".parse()?;
                let head = [135, 0, 0, 0, 0, 0, 0, 0];
                let message = [&head[..], &GATEWAY_V6, &[1, 1], &GUEST].concat();
                let group = "ff02::1:ff00:1".parse()?;
                let ip = Ipv6 { hop_limit: 255, ..icmpv6(own, group, &message) };
                let mac = [0x33, 0x33, 0xff, 0, 0, 1];
                let frame = packet::frame(mac, GUEST, ETHERTYPE_IPV6, &ip.bytes());
                self.ask(&what, &frame, |frame| {
                    let is_answer = frame.len() == 86
                        && frame[..6] == GUEST
                        && frame[54] == 136
                        && frame[62..78] == GATEWAY_V6
                        && sums_up(frame);
                    is_answer.then(|| frame[80..86].try_into().unwrap())
                })
            }
        }
    }

    /// An echo request from one of its addresses, and its answer, which must be for the guest.
    fn ping(&self, gateway: Mac, own: IpAddr, there: IpAddr) -> Result<()> {
        let echo = |kind: u8| [&[kind, 0, 0, 0, 0x12, 0x34, 0, 1], &[0xab; 56][..]].concat();
        let what = format!("an answer from {there} to {own}");
        match (own, there) {
            (IpAddr::V4(own), IpAddr::V4(there)) => {
                let mut payload = echo(8);
                let sum = checksum(&payload);
                payload[2..4].copy_from_slice(&sum.to_be_bytes());
                let ip = Ipv4 { protocol: 1, payload, ..Ipv4::new(own, there) };
                let frame = packet::frame(gateway, GUEST, ETHERTYPE_IPV4, &ip.bytes());
                self.ask(&what, &frame, |frame| {
                    let is_answer = frame.len() == 98
                        && frame[..12] == [GUEST, GATEWAY_MAC].concat()
                        && frame[26..34] == [there.octets(), own.octets()].concat()
                        && frame[34] == 0
                        && checksum(&frame[34..]) == 0
                        && checksum(&frame[14..34]) == 0;
                    is_answer.then_some(())
                })
            }
            (IpAddr::V6(own), IpAddr::V6(there)) => {
                let ip = icmpv6(own, there, &echo(128));
                let frame = packet::frame(gateway, GUEST, ETHERTYPE_IPV6, &ip.bytes());
                self.ask(&what, &frame, |frame| {
                    let is_answer = frame.len() == 118
                        && frame[..12] == [GUEST, GATEWAY_MAC].concat()
                        && frame[22..54] == [there.octets(), own.octets()].concat()
                        && frame[54] == 129
                        && sums_up(frame);
                    is_answer.then_some(())
                })
            }
            _ => Ok(()),
        }
    }
}

/// Whether the checksum of an `ICMPv6` message is right.
fn sums_up(frame: &[u8]) -> bool {
    let message = &frame[ETHERNET + packet::IPV6..];
    let length = u32::try_from(message.len()).unwrap_or_default().to_be_bytes();
    let pseudo = [&frame[22..54], &length, &[0, 0, 0, ICMPV6], message].concat();
    checksum(&pseudo) == 0
}

fn icmpv6(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> Ipv6 {
    let length = u32::try_from(message.len()).unwrap_or_default().to_be_bytes();
    let addresses = [source.octets(), destination.octets()].concat();
    let pseudo = [&addresses[..], &length, &[0, 0, 0, ICMPV6], message].concat();
    let mut message = message.to_vec();
    message[2..4].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    Ipv6::new(source, destination).carrying(ICMPV6, &message)
}

/// Opens the machine's side of a tap of the calling thread's namespace, without blocking.
fn open_tap(name: &str) -> Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = libc::O_NONBLOCK;
    let tap = File::options().read(true).write(true).custom_flags(flags).open("/dev/net/tun");
    let tap = tap.context("open /dev/net/tun")?;
    let mut request = [0_u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    // IFF_TAP | IFF_NO_PI
    request[16..18].copy_from_slice(&0x1002_u16.to_ne_bytes());
    // SAFETY: the kernel reads and writes 40 bytes, which are there until it returns.
    let set = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr()) };
    ensure!(set == 0, "TUNSETIFF: {}", std::io::Error::last_os_error());
    Ok(tap)
}

#[test]
fn guests_behind_a_tap_have_their_network() -> Result<()> {
    if skipped() || !std::path::Path::new("/dev/net/tun").exists() {
        println!("skipped: there is no plugin, or no /dev/net/tun");
        return Ok(());
    }
    let rules = [Redirection::Kata, Redirection::TcRedirectTap];
    for (pooled, rules) in POOLED.into_iter().flat_map(|pooled| rules.map(|rules| (pooled, rules)))
    {
        let node = Node::new()?;
        node.run(|| {
            let network = network(&node, "guests", 7, |conf| pool(conf, pooled))?;
            let (one, other) = (Container::add(&network, "one")?, Container::add(&network, "two")?);
            let guest = Guest::new(&one, rules)?;
            let gateways = [Ipv4Addr::from(GATEWAY_V4).into(), Ipv6Addr::from(GATEWAY_V6).into()];
            for own in guest.addresses.clone() {
                let gateway = guest.gateway(own)?;
                ensure!(gateway == GATEWAY_MAC, "the gateway has {gateway:02x?}");
                for there in gateways.into_iter().chain(NODE).chain(other.addresses()?) {
                    guest.ping(gateway, own, there)?;
                }
                // Asked again, as a guest does whose neighbour is stale.
                guest.gateway(own)?;
            }
            println!("pooled {pooled}, {rules:?}: a guest at {:?}", guest.addresses);
            one.remove()?;
            other.remove()
        })?;
    }
    Ok(())
}

#[test]
fn containers_find_their_gateway_after_a_flush() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    for pooled in POOLED {
        let node = Node::new()?;
        node.run(|| {
            let network = network(&node, "flushed", 7, |conf| pool(conf, pooled))?;
            let (one, other) = (Container::add(&network, "one")?, Container::add(&network, "two")?);
            one.host()?.run(|| {
                for family in ["-4", "-6"] {
                    let flush = [family, "neigh", "flush", "dev", "eth0", "nud", "all"];
                    command::run("ip", flush)?;
                }
                let left =
                    command::run("ip", ["neigh", "show", "dev", "eth0", "nud", "permanent"])?;
                ensure!(left.trim().is_empty(), "neighbours are left: {left}");
                for gateway in ["169.254.1.1", "fe80::1%eth0"] {
                    command::run(BUSYBOX, ["ping", "-c", "1", "-W", "3", gateway])?;
                }
                Ok(())
            })?;
            traffic::all(&one.host()?, &other.host()?, &other.addresses()?)?;
            traffic::all(&Host::here("node")?, &one.host()?, &one.addresses()?)?;
            one.check()?;
            one.remove()?;
            other.remove()
        })?;
    }
    Ok(())
}
