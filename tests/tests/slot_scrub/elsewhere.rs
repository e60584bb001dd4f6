//! What stands on a slot's link, or in its place, and is in another namespace.

use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Result, ensure};
use repoint::netns::Netns;
use repoint_tests::command;

use super::fixture::{Built, with_slot};

/// Another namespace, and what tools call it.
fn another() -> Result<(Netns, String)> {
    let netns = Netns::create()?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), netns.as_fd().as_raw_fd());
    Ok((netns, path))
}

fn shell(netns: &Netns, script: &str) -> Result<String> {
    netns.run(|| command::run("sh", ["-ec", script]))?
}

/// The macvlan takes packets from the slot's link, whatever becomes of the slot's user.
#[test]
fn a_macvlan_that_is_up_elsewhere_is_found() -> Result<()> {
    with_slot(|slot| {
        let (netns, path) = another()?;
        slot.shell(&format!("ip link add link eth0 name m0 netns {path} type macvlan"))?;
        shell(&netns, "ip link set m0 up")?;
        ensure!(slot.shell("ip -brief link")?.lines().count() == 2, "it is here");
        slot.is_different("promiscuity 1")?;
        slot.is_different("link-layer address on {:ifname}")
    })
}

#[test]
fn a_link_that_was_made_here_and_went_elsewhere_is_found() -> Result<()> {
    for kind in ["macvlan", "vxlan id 7 dstport 4789 dev eth0"] {
        with_slot(|slot| {
            let (_netns, path) = another()?;
            let link = if kind == "macvlan" { "link eth0" } else { "" };
            slot.shell(&format!("ip link add m0 {link} type {kind}; ip link set m0 netns {path}"))?;
            slot.is_different("namespace number 1")
        })?;
    }
    Ok(())
}

/// The slot's link is with an accomplice, and another of its name, addresses and index is in its place.
#[test]
fn another_link_in_the_place_of_the_slots_is_found() -> Result<()> {
    with_slot(|slot| {
        let (netns, path) = another()?;
        let index = slot.shell("cat /sys/class/net/eth0/ifindex 2>/dev/null || true")?;
        println!("index {index}");
        slot.shell(&format!(
            "ip link set eth0 netns {path}
             ip link add eth0 index 2 numtxqueues 1 numrxqueues 1 address {} \
                 type veth peer name p0 index {} netns {path}",
            slot.slot.mac,
            slot.slot.require_built()?.host_ifindex,
        ))?;
        shell(&netns, "ip link set p0 up")?;
        slot.is_different("link-netnsid 1 link {:host-end}")
    })
}

/// Without a namespace of its own: the link's other end is in the slot itself.
#[test]
fn another_link_of_the_slots_own_is_found() -> Result<()> {
    with_slot(|slot: &Built| {
        slot.shell(&format!(
            "ip link del eth0
             ip link add eth0 numtxqueues 1 numrxqueues 1 address {} type veth peer name p0",
            slot.slot.mac,
        ))?;
        slot.is_different("link p0")
    })
}
