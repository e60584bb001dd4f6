//! Fingerprint lines from generic netlink: MPTCP, segment routing, IOAM, features of links.

use std::fmt::Write as _;

use super::{
    FingerprintError, Kernel,
    names::{Names, hexadecimal},
};
use crate::netlink::{
    GENERIC_HEADER, Request, UntypedMessage, attributes, built_in_family, generic_message,
};

/// Bit of attributes that hold others (`NLA_F_NESTED`).
const NESTED: u16 = 1 << 15;
/// `ETHTOOL_A_FEATURES_HEADER`, `ETHTOOL_A_HEADER_FLAGS` and `ETHTOOL_FLAG_COMPACT_BITSETS`.
const FEATURES_HEADER: u16 = 1;
const HEADER_FLAGS: u16 = 3;
const COMPACT_BITSETS: u32 = 1;
/// `ETHTOOL_A_HEADER_DEV_INDEX`
const DEVICE_INDEX: u16 = 1;
/// `ETHTOOL_MSG_FEATURES_GET`
const GET_FEATURES: u8 = 11;

/// Family, command, and what each answer is: a list of objects (`true`), or one.
const ASKED: [(&str, u8, &str, bool); 7] = [
    // MPTCP_PM_CMD_GET_ADDR, MPTCP_PM_CMD_GET_LIMITS
    ("mptcp_pm", 3, "MPTCP endpoint", true),
    ("mptcp_pm", 6, "MPTCP limits", false),
    // SEG6_CMD_DUMPHMAC, SEG6_CMD_GET_TUNSRC
    ("SEG6", 2, KEY, true),
    ("SEG6", 4, "segment routing source", false),
    // IOAM6_CMD_DUMP_NAMESPACES, IOAM6_CMD_DUMP_SCHEMAS
    ("IOAM6", 3, "IOAM namespace", true),
    ("IOAM6", 6, "IOAM schema", true),
    ("ethtool", GET_FEATURES, FEATURES, true),
];
/// Lines of keys, which no log should show.
const KEY: &str = "segment routing key";
/// Lines of what links offload, and of what the kernel does in their place.
const FEATURES: &str = "features of link";

/// Lines of all that these families report.
pub(super) fn lines(
    kernel: &mut Kernel,
    names: &Names<'_>,
) -> Result<Vec<String>, FingerprintError> {
    let mut lines = Vec::new();
    for (family, command, kind, is_list) in ASKED {
        let Some(number) = built_in_family(&mut kernel.generic, family)? else { continue };
        let message = match kind {
            FEATURES => get_features(number),
            _ => generic_message(number, command),
        };
        let answers = if is_list {
            kernel.budget.list(&mut kernel.generic, kind, &message)?
        } else {
            let request = Request::new(format!("ask for {kind}"), message, 0);
            vec![kernel.generic.query(request)?.payload]
        };
        let reported = |answer: &Vec<u8>| {
            let rest = answer.get(GENERIC_HEADER..).unwrap_or_default();
            match kind {
                FEATURES => features(rest, names),
                KEY => kind.to_owned(),
                _ => format!("{kind} {}", hexadecimal(rest)),
            }
        };
        lines.extend(answers.iter().map(reported));
    }
    Ok(lines)
}

fn get_features(family: u16) -> UntypedMessage {
    let flags = UntypedMessage::new(0, &[]).attribute(HEADER_FLAGS, &COMPACT_BITSETS.to_ne_bytes());
    generic_message(family, GET_FEATURES).attribute(NESTED | FEATURES_HEADER, &flags.payload)
}

/// Line of a link's features, as ethtool's sets of bits.
fn features(answer: &[u8], names: &Names<'_>) -> String {
    let (mut sets, mut name) = (String::new(), String::from("unknown"));
    for (kind, value) in attributes(answer) {
        if kind == FEATURES_HEADER {
            let mut inner = attributes(value);
            let index = inner.find_map(|(kind, value)| (kind == DEVICE_INDEX).then_some(value));
            if let Some(index) = index.and_then(|index| index.try_into().ok()) {
                name = names.link(u32::from_ne_bytes(index));
            }
        } else {
            // Writing to a string cannot fail.
            _ = write!(sets, " {kind} {}", hexadecimal(value));
        }
    }
    format!("{FEATURES} {name}:{sets}")
}
