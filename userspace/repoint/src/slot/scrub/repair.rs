//! Repairing what differs. The kernel's refusals are no errors here: the next look shows whether a repair
//! worked.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use super::ScrubError;
use crate::{
    failpoint,
    netlink::{
        NetlinkError, Request, RouteSocket, UntypedMessage, UntypedSocket, delete_nftables_tables,
        flush_xfrm,
    },
    slot::{
        container_end::{self, LOOPBACK},
        fingerprint::{
            Class, Difference, Fingerprint, Kernel, Link, Observation, count_rules, write_sysctl,
        },
    },
    store::Slot,
    template::NetworkConfig,
};

/// `RTM_SETLINK`
const SET_LINK: u16 = 19;
/// `RTM_NEWRULE`
const NEW_RULE: u16 = 32;
/// `FR_ACT_TO_TBL`
const LOOK_UP: u8 = 1;
/// `FRA_PRIORITY`
const PRIORITY: u16 = 6;
/// `FRA_PROTOCOL`
const PROTOCOL: u16 = 21;
/// `IFF_UP`
const UP: u32 = 0x1;
/// `IFF_MULTICAST`
const MULTICAST: u32 = 0x1000;
/// `IF_OPER_UP`. The kernel accepts it only for links that a user has set to testing or dormant
/// (`set_operstate`).
const READY: u8 = 6;
/// Flags of links that users change beside: `IFF_NOARP`, `IFF_PROMISC`, `IFF_ALLMULTI`,
/// `IFF_MULTICAST`, `IFF_DYNAMIC`.
const CHANGEABLE: u32 = 0x80 | 0x100 | 0x200 | MULTICAST | 0x8000;
/// Largest packet of `lo`, in bytes (`loopback_setup`).
const LOOPBACK_MTU: u32 = 64 * 1024;
/// Packets that links queue by default (`DEFAULT_TX_QUEUE_LEN`).
const QUEUE_LENGTH: u32 = 1000;
/// The rules of a new namespace: family, priority and table (`fib_default_rules_init`,
/// `fib6_rules_net_init`).
const RULES: [(i32, u32, u8); 5] = [
    (libc::AF_INET, 0, libc::RT_TABLE_LOCAL),
    (libc::AF_INET, 32_766, libc::RT_TABLE_MAIN),
    (libc::AF_INET, 32_767, libc::RT_TABLE_DEFAULT),
    (libc::AF_INET6, 0, libc::RT_TABLE_LOCAL),
    (libc::AF_INET6, 32_766, libc::RT_TABLE_MAIN),
];

/// Prefixes of lines about what cannot be repaired.
const NOT_REPAIRED: [&str; 16] = [
    "IOAM ",
    "IPVS ",
    "IPsec defaults ",
    "IPsec thresholds ",
    "IPv6 flow label ",
    "MPTCP ",
    "accounting object ",
    "arptables ",
    "conntrack timeout policy ",
    "ip6tables ",
    "ipset ",
    "iptables ",
    "namespace",
    "programs are attached",
    "segment routing ",
    "traffic control actions ",
];

/// Whether repairing is of no use. That is so if something differs that cannot be repaired, or if a link
/// is unexpected or missing.
pub(super) fn is_beyond_repair(difference: &Difference) -> bool {
    let count = |lines: &[String]| lines.iter().filter(|line| line.starts_with("link ")).count();
    let mut lines = difference.added.iter().chain(&difference.missing);
    count(&difference.added) != count(&difference.missing)
        || lines.any(|line| NOT_REPAIRED.iter().any(|kind| line.starts_with(kind)))
}

/// How deep a repair goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// The repair removes unexpected objects, and adds missing ones.
    Objects,
    /// The repair also takes both links down, and sets them up anew. What the kernel itself adds to links
    /// (`127.0.0.1`, routes of table local) comes back no other way.
    Links,
}

impl Depth {
    pub(super) const ALL: [Self; 2] = [Self::Objects, Self::Links];
}

/// What is known of a namespace that is to be repaired.
pub(super) struct Repair<'a> {
    pub slot: &'a Slot,
    pub config: &'a NetworkConfig,
    pub expected: &'a Fingerprint,
    pub observation: &'a Observation,
    pub difference: &'a Difference,
}

