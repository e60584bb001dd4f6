//! How an ADD was served, and why not from the pool.

use std::fmt;

/// Why a container gets no slot of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decline {
    /// The mode is `none`.
    Asked,
    /// Another plugin gives the addresses, for one container id at a time.
    DelegatedIpam,
    /// A plugin before this one in the chain has made an interface already.
    PrevResult,
    /// The runtime asks for an address, a range or a MAC address of its own.
    Requested,
    /// The path leads to a process, which stays in its present namespace.
    ProcessInside,
    /// The namespace is owned by another user namespace, which a slot's would not be.
    UserNamespace,
    /// The namespace holds another interface than `lo`.
    Interfaces,
    /// IPv6 is disabled in the namespace, and the network gives IPv6 addresses.
    ///
    /// Disabling IPv6 in a slot's namespace as well would remove the slot's addresses.
    Ipv6Disabled,
    /// This process is in a mount namespace without the slots' namespaces.
    MountNamespace,
    /// The pool has as many slots as it may have, and none is free.
    Full,
    /// The slot that was claimed could not be activated, and is deleted.
    Broken,
}

impl Decline {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::Asked,
        Self::DelegatedIpam,
        Self::PrevResult,
        Self::Requested,
        Self::ProcessInside,
        Self::UserNamespace,
        Self::Interfaces,
        Self::Ipv6Disabled,
        Self::MountNamespace,
        Self::Full,
        Self::Broken,
    ];

    /// Its name in counters and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Asked => "mode_none",
            Self::DelegatedIpam => "delegated_ipam",
            Self::PrevResult => "prev_result",
            Self::Requested => "requested",
            Self::ProcessInside => "process_inside",
            Self::UserNamespace => "user_namespace",
            Self::Interfaces => "interfaces",
            Self::Ipv6Disabled => "ipv6_disabled",
            Self::MountNamespace => "mount_namespace",
            Self::Full => "full",
            Self::Broken => "broken",
        }
    }
}

impl fmt::Display for Decline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "mode none",
            Self::DelegatedIpam => "its addresses come from another plugin",
            Self::PrevResult => "a plugin before it in the chain has made an interface",
            Self::Requested => "the runtime asks for an address, a range or a MAC address",
            Self::ProcessInside => {
                "CNI_NETNS is no mount point: a process is in the namespace already"
            }
            Self::UserNamespace => "its namespace is owned by another user namespace",
            Self::Interfaces => "its namespace holds an interface beside lo",
            Self::Ipv6Disabled => "a sysctl of its namespace switches IPv6 off",
            Self::MountNamespace => "slots are kept for another mount namespace than the plugin's",
            Self::Full => "the pool is full and no slot is free",
            Self::Broken => "the slot that it was to get could not be activated",
        })
    }
}

/// How an ADD was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// By a parked slot: of its function, of its trust domain, or prepared for it.
    Reused,
    /// By a slot that never had a user.
    Warm,
    /// By a slot that was built for it, since none was ready.
    Built,
    /// In the container's own namespace.
    Declined(Decline),
}

impl Outcome {
    /// Its name in counters and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Reused => "reused",
            Self::Warm => "warm",
            Self::Built => "built",
            Self::Declined(reason) => reason.label(),
        }
    }

    /// Whether a slot that waited served the ADD.
    #[must_use]
    pub const fn is_hit(self) -> bool {
        matches!(self, Self::Reused | Self::Warm)
    }

    /// The outcome of a label.
    #[must_use]
    pub fn of_label(label: &str) -> Option<Self> {
        let declined = Decline::ALL.map(Self::Declined);
        let all = [Self::Reused, Self::Warm, Self::Built];
        all.into_iter().chain(declined).find(|outcome| outcome.label() == label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_label_leads_back_to_its_outcome() {
        for outcome in Decline::ALL.map(Outcome::Declined) {
            assert_eq!(Outcome::of_label(outcome.label()), Some(outcome));
        }
        for (outcome, hit) in
            [(Outcome::Reused, true), (Outcome::Warm, true), (Outcome::Built, false)]
        {
            assert_eq!(Outcome::of_label(outcome.label()), Some(outcome));
            assert_eq!(outcome.is_hit(), hit);
        }
        assert_eq!(Outcome::of_label("hit"), None);
    }
}
