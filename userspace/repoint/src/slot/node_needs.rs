//! What slots need of the node beside their interfaces: forwarding, and the masquerade rule.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use ipnet::IpNet;

use super::masquerade::{MasqueradeError, needs_rule, require_masquerade};
use crate::{
    failpoint,
    netlink::{NetfilterSocket, masquerades},
    store::Slot,
};

/// What slots need of the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeNeeds {
    /// The node forwards IPv4 packets.
    pub ipv4: bool,
    /// The node forwards IPv6 packets.
    pub ipv6: bool,
    /// The masquerade rule is there.
    pub masquerade: bool,
}

/// A need that the node does not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeLack {
    /// The node does not forward packets of a family: this sysctl is 0.
    Forwarding(Forwarding),
    /// The masquerade rule is gone.
    Masquerade,
}

/// The sysctl that makes the node a router for a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forwarding {
    /// `net.ipv4.ip_forward`
    Ipv4,
    /// `net.ipv6.conf.all.forwarding`
    Ipv6,
}

impl Forwarding {
    /// The sysctl's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "net.ipv4.ip_forward",
            Self::Ipv6 => "net.ipv6.conf.all.forwarding",
        }
    }

    /// The sysctl's file.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Ipv4 => "/proc/sys/net/ipv4/ip_forward",
            Self::Ipv6 => "/proc/sys/net/ipv6/conf/all/forwarding",
        }
    }

    /// The folder of the interfaces' own values.
    const fn interfaces(self) -> &'static str {
        match self {
            Self::Ipv4 => "/proc/sys/net/ipv4/conf",
            Self::Ipv6 => "/proc/sys/net/ipv6/conf",
        }
    }

    /// An interface's own value; of `default`: what new interfaces get.
    fn of_interface(self, name: &str) -> PathBuf {
        Path::new(self.interfaces()).join(name).join("forwarding")
    }

    /// Whether the node does not forward packets of the family. False where the kernel has no such
    /// family.
    pub fn is_off(self) -> Result<bool, NodeNeedsError> {
        is_off(Path::new(self.path())).map_err(|source| self.failed("read", source))
    }

    /// Makes the node a router for the family unless it is one: writing the sysctl walks every
    /// interface. Reports whether it had to be written.
    ///
    /// Two programs that write `ip_forward` at a time can leave it at 1 while no interface forwards: a
    /// writer that does not get RTNL sets the value back and tries again, and another writer that saw
    /// the value meanwhile takes it for done (`devinet_sysctl_forward`). The value for new interfaces
    /// changes under RTNL only, so it tells whether the write took effect. If it did not, this function
    /// sets each interface's own value.
    pub fn switch_on(self) -> Result<bool, NodeNeedsError> {
        if !self.is_off()? {
            return Ok(false);
        }
        self.write(Path::new(self.path()))?;
        if is_off(&self.of_interface("default")).map_err(|source| self.failed("read", source))? {
            self.switch_on_each()?;
        }
        failpoint::hit("build:forwarding");
        Ok(true)
    }

    /// Switches forwarding on for each interface. The value for new interfaces comes after those: a
    /// program that reads it as 1 finds every interface forwarding.
    fn switch_on_each(self) -> Result<(), NodeNeedsError> {
        self.switch_on_present()?;
        self.write(&self.of_interface("default"))?;
        // An interface that was made meanwhile has the former value.
        self.switch_on_present()
    }

    /// Switches forwarding on for the interfaces that there are.
    fn switch_on_present(self) -> Result<(), NodeNeedsError> {
        let entries = fs::read_dir(self.interfaces());
        for entry in entries.map_err(|source| self.failed("list", source))? {
            let entry = entry.map_err(|source| self.failed("list", source))?;
            let path = entry.path().join("forwarding");
            if ["all", "default"].iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            if is_off(&path).map_err(|source| self.failed("read", source))? {
                self.write(&path)?;
            }
        }
        Ok(())
    }

    /// Writes a 1. A file that is gone is no error: its interface is gone as well.
    fn write(self, path: &Path) -> Result<(), NodeNeedsError> {
        match fs::write(path, "1") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            written => written.map_err(|source| self.failed("write", source)),
        }
    }

    fn failed(self, call: &'static str, source: io::Error) -> NodeNeedsError {
        NodeNeedsError::Forwarding { call, path: self.path(), source }
    }
}

