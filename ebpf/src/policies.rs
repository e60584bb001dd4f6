//! Maps `policies`, `identities` and `networks_v4`, `networks_v6`: rules, and who is meant by them.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap, LpmTrie, lpm_trie::Key},
    macros::btf_map,
};
use repoint_common::policy::{
    ALLOW, FLAG_JUDGES_HOST, GROUP_WORDS, HOST, Identity, IdentityKey, MAX_ENTRIES, MAX_IDENTITIES,
    MAX_NETWORKS, MAX_RULES, MAX_RULES_ENTRIES, Network, PEER_ANY, PEER_GROUP, PEER_IDENTITY,
    PEER_TENANT, Policy, Rule, RulesKey,
};

/// Entries take memory when they are made.
const FLAGS: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map(name = "policies")]
static POLICIES: Array<u64, MAX_ENTRIES> = Array::new();

#[btf_map(name = "policy_rules")]
static RULES: HashMap<RulesKey, Policy, MAX_RULES_ENTRIES, FLAGS> = HashMap::new();

#[btf_map(name = "identities")]
static IDENTITIES: HashMap<IdentityKey, Identity, MAX_IDENTITIES, FLAGS> = HashMap::new();

#[btf_map(name = "networks_v4")]
static NETWORKS_V4: LpmTrie<[u8; 4], Network, MAX_NETWORKS> = LpmTrie::new();

#[btf_map(name = "networks_v6")]
static NETWORKS_V6: LpmTrie<[u8; 16], Network, MAX_NETWORKS> = LpmTrie::new();

/// What rules ask of a packet that opens a flow.
#[repr(C)]
pub struct Opening {
    /// Groups of the peer.
    pub groups: [u32; GROUP_WORDS],
    /// Identity of the peer.
    pub identity: u32,
    /// Number of the peer's tenant; 0: none.
    pub tenant: u32,
    /// Number of the tenant of the slot whose policy it is; 0: none.
    pub own_tenant: u32,
    /// Destination port, or type of ICMP; 0 without either. [`BLIND`]: the packet does not show it.
    pub port: u32,
    /// Protocol of IP.
    pub protocol: u32,
}

/// [`Opening::port`] of a fragment without its first.
pub const BLIND: u32 = u32::MAX;

/// Answer of [`evaluate`]: no rule matches. Else the answer is the rule's place.
const DEFAULT: u32 = 64;
const _: () = assert!(DEFAULT as usize == MAX_RULES);
/// Answer of [`evaluate`]: a rule would have to know the port.
const BLOCKED: u32 = DEFAULT + 1;

/// How often an identity is read that user space replaces meanwhile.
const READS: u32 = 3;

/// What a policy says of a packet.
pub struct Said {
    /// `ALLOW`, `DENY` or [`NEEDS_PORT`].
    pub says: u8,
    /// The flags of the policy.
    pub flags: u8,
    /// Number of the rule that says so; 0: the default does.
    pub rule: u32,
}

/// [`Said::says`]: a rule would have to know the port.
pub const NEEDS_PORT: u8 = u8::MAX;

/// Numbers of an identity's policies, for egress and ingress.
#[inline(always)]
pub fn numbers(identity: u32) -> Option<(u32, u32)> {
    for _ in 0..READS {
        let found = find(identity)?;
        // SAFETY: the element's memory stays an `Identity` while the program runs.
        let numbers = unsafe { ((*found).egress, (*found).ingress) };
        if find(identity) == Some(found) {
            return Some(numbers);
        }
    }
    None
}

/// Writes the groups that an identity is in, if it is in any.
#[inline(always)]
pub fn copy_groups(identity: u32, opening: &mut Opening) {
    for _ in 0..READS {
        let Some(found) = find(identity) else { return };
        // SAFETY: as in `numbers`.
        opening.groups = unsafe { (*found).groups };
        if find(identity) == Some(found) {
            return;
        }
        opening.groups = [0; GROUP_WORDS];
    }
}

