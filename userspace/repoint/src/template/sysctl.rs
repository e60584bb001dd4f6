//! Sysctls of a container's namespace.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::model::{IfName, InvalidValue};

/// Stands in a key for the name of the container's interface.
const INTERFACE: &str = "{interface}";
/// The first part of a key.
const ROOT: &str = "net";
/// Folders below which each interface has one of its own.
const PER_INTERFACE: [&str; 2] = ["conf", "neigh"];
/// The names that may stand there.
///
/// An interface of another name does not exist, or belongs to another network.
const INTERFACES: [&str; 4] = ["all", "default", "lo", INTERFACE];

const FORM: &str = "must be a sysctl below net., with dots, as in net.ipv4.tcp_keepalive_time";
const NAMED: &str = "names an interface: write {interface} for the container's, whatever its name; \
                     all, default and lo are the others";
const PLACE: &str =
    "holds {interface} where no interface is named: it stands behind conf. and neigh.";

/// Name of a sysctl below `net.`, with dots. The container's interface is `{interface}` in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SysctlKey(String);

/// A sysctl and the value to set it to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    /// Its name.
    pub key: SysctlKey,
    /// What is written to it.
    pub value: String,
}

impl SysctlKey {
    /// The key as it is written in templates.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its file below `/proc/sys/net`, in a namespace in which the container's interface is
    /// `ifname`.
    #[must_use]
    pub fn path(&self, ifname: &IfName) -> PathBuf {
        let own = |part| if part == INTERFACE { ifname.as_str() } else { part };
        self.0.split('.').skip(1).map(own).collect()
    }

    /// The key of a file below `/proc/sys/net`, in whose path `placeholder` stands for the
    /// container's interface.
    pub(crate) fn of_path(path: &str, placeholder: &str) -> Result<Self, InvalidValue> {
        let own = |part| if part == placeholder { INTERFACE } else { part };
        // A dot in a path belongs to an interface's name, and would be a separator in the key.
        if path.contains('.') {
            return Err(InvalidValue::new("sysctl", path, NAMED));
        }
        let parts: Vec<_> = [ROOT].into_iter().chain(path.split('/').map(own)).collect();
        parts.join(".").parse()
    }
}

impl FromStr for SysctlKey {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match wrong(text) {
            Some(why) => Err(InvalidValue::new("sysctl", text, why)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

/// What is wrong with a key.
fn wrong(text: &str) -> Option<&'static str> {
    let parts: Vec<_> = text.split('.').collect();
    let named = match parts.as_slice() {
        [_, _, folder, name, ..] if PER_INTERFACE.contains(folder) => Some(*name),
        _ => None,
    };
    let placeholders = parts.iter().filter(|part| **part == INTERFACE).count();
    match parts.as_slice() {
        [ROOT, _, ..] if parts.iter().all(|part| *part == INTERFACE || is_plain(part)) => {
            if named.is_some_and(|name| !INTERFACES.contains(&name)) {
                Some(NAMED)
            } else if placeholders > usize::from(named == Some(INTERFACE)) {
                Some(PLACE)
            } else {
                None
            }
        }
        _ => Some(FORM),
    }
}

fn is_plain(part: &str) -> bool {
    !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

impl TryFrom<String> for SysctlKey {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl From<SysctlKey> for String {
    fn from(key: SysctlKey) -> Self {
        key.0
    }
}

impl fmt::Display for SysctlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_below_net_and_name_no_interface() {
        for right in [
            "net.core.somaxconn",
            "net.nf_conntrack_max",
            "net.ipv4.tcp_keepalive_time",
            "net.ipv4.conf.all.rp_filter",
            "net.ipv6.conf.{interface}.accept_ra",
            "net.ipv6.neigh.default.gc_thresh1",
        ] {
            assert_eq!(right.parse::<SysctlKey>().unwrap().as_str(), right);
        }
        for (bad, why) in [
            ("", FORM),
            ("net", FORM),
            ("net.", FORM),
            ("kernel.hostname", FORM),
            ("net..ipv4", FORM),
            ("net.ipv4.../../kernel", FORM),
            ("net/ipv4/ip_forward", FORM),
            ("net.ipv4/ip_forward", FORM),
            ("net.ipv4.ip forward", FORM),
            ("net.ipv4.conf.{ifname}.rp_filter", FORM),
            ("net.ipv4.conf.eth0.rp_filter", NAMED),
            ("net.ipv4.neigh.eth1.retrans_time", NAMED),
            ("net.{interface}.somaxconn", PLACE),
            ("net.ipv4.conf.{interface}.{interface}", PLACE),
        ] {
            assert_eq!(bad.parse::<SysctlKey>().unwrap_err().why, why, "{bad}");
        }
    }

    #[test]
    fn the_interface_has_the_name_that_it_has_in_the_container() {
        let key: SysctlKey = "net.ipv4.conf.{interface}.rp_filter".parse().unwrap();
        let path = |ifname: &str| key.path(&ifname.parse().unwrap());
        assert_eq!(path("eth0"), PathBuf::from("ipv4/conf/eth0/rp_filter"));
        assert_eq!(path("net1.7"), PathBuf::from("ipv4/conf/net1.7/rp_filter"));
        assert_eq!(SysctlKey::of_path("ipv4/conf/{ifname}/rp_filter", "{ifname}").unwrap(), key);
        assert!(SysctlKey::of_path("ipv4/conf/eth0.7/rp_filter", "{ifname}").is_err());
    }
}
