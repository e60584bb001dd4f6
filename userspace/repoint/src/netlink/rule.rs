//! Rules of routing by source address.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    route::RouteProtocol,
    rule::{RuleAction, RuleAttribute, RuleMessage},
};

use super::{NetlinkError, Request, RouteSocket, link::family};
use crate::model::host_prefix;

/// Priority of our rules: before the main table's.
const PRIORITY: u32 = 0x7270;
/// Marks our rules: a number of `rtm_protocol` that no other program uses.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(0x72);

/// Packets from an address are routed by a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceRule {
    /// The source address.
    pub source: IpAddr,
    /// The table's number.
    pub table: u32,
}

/// Adds a rule; there must be none like it.
#[must_use]
pub fn add_source_rule(rule: SourceRule) -> Request<RouteNetlinkMessage> {
    let what = format!("add the rule for source {}", rule.source);
    Request::new(what, RouteNetlinkMessage::NewRule(message(rule)), NLM_F_CREATE | NLM_F_EXCL)
}

/// Deletes a rule.
#[must_use]
pub fn delete_source_rule(rule: SourceRule) -> Request<RouteNetlinkMessage> {
    let what = format!("delete the rule for source {}", rule.source);
    Request::new(what, RouteNetlinkMessage::DelRule(message(rule)), 0)
}

/// Our rules in the socket's namespace.
pub fn source_rules(socket: &mut RouteSocket) -> Result<Vec<SourceRule>, NetlinkError> {
    let request = RouteNetlinkMessage::GetRule(RuleMessage::default());
    let objects = socket.dump("list rules", &request)?;
    Ok(objects
        .into_iter()
        .filter_map(|object| match object {
            RouteNetlinkMessage::NewRule(message) => ours(&message),
            _ => None,
        })
        .collect())
}

fn message(rule: SourceRule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family(rule.source);
    message.header.src_len = host_prefix(rule.source);
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Source(rule.source),
        RuleAttribute::Priority(PRIORITY),
        RuleAttribute::Table(rule.table),
        RuleAttribute::Protocol(PROTOCOL),
    ];
    message
}

fn ours(message: &RuleMessage) -> Option<SourceRule> {
    let (mut source, mut table, mut is_ours) = (None, None, false);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Source(address) => source = Some(*address),
            RuleAttribute::Table(number) => table = Some(*number),
            RuleAttribute::Protocol(protocol) => is_ours = *protocol == PROTOCOL,
            _ => {}
        }
    }
    is_ours.then_some(SourceRule { source: source?, table: table? })
}
