//! An event as it is shown.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, SystemTime},
};

use nix::time::{ClockId, clock_gettime};
use repoint::model::{Mac, SlotId};
use repoint_common::{
    counter::Reason,
    event::{AUDIT, Event, FROM_CONTAINER, HEADER_FRAME, HEADER_IP, HEADER_TRANSPORT},
};
use serde::Serialize;

use super::names::Names;
use crate::party::Party;

/// `ETH_P_ARP`
const ARP: u16 = 0x0806;
/// `IPPROTO_…`
const ICMP: u8 = 1;
const TCP: u8 = 6;
const ICMPV6: u8 = 58;

/// Most that an event's clock is behind: a tick at 100 Hz.
const TICK: Duration = Duration::from_millis(10);

/// Flags of TCP, the least bit first.
const TCP_FLAGS: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];

/// What `CLOCK_MONOTONIC`, which events have, is in other clocks.
pub(super) struct Clock {
    /// The time of day at its zero.
    zero: SystemTime,
    /// How much more `CLOCK_BOOTTIME` has counted: the time of suspends.
    suspended: Duration,
}

impl Clock {
    /// The clocks are read one after the other. Of some tries the one counts that took the least time.
    pub(super) fn now() -> Self {
        let tries = (0..5).map(|_| {
            let before = read(ClockId::CLOCK_MONOTONIC);
            let day = SystemTime::now();
            let boot = read(ClockId::CLOCK_BOOTTIME);
            let gap = read(ClockId::CLOCK_MONOTONIC).saturating_sub(before);
            let at = before + gap / 2;
            let zero = day.checked_sub(at).unwrap_or(SystemTime::UNIX_EPOCH);
            (gap, Self { zero, suspended: boot.saturating_sub(at) })
        });
        let best = tries.min_by_key(|(gap, _)| *gap).map(|(_, clock)| clock);
        best.unwrap_or(Self { zero: SystemTime::UNIX_EPOCH, suspended: Duration::ZERO })
    }

    fn day(&self, nanoseconds: u64) -> String {
        let time = self.zero + Duration::from_nanos(nanoseconds);
        // RFC 3339 has no time before 1970.
        humantime::format_rfc3339_millis(time.max(SystemTime::UNIX_EPOCH)).to_string()
    }

    /// Nanoseconds of `CLOCK_BOOTTIME`, with the kernel's tick for the event's clock.
    fn boot(&self, nanoseconds: u64) -> u64 {
        let time = Duration::from_nanos(nanoseconds) + self.suspended + TICK;
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
    }
}

fn read(clock: ClockId) -> Duration {
    // The kernel always has these clocks.
    clock_gettime(clock).map(Duration::from).unwrap_or_default()
}

/// A dropped packet, with the names of what is at its ends.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    /// Number of the event since the data plane was loaded.
    event: u64,
    /// UTC, RFC 3339.
    time: String,
    pub(super) reason: &'static str,
    /// Whether it passed nevertheless, because the policy only reports.
    audit: bool,
    /// Number of the policy that decided; none: no policy did.
    policy: Option<u32>,
    /// Number of its rule; none: its default decided.
    rule: Option<u32>,
    /// The rule in words.
    by: Option<String>,
    /// Where it was dropped: `from_container` or `to_container`.
    program: &'static str,
    /// The slot at whose interface it was dropped; none: the interface has no slot.
    slot: Option<String>,
    /// Interface index of the host-side veth.
    ifindex: u32,
    /// The user of the slot.
    #[serde(flatten)]
    own: Party,
    /// The function or container of this node at the other end; none: there is no slot.
    peer: Option<Party>,
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    /// Ports of TCP, UDP and SCTP, where the packet shows them.
    source_port: Option<u16>,
    destination_port: Option<u16>,
    /// Type and code of ICMP.
    icmp_type: Option<u16>,
    icmp_code: Option<u16>,
    /// Protocol of IP, or of Ethernet where that is another.
    protocol: Option<String>,
    tcp_flags: Option<String>,
    source_mac: Option<String>,
    destination_mac: Option<String>,
    /// Bytes, from the Ethernet header on.
    length: u32,
}