/// The element of an identity. The kernel puts its memory to other use as soon as user space replaces it. While a
/// second look finds the same element, what was read in between was the identity's.
#[inline(always)]
fn find(identity: u32) -> Option<*const Identity> {
    IDENTITIES.get_ptr(IdentityKey { identity })
}

/// Writes identity and groups of an IPv4 address, if a prefix has it.
#[inline(always)]
pub fn copy_network_v4(key: &Key<[u8; 4]>, opening: &mut Opening) {
    copy_network(NETWORKS_V4.get(key), opening);
}

/// Writes identity and groups of an IPv6 address, if a prefix has it.
#[inline(always)]
pub fn copy_network_v6(key: &Key<[u8; 16]>, opening: &mut Opening) {
    copy_network(NETWORKS_V6.get(key), opening);
}

#[inline(always)]
fn copy_network(found: Option<&Network>, opening: &mut Opening) {
    if let Some(found) = found {
        opening.identity = found.identity;
        opening.groups = found.groups;
    }
}

/// What the policy of a number says; none: there is no such policy. Packets of the node pass, unless the policy
/// judges them.
#[inline(always)]
pub fn ask(number: u32, opening: &Opening, is_egress: bool) -> Option<Said> {
    // SAFETY: the element is one aligned word, and stays where it is.
    let version = unsafe { POLICIES.get_ptr(number)?.read_volatile() };
    // SAFETY: user space removes rules only when no program can have them any more.
    let policy = unsafe { RULES.get(RulesKey { version }) }?;
    let flags = policy.flags;
    if !is_egress && opening.identity == HOST && flags & FLAG_JUDGES_HOST == 0 {
        return Some(Said { says: ALLOW, flags, rule: 0 });
    }
    // SAFETY: both point to what their types say.
    let (says, rule) = match unsafe { evaluate(policy, opening) } {
        place if place < DEFAULT => {
            let rule = &policy.rules[place as usize & (MAX_RULES - 1)];
            (rule.action, rule.number)
        }
        BLOCKED => (NEEDS_PORT, 0),
        _ => (policy.default, 0),
    };
    Some(Said { says, flags, rule })
}

/// The place of the first rule that matches, [`DEFAULT`] or [`BLOCKED`].
///
/// A global function: the verifier looks at its loop once, rather than at every call. It takes what such
/// functions may, numbers and pointers to memory, which the verifier wants compared with null.
///
/// # Safety
///
/// The pointers are null or point to what their types say.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn evaluate(policy: *const Policy, opening: *const Opening) -> u32 {
    // SAFETY: as the caller vouches.
    let (Some(policy), Some(opening)) = (unsafe { policy.as_ref() }, unsafe { opening.as_ref() })
    else {
        return DEFAULT;
    };
    for place in 0..DEFAULT {
        if place >= u32::from(policy.count) {
            break;
        }
        let rule = &policy.rules[place as usize];
        let is_protocol = rule.protocol == 0 || u32::from(rule.protocol) == opening.protocol;
        if !is_protocol || !names(rule, opening) {
            continue;
        }
        let (low, high) = (u32::from(rule.port_low), u32::from(rule.port_high));
        if low == 0 && high == u32::from(u16::MAX) || low <= opening.port && opening.port <= high {
            return place;
        }
        if opening.port == BLIND {
            return BLOCKED;
        }
    }
    DEFAULT
}

/// Whether a rule is about the peer.
fn names(rule: &Rule, opening: &Opening) -> bool {
    match rule.peer_kind {
        PEER_ANY => true,
        PEER_IDENTITY => rule.peer == opening.identity,
        PEER_TENANT => opening.own_tenant != 0 && opening.own_tenant == opening.tenant,
        PEER_GROUP => {
            let word = (rule.peer / 32) as usize & (GROUP_WORDS - 1);
            opening.groups[word] & 1 << (rule.peer % 32) != 0
        }
        _ => false,
    }
}
