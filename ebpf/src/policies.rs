//! Maps `policies`, `identities` and `networks_v4`, `networks_v6`: rules, and who is meant by them.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap, LpmTrie, lpm_trie::Key},
    macros::btf_map,
};
use repoint_common::policy::{
    ALLOW, AUDIT, FLAG_JUDGES_HOST, GROUP_WORDS, HOST, Identity, IdentityKey, MAX_ENTRIES,
    MAX_IDENTITIES, MAX_NETWORKS, MAX_RULES, MAX_RULES_ENTRIES, NETWORK_GROUPS, Network, PASS,
    PEER_ANY, PEER_GROUP, PEER_IDENTITY, PEER_TENANT, Policy, Rule, RulesKey, SKIP, TENANT_GROUPS,
    WORLD,
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
    /// Place of the rule that is asked next, if some before it do not apply.
    pub next: u32,
    /// One more than the place of the first rule that reports the flow; 0: none does.
    pub audited: u32,
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
    /// Number of the rule that says so; 0: the default does.
    pub rule: u32,
    /// Number of the rule that reports the packet; 0: none does.
    pub audited: u32,
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

/// Writes the identity of an IPv4 address, unless it is the node's, and adds its groups, if a prefix has it.
#[inline(always)]
pub fn copy_network_v4(key: &Key<[u8; 4]>, opening: &mut Opening) {
    copy_network(NETWORKS_V4.get(key), opening);
}

/// As [`copy_network_v4`], for IPv6.
#[inline(always)]
pub fn copy_network_v6(key: &Key<[u8; 16]>, opening: &mut Opening) {
    copy_network(NETWORKS_V6.get(key), opening);
}

#[inline(always)]
fn copy_network(found: Option<&Network>, opening: &mut Opening) {
    if let Some(found) = found {
        if opening.identity == WORLD {
            opening.identity = found.identity;
        }
        for (group, of_network) in opening.groups.iter_mut().zip(found.groups) {
            *group |= of_network;
        }
    }
}

/// Adds the groups of the prefix that a slot's IPv4 address has.
#[inline(always)]
pub fn add_network_v4(key: &Key<[u8; 4]>, opening: &mut Opening) {
    add_network(NETWORKS_V4.get(key), opening);
}

/// Adds the groups of the prefix that a slot's IPv6 address has.
#[inline(always)]
pub fn add_network_v6(key: &Key<[u8; 16]>, opening: &mut Opening) {
    add_network(NETWORKS_V6.get(key), opening);
}

#[inline(always)]
fn add_network(found: Option<&Network>, opening: &mut Opening) {
    const WORDS: usize = (NETWORK_GROUPS / 32) as usize;
    const { assert!(WORDS == 2) };
    if let Some(found) = found {
        opening.groups[0] |= found.groups[0];
        opening.groups[1] |= found.groups[1];
    }
}

/// The policy of a number; none: there is no such policy.
#[inline(always)]
pub fn find_policy(number: u32) -> Option<&'static Policy> {
    // SAFETY: the element is one aligned word, and stays where it is.
    let version = unsafe { POLICIES.get_ptr(number)?.read_volatile() };
    // SAFETY: user space removes rules only when no program can have them any more.
    unsafe { RULES.get(RulesKey { version }) }
}

/// What a policy says of a packet. Packets of the node pass, unless the policy judges them.
#[inline(always)]
pub fn ask(policy: &Policy, opening: &mut Opening, is_egress: bool) -> Said {
    if !is_egress && opening.identity == HOST && policy.flags & FLAG_JUDGES_HOST == 0 {
        return Said { says: ALLOW, rule: 0, audited: 0 };
    }
    (opening.next, opening.audited) = (0, 0);
    // SAFETY: both point to what their types say.
    let (says, rule) = match unsafe { evaluate(policy, opening) } {
        place if place < DEFAULT => {
            let rule = rule_at(policy, place);
            (rule.action, rule.number)
        }
        BLOCKED => (NEEDS_PORT, 0),
        _ => (policy.default, 0),
    };
    let audited = match opening.audited {
        0 => 0,
        place => rule_at(policy, place - 1).number,
    };
    Said { says, rule, audited }
}

#[inline(always)]
fn rule_at(policy: &Policy, place: u32) -> &Rule {
    &policy.rules[place as usize & (MAX_RULES - 1)]
}

/// The place of the first rule that decides, [`DEFAULT`] or [`BLOCKED`].
///
/// A global function: the verifier looks at its loop once, rather than at every call. It takes what such
/// functions may, numbers and pointers to memory, which the verifier wants compared with null. What it keeps from
/// one rule to the next is in that memory, which the verifier does not follow.
///
/// # Safety
///
/// The pointers are null or point to what their types say, and nothing else has the second.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn evaluate(policy: *const Policy, opening: *mut Opening) -> u32 {
    // SAFETY: as the caller vouches.
    let (Some(policy), Some(opening)) = (unsafe { policy.as_ref() }, unsafe { opening.as_mut() })
    else {
        return DEFAULT;
    };
    for place in 0..DEFAULT {
        if place >= u32::from(policy.count) {
            break;
        }
        let rule = &policy.rules[place as usize];
        let is_protocol = rule.protocol == 0 || u32::from(rule.protocol) == opening.protocol;
        if place < opening.next || !is_protocol || !names(rule, opening) {
            continue;
        }
        let (low, high) = (u32::from(rule.port_low), u32::from(rule.port_high));
        let is_any = low == 0 && high == u32::from(u16::MAX);
        if !is_any && opening.port == BLIND {
            if rule.action < AUDIT {
                return BLOCKED;
            }
            report(place, opening);
        } else if is_any || low <= opening.port && opening.port <= high {
            match rule.action {
                PASS | SKIP => opening.next = u32::from(rule.next),
                AUDIT => report(place, opening),
                _ => return place,
            }
        }
    }
    DEFAULT
}

#[inline(always)]
fn report(place: u32, opening: &mut Opening) {
    if opening.audited == 0 {
        opening.audited = place + 1;
    }
}

/// Whether a rule is about the peer.
fn names(rule: &Rule, opening: &Opening) -> bool {
    match rule.peer_kind {
        PEER_ANY => true,
        PEER_IDENTITY => rule.peer == opening.identity,
        PEER_TENANT => is_of_tenant(opening),
        PEER_GROUP => {
            let word = (rule.peer / 32) as usize & (GROUP_WORDS - 1);
            let is_in = opening.groups[word] & 1 << (rule.peer % 32) != 0;
            is_in && (rule.peer < TENANT_GROUPS || is_of_tenant(opening))
        }
        _ => false,
    }
}

/// Whether the peer is of the tenant of the slot whose policy it is.
#[inline(always)]
const fn is_of_tenant(opening: &Opening) -> bool {
    opening.own_tenant != 0 && opening.own_tenant == opening.tenant
}
