//! Connections that the node tracks, found and deleted by address.

use std::{
    collections::HashSet,
    convert::identity,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use netlink_packet_core::NLA_F_NESTED;

use super::{NetlinkError, Request, UntypedMessage, UntypedSocket, attributes};

/// `NFNL_SUBSYS_CTNETLINK`, in the upper byte of message types.
const CONNTRACK: u16 = 1 << 8;
/// `IPCTNL_MSG_CT_GET`
const GET: u16 = CONNTRACK | 1;
/// `IPCTNL_MSG_CT_DELETE`
const DELETE: u16 = CONNTRACK | 2;

/// `CTA_TUPLE_ORIG`: addresses and ports of the first packet.
const ORIGINAL: u16 = 1;
/// `CTA_TUPLE_REPLY`: those that an answer has.
const REPLY: u16 = 2;
/// `CTA_ID`
const ID: u16 = 12;
/// `CTA_ZONE`
const ZONE: u16 = 18;
/// `CTA_FILTER`
///
/// # Minimum kernel version
/// 5.8. An older kernel ignores it and lists everything.
const FILTER: u16 = 25;
/// `CTA_TUPLE_IP`, in a tuple.
const TUPLE_IP: u16 = 1;

/// `CTA_IP_V4_SRC`, `CTA_IP_V4_DST`, `CTA_IP_V6_SRC`, `CTA_IP_V6_DST`, in `CTA_TUPLE_IP`.
const IPV4_ENDS: [u16; 2] = [1, 2];
const IPV6_ENDS: [u16; 2] = [3, 4];
/// `CTA_FILTER_FLAG(CTA_IP_SRC)`, `CTA_FILTER_FLAG(CTA_IP_DST)`.
const FILTER_ENDS: [u32; 2] = [1, 2];

/// Length of `struct nfgenmsg`: family, version, resource.
const HEADER: usize = 4;
/// Requests sent together: so many refusals fit into a socket's buffer.
const BATCH: usize = 64;
/// Most addresses that the kernel is asked for one by one, each by four readings of the table.
///
/// With 200,000 entries a filtered reading takes 49 ms of CPU, a full one 377 ms in the kernel
/// alone (6.18, two CPUs).
const FEW: usize = 2;

/// Connections tracked in the calling thread's network namespace; absent where the kernel tracks
/// none, or its module is not loaded.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// Deletes the tracked connections of a set of addresses in one pass, and returns their number.
///
/// A connection counts if any of its four addresses is in the set: source and destination of the
/// first packet, and of an answer to it. It looks in the calling thread's network namespace. No
/// packet of these addresses may be on its way any more: it could be tracked behind the pass. The
/// connections are deleted while the table is read, so that memory does not grow with it. A
/// connection that ends meanwhile is not an error, and is not counted.
///
/// The kernel refuses to delete a connection that is offloaded to a flow table (`EBUSY`), until
/// the interface that it leaves by is gone.
#[expect(clippy::implicit_hasher, reason = "callers have the standard library's")]
pub fn forget_connections_of(addresses: &HashSet<IpAddr>) -> Result<usize, NetlinkError> {
    if addresses.is_empty() || !tracks_any() {
        return Ok(0);
    }
    let (Some(mut reader), Some(deleter)) = (open()?, open()?) else { return Ok(0) };
    let mut pass = Pass { addresses, deleter, found: Vec::with_capacity(BATCH), deleted: 0 };
    let queries = if addresses.len() <= FEW { by_address(addresses) } else { vec![all(addresses)] };
    for query in queries {
        match reader.dump_each(LIST, query, |entry| pass.see(&entry.payload)).and_then(identity) {
            // A kernel without conntrack over netlink, or without this filter.
            Err(error) if is_unsupported(&error) => {
                match reader
                    .dump_each(LIST, all(addresses), |entry| pass.see(&entry.payload))
                    .and_then(identity)
                {
                    Err(error) if is_unsupported(&error) => return Ok(0),
                    read => read?,
                };
                break;
            }
            read => read?,
        };
    }
    pass.delete()?;
    Ok(pass.deleted)
}

/// What is tried, in errors.
const LIST: &str = "list tracked connections";

/// Whether any connection is tracked. Asking for them would load the kernel's module.
fn tracks_any() -> bool {
    match fs::read(COUNT) {
        Ok(count) => !count.starts_with(b"0"),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// A socket; none where the kernel has no netfilter over netlink.
fn open() -> Result<Option<UntypedSocket>, NetlinkError> {
    match super::open_netfilter_untyped() {
        Err(NetlinkError::Open(error)) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => {
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// Whether the kernel has no such subsystem (`nfnetlink_rcv_msg`) or no such filter.
fn is_unsupported(error: &NetlinkError) -> bool {
    matches!(error.errno(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

/// One reading of the table, and what was found since the last deletion.
struct Pass<'a> {
    addresses: &'a HashSet<IpAddr>,
    /// Not the socket that reads: answers would come between the entries.
    deleter: UntypedSocket,
    found: Vec<UntypedMessage>,
    deleted: usize,
}

impl Pass<'_> {
    /// Looks at an entry, and deletes those found if they are many.
    fn see(&mut self, entry: &[u8]) -> Result<(), NetlinkError> {
        self.found.extend(deletion(entry, self.addresses));
        if self.found.len() < BATCH { Ok(()) } else { self.delete() }
    }

    fn delete(&mut self) -> Result<(), NetlinkError> {
        let number = self.found.len();
        let requests = self.found.drain(..);
        let requests = requests.map(|one| Request::new("delete a tracked connection", one, 0));
        let refusals = self.deleter.execute_each(requests.collect())?;
        self.deleted += number - refusals.len();
        refusals.into_iter().find(|refusal| !refusal.is_absent()).map_or(Ok(()), Err)
    }
}

/// A request for every connection of the families that the addresses are of.
fn all(addresses: &HashSet<IpAddr>) -> UntypedMessage {
    let families: HashSet<u8> = addresses.iter().map(|address| family(*address)).collect();
    let only = if families.len() == 1 { families.into_iter().next() } else { None };
    UntypedMessage::new(GET, &header(only.unwrap_or_default()))
}

/// Four requests for each address: the kernel's filter looks at one of the four addresses of a
/// connection.
fn by_address(addresses: &HashSet<IpAddr>) -> Vec<UntypedMessage> {
    let place = |address, tuple| [0, 1].map(|end| filtered(address, tuple, end));
    let places = |address: &IpAddr| [ORIGINAL, REPLY].map(|tuple| place(*address, tuple));
    addresses.iter().flat_map(places).flatten().collect()
}

/// A request for the connections with an address at one end of one tuple.
fn filtered(address: IpAddr, tuple: u16, end: usize) -> UntypedMessage {
    let (kinds, octets) = match address {
        IpAddr::V4(address) => (IPV4_ENDS, address.octets().to_vec()),
        IpAddr::V6(address) => (IPV6_ENDS, address.octets().to_vec()),
    };
    let ip = nested(TUPLE_IP, &UntypedMessage::new(0, &[]).attribute(kinds[end], &octets));
    // `CTA_FILTER_ORIG_FLAGS` and `CTA_FILTER_REPLY_FLAGS` have the numbers of the tuples.
    let flags = UntypedMessage::new(0, &[]).attribute(tuple, &FILTER_ENDS[end].to_ne_bytes());
    let query = UntypedMessage::new(GET, &header(family(address)));
    let query = query.attribute(NLA_F_NESTED | tuple, &ip.payload);
    query.attribute(NLA_F_NESTED | FILTER, &flags.payload)
}

fn nested(kind: u16, inner: &UntypedMessage) -> UntypedMessage {
    UntypedMessage::new(0, &[]).attribute(NLA_F_NESTED | kind, &inner.payload)
}

/// `struct nfgenmsg` of a family.
fn header(family: u8) -> [u8; HEADER] {
    [family, 0, 0, 0]
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // Both are below 256.
    u8::try_from(family).unwrap_or_default()
}

/// The request that deletes an entry, if the entry has one of the addresses.
///
/// The entry is named by its tuple, as lookups need it, and by its number, so that no later
/// connection with the same tuple is deleted. A request without a tuple would delete everything.
fn deletion(entry: &[u8], addresses: &HashSet<IpAddr>) -> Option<UntypedMessage> {
    let (header, rest) = entry.split_first_chunk::<HEADER>()?;
    let (mut original, mut zone, mut id, mut has_one) = (None, None, None, false);
    for (kind, value) in attributes(rest) {
        match kind {
            ORIGINAL => original = Some(value),
            ZONE => zone = Some(value),
            ID => id = Some(value),
            _ => {}
        }
        if matches!(kind, ORIGINAL | REPLY) {
            has_one |= addresses_of(value).any(|address| addresses.contains(&address));
        }
    }
    let original = original.filter(|tuple| has_one && !tuple.is_empty())?;
    let mut request = UntypedMessage::new(DELETE, &self::header(header[0]))
        .attribute(NLA_F_NESTED | ORIGINAL, original);
    for (kind, value) in [(ZONE, zone), (ID, id)] {
        if let Some(value) = value {
            request = request.attribute(kind, value);
        }
    }
    Some(request)
}

/// Both addresses of a tuple.
fn addresses_of(tuple: &[u8]) -> impl Iterator<Item = IpAddr> {
    let ip = attributes(tuple).filter(|(kind, _)| *kind == TUPLE_IP);
    ip.flat_map(|(_, value)| attributes(value)).filter_map(|(kind, value)| {
        if IPV4_ENDS.contains(&kind) {
            Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into())
        } else if IPV6_ENDS.contains(&kind) {
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into())
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(source: &str, destination: &str, zone: Option<u16>) -> Vec<u8> {
        let tuple = |source: &str, destination: &str| {
            let octets = |text: &str| match text.parse().unwrap() {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            let kinds = if source.contains(':') { IPV6_ENDS } else { IPV4_ENDS };
            let ip = UntypedMessage::new(0, &[]).attribute(kinds[0], &octets(source));
            nested(TUPLE_IP, &ip.attribute(kinds[1], &octets(destination))).payload
        };
        let mut message = UntypedMessage::new(0, &header(2))
            .attribute(NLA_F_NESTED | ORIGINAL, &tuple(source, destination))
            .attribute(NLA_F_NESTED | REPLY, &tuple(destination, "192.0.2.99"))
            .attribute(ID, &[1, 2, 3, 4]);
        if let Some(zone) = zone {
            message = message.attribute(ZONE, &zone.to_be_bytes());
        }
        message.payload
    }

    #[test]
    fn an_entry_is_deleted_by_tuple_zone_and_number_if_any_address_is_in_the_set() {
        let entry = entry("10.0.0.1", "192.0.2.1", Some(7));
        for address in ["10.0.0.1", "192.0.2.1", "192.0.2.99"] {
            let set = HashSet::from([address.parse().unwrap()]);
            let request = deletion(&entry, &set).unwrap();
            assert_eq!(request.kind, DELETE);
            let kinds: Vec<u16> = attributes(&request.payload[HEADER..]).map(|(k, _)| k).collect();
            assert_eq!(kinds, [ORIGINAL, ZONE, ID], "{address}");
        }
        let others = HashSet::from(["10.0.0.2".parse().unwrap(), "::1".parse().unwrap()]);
        assert_eq!(deletion(&entry, &others), None);
    }

    /// It would delete all entries.
    #[test]
    fn no_request_is_made_of_an_entry_without_the_first_tuple() {
        let set = HashSet::from(["192.0.2.99".parse().unwrap()]);
        let whole = entry("10.0.0.1", "192.0.2.1", None);
        let tuple = attributes(&whole[HEADER..]).find(|(kind, _)| *kind == REPLY).unwrap().1;
        let bare = UntypedMessage::new(0, &header(2)).attribute(NLA_F_NESTED | REPLY, tuple);
        assert_eq!(deletion(&bare.payload, &set), None);
        assert_eq!(deletion(&[], &set), None);
    }

    #[test]
    fn the_kernel_is_asked_for_the_family_that_is_needed() {
        let set = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let asked = |texts: &[&str]| i32::from(all(&set(texts)).payload[0]);
        assert_eq!(asked(&["10.0.0.1", "10.0.0.2"]), libc::AF_INET);
        assert_eq!(asked(&["2001:db8::1"]), libc::AF_INET6);
        assert_eq!(asked(&["10.0.0.1", "2001:db8::1"]), libc::AF_UNSPEC);
        assert_eq!(by_address(&set(&["10.0.0.1", "2001:db8::1"])).len(), 8);
    }
}
