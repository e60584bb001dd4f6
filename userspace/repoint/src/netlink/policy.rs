//! Policy rules: which routing tables packets are looked up in, one after the other.

use super::{attributes, default_route::number};

/// `FRA_GOTO`, `FRA_PRIORITY`, `FRA_FWMARK`, `FRA_SUPPRESS_PREFIXLEN`, `FRA_TABLE`, `FRA_FWMASK` and
/// `FRA_PROTOCOL`
const TARGET: u16 = 4;
const PRIORITY: u16 = 6;
const MARK: u16 = 10;
const SUPPRESSED_LENGTH: u16 = 14;
const TABLE: u16 = 15;
const MASK: u16 = 16;
/// Attributes that select packets by properties that are unknown here: `FRA_DST`, `FRA_SRC`,
/// `FRA_IIFNAME`, `FRA_FLOW`, `FRA_TUN_ID`, `FRA_OIFNAME`, `FRA_L3MDEV`, `FRA_UID_RANGE`, `FRA_IP_PROTO`,
/// `FRA_SPORT_RANGE`, `FRA_DPORT_RANGE`, `FRA_DSCP` and `FRA_FLOWLABEL`.
const SELECTORS: [u16; 13] = [1, 2, 3, 11, 12, 17, 19, 20, 22, 23, 24, 25, 26];
/// `FR_ACT_TO_TBL`, `FR_ACT_GOTO` and `FR_ACT_NOP`; those above end the lookup.
const LOOK_UP: u8 = 1;
const GO_TO: u8 = 2;
const NOTHING: u8 = 3;
/// `FIB_RULE_INVERT`
const INVERT: u32 = 2;
/// `RT_TABLE_LOCAL`: the node's own addresses.
const LOCAL: u32 = 255;
/// Length of `struct fib_rule_hdr`.
const HEADER: usize = 12;

/// The packets whose routing tables are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selection {
    /// A packet of which nothing is known but that it leaves the node: it bears no mark.
    AnyPacket,
    /// Packets that rules choose by marks, addresses, interfaces or ports.
    SomePackets,
}

/// A policy rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    priority: u32,
    action: u8,
    table: u32,
    target: u32,
    /// Whether the rule applies to an unmarked packet of which nothing is known.
    plain: bool,
    /// Whether default routes of the table do not count.
    suppresses_default: bool,
}

impl Rule {
    /// The rule of a message of `RTM_NEWRULE`, if it is of the family.
    pub(super) fn read(family: i32, payload: &[u8]) -> Option<Self> {
        let header = payload.get(..HEADER)?;
        if i32::from(header[0]) != family {
            return None;
        }
        let mut rule = Self {
            priority: 0,
            action: header[7],
            table: u32::from(header[4]),
            target: 0,
            plain: true,
            suppresses_default: false,
        };
        let (mut mark, mut bits) = (0, u32::MAX);
        // A prefix of no length says nothing; a type of service is one of its own.
        let mut selects = header[1] != 0 || header[2] != 0 || header[3] != 0;
        for (kind, value) in attributes(payload.get(HEADER..)?) {
            match kind {
                PRIORITY => rule.priority = number(value)?,
                TABLE => rule.table = number(value)?,
                TARGET => rule.target = number(value)?,
                MARK => mark = number(value)?,
                MASK => bits = number(value)?,
                // All ones: nothing is suppressed.
                SUPPRESSED_LENGTH => rule.suppresses_default = number(value)? != u32::MAX,
                kind if SELECTORS.contains(&kind) => selects = true,
                _ => {}
            }
        }
        let inverted = number(&header[8..])? & INVERT != 0;
        // A rule that selects by something unknown says nothing of other packets, inverted or not.
        rule.plain = !selects && (mark & bits == 0) != inverted;
        Some(rule)
    }

    /// Whether the rule's table may hold the default route of such packets.
    fn names_table(&self, selection: Selection) -> bool {
        let chosen = self.plain == (selection == Selection::AnyPacket);
        self.action == LOOK_UP && chosen && !self.suppresses_default && self.table != LOCAL
    }
}

/// The tables that rules, in the order of their priorities, look a packet up in.
pub(super) fn tables(rules: &[Rule], selection: Selection) -> Vec<u32> {
    let (mut tables, mut from) = (Vec::new(), 0);
    for rule in rules {
        if rule.priority < from {
            continue;
        }
        if rule.names_table(selection) && !tables.contains(&rule.table) {
            tables.push(rule.table);
        }
        if selection == Selection::AnyPacket && rule.plain {
            match rule.action {
                LOOK_UP | NOTHING => {}
                GO_TO => from = rule.target,
                // Unreachable, prohibited or dropped.
                _ => break,
            }
        }
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::UntypedMessage;

    const MAIN: u32 = 254;

    fn rule(priority: u32, action: u8, flags: u32, attributes: &[(u16, u32)]) -> Rule {
        let mut header = [0; HEADER];
        (header[0], header[7]) = (2, action);
        header[8..].copy_from_slice(&flags.to_ne_bytes());
        let message = UntypedMessage::new(32, &header).attribute(PRIORITY, &priority.to_ne_bytes());
        let message = attributes
            .iter()
            .fold(message, |message, (kind, value)| message.attribute(*kind, &value.to_ne_bytes()));
        Rule::read(libc::AF_INET, &message.payload).unwrap()
    }

    fn look_up(priority: u32, table: u32, more: &[(u16, u32)]) -> Rule {
        let attributes = [&[(TABLE, table)], more].concat();
        rule(priority, LOOK_UP, 0, &attributes)
    }

    #[test]
    fn marks_of_other_packets_name_no_table() {
        let rules = [
            look_up(0, LOCAL, &[]),
            look_up(100, 7, &[(MARK, 1), (MASK, u32::MAX)]),
            look_up(200, 8, &[(MARK, 0x200), (MASK, 0xf00)]),
            look_up(32_766, MAIN, &[]),
        ];
        assert_eq!(tables(&rules, Selection::AnyPacket), [MAIN]);
        assert_eq!(tables(&rules, Selection::SomePackets), [7, 8]);
    }

    /// `wg-quick` with `AllowedIPs = 0.0.0.0/0`.
    #[test]
    fn an_inverted_mark_is_that_of_plain_packets() {
        let rules = [
            look_up(32_764, MAIN, &[(SUPPRESSED_LENGTH, 0)]),
            rule(32_765, LOOK_UP, INVERT, &[(TABLE, 51_820), (MARK, 51_820), (MASK, u32::MAX)]),
            look_up(32_766, MAIN, &[]),
        ];
        assert_eq!(tables(&rules, Selection::AnyPacket), [51_820, MAIN]);
    }

    #[test]
    fn lookups_jump_and_end() {
        let rules = [
            rule(10, GO_TO, 0, &[(TARGET, 30)]),
            look_up(20, 7, &[(SUPPRESSED_LENGTH, u32::MAX)]),
            look_up(30, 8, &[]),
            rule(40, 7, 0, &[]),
            look_up(50, MAIN, &[]),
        ];
        assert_eq!(tables(&rules, Selection::AnyPacket), [8]);
        assert_eq!(tables(&rules[1..3], Selection::AnyPacket), [7, 8]);
    }

    #[test]
    fn rules_of_another_family_are_none() {
        assert_eq!(Rule::read(libc::AF_INET, &[10; HEADER]), None);
        assert_eq!(Rule::read(libc::AF_INET, &[]), None);
    }
}
