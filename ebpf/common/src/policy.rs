//! Maps `policies`, `policy_rules`, `identities`, `networks_v4` and `networks_v6`: who may open a flow to whom.
//!
//! A policy is the ordered list of rules of one direction; the first rule that matches decides. Identities that
//! have the same policy share it. `policies` has, by the policy's number, the key of its rules, one word. The
//! rules are never written over: another version gets another key, then the word changes, and the former rules
//! are removed when no program can read them any more. The kernel would put the memory of a replaced element to
//! other use at once, under the eyes of a program that reads it.
//!
//! User space changes elements of these maps first, and then raises
//! [`POLICY_GENERATION`](crate::settings::POLICY_GENERATION), by which flows that are open are judged again.
//!
//! The programs ask these maps for slots with the flag `FLAG_ENFORCE` only.

/// Name of the array from a policy's number to the key of its rules, a `u64`; 0: there is no such policy.
pub const MAP: &str = "policies";
/// Most policies of a node, and one more than the highest number. Number 0 is none.
pub const MAX_ENTRIES: usize = 8192;

/// Name of the map from [`RulesKey`] to [`Policy`].
pub const MAP_RULES: &str = "policy_rules";
/// Most elements: those of policies, and former ones that are not removed yet.
pub const MAX_RULES_ENTRIES: usize = 2 * MAX_ENTRIES;

/// Name of the map from [`IdentityKey`] to [`Identity`].
pub const MAP_IDENTITIES: &str = "identities";
/// Most identities of a node.
pub const MAX_IDENTITIES: usize = 65_536;

/// Name of the longest-prefix map from IPv4 prefixes to [`Network`].
pub const MAP_NETWORKS_V4: &str = "networks_v4";
/// Name of the longest-prefix map from IPv6 prefixes to [`Network`].
pub const MAP_NETWORKS_V6: &str = "networks_v6";
/// Most prefixes of one family.
pub const MAX_NETWORKS: usize = 16_384;

/// Most rules of a policy.
pub const MAX_RULES: usize = 64;
/// Words of a set of groups. Group N is bit N % 32 of word N / 32.
pub const GROUP_WORDS: usize = 8;
/// Most groups of a node.
pub const MAX_GROUPS: u32 = 256;
/// Groups below this number are prefixes that rules for egress ask for where the peer is a slot as well
/// ([`FLAG_NETWORKS`]).
pub const NETWORK_GROUPS: u32 = 64;
/// Groups from this number on are of a tenant's own. A peer of another tenant is in none of them.
pub const TENANT_GROUPS: u32 = 192;

/// Identity of the node itself, as a peer.
pub const HOST: u32 = 1;
/// Identity of addresses that no prefix in `networks_v4` and `networks_v6` has, as a peer.
pub const WORLD: u32 = 2;

/// [`Rule::peer_kind`]: any peer.
pub const PEER_ANY: u8 = 0;
/// [`Rule::peer_kind`]: the peer of identity [`Rule::peer`].
pub const PEER_IDENTITY: u8 = 1;
/// [`Rule::peer_kind`]: peers in the group of number [`Rule::peer`].
pub const PEER_GROUP: u8 = 2;
/// [`Rule::peer_kind`]: slots of the same tenant, which must be one.
pub const PEER_TENANT: u8 = 3;

/// [`Rule::action`] and [`Policy::default`]: the flow is not opened.
pub const DENY: u8 = 0;
/// [`Rule::action`] and [`Policy::default`]: the flow may be opened.
pub const ALLOW: u8 = 1;

/// [`Rule::action`]: the rules before [`Rule::next`] do not apply.
pub const PASS: u8 = 2;
/// [`Rule::action`]: the flow has an event, as one that the rule would deny. The next rule decides.
pub const AUDIT: u8 = 3;
/// [`Rule::action`]: as [`PASS`], in rules that only report. Where a packet does not show the port that such a rule
/// asks for, the packet has an event.
pub const SKIP: u8 = 4;

/// [`Policy::flags`]: rules ask which prefixes a slot's address has.
pub const FLAG_NETWORKS: u8 = 1;
/// [`Policy::flags`]: rules apply to packets from the node as well. Without it these pass.
pub const FLAG_JUDGES_HOST: u8 = 2;

/// Key of `policy_rules`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RulesKey {
    /// A number that no rules had before, from 1.
    pub version: u64,
}

/// A rule.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Identity or number of a group, by [`Self::peer_kind`]; else 0.
    pub peer: u32,
    /// First destination port of TCP, UDP or SCTP, or first type of ICMP. Host byte order.
    pub port_low: u16,
    /// Last one. From 0 to 65,535: the rule matches what has neither as well.
    pub port_high: u16,
    /// Protocol of IP; 0: any.
    pub protocol: u8,
    /// `PEER_…`.
    pub peer_kind: u8,
    /// [`DENY`], [`ALLOW`], [`PASS`], [`AUDIT`] or [`SKIP`].
    pub action: u8,
    /// For [`PASS`] and [`SKIP`]: the place of the rule that comes next, from 0; else 0.
    pub next: u8,
    /// What events call the rule; 0 is the default.
    pub number: u32,
}

/// The rules of one direction.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Number of rules.
    pub count: u16,
    /// What applies to a packet that no rule matches: [`DENY`] or [`ALLOW`].
    pub default: u8,
    /// `FLAG_…`, or'ed.
    pub flags: u8,
    /// The rules, and zeros behind them.
    pub rules: [Rule; MAX_RULES],
}

/// Key of `identities`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdentityKey {
    /// Identity of a function or container, as in `interfaces`.
    pub identity: u32,
}

/// What a function or container is, for policies.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Number of the policy for what it opens; 0: it may open any flow.
    pub egress: u32,
    /// Number of the policy for what others open to it; 0: any flow may be opened.
    pub ingress: u32,
    /// The groups that it is in.
    pub groups: [u32; GROUP_WORDS],
}

/// What addresses that are no endpoint's are, for policies.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Their identity; [`WORLD`], where they have none of their own.
    pub identity: u32,
    /// The groups that they are in: the union of those of all prefixes that cover this one.
    pub groups: [u32; GROUP_WORDS],
}

const _: () = {
    assert!(size_of::<Rule>() == 16);
    assert!(core::mem::offset_of!(Rule, number) == 12);
    assert!(size_of::<RulesKey>() == 8);
    assert!(size_of::<Policy>() == 4 + 16 * MAX_RULES);
    assert!(size_of::<Identity>() == 40);
    assert!(size_of::<Network>() == 36);
    assert!(MAX_GROUPS as usize == GROUP_WORDS * 32);
};

// SAFETY: `repr(C)`, no padding the compiler adds (sizes asserted above), valid for any bytes.
#[cfg(feature = "user")]
unsafe impl aya::Pod for RulesKey {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Policy {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for IdentityKey {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Identity {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Network {}