/// Whether a sysctl is 0. False where there is no such sysctl: the kernel has no such family, or the
/// interface is gone.
fn is_off(path: &Path) -> io::Result<bool> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        value => Ok(value?.starts_with(b"0")),
    }
}

impl NodeLack {
    /// Every one.
    pub const ALL: [Self; 3] =
        [Self::Forwarding(Forwarding::Ipv4), Self::Forwarding(Forwarding::Ipv6), Self::Masquerade];
}

impl fmt::Display for NodeLack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forwarding(family) => {
                write!(f, "sysctl {} is 0: the node does not forward packets", family.name())
            }
            Self::Masquerade => {
                f.write_str("the masquerade rule is gone from nftables table inet repoint")
            }
        }
    }
}

/// Why the node's part cannot be looked at, or restored.
#[derive(Debug, thiserror::Error)]
pub enum NodeNeedsError {
    /// A sysctl cannot be read or written.
    #[error("cannot make the node forward packets: {call} {path}: {source}")]
    Forwarding {
        /// The system call.
        call: &'static str,
        /// The sysctl's file.
        path: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The masquerade rule cannot be added.
    #[error(transparent)]
    Masquerade(#[from] MasqueradeError),
}

impl NodeNeeds {
    /// What one slot needs.
    #[must_use]
    pub fn of(slot: &Slot) -> Self {
        let mut needs = Self { masquerade: needs_rule(slot), ..Self::default() };
        for address in &slot.addresses {
            match address {
                IpNet::V4(_) => needs.ipv4 = true,
                IpNet::V6(_) => needs.ipv6 = true,
            }
        }
        needs
    }

    /// These needs, and those of another slot.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            ipv4: self.ipv4 || other.ipv4,
            ipv6: self.ipv6 || other.ipv6,
            masquerade: self.masquerade || other.masquerade,
        }
    }

    /// Whether everything is needed that can be.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.ipv4 && self.ipv6 && self.masquerade
    }

    /// Which of them the node does not meet.
    pub fn lacks(&self) -> Result<Vec<NodeLack>, NodeNeedsError> {
        let mut lacks = Vec::new();
        for family in self.forwarding() {
            lacks.extend(family.is_off()?.then_some(NodeLack::Forwarding(family)));
        }
        if self.masquerade {
            let found = NetfilterSocket::open_netfilter().and_then(|mut all| masquerades(&mut all));
            let found = found.map_err(MasqueradeError::Nftables)?;
            lacks.extend((!found).then_some(NodeLack::Masquerade));
        }
        Ok(lacks)
    }

    /// Restores what the node does not meet, and reports it. Every need is tried; the first error
    /// is returned.
    pub fn restore(&self, run_dir: &Path) -> Result<Vec<NodeLack>, NodeNeedsError> {
        let (mut restored, mut failure) = (Vec::new(), None);
        for family in self.forwarding() {
            match family.switch_on() {
                Ok(true) => restored.push(NodeLack::Forwarding(family)),
                Ok(false) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        if self.masquerade {
            match require_masquerade(run_dir) {
                Ok(true) => restored.push(NodeLack::Masquerade),
                Ok(false) => {}
                Err(error) => failure = failure.or(Some(error.into())),
            }
        }
        failure.map_or(Ok(restored), Err)
    }

    /// The sysctls that are to be 1.
    pub(super) fn forwarding(&self) -> impl Iterator<Item = Forwarding> {
        let v4 = self.ipv4.then_some(Forwarding::Ipv4);
        v4.into_iter().chain(self.ipv6.then_some(Forwarding::Ipv6))
    }
}
