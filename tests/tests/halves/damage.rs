//! What network managers, firewalls and people do to an interface, part by part.

use std::fs;

use anyhow::{Context as _, Result};
use repoint_tests::{cli, command};

/// Damages a slot's half on the node.
pub type Damage = fn(&cli::Slot) -> Result<()>;

/// Name of each damage, the kind of the sweep's finding, and the damage.
pub const ALL: [(&str, &str, Damage); 18] = [
    ("link down and up", "host-half", |slot| {
        ip(&["link", "set", &slot.host_ifname, "down"])?;
        ip(&["link", "set", &slot.host_ifname, "up"])
    }),
    ("link down", "host-half", |slot| ip(&["link", "set", &slot.host_ifname, "down"])),
    ("IPv4 routes flushed", "host-half", |slot| ip(&["route", "flush", "dev", &slot.host_ifname])),
    ("IPv6 routes flushed", "host-half", |slot| {
        ip(&["-6", "route", "flush", "dev", &slot.host_ifname])
    }),
    ("route led elsewhere", "host-half", |slot| {
        ip(&["route", "replace", address(slot, 0)?, "dev", "lo"])
    }),
    ("IPv4 neighbour deleted", "host-half", |slot| {
        ip(&["neigh", "del", address(slot, 0)?, "dev", &slot.host_ifname])
    }),
    ("IPv6 neighbour deleted", "host-half", |slot| {
        ip(&["neigh", "del", address(slot, 1)?, "dev", &slot.host_ifname])
    }),
    ("neighbour of another MAC address", "host-half", |slot| {
        let lladdr = "02:00:00:00:00:99";
        let (to, dev) = (address(slot, 0)?, slot.host_ifname.as_str());
        ip(&["neigh", "replace", to, "lladdr", lladdr, "nud", "permanent", "dev", dev])
    }),
    ("MAC address", "host-half", |slot| {
        ip(&["link", "set", &slot.host_ifname, "address", "02:00:00:00:00:77"])
    }),
    ("MTU", "host-half", |slot| ip(&["link", "set", &slot.host_ifname, "mtu", "1300"])),
    ("MTU without IPv6", "host-half", |slot| {
        ip(&["link", "set", &slot.host_ifname, "mtu", "1000"])
    }),
    ("link group", "host-half", |slot| ip(&["link", "set", &slot.host_ifname, "group", "0"])),
    ("port of a bridge", "host-half", |slot| {
        ip(&["link", "set", &slot.host_ifname, "master", BRIDGE])
    }),
    ("NOARP", "host-half", |slot| ip(&["link", "set", &slot.host_ifname, "arp", "off"])),
    ("sysctl forwarding", "host-half", |slot| sysctl(slot, "ipv4", "forwarding", "0")),
    ("sysctl disable_ipv6", "host-half", |slot| sysctl(slot, "ipv6", "disable_ipv6", "1")),
    ("address mode", "host-half", |slot| {
        ip(&["link", "set", &slot.host_ifname, "addrgenmode", "eui64"])
    }),
    ("a program detached", "filter", |slot| {
        command::run("tc", ["filter", "del", "dev", &slot.host_ifname, "egress"]).map(drop)
    }),
];

/// A bridge of another program.
const BRIDGE: &str = "others0";

/// Runs a test while there is a bridge of another program.
pub fn with_bridge(test: impl FnOnce() -> Result<()>) -> Result<()> {
    ip(&["link", "add", BRIDGE, "type", "bridge"])?;
    let tested = test();
    tested.and(ip(&["link", "del", BRIDGE]))
}

pub fn ip(arguments: &[&str]) -> Result<()> {
    command::run("ip", arguments).map(drop)
}

/// An address of a slot: IPv4 first.
pub fn address(slot: &cli::Slot, number: usize) -> Result<&str> {
    let address = slot.addresses.get(number).context("it has no such address")?;
    Ok(address.split('/').next().unwrap_or(address))
}

fn sysctl(slot: &cli::Slot, family: &str, name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{family}/conf/{}/{name}", slot.host_ifname);
    fs::write(&path, value).with_context(|| format!("write {path}"))
}
