//! What else a user may have left: rules of firewalls, `IPsec`, load balancing, programs.

use std::{fs, io};

use aya::programs::{ProgramError, SchedClassifier, TcAttachType};

use super::FingerprintError;
use crate::netlink::{NetlinkError, UntypedSocket, nftables_tables, open_xfrm, xfrm_counts};

/// Tables of the legacy iptables; one that was only looked at is there to the namespace's end.
const XTABLES: [(&str, &str); 3] = [
    ("/proc/thread-self/net/ip_tables_names", "iptables"),
    ("/proc/thread-self/net/ip6_tables_names", "ip6tables"),
    ("/proc/thread-self/net/arp_tables_names", "arptables"),
];
/// Services of IPVS, behind three lines of heading.
const IPVS: &str = "/proc/thread-self/net/ip_vs";

/// Lines of nftables' tables.
pub(super) fn nftables(netfilter: &mut UntypedSocket) -> Result<Vec<String>, NetlinkError> {
    let tables = nftables_tables(netfilter)?;
    Ok(tables
        .iter()
        .map(|(family, name)| format!("nftables table {name} of family {family}"))
        .collect())
}

/// Lines of legacy tables and services.
pub(super) fn tables() -> Result<Vec<String>, FingerprintError> {
    let mut lines = Vec::new();
    for (path, program) in XTABLES {
        lines.extend(read(path)?.lines().map(|table| format!("{program} (legacy) table {table}")));
    }
    lines.extend(read(IPVS)?.lines().skip(3).map(|service| format!("IPVS service {service}")));
    Ok(lines)
}

/// Lines of `IPsec`'s states and policies.
pub(super) fn xfrm() -> Result<Vec<String>, NetlinkError> {
    let Some(mut socket) = open_xfrm()? else { return Ok(Vec::new()) };
    Ok(match xfrm_counts(&mut socket)? {
        (0, 0) => Vec::new(),
        (states, policies) => vec![format!("IPsec: {states} states, {policies} policies")],
    })
}

/// Lines of programs that are attached to a link by tcx, which no queueing discipline shows.
pub(super) fn programs(link: &str, shown: &str) -> Result<Vec<String>, FingerprintError> {
    let mut lines = Vec::new();
    for (direction, kind) in [("ingress", TcAttachType::Ingress), ("egress", TcAttachType::Egress)]
    {
        let programs = match SchedClassifier::query_tcx(link, kind) {
            Ok((_, programs)) => programs,
            // Before 6.6 there is no such attachment.
            Err(ProgramError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(libc::EINVAL) =>
            {
                continue;
            }
            Err(source) => {
                return Err(FingerprintError::Programs { link: link.to_owned(), source });
            }
        };
        lines.extend(
            programs
                .iter()
                .map(|program| format!("tcx program {} on {shown}, {direction}", program.id())),
        );
    }
    Ok(lines)
}

/// A file's text; none where the kernel has no such file.
fn read(path: &str) -> Result<String, FingerprintError> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other.map_err(|source| FingerprintError::Tables { path: path.to_owned(), source }),
    }
}
