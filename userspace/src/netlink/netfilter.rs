//! Netfilter's state of a whole namespace: nftables and tracked connections.

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
/// `NFTA_TABLE_NAME`
const TABLE_NAME: u16 = 1;
/// Length of `struct nfgenmsg`: family, version, resource.
const HEADER: usize = 4;
/// `struct nfgenmsg` of all families.
const ALL_FAMILIES: [u8; HEADER] = [0; HEADER];

/// Opens a socket of the netfilter family in the current network namespace.
pub fn open_netfilter_untyped() -> Result<UntypedSocket, NetlinkError> {
    UntypedSocket::open_untyped(NETLINK_NETFILTER)
}

/// Families (`NFPROTO_…`) and names of all nftables tables; none where the kernel has no nftables.
pub fn nftables_tables(socket: &mut UntypedSocket) -> Result<Vec<(u8, String)>, NetlinkError> {
    let request = UntypedMessage::new(GET_TABLE, &ALL_FAMILIES);
    let tables = match socket.dump("list nftables tables", &request) {
        Err(error) if is_unknown(&error) => Vec::new(),
        other => other?,
    };
    Ok(tables.iter().filter_map(|table| named(&table.payload)).collect())
}

fn named(table: &[u8]) -> Option<(u8, String)> {
    let (header, rest) = table.split_first_chunk::<HEADER>()?;
    let name = attributes(rest).find(|(kind, _)| *kind == TABLE_NAME)?.1;
    Some((header[0], String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()))
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

/// Forgets all tracked connections, and those expected of them. Well, too, where the kernel tracks
/// none.
pub fn forget_connections(socket: &mut UntypedSocket) -> Result<(), NetlinkError> {
    let delete = UntypedMessage::new(DELETE_CONNECTIONS, &ALL_FAMILIES);
    match socket.execute(vec![Request::new("forget tracked connections", delete, 0)]) {
        Err(error) if is_unknown(&error) => Ok(()),
        other => other,
    }
}

/// Whether the kernel knows no such subsystem (`nfnetlink_rcv_msg`).
fn is_unknown(error: &NetlinkError) -> bool {
    matches!(error.errno(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}
