//! What belongs on the container's end of a slot: for building it, and for bringing it back.

use std::{
    io,
    net::IpAddr,
    os::fd::AsFd,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use rustix::{
    fs::{Mode, OFlags, openat},
    io::Errno,
};

use super::{BuildError, NoIpv6, fingerprint::mount_proc};
use crate::{
    failpoint,
    netlink::{
        NetlinkError, Request, RouteSocket, add_address, add_neighbour, announce_changes,
        append_route, bring_up, configure_link, is_local,
    },
    store::Slot,
    template::NetworkConfig,
};

/// How long IPv6 addresses may take to get their routes.
const ROUTING: Duration = Duration::from_secs(2);
/// First and longest pause between two looks for these routes.
const SHORTEST_NAP: Duration = Duration::from_micros(20);
const LONGEST_NAP: Duration = Duration::from_millis(2);
/// Index of `lo`, in every namespace.
pub(super) const LOOPBACK: u32 = 1;

/// Brings the interface up and gives it addresses and neighbours. In a namespace of the slot's own it
/// also brings up `lo`, which in a container's namespace is left to the runtime.
pub(super) fn equip(
    slot: &Slot,
    config: &NetworkConfig,
    ifindex: u32,
) -> Vec<Request<RouteNetlinkMessage>> {
    let has_ipv6 = NoIpv6::of(config.mtu).is_none();
    let mut requests: Vec<_> = configure_link(ifindex, has_ipv6, None).into_iter().collect();
    if config.addresses.iter().any(|address| address.addr().is_ipv4()) {
        requests.push(announce_changes(ifindex));
    }
    requests.push(bring_up(ifindex));
    if slot.owns_netns() {
        requests.push(bring_up(LOOPBACK));
    }
    requests.extend(config.addresses.iter().map(|address| add_address(ifindex, *address)));
    let neighbours = config.neighbours.iter();
    requests.extend(neighbours.map(|(address, mac)| add_neighbour(ifindex, *address, *mac)));
    requests
}

/// Adds its routes, behind those of interfaces that the container has already.
pub(super) fn add_routes(
    config: &NetworkConfig,
    ifindex: u32,
) -> Vec<Request<RouteNetlinkMessage>> {
    config.routes.iter().map(|route| append_route(ifindex, route)).collect()
}

/// Waits until the IPv6 addresses receive packets. A kernel thread makes their local routes
/// (`addrconf_dad_work`), mostly within 0.1 ms. When that takes too long, the container starts without
/// them.
pub(super) fn wait_for_addresses(
    config: &NetworkConfig,
    socket: &mut RouteSocket,
) -> Result<(), NetlinkError> {
    let deadline = Instant::now() + ROUTING;
    for address in config.addresses.iter().map(IpNet::addr).filter(IpAddr::is_ipv6) {
        let mut nap = SHORTEST_NAP;
        while !is_local(socket, address)? && Instant::now() < deadline {
            thread::park_timeout(nap);
            nap = (nap * 2).min(LONGEST_NAP);
        }
    }
    Ok(())
}

/// Sets the container's sysctls in a `/proc` mounted for it. In the node's own `/proc` the kernel keeps
/// each sysctl until memory is short, and searches the sysctls of the same name of all namespaces, one
/// after the other (`proc_sys_compare`): with 1,500 namespaces that takes twice as long, 0.8 ms for three
/// sysctls.
pub(super) fn set_sysctls(slot: &Slot, config: &NetworkConfig) -> Result<(), BuildError> {
    if config.sysctls.is_empty() {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = mount_proc().and_then(|proc| openat(proc, "sys/net", flags, Mode::empty()));
    let folder = folder.map_err(|errno| BuildError::Sysctls(errno.into()))?;
    for sysctl in &config.sysctls {
        write_sysctl(&folder, &sysctl.key.path(&slot.ifname), &sysctl.value).map_err(
            |(call, source)| BuildError::Sysctl { sysctl: sysctl.clone(), call, source },
        )?;
        failpoint::hit("build:sysctl");
    }
    Ok(())
}

/// Writes a value whole; or else returns the system call that failed.
pub(super) fn write_sysctl(
    folder: impl AsFd,
    path: &Path,
    value: &str,
) -> Result<(), (&'static str, io::Error)> {
    let failed = |call| move |errno: Errno| (call, errno.into());
    let file = openat(folder, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    let written = rustix::io::write(file.map_err(failed("open"))?, value.as_bytes());
    match written.map_err(failed("write"))? {
        // A sysctl of one number takes the first of several, and leaves the rest.
        taken if taken < value.len() => {
            let why = format!("it takes only {:?} of it", value.get(..taken).unwrap_or_default());
            Err(("write", io::Error::new(io::ErrorKind::InvalidInput, why)))
        }
        _ => Ok(()),
    }
}
