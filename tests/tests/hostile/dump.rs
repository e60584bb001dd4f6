//! All that tools show of a namespace, comparable: what the suite `scrub` compares, and what it leaves
//! out.

use anyhow::Result;
use repoint_tests::{cli::Slot, command, traffic::Host};

use crate::scrub_dump::{self, Dump};

/// Commands of a shell that show what a namespace holds beside that.
const SHOWN: [&str; 21] = [
    "tc filter show dev eth0",
    "tc class show dev eth0",
    "tc filter show dev eth0 ingress; tc filter show dev eth0 egress",
    "tc qdisc show dev lo",
    "tc filter show block 7",
    "ip maddress show | grep -v -e 33:33:ff -e ff02::1:ff | sed 's/^[0-9]*:/N:/'",
    "ip tcp_metrics show",
    "ip nexthop show",
    "ip addrlabel list",
    "ip xfrm policy getdefault",
    "ip mptcp endpoint show; ip mptcp limits show",
    "ip sr tunsrc show; ip sr hmac show",
    "ip ioam namespace show; ip ioam schema show",
    "ip netns list-id | sed 's/ .*//'",
    "bpftool net show | sed 's/ id [0-9]*//'",
    "cat /proc/thread-self/net/ip6_flowlabel",
    "ip token list",
    "ip route show cache; ip -6 route show cache",
    "cat /proc/thread-self/net/ip6_tables_names /proc/thread-self/net/arp_tables_names",
    "cat /proc/thread-self/net/ip_mr_vif /proc/thread-self/net/ip6_mr_vif",
    "unshare --mount sh -c 'mount -t sysfs none /sys && cd /sys/class/net/eth0 && \
        grep -H . queues/*/rps_* queues/*/xps_* gro_flush_timeout napi_defer_hard_irqs \
        tx_queue_len proto_down threaded dormant testing operstate carrier link_mode'",
];

/// What stands between two of them.
const NEXT: &str = "== next ==";

/// Looks at the slot's namespace, with what is the slot's own masked.
pub(crate) fn dump(host: &Host, slot: &Slot) -> Result<Dump> {
    let mut dump = scrub_dump::dump(host, slot)?;
    // One shell for all. A tool or a file that the machine lacks shows the same each time.
    let parts = SHOWN.map(|script| format!("echo '{NEXT}'; ( {script} ) 2>&1"));
    let shown = host.run(|| command::run("sh", ["-c", &format!("{}; true", parts.join("\n"))]))?;
    let texts = shown.split(NEXT).skip(1);
    for (script, text) in SHOWN.into_iter().zip(texts) {
        dump.insert(script.to_owned(), scrub_dump::masked(text, slot));
    }
    Ok(dump)
}
