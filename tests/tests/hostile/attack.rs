//! What an attack is: who does what with which rights, before its network goes to the next owner and
//! after.

use repoint_tests::hostile::{Capability, Rights};

use Capability::{Bpf, NetAdmin, NetRaw, Perfmon, SysAdmin};

/// Root in the container without a capability.
pub(crate) const ROOT: Rights = Rights::root(&[]);
/// What a container has that makes its own frames.
pub(crate) const RAW: Rights = Rights::root(&[NetRaw]);
/// What a container has that configures its network.
pub(crate) const ADMIN: Rights = Rights::root(&[NetAdmin]);
/// Both.
pub(crate) const ADMIN_RAW: Rights = Rights::root(&[NetAdmin, NetRaw]);
/// What a container has that loads programs into the kernel.
pub(crate) const BPF: Rights = Rights::root(&[Bpf, NetAdmin, Perfmon]);
/// The same, with a BPF file system of its own.
pub(crate) const BPF_SYS: Rights = Rights::root(&[Bpf, NetAdmin, Perfmon, SysAdmin]);
/// What a container has that enters namespaces.
pub(crate) const SYS: Rights = Rights::root(&[NetAdmin, NetRaw, SysAdmin]);

/// Who does a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// A process in the container whose network goes to the next owner.
    Attacker,
    /// A process in another container of the same tenant, which stays.
    Accomplice,
    /// An unprivileged process on the host outside.
    Outside,
}

/// An order. `{name}` is replaced by what the world has under that name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step(pub(crate) Who, pub(crate) &'static str);

/// By whom the next owner may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Only between domains: within one there is nothing to defend.
    Across,
    /// Between domains and within one.
    Both,
}

/// An attack.
#[derive(Debug)]
pub(crate) struct Attack {
    /// Its test's name: what the next owner is safe from.
    pub(crate) name: &'static str,
    pub(crate) reach: Reach,
    /// What is done, for the documentation.
    pub(crate) what: &'static str,
    /// What the attacker may do.
    pub(crate) rights: Rights,
    /// What its accomplice may do; none where it needs none.
    pub(crate) accomplice: Option<Rights>,
    /// Before DEL; each must succeed.
    pub(crate) prepare: &'static [Step],
    /// A process is still in the namespace when the next owner starts.
    pub(crate) occupies: bool,
    /// The attacker's process is killed only at the end, as where a runtime calls DEL first.
    pub(crate) stays: bool,
    /// Once the next owner is there, whatever comes of it.
    pub(crate) strike: &'static [Step],
}

impl Attack {
    /// What an attack has that says nothing else.
    pub(crate) const BASE: Self = Self {
        name: "",
        reach: Reach::Both,
        what: "",
        rights: ADMIN,
        accomplice: None,
        prepare: &[],
        occupies: false,
        stays: false,
        strike: &[],
    };
}
