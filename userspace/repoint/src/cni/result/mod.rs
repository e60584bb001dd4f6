//! The result of ADD, and its form in each version.

mod read;
mod write;

use std::net::IpAddr;

use ipnet::IpNet;

pub use self::read::ResultError;
use super::{Dns, Route};

/// The result of ADD (CNI spec, section 5), independent of versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CniResult {
    /// Interfaces, those on the host included.
    pub interfaces: Vec<Interface>,
    /// Addresses of these interfaces.
    pub ips: Vec<IpConfig>,
    /// Routes in the container.
    pub routes: Vec<Route>,
    /// For the container's resolver.
    pub dns: Dns,
}

/// An interface that an attachment is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address, as its plugin wrote it.
    pub mac: Option<String>,
    /// Its MTU, bytes. From version 1.1.0 on.
    pub mtu: Option<u32>,
    /// The value of `CNI_NETNS` for an interface in the container; none on the host.
    pub sandbox: Option<String>,
    /// Path of a socket that stands for the interface. From version 1.1.0 on.
    pub socket_path: Option<String>,
    /// Identifier of the interface's PCI device. From version 1.1.0 on.
    pub pci_id: Option<String>,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpConfig {
    /// The address, with its subnet's prefix.
    pub address: IpNet,
    /// The subnet's gateway.
    pub gateway: Option<IpAddr>,
    /// Index of its interface in the result; none in a result of address management.
    pub interface: Option<usize>,
}

impl CniResult {
    /// This result appended to `previous`, which the plugin got as `prevResult`.
    ///
    /// DNS settings of `previous` stay where there are any: the first plugin decides them.
    #[must_use]
    pub fn chained_after(self, mut previous: Self) -> Self {
        let shift = previous.interfaces.len();
        previous.interfaces.extend(self.interfaces);
        previous.ips.extend(self.ips.into_iter().map(|mut ip| {
            ip.interface = ip.interface.map(|index| index + shift);
            ip
        }));
        previous.routes.extend(self.routes);
        if previous.dns.is_empty() {
            previous.dns = self.dns;
        }
        previous
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str, interface: usize) -> IpConfig {
        IpConfig { address: text.parse().unwrap(), gateway: None, interface: Some(interface) }
    }

    fn interface(name: &str) -> Interface {
        Interface { name: name.to_owned(), ..Interface::default() }
    }

    #[test]
    fn a_chain_keeps_what_came_before_and_its_indexes() {
        let previous = CniResult {
            interfaces: vec![interface("prev0")],
            ips: vec![ip("192.0.2.77/24", 0)],
            ..CniResult::default()
        };
        let own = CniResult {
            interfaces: vec![interface("rp0"), interface("eth0")],
            ips: vec![ip("10.1.0.5/24", 1)],
            ..CniResult::default()
        };
        let merged = own.chained_after(previous);
        let names: Vec<_> = merged.interfaces.iter().map(|i| i.name.as_str()).collect();
        assert_eq!(names, ["prev0", "rp0", "eth0"]);
        assert_eq!(merged.ips, [ip("192.0.2.77/24", 0), ip("10.1.0.5/24", 2)]);
    }

    #[test]
    fn previous_name_servers_win() {
        let dns = |server: &str| Dns { nameservers: vec![server.to_owned()], ..Dns::default() };
        let with = |dns| CniResult { dns, ..CniResult::default() };
        let merged = with(dns("192.0.2.1")).chained_after(with(dns("192.0.2.53")));
        assert_eq!(merged.dns, dns("192.0.2.53"));
        let merged = with(dns("192.0.2.1")).chained_after(CniResult::default());
        assert_eq!(merged.dns, dns("192.0.2.1"));
    }
}
