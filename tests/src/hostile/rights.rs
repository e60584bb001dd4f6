//! What a hostile process may do: a user, and capabilities.

use std::{fmt, str::FromStr};

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
};

/// A capability that containers are commonly given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Classic and extended BPF programs and maps.
    Bpf,
    /// Interfaces, routes, firewalls and sysctls of the own namespace.
    NetAdmin,
    /// Packet and raw sockets.
    NetRaw,
    /// Tracing; what some BPF programs need beside `CAP_BPF`.
    Perfmon,
    /// Mounts and namespaces.
    SysAdmin,
}

impl Capability {
    /// Every capability that attacks name.
    const ALL: [Self; 5] = [Self::Bpf, Self::NetAdmin, Self::NetRaw, Self::Perfmon, Self::SysAdmin];

    /// Its name in capabilities(7).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bpf => "CAP_BPF",
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::NetRaw => "CAP_NET_RAW",
            Self::Perfmon => "CAP_PERFMON",
            Self::SysAdmin => "CAP_SYS_ADMIN",
        }
    }

    const fn set(self) -> CapabilitySet {
        match self {
            Self::Bpf => CapabilitySet::BPF,
            Self::NetAdmin => CapabilitySet::NET_ADMIN,
            Self::NetRaw => CapabilitySet::NET_RAW,
            Self::Perfmon => CapabilitySet::PERFMON,
            Self::SysAdmin => CapabilitySet::SYS_ADMIN,
        }
    }
}

/// A process's user and capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// User and group.
    pub uid: u32,
    /// All capabilities that it has.
    pub capabilities: &'static [Capability],
}

impl Rights {
    /// `nobody` without capabilities: the least that any process has.
    pub const NONE: Self = Self { uid: 65534, capabilities: &[] };

    /// Root in the container with these capabilities and no others.
    #[must_use]
    pub const fn root(capabilities: &'static [Capability]) -> Self {
        Self { uid: 0, capabilities }
    }

    /// The capabilities as `/proc/PID/status` shows them.
    #[must_use]
    pub fn mask(&self) -> u64 {
        self.capabilities.iter().fold(0, |mask, one| mask | one.set().bits())
    }

    /// As an argument of the attacker: [`Dropped`] reads it.
    #[must_use]
    pub fn argument(&self) -> String {
        let names: Vec<&str> = self.capabilities.iter().map(|one| one.name()).collect();
        format!("{}:{}", self.uid, names.join(","))
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.capabilities.iter().map(|one| one.name()).collect();
        let names = if names.is_empty() { "no capability".to_owned() } else { names.join(", ") };
        write!(f, "uid {}, {names}", self.uid)
    }
}

/// Rights that were read from an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    uid: u32,
    capabilities: Vec<Capability>,
}

impl FromStr for Dropped {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (uid, names) = text.split_once(':').context("rights are uid:capabilities")?;
        let parse = |name: &str| {
            let mut all = Capability::ALL.into_iter();
            all.find(|one| one.name() == name).with_context(|| format!("no capability {name}"))
        };
        let names = names.split(',').filter(|name| !name.is_empty());
        Ok(Self {
            uid: uid.parse().context("a user's number")?,
            capabilities: names.map(parse).collect::<Result<_>>()?,
        })
    }
}

impl Dropped {
    fn set(&self) -> CapabilitySet {
        self.capabilities.iter().fold(CapabilitySet::empty(), |set, one| set | one.set())
    }

    /// Reduces the calling process, which must have one thread, to exactly these rights, for good:
    /// programs that it executes have them, too, and none gets more.
    pub fn take_effect(&self) -> Result<()> {
        let wanted = self.set();
        set_keep_capabilities(true).context("prctl(PR_SET_KEEPCAPS)")?;
        for number in 0..u64::BITS {
            let one = CapabilitySet::from_bits_retain(1 << number);
            // Numbers that the kernel does not know are invalid.
            let is_there = capability_is_in_bounding_set(one).unwrap_or(false);
            if is_there && !wanted.contains(one) {
                remove_capability_from_bounding_set(one).context("prctl(PR_CAPBSET_DROP)")?;
            }
        }
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.uid));
        setgroups(&[]).context("setgroups")?;
        setresgid(gid, gid, gid).context("setresgid")?;
        setresuid(uid, uid, uid).context("setresuid")?;
        let sets = CapabilitySets { effective: wanted, permitted: wanted, inheritable: wanted };
        set_capabilities(None, sets).context("capset")?;
        clear_ambient_capability_set().context("prctl(PR_CAP_AMBIENT_CLEAR_ALL)")?;
        for one in &self.capabilities {
            configure_capability_in_ambient_set(one.set(), true)
                .with_context(|| format!("prctl(PR_CAP_AMBIENT_RAISE) of {}", one.name()))?;
        }
        set_no_new_privs(true).context("prctl(PR_SET_NO_NEW_PRIVS)")?;
        let found = capabilities(None).context("capget")?;
        if found != sets {
            bail!("capabilities are {found:?}, not {sets:?}");
        }
        ensure!(Uid::current() == uid && Uid::effective() == uid, "the user is another");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Capability, Dropped, Rights};

    #[test]
    fn rights_are_the_same_after_they_were_an_argument() {
        for rights in [Rights::NONE, Rights::root(&[Capability::NetAdmin, Capability::Bpf])] {
            let read: Dropped = rights.argument().parse().unwrap();
            assert_eq!(read.uid, rights.uid);
            assert_eq!(read.capabilities, rights.capabilities);
        }
    }
}
