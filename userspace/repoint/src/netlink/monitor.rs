//! The kernel's notifications about links, addresses, routes, neighbours, filters, forwarding and
//! nftables.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd, BorrowedFd},
};

use netlink_sys::{
    Socket as RawSocket, SocketAddr,
    protocols::{NETLINK_NETFILTER, NETLINK_ROUTE},
};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};

use super::{NetlinkError, attributes};

/// `RTNLGRP_LINK`, `RTNLGRP_NEIGH`, `RTNLGRP_TC`, `RTNLGRP_IPV4_ROUTE`, `RTNLGRP_IPV4_RULE`,
/// `RTNLGRP_IPV6_IFADDR`, `RTNLGRP_IPV6_ROUTE`, `RTNLGRP_IPV6_RULE`, `RTNLGRP_IPV4_NETCONF`,
/// `RTNLGRP_IPV6_NETCONF`
///
/// A sysctl that gives an interface a link-local address (`addr_gen_mode`) is not reported, but the address
/// is.
const ROUTE_GROUPS: [u32; 10] = [1, 3, 4, 7, 8, 9, 11, 19, 24, 25];
/// `NFNLGRP_NFTABLES`
const NFTABLES_GROUP: u32 = 7;
/// What the kernel may keep for a reader that is busy, bytes: some 10,000 notifications.
const BUFFER: usize = 8 << 20;
/// Largest datagram that is read, bytes.
const DATAGRAM: usize = 64 << 10;

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct ifinfomsg`, `struct ifaddrmsg`, `struct ndmsg`, `struct tcmsg`: where the interface's index stands.
const IFINDEX_AT: usize = 4;
/// Length of `struct ifinfomsg`.
const LINK_HEADER: usize = 16;
/// Length of `struct rtmsg`.
const ROUTE_HEADER: usize = 12;
/// Length of `struct netconfmsg`, aligned.
const SETTINGS_HEADER: usize = 4;
/// Length of `struct nfgenmsg`.
const NETFILTER_HEADER: usize = 4;

/// `RTM_…`
const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const NEW_NEIGHBOUR: u16 = 28;
const DELETE_NEIGHBOUR: u16 = 29;
const NEW_RULE: u16 = 32;
const DELETE_RULE: u16 = 33;
const NEW_QDISC: u16 = 36;
const NEW_FILTER: u16 = 44;
const DELETE_FILTER: u16 = 45;
const NEW_SETTINGS: u16 = 80;
/// `NFT_MSG_NEWGEN`: a transaction of nftables is done.
const NEW_GENERATION: u16 = (10 << 8) | 15;

/// `IFLA_IFNAME`, `RTA_DST`, `RTA_OIF`, `NETCONFA_IFINDEX`, `NFTA_GEN_PROC_PID`, `NFTA_GEN_PROC_NAME`
const LINK_NAME: u16 = 3;
const ROUTE_TO: u16 = 1;
const ROUTE_OIF: u16 = 4;
const SETTINGS_OF: u16 = 1;
const GENERATION_PID: u16 = 2;
const GENERATION_NAME: u16 = 3;

/// What the kernel reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What changed.
    pub change: Change,
    /// The netlink port of the program that changed it, mostly its process number; 0: the kernel
    /// does not say.
    pub by: u32,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A link.
    Link {
        /// Its index.
        ifindex: u32,
        /// Its name.
        name: String,
        /// Whether it is gone.
        gone: bool,
    },
    /// An IPv6 address, a neighbour entry, a queueing discipline or a filter of an interface.
    OfLink(u32),
    /// A route.
    Route {
        /// The interface that it leaves by, where it leaves by one.
        oif: Option<u32>,
        /// The address, of a route to one address.
        host: Option<IpAddr>,
        /// Whether it leads everywhere.
        is_default: bool,
    },
    /// A rule of policy routing.
    Rule,
    /// A setting of a family, such as forwarding, of an interface or of the node.
    Settings(Option<u32>),
    /// nftables, by this process.
    Firewall {
        /// Its number.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// More than the kernel keeps: anything may have changed.
    Missed,
}

/// A socket that receives the notifications of one network namespace. That is the namespace in which it
/// was opened.
#[derive(Debug)]
pub struct Monitor {
    raw: RawSocket,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Subscribes to links, IPv6 addresses, routes, neighbours, filters and forwarding.
    pub fn of_routes() -> Result<Self, NetlinkError> {
        Self::open(NETLINK_ROUTE, &ROUTE_GROUPS)
    }

    /// Subscribes to nftables; none where the kernel has no netfilter over netlink.
    pub fn of_nftables() -> Result<Option<Self>, NetlinkError> {
        match Self::open(NETLINK_NETFILTER, &[NFTABLES_GROUP]) {
            Err(NetlinkError::Open(error))
                if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) =>
            {
                Ok(None)
            }
            opened => opened.map(Some),
        }
    }

    fn open(protocol: isize, groups: &[u32]) -> Result<Self, NetlinkError> {
        let mut raw = RawSocket::new(protocol).map_err(NetlinkError::Open)?;
        raw.bind(&SocketAddr::new(0, 0)).map_err(NetlinkError::Open)?;
        // Needs CAP_NET_ADMIN. With a smaller buffer more notifications are lost, each time at the cost
        // of a look at everything.
        setsockopt(&raw, RcvBufForce, &BUFFER).ok();
        for group in groups {
            raw.add_membership(*group).map_err(NetlinkError::Open)?;
        }
        raw.set_non_blocking(true).map_err(NetlinkError::Open)?;
        Ok(Self { raw, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// Passes on what the kernel has reported, up to `most` datagrams. Returns whether there may be more.
    pub fn drain(
        &mut self,
        most: usize,
        mut visit: impl FnMut(Notice),
    ) -> Result<bool, NetlinkError> {
        for _ in 0..most {
            self.buffer.clear();
            match self.raw.recv(&mut self.buffer, 0) {
                Ok(_) => each_notice(&self.buffer, &mut visit),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    visit(Notice { change: Change::Missed, by: 0 });
                }
                Err(source) => {
                    let what = "hear of changes".to_owned();
                    return Err(NetlinkError::Transport { what, call: "recv", source });
                }
            }
        }
        Ok(true)
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.raw.as_fd()
    }
}

fn each_notice(mut rest: &[u8], visit: &mut impl FnMut(Notice)) {
    while let Some(header) = rest.first_chunk::<HEADER>() {
        let length = number(header, 0) as usize;
        let Some(message) = rest.get(HEADER..length) else { return };
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        if let Some(change) = change(kind, message) {
            visit(Notice { change, by: number(header, 12) });
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

/// A number of four bytes in host byte order; 0 behind the end.
fn number(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.copied().map_or(0, u32::from_ne_bytes)
}

fn change(kind: u16, message: &[u8]) -> Option<Change> {
    Some(match kind {
        NEW_LINK | DELETE_LINK => Change::Link {
            ifindex: number(message, IFINDEX_AT),
            name: text(attribute(message, LINK_HEADER, LINK_NAME)?),
            gone: kind == DELETE_LINK,
        },
        NEW_ADDRESS | NEW_NEIGHBOUR | DELETE_NEIGHBOUR | NEW_QDISC..=NEW_FILTER | DELETE_FILTER => {
            Change::OfLink(number(message, IFINDEX_AT))
        }
        NEW_ROUTE | DELETE_ROUTE => route(message)?,
        NEW_RULE | DELETE_RULE => Change::Rule,
        NEW_SETTINGS => {
            let index = attribute(message, SETTINGS_HEADER, SETTINGS_OF)
                .map(|bytes| number(bytes, 0).cast_signed());
            // -1: of all interfaces; -2: of those to come.
            Change::Settings(index.and_then(|index| u32::try_from(index).ok()))
        }
        NEW_GENERATION => {
            let pid = attribute(message, NETFILTER_HEADER, GENERATION_PID);
            let pid = pid.and_then(|bytes| bytes.first_chunk()).copied();
            let name = attribute(message, NETFILTER_HEADER, GENERATION_NAME).unwrap_or_default();
            Change::Firewall { pid: pid.map_or(0, u32::from_be_bytes), name: text(name) }
        }
        _ => return None,
    })
}

fn route(message: &[u8]) -> Option<Change> {
    let (family, length) = (i32::from(*message.first()?), *message.get(1)?);
    let to = attribute(message, ROUTE_HEADER, ROUTE_TO);
    let host = to.and_then(|octets| match (family, length) {
        (libc::AF_INET, 32) => octets.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        (libc::AF_INET6, 128) => octets.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        _ => None,
    });
    let oif = attribute(message, ROUTE_HEADER, ROUTE_OIF).map(|bytes| number(bytes, 0));
    Some(Change::Route { oif, host, is_default: length == 0 })
}

fn attribute(message: &[u8], header: usize, wanted: u16) -> Option<&[u8]> {
    let rest = message.get(header..)?;
    attributes(rest).find_map(|(kind, value)| (kind == wanted).then_some(value))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::UntypedMessage;

    fn datagram(kind: u16, by: u32, message: &UntypedMessage) -> Vec<u8> {
        let length = u32::try_from(HEADER + message.payload.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 6]);
        bytes.extend(by.to_ne_bytes());
        bytes.extend(&message.payload);
        bytes
    }

    fn heard(bytes: &[u8]) -> Vec<Notice> {
        let mut notices = Vec::new();
        each_notice(bytes, &mut |notice| notices.push(notice));
        notices
    }

    #[test]
    fn a_datagram_of_several_messages_is_read_up_to_the_first_that_is_cut_off() {
        let header = [0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let link = UntypedMessage::new(NEW_LINK, &header).attribute(LINK_NAME, b"rp1\0");
        let mut bytes = datagram(NEW_LINK, 77, &link);
        bytes.extend(datagram(DELETE_LINK, 0, &link));
        bytes.extend(datagram(999, 0, &link));
        bytes.extend(&datagram(NEW_LINK, 0, &link)[..20]);
        let link = |gone| Change::Link { ifindex: 9, name: "rp1".to_owned(), gone };
        let expected = [(link(false), 77), (link(true), 0)];
        assert_eq!(heard(&bytes), expected.map(|(change, by)| Notice { change, by }));
    }

    #[test]
    fn a_route_names_its_interface_and_the_address_it_leads_to() {
        let message = |length: u8| {
            let header = [2, length, 0, 0, 254, 3, 253, 1, 0, 0, 0, 0];
            let to = UntypedMessage::new(DELETE_ROUTE, &header).attribute(ROUTE_TO, &[10, 0, 0, 5]);
            to.attribute(ROUTE_OIF, &9_u32.to_ne_bytes())
        };
        let change = |length| heard(&datagram(DELETE_ROUTE, 1, &message(length))).remove(0).change;
        let host = Some(IpAddr::from([10, 0, 0, 5]));
        assert_eq!(change(32), Change::Route { oif: Some(9), host, is_default: false });
        assert_eq!(change(24), Change::Route { oif: Some(9), host: None, is_default: false });
        assert_eq!(change(0), Change::Route { oif: Some(9), host: None, is_default: true });
    }

    #[test]
    fn a_change_of_nftables_names_its_process() {
        let message = UntypedMessage::new(NEW_GENERATION, &[0; NETFILTER_HEADER])
            .attribute(GENERATION_PID, &42_u32.to_be_bytes())
            .attribute(GENERATION_NAME, b"firewalld\0");
        let expected = Change::Firewall { pid: 42, name: "firewalld".to_owned() };
        assert_eq!(heard(&datagram(NEW_GENERATION, 0, &message))[0].change, expected);
    }
}