impl Shown {
    pub(super) fn new(event: &Event, names: &Names<'_>, clock: &Clock) -> Self {
        let has = |header| event.headers & header != 0;
        let address = |octets| has(HEADER_IP).then(|| Ipv6Addr::from_octets(octets).to_canonical());
        let mac = |mac| has(HEADER_FRAME).then(|| Mac(mac).to_string());
        let (source, destination) = (address(event.source), address(event.destination));
        let is_sent = event.direction == FROM_CONTAINER;
        let other = if is_sent { destination } else { source };
        let time = clock.boot(event.time);
        let peer = match other {
            Some(other) if event.peer != 0 => Some(names.of_address(other, event.peer, time)),
            _ => None,
        };
        let is_icmp = matches!(event.protocol, ICMP | ICMPV6);
        let port = |port| (has(HEADER_TRANSPORT) && !is_icmp).then_some(port);
        let icmp = |number| (has(HEADER_TRANSPORT) && is_icmp).then_some(number);
        let is_tcp = has(HEADER_TRANSPORT) && event.protocol == TCP;
        Self {
            event: event.sequence.saturating_sub(1),
            time: clock.day(event.time),
            reason: Reason::ALL.get(usize::from(event.reason)).map_or("unknown", |it| it.label()),
            audit: event.kind == AUDIT,
            policy: (event.policy != 0).then_some(event.policy),
            rule: (event.rule != 0).then_some(event.rule),
            by: names.rule(event),
            program: if is_sent { "from_container" } else { "to_container" },
            slot: (event.slot != 0).then(|| SlotId(event.slot).to_string()),
            ifindex: event.ifindex,
            own: names.of_slot(event.slot, event.identity, time),
            peer,
            source,
            destination,
            source_port: port(event.source_port),
            destination_port: port(event.destination_port),
            icmp_type: icmp(event.source_port),
            icmp_code: icmp(event.destination_port),
            protocol: protocol(event),
            tcp_flags: is_tcp.then(|| tcp_flags(event.tcp_flags)),
            source_mac: mac(event.source_mac),
            destination_mac: mac(event.destination_mac),
            length: event.length,
        }
    }

    /// The functions or containers at its ends.
    pub(super) fn parties(&self) -> impl Iterator<Item = &Party> {
        [&self.own].into_iter().chain(&self.peer)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { time, reason, program, own, length, .. } = self;
        write!(f, "{time} {reason} {program} of={own}")?;
        if self.audit {
            f.write_str(" audit")?;
        }
        for (name, number) in [("policy", self.policy), ("rule", self.rule)] {
            if let Some(number) = number {
                write!(f, " {name}={number}")?;
            }
        }
        if let Some(by) = &self.by {
            write!(f, " by={by:?}")?;
        }
        if let Some(peer) = &self.peer {
            write!(f, " peer={peer}")?;
        }
        let end = |address: IpAddr, port: Option<u16>| match (address, port) {
            (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
            (address, Some(port)) => format!("{address}:{port}"),
            (address, None) => address.to_string(),
        };
        if let (Some(source), Some(destination)) = (self.source, self.destination) {
            let source = end(source, self.source_port);
            write!(f, " {source}>{}", end(destination, self.destination_port))?;
        } else if let (Some(source), Some(destination)) = (&self.source_mac, &self.destination_mac)
        {
            write!(f, " {source}>{destination}")?;
        }
        if let Some(protocol) = &self.protocol {
            write!(f, " {protocol}")?;
        }
        if let Some(flags) = &self.tcp_flags {
            write!(f, " flags={flags}")?;
        }
        if let (Some(kind), Some(code)) = (self.icmp_type, self.icmp_code) {
            write!(f, " type={kind} code={code}")?;
        }
        let slot = self.slot.as_deref().unwrap_or("-");
        write!(f, " length={length} slot={slot} ifindex={}", self.ifindex)
    }
}

/// The word for a protocol, or its number: `ip-132` of IP, `0x88cc` of Ethernet; none: it is cut off.
fn protocol(event: &Event) -> Option<String> {
    let has = |header| event.headers & header != 0;
    if has(HEADER_IP) {
        return Some(match event.protocol {
            ICMP => "icmp".to_owned(),
            TCP => "tcp".to_owned(),
            17 => "udp".to_owned(),
            ICMPV6 => "icmpv6".to_owned(),
            132 => "sctp".to_owned(),
            other => format!("ip-{other}"),
        });
    }
    has(HEADER_FRAME).then(|| match event.ethertype {
        ARP => "arp".to_owned(),
        other => format!("{other:#06x}"),
    })
}

/// `SYN|ACK`, or `-`.
fn tcp_flags(flags: u8) -> String {
    let set = (0..).zip(TCP_FLAGS).filter(|(bit, _)| flags & 1 << bit != 0);
    let words: Vec<_> = set.map(|(_, word)| word).collect();
    if words.is_empty() { "-".to_owned() } else { words.join("|") }
}
