//! The node's IPv6 addresses, as the kernel prints them below `/proc`.

use std::{
    fs::File,
    io::{self, Read as _},
    net::{IpAddr, Ipv6Addr},
};

/// The table of the calling thread's network namespace.
const TABLE: &str = "/proc/thread-self/net/if_inet6";
/// Bytes to read at a time: as many as the kernel prints at a time.
const AT_ONCE: usize = 4096;

/// The IPv6 addresses of the interfaces in the current namespace. The kernel keeps them in one
/// table and prints only interfaces that have an address. A netlink dump visits all interfaces.
pub fn local_addresses_v6() -> io::Result<Vec<IpAddr>> {
    let file = match File::open(TABLE) {
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let mut table = String::with_capacity(AT_ONCE);
    // `take` keeps `File` from asking for the length, which is 0.
    file.take(u64::MAX).read_to_string(&mut table)?;
    Ok(table.lines().filter_map(address).collect())
}

/// The address that a line begins with: 32 hexadecimal digits.
fn address(line: &str) -> Option<IpAddr> {
    let bits = u128::from_str_radix(line.split(' ').next()?, 16).ok()?;
    Some(Ipv6Addr::from(bits).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_of_a_line() {
        let line = "fd002170000700000000000000000005 02 40 00 80 eth0";
        assert_eq!(address(line), Some("fd00:2170:7::5".parse().unwrap()));
        assert_eq!(address(""), None);
    }
}