impl Repair<'_> {
    /// Repairs in an order that keeps earlier repairs. Links come before sysctls, because some sysctls go
    /// with a link's IPv6. Sysctls come before addresses, because some sysctls forbid addresses.
    /// Addresses come before the routes that need them.
    pub(super) fn run(&self, depth: Depth, kernel: &mut Kernel) -> Result<(), ScrubError> {
        delete_firewall(kernel)?;
        failpoint::hit("repair:firewall");
        let socket = &mut kernel.route;
        self.restore_links(socket, depth)?;
        failpoint::hit("repair:links");
        self.restore_sysctls();
        failpoint::hit("repair:sysctls");
        let mut requests = self.deletions(depth);
        if self.difference.missing.iter().any(|line| line.starts_with("rule ")) {
            requests.extend(RULES.map(add_rule));
        }
        attempt(socket, requests)?;
        failpoint::hit("repair:objects");
        Ok(self.equip()?)
    }

    /// The slot's link, which may have another name by now and another Ethernet address.
    fn own_link(&self) -> Option<&Link> {
        let mut links = self.observation.links.iter().filter(|link| link.ifindex != LOOPBACK);
        let named = links.clone().find(|link| self.is_named(link));
        let marked = || links.clone().find(|link| link.mac == self.slot.mac.0);
        named.or_else(marked).or_else(|| match (links.next(), links.next()) {
            (only, None) => only,
            _ => None,
        })
    }

    fn is_named(&self, link: &Link) -> bool {
        link.name == self.slot.ifname.as_str().as_bytes()
    }

    /// Restores what links are, down or up; [`Self::equip`] brings them up.
    fn restore_links(&self, socket: &mut UntypedSocket, depth: Depth) -> Result<(), NetlinkError> {
        let mut lines = self.difference.added.iter().chain(&self.difference.missing);
        if depth == Depth::Objects && !lines.any(|line| line.starts_with("link ")) {
            return Ok(());
        }
        let mtu = LOOPBACK_MTU.to_ne_bytes();
        let mut messages = vec![set_link(LOOPBACK, 0, CHANGEABLE).attribute(libc::IFLA_MTU, &mtu)];
        if depth == Depth::Links {
            messages.push(set_link(LOOPBACK, 0, UP));
        }
        if let Some(link) = self.own_link() {
            // A link that is up keeps its name.
            if depth == Depth::Links || !self.is_named(link) {
                messages.push(set_link(link.ifindex, 0, UP));
            }
            messages.push(
                set_link(link.ifindex, MULTICAST, CHANGEABLE)
                    .attribute(libc::IFLA_IFNAME, &terminated(self.slot.ifname.as_str()))
                    .attribute(libc::IFLA_ADDRESS, &self.slot.mac.0)
                    .attribute(libc::IFLA_MTU, &self.config.mtu.to_ne_bytes())
                    .attribute(libc::IFLA_OPERSTATE, &[READY]),
            );
        }
        let request = |message| Request::new("restore a link", message, 0);
        attempt(socket, messages.into_iter().map(request).collect())
    }

    /// Missing lines of sysctls hold the values to write.
    fn restore_sysctls(&self) {
        let ifname = self.slot.ifname.as_str();
        for line in &self.difference.missing {
            drop(write_sysctl(line, ifname));
        }
    }

    /// Deletes what is not expected; when links are set up anew, all addresses.
    fn deletions(&self, depth: Depth) -> Vec<Request<UntypedMessage>> {
        let objects = self.observation.objects.iter().filter(|object| match object.class {
            class if !class.can_be_deleted() => false,
            Class::Address if depth == Depth::Links => true,
            _ => !self.expected.has(&object.line),
        });
        let delete = |class: Class, payload: &[u8]| {
            Request::new(format!("delete a {class}"), class.deletion(payload), 0)
        };
        objects.map(|object| delete(object.class, &object.payload)).collect()
    }

    /// Adds what the builder added, where it is gone.
    fn equip(&self) -> Result<(), NetlinkError> {
        let Some(link) = self.own_link() else { return Ok(()) };
        let mut socket = RouteSocket::open()?;
        let mut requests = container_end::equip(self.slot, self.config, link.ifindex);
        requests.extend(container_end::add_routes(self.config, link.ifindex));
        socket.execute_each(requests).map(drop)
    }
}

fn delete_firewall(kernel: &mut Kernel) -> Result<(), ScrubError> {
    count_rules(&mut kernel.netfilter, &mut kernel.budget)?;
    tolerate(delete_nftables_tables(&mut kernel.netfilter))?;
    if let Some(socket) = &mut kernel.xfrm {
        tolerate(flush_xfrm(socket))?;
    }
    Ok(())
}

fn attempt(
    socket: &mut UntypedSocket,
    requests: Vec<Request<UntypedMessage>>,
) -> Result<(), NetlinkError> {
    socket.execute_in_parts(requests).map(drop)
}

fn tolerate(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match result {
        Err(NetlinkError::Refused { .. }) => Ok(()),
        other => other,
    }
}

/// `struct ifinfomsg`: family, type, index, flags, and which flags are meant. With it what both
/// links have by default: no group, no alias, a queue of the usual length.
fn set_link(ifindex: u32, flags: u32, change: u32) -> UntypedMessage {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&change.to_ne_bytes());
    UntypedMessage::new(SET_LINK, &header)
        .attribute(libc::IFLA_TXQLEN, &QUEUE_LENGTH.to_ne_bytes())
        .attribute(libc::IFLA_GROUP, &0_u32.to_ne_bytes())
        .attribute(libc::IFLA_IFALIAS, &[])
}

/// `struct fib_rule_hdr`: family, table and action are set. The rule has the kernel's protocol number, as
/// the kernel's own rules have.
fn add_rule((family, priority, table): (i32, u32, u8)) -> Request<UntypedMessage> {
    let mut header = [0; 12];
    header[0] = family.to_ne_bytes()[0];
    header[4] = table;
    header[7] = LOOK_UP;
    let message = UntypedMessage::new(NEW_RULE, &header)
        .attribute(PRIORITY, &priority.to_ne_bytes())
        .attribute(PROTOCOL, &[libc::RTPROT_KERNEL]);
    Request::new("add a rule", message, NLM_F_CREATE | NLM_F_EXCL)
}

fn terminated(name: &str) -> Vec<u8> {
    name.bytes().chain([0]).collect()
}
