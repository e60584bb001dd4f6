//! Netfilter's state of a whole namespace: named objects and tracked connections.

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::{NetlinkError, Request, UntypedMessage, UntypedSocket, attributes};

/// `NFNL_SUBSYS_CTNETLINK`, in the upper byte of message types.
const CONNTRACK: u16 = 1 << 8;
/// `NFNL_SUBSYS_NFTABLES`, likewise.
const NFTABLES: u16 = 10 << 8;
/// `IPCTNL_MSG_CT_DELETE`
const DELETE_CONNECTIONS: u16 = CONNTRACK | 2;
/// `NFT_MSG_GETTABLE`
const GET_TABLE: u16 = NFTABLES | 1;
/// `NFT_MSG_DELTABLE`
const DELETE_TABLE: u16 = NFTABLES | 2;
/// `NFNL_MSG_BATCH_BEGIN`
const BATCH_BEGIN: u16 = 16;
/// `NFNL_MSG_BATCH_END`
const BATCH_END: u16 = 17;
/// `NFT_MSG_GETRULE`
const GET_RULE: u16 = NFTABLES | 7;
/// `IPSET_CMD_LIST`
const LIST_SETS: u16 = (6 << 8) | 7;
/// `IPSET_ATTR_PROTOCOL`, and the oldest version that all kernels take.
const SET_PROTOCOL: u16 = 1;
const SET_VERSION: u8 = 6;
/// `IPSET_ATTR_FLAGS` in network byte order, and `IPSET_FLAG_LIST_SETNAME` for it.
const SET_FLAGS: u16 = 0x4000 | 6;
const SET_NAMES_ONLY: u32 = 1 << 1;
/// `IPSET_ATTR_SETNAME`
const SET_NAME: u16 = 2;
/// `NFNL_MSG_ACCT_GET`
const GET_ACCOUNTING: u16 = (7 << 8) | 1;
/// `IPCTNL_MSG_TIMEOUT_GET`
const GET_TIMEOUT: u16 = (8 << 8) | 1;
/// `NFTA_TABLE_NAME`, `NFTA_RULE_TABLE`, `NFACCT_NAME`, `CTA_TIMEOUT_NAME`
const NAME: u16 = 1;
/// Length of `struct nfgenmsg`: family, version, resource.
const HEADER: usize = 4;
/// `struct nfgenmsg` of all families.
const ALL_FAMILIES: [u8; HEADER] = [0; HEADER];

/// Opens a socket of the netfilter family in the current network namespace.
pub fn open_netfilter_untyped() -> Result<UntypedSocket, NetlinkError> {
    UntypedSocket::open_untyped(NETLINK_NETFILTER)
}

/// A kind of objects of netfilter that have names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetfilterObject {
    /// Tables of nftables.
    Table,
    /// Rules of nftables.
    Rule,
    /// Sets of ipset.
    Set,
    /// Accounting objects (`nfacct`).
    Accounting,
    /// Timeout policies of connection tracking (`nfct timeout`).
    Timeout,
}

impl NetfilterObject {
    /// What one is called.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Table => "nftables table",
            Self::Rule => "nftables rule",
            Self::Set => "ipset",
            Self::Accounting => "accounting object",
            Self::Timeout => "conntrack timeout policy",
        }
    }

    /// Asks for all of them.
    #[must_use]
    pub fn request(self) -> UntypedMessage {
        let message = |kind| UntypedMessage::new(kind, &ALL_FAMILIES);
        match self {
            Self::Table => message(GET_TABLE),
            Self::Rule => message(GET_RULE),
            Self::Set => message(LIST_SETS)
                .attribute(SET_PROTOCOL, &[SET_VERSION])
                .attribute(SET_FLAGS, &SET_NAMES_ONLY.to_be_bytes()),
            Self::Accounting => message(GET_ACCOUNTING),
            Self::Timeout => message(GET_TIMEOUT),
        }
    }

    /// The family (`NFPROTO_…`) and the name of an object that the kernel reported.
    #[must_use]
    pub fn named(self, object: &[u8]) -> Option<(u8, &[u8])> {
        let (header, rest) = object.split_first_chunk::<HEADER>()?;
        let wanted = if self == Self::Set { SET_NAME } else { NAME };
        let name = attributes(rest).find(|(kind, _)| *kind == wanted)?.1;
        Some((header[0], name.strip_suffix(&[0]).unwrap_or(name)))
    }

    /// The kernel module that has them, where they are not built in.
    #[must_use]
    pub fn module(self) -> &'static str {
        match self {
            Self::Table | Self::Rule => "nf_tables",
            Self::Set => "ip_set",
            Self::Accounting => "nfnetlink_acct",
            Self::Timeout => "nfnetlink_cttimeout",
        }
    }
}

/// Deletes all nftables tables with all that is in them, as `nft flush ruleset` does.
pub fn delete_nftables_tables(socket: &mut UntypedSocket) -> Result<(), NetlinkError> {
    let subsystem = [0, 0, 0, NFTABLES.to_be_bytes()[0]];
    let frame = |kind| {
        Request::new("frame a transaction", UntypedMessage::new(kind, &subsystem), 0).unanswered()
    };
    let delete = UntypedMessage::new(DELETE_TABLE, &ALL_FAMILIES);
    socket.execute(vec![
        frame(BATCH_BEGIN),
        Request::new("delete all nftables tables", delete, 0),
        frame(BATCH_END),
    ])
}

/// Deletes all tracked connections and their expectations. It is not an error if the kernel tracks none.
pub fn forget_connections(socket: &mut UntypedSocket) -> Result<(), NetlinkError> {
    let delete = UntypedMessage::new(DELETE_CONNECTIONS, &ALL_FAMILIES);
    match socket.execute(vec![Request::new("forget tracked connections", delete, 0)]) {
        Err(error) if is_unknown(&error) => Ok(()),
        other => other,
    }
}

/// Whether the kernel knows no such subsystem (`nfnetlink_rcv_msg`).
#[must_use]
pub fn is_unknown(error: &NetlinkError) -> bool {
    matches!(error.errno(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}
