//! What a new network namespace inherits from the machine, set to what the kernel begins with.
//!
//! A namespace copies the IPv4 settings of the machine's first one, and with
//! `net.core.devconf_inherit_init_net` the IPv6 settings as well (`devinet_init_net`,
//! `addrconf_init_net`). Docker, another CNI plugin or the distribution have changed them: forwarding is
//! on, reverse paths are checked, IPv6 is disabled. A test must see the same on each of these machines.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, unshare};

use crate::netns::in_thread;

const FOLDER: &str = "/proc/sys/net";
/// What a namespace has for all interfaces, for new ones and for the one that it begins with. `all`
/// comes first: some of its settings are written to the others.
const PLACES: [&str; 3] = ["all", "default", "lo"];
/// IPv4 settings that the kernel does not begin with 0 (`ipv4_devconf` in `net/ipv4/devinet.c`).
const IPV4: [(&str, &str); 7] = [
    ("accept_redirects", "1"),
    ("arp_evict_nocarrier", "1"),
    ("igmpv2_unsolicited_report_interval", "10000"),
    ("igmpv3_unsolicited_report_interval", "1000"),
    ("secure_redirects", "1"),
    ("send_redirects", "1"),
    ("shared_media", "1"),
];
/// IPv4 settings in which the three places differ, or that cannot be written.
const IPV4_LEFT: [&str; 4] =
    ["accept_source_route", "disable_policy", "disable_xfrm", "mc_forwarding"];
/// IPv6 settings that machines change (`ipv6_devconf` in `net/ipv6/addrconf.c`).
const IPV6: [(&str, &str); 11] = [
    ("accept_ra", "1"),
    ("accept_redirects", "1"),
    ("accept_source_route", "0"),
    ("addr_gen_mode", "0"),
    ("autoconf", "1"),
    ("dad_transmits", "1"),
    ("disable_ipv6", "0"),
    ("forwarding", "0"),
    ("hop_limit", "64"),
    ("keep_addr_on_down", "0"),
    ("proxy_ndp", "0"),
];
/// What the three places begin with where they differ. `lo` gets no routers' announcements.
const EACH: [(&str, [&str; 3]); 3] = [
    ("ipv4/accept_source_route", ["0", "1", "1"]),
    ("ipv6/accept_dad", ["0", "1", "-1"]),
    ("ipv6/use_tempaddr", ["0", "0", "-1"]),
];

/// A sysctl below [`FOLDER`], and the value that the kernel begins with.
type Setting = (PathBuf, String);

/// Sets what the calling thread's new namespace has inherited.
///
/// Which settings that are is found out once in a process: on most machines none, and a namespace costs
/// no more than without this.
pub fn reset() -> Result<()> {
    static CHANGED: OnceLock<Vec<Setting>> = OnceLock::new();
    let changed = if let Some(changed) = CHANGED.get() {
        changed
    } else {
        let found = in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("unshare(CLONE_NEWNET)")?;
            changed_here()
        })?;
        CHANGED.get_or_init(|| found)
    };
    write(changed)
}

fn write(settings: &[Setting]) -> Result<()> {
    settings.iter().try_for_each(|(path, value)| {
        fs::write(path, value).with_context(|| format!("write {value} to {}", path.display()))
    })
}

/// The settings of the calling thread's namespace that are not what the kernel begins with.
fn changed_here() -> Result<Vec<Setting>> {
    let mut changed = Vec::new();
    for (path, value) in settings()? {
        match fs::read_to_string(&path) {
            Ok(found) if found.trim() == value => {}
            Ok(_) => changed.push((path, value)),
            // Not every kernel has each.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        }
    }
    Ok(changed)
}

fn settings() -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    for (number, place) in PLACES.into_iter().enumerate() {
        let [ipv4, ipv6] =
            ["ipv4", "ipv6"].map(|family| Path::new(FOLDER).join(family).join("conf"));
        let [ipv4, ipv6] = [ipv4, ipv6].map(|folder| folder.join(place));
        for name in crate::folder::names(&ipv4)? {
            if !IPV4_LEFT.contains(&name.as_str()) {
                let value = IPV4.into_iter().find(|(known, _)| *known == name);
                settings.push((ipv4.join(&name), value.map_or("0", |(_, value)| value).to_owned()));
            }
        }
        settings.extend(IPV6.map(|(name, value)| (ipv6.join(name), value.to_owned())));
        for (name, values) in EACH {
            let (family, name) = name.split_once('/').unwrap_or_default();
            let path = Path::new(FOLDER).join(family).join("conf").join(place).join(name);
            settings.push((path, values[number].to_owned()));
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As on a machine with Docker, a distribution's settings and IPv6 disabled.
    #[test]
    fn whatever_a_namespace_inherits_is_found_and_reset() -> Result<()> {
        in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("unshare(CLONE_NEWNET)")?;
            reset()?;
            anyhow::ensure!(changed_here()?.is_empty(), "{:?}", changed_here()?);
            for (name, value) in [
                ("ipv4/ip_forward", "1"),
                ("ipv4/conf/default/rp_filter", "2"),
                ("ipv4/conf/lo/promote_secondaries", "1"),
                ("ipv4/conf/default/accept_source_route", "0"),
                ("ipv6/conf/all/forwarding", "1"),
                ("ipv6/conf/all/disable_ipv6", "1"),
                ("ipv6/conf/default/disable_ipv6", "1"),
                ("ipv6/conf/default/accept_dad", "0"),
            ] {
                fs::write(Path::new(FOLDER).join(name), value).context(name)?;
            }
            let changed = changed_here()?;
            println!("{changed:?}");
            write(&changed)?;
            anyhow::ensure!(changed_here()?.is_empty(), "{:?}", changed_here()?);
            let forward = fs::read_to_string(Path::new(FOLDER).join("ipv4/ip_forward"))?;
            anyhow::ensure!(forward.trim() == "0", "ip_forward is {forward}");
            Ok(())
        })
    }
}
