//! Requests of netlink for which there is no tool.

use std::{
    os::fd::{AsFd, AsRawFd as _},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
        socket,
    },
};

use crate::traffic::Host;

const RTM_DELLINK: u16 = 17;
const RTM_NEWNSID: u16 = 88;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLMSG_ERROR: u16 = 2;
const IFLA_IFNAME: u16 = 3;
const IFLA_TARGET_NETNSID: u16 = 46;
const NFNL_SUBSYS_IPSET: u16 = 6;
const NLA_F_NESTED: u16 = 1 << 15;
const IPSET_PROTOCOL: u8 = 7;
const IPSET_CMD_CREATE: u16 = 2;
const IPSET_CMD_DESTROY: u16 = 3;
const IPSET_ATTR_PROTOCOL: u16 = 1;
const IPSET_ATTR_SETNAME: u16 = 2;
const IPSET_ATTR_TYPENAME: u16 = 3;
const IPSET_ATTR_REVISION: u16 = 4;
const IPSET_ATTR_FAMILY: u16 = 5;
const IPSET_ATTR_DATA: u16 = 7;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;

/// Gives a namespace a number in the calling thread's namespace.
pub(super) fn assign_id(namespace: &impl AsFd, number: i32) -> Result<()> {
    let descriptor = namespace.as_fd().as_raw_fd();
    let attributes = [
        attribute(NETNSA_NSID, &number.to_ne_bytes()),
        attribute(NETNSA_FD, &descriptor.to_ne_bytes()),
    ];
    // struct rtgenmsg, padded.
    request(RTM_NEWNSID, &[0; 4], &attributes).context("RTM_NEWNSID")
}

/// Deletes an interface of the namespace that has this number in the calling thread's.
pub(super) fn delete_by_id(number: i32, interface: &str) -> Result<()> {
    let attributes = [name(interface), attribute(IFLA_TARGET_NETNSID, &number.to_ne_bytes())];
    request(RTM_DELLINK, &[0; 16], &attributes).context("RTM_DELLINK with IFLA_TARGET_NETNSID")
}

/// Makes a set of addresses in the calling thread's namespace.
pub(super) fn create_ipset(set: &str) -> Result<()> {
    let attributes = [
        attribute(IPSET_ATTR_PROTOCOL, &[IPSET_PROTOCOL]),
        attribute(IPSET_ATTR_SETNAME, &[set.as_bytes(), &[0]].concat()),
        attribute(IPSET_ATTR_TYPENAME, b"hash:ip\0"),
        attribute(IPSET_ATTR_REVISION, &[0]),
        attribute(IPSET_ATTR_FAMILY, &[2]),
        attribute(IPSET_ATTR_DATA | NLA_F_NESTED, &[]),
    ];
    match ipset_request(IPSET_CMD_CREATE, &attributes) {
        Err(error) if error.downcast_ref() == Some(&Errno::EOPNOTSUPP) => {
            bail!("unsupported: ipset: {error:#}")
        }
        other => other.context("IPSET_CMD_CREATE"),
    }
}

/// Deletes a party's set of addresses; whether there was one.
pub fn delete_ipset(host: &Host, set: &str) -> Result<bool> {
    let attributes = [
        attribute(IPSET_ATTR_PROTOCOL, &[IPSET_PROTOCOL]),
        attribute(IPSET_ATTR_SETNAME, &[set.as_bytes(), &[0]].concat()),
    ];
    Ok(host.run(|| ipset_request(IPSET_CMD_DESTROY, &attributes)).is_ok())
}

fn ipset_request(command: u16, attributes: &[Vec<u8>]) -> Result<()> {
    // struct nfgenmsg: family, version, resource.
    let header = [2, 0, 0, 0];
    let kind = NFNL_SUBSYS_IPSET << 8 | command;
    // A set that is there already, or is not, is an error only with this flag.
    ask(SockProtocol::NetlinkNetFilter, kind, NLM_F_EXCL, &header, attributes)
}

/// How long a request takes that changes nothing, but needs the lock under which links change.
pub fn rtnl_round_trip() -> Result<Duration> {
    let begin = Instant::now();
    match request(RTM_DELLINK, &[0; 16], &[name("no-such-link")]) {
        Err(error) if error.downcast_ref() == Some(&Errno::ENODEV) => Ok(begin.elapsed()),
        Err(error) => Err(error),
        Ok(()) => bail!("a link was deleted"),
    }
}

fn name(interface: &str) -> Vec<u8> {
    attribute(IFLA_IFNAME, &[interface.as_bytes(), &[0]].concat())
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or_default();
    let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Sends one request, and fails with the kernel's error.
fn request(kind: u16, header: &[u8], attributes: &[Vec<u8>]) -> Result<()> {
    ask(SockProtocol::NetlinkRoute, kind, 0, header, attributes)
}

fn ask(
    protocol: SockProtocol,
    kind: u16,
    flags: u16,
    header: &[u8],
    attributes: &[Vec<u8>],
) -> Result<()> {
    let body = [header, &attributes.concat()].concat();
    let length = u32::try_from(16 + body.len()).context("a message's length")?;
    let flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let message = [
        &length.to_ne_bytes()[..],
        &kind.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &1_u32.to_ne_bytes(),
        &[0; 4],
        &body,
    ]
    .concat();
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
        .context("open a netlink socket")?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)).context("bind a netlink socket")?;
    send(socket.as_raw_fd(), &message, MsgFlags::empty()).context("send a request")?;
    let mut answer = [0; 4096];
    let length =
        recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).context("receive an answer")?;
    let word = |at: usize| answer.get(at..at + 4).filter(|_| at + 4 <= length);
    let kind = answer.get(4..6).and_then(|bytes| Some(u16::from_ne_bytes(bytes.try_into().ok()?)));
    ensure!(kind == Some(NLMSG_ERROR), "an answer of another kind: {kind:?}");
    let error = word(16).and_then(|bytes| Some(i32::from_ne_bytes(bytes.try_into().ok()?)));
    match error.context("an answer that is too short")? {
        0 => Ok(()),
        error => Err(Errno::from_raw(-error)).context("the kernel refuses"),
    }
}
