//! What changes the whole machine, and so is for guests.

mod modules;

use std::fs;

use anyhow::{Context as _, Result};
use repoint_tests::node::has_ipv6;

/// Namespaces that are made inherit the node's settings, and the node has IPv6 switched off.
#[test]
#[ignore = "it changes a sysctl that holds for the whole machine: `cargo xtask vm` runs it"]
fn slots_work_where_namespaces_inherit_that_ipv6_is_off() -> Result<()> {
    if !has_ipv6() {
        return Ok(());
    }
    let path = "/proc/sys/net/core/devconf_inherit_init_net";
    // 3: from the namespace of the process that makes one.
    fs::write(path, "3").with_context(|| format!("write {path}"))?;
    crate::here::with_pool(true, |pooled| {
        for what in ["all", "default"] {
            let path = format!("/proc/sys/net/ipv6/conf/{what}/forwarding");
            fs::write(&path, "1").with_context(|| format!("write {path}"))?;
        }
        let path = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
        fs::write(path, "1").with_context(|| format!("write {path}"))?;
        crate::here::whole_life(pooled)
    })
}
