//! Prefixes of addresses.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{ReadError, cursor::Cursor};

const A_PREFIX: &str = "a prefix such as 10.0.0.0/8, or 10.0.0.1/32 for one address";

/// A prefix. Its host bits are cleared: the server accepts them, with a warning.
pub(super) fn read(prefix: Cursor<'_>) -> Result<IpNet, ReadError> {
    prefix.parse(A_PREFIX, parse)
}

/// Refuses leading zeros, which read as octal or decimal, and IPv4 addresses that are written as
/// IPv6 ones, which no packet has.
fn parse(text: &str) -> Option<IpNet> {
    let (address, _) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let is_mapped = address.to_canonical() != address;
    let prefix: IpNet = text.parse().ok()?;
    (!is_mapped).then(|| prefix.trunc())
}
