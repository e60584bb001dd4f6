//! What tools show of a namespace, comparable.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{cli::Slot, command, traffic::Host, wait};

/// What tools show of a namespace, by command.
pub(crate) type Dump = BTreeMap<String, String>;

/// How long the kernel may take for an interface's state.
const LIMIT: Duration = Duration::from_secs(10);

/// Commands that show what a namespace holds.
const SHOWN: [&str; 17] = [
    "ip -d link show",
    "ip -d address show",
    "ip -d -4 route show table all",
    "ip -d -6 route show table all",
    "ip -4 rule show",
    "ip -6 rule show",
    "ip neighbour show nud all",
    "ip neighbour show proxy",
    "ip xfrm state",
    "ip xfrm policy",
    "tc qdisc show",
    "nft list ruleset",
    "iptables-save",
    "ip6tables-save",
    "ss -Hna -A tcp,udp,raw,packet,unix",
    "sysctl -a --pattern ^net",
    "cat /proc/thread-self/net/ip_tables_names",
];

/// What moves by itself: counts, in the namespace or in the machine; neighbours that nobody has to ask
/// for, which the kernel notes when it first sends to them; and the key that each scrub makes anew.
const MOVING: [&str; 3] = ["nf_conntrack_count", " NOARP", "tcp_fastopen_key"];

/// Looks at the slot's namespace, with what is the slot's own masked.
pub(crate) fn dump(inside: &Host, slot: &Slot) -> Result<Dump> {
    wait_for_state(inside)?;
    let mut dump = Dump::new();
    for line in SHOWN {
        let words: Vec<&str> = line.split(' ').collect();
        let (program, arguments) = words.split_first().context("an empty command")?;
        let text = inside.run(|| command::run(program, arguments))?;
        dump.insert(line.to_owned(), masked(&text, slot));
    }
    Ok(dump)
}

/// Waits until the kernel has given `eth0` its operational state, if it is there: a kernel thread does so
/// some time after the interface got its carrier (`linkwatch`).
fn wait_for_state(inside: &Host) -> Result<()> {
    wait::until(LIMIT, "eth0 has a state", || {
        let shown = inside.run(|| command::run("ip", ["-brief", "link", "show", "dev", "eth0"]));
        let is_unknown = shown.is_ok_and(|shown| shown.contains("UNKNOWN"));
        ensure!(!is_unknown, "it is UNKNOWN");
        Ok(())
    })
}

/// The text with the slot's own values replaced, and what moves by itself left out.
pub(crate) fn masked(text: &str, slot: &Slot) -> String {
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !MOVING.iter().any(|word| line.contains(word)))
        .map(|line| mask_line(line, slot))
        .collect();
    // Tables of the kernel are hashes: their order means nothing.
    lines.sort();
    lines.join("\n")
}

fn mask_line(line: &str, slot: &Slot) -> String {
    let mut line = line.replace(&slot.mac, "MAC");
    for (number, address) in slot.addresses.iter().enumerate() {
        let (address, _) = address.split_once('/').unwrap_or((address, ""));
        line = replace_word(&line, address, &format!("ADDRESS{number}"));
    }
    // The number of an interface on either side of a veth.
    let words = line.split(' ').map(|word| match word.split_once("@if") {
        Some((name, number)) if number.trim_end_matches(':').parse::<u32>().is_ok() => {
            format!("{name}@PEER")
        }
        _ => word.to_owned(),
    });
    let line: String = words.collect::<Vec<_>>().join(" ");
    match line.split_once(": eth0@") {
        Some((_, rest)) => format!("INDEX: eth0@{rest}"),
        None => line,
    }
}

/// Replaces an address, but not where it is the beginning of another.
fn replace_word(line: &str, word: &str, by: &str) -> String {
    let mut replaced = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(word) {
        let end = at + word.len();
        let goes_on = rest[end..].starts_with(|next: char| next.is_ascii_hexdigit());
        replaced.push_str(&rest[..at]);
        replaced.push_str(if goes_on { word } else { by });
        rest = &rest[end..];
    }
    replaced + rest
}

/// What differs, a line each.
pub(crate) fn difference(expected: &Dump, found: &Dump) -> String {
    let mut text = String::new();
    for (command, expected) in expected {
        let found = found.get(command).map_or("", String::as_str);
        let [here, there] = [expected, found].map(|text| text.lines().collect::<Vec<_>>());
        let lacking = here.iter().filter(|line| !there.contains(line));
        text.extend(lacking.map(|line| format!("{command}: lacks: {line}\n")));
        let more = there.iter().filter(|line| !here.contains(line));
        text.extend(more.map(|line| format!("{command}: has: {line}\n")));
    }
    text
}

#[test]
fn masks_hide_whole_addresses_only() {
    let slot = serde_json::json!({
        "slot": "1", "state": "warm", "network": "n", "container": null, "hostIfname": "rp1",
        "mac": "02:00:00:00:00:01", "addresses": ["10.0.0.2/24"], "netnsInode": null,
    });
    let slot: Slot = serde_json::from_value(slot).unwrap();
    assert_eq!(mask_line("inet 10.0.0.2/24 10.0.0.23", &slot), "inet ADDRESS0/24 10.0.0.23");
    assert_eq!(mask_line("7: eth0@if8: <UP> MAC", &slot), "INDEX: eth0@PEER <UP> MAC");
}
