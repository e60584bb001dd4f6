//! Building a slot: the pair of interfaces, what belongs on either end, and its map entries.

use std::{io, num::NonZeroU32, os::fd::AsFd as _, path::Path};

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use nix::{errno::Errno, net::if_::if_nametoindex};
use repoint_common::mac::GATEWAY_MAC;

use super::{
    Alias, Ipv6Disabled, NoIpv6, NodeNeeds, NodeNeedsError, Owner, attach_by_tcx, container_end,
    entries::by_family,
    hook, host_group,
    ipv6::{enable_in_container, enable_on_node},
    sources,
};
use crate::{
    datapath::{DatapathError, Programs},
    failpoint,
    model::{Hook, Mac},
    netlink::{
        LinkChange, NetlinkError, Request, Route, RouteSocket, Veth, add_neighbour, add_route,
        assign, bring_up, change_link, configure_link, create_veth,
    },
    netns::{Netns, NetnsError},
    store::Slot,
    template::{NetworkConfig, Sysctl, host_net},
};

/// Why a slot cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The kernel refused something on the node's side.
    #[error("on the node: {0}")]
    Node(#[source] NetlinkError),
    /// The kernel refused something in the container's namespace.
    #[error("in the container: {0}")]
    Container(#[source] NetlinkError),
    /// The container's sysctls cannot be reached.
    #[error("cannot open the sysctls of the container: {0}")]
    Sysctls(#[source] io::Error),
    /// A sysctl of the container's cannot be set.
    #[error(
        "cannot set sysctl {} of the container to {:?}: {call}: {source}",
        sysctl.key,
        sysctl.value
    )]
    Sysctl {
        /// What was to be set.
        sysctl: Sysctl,
        /// The system call that failed. Where it is `open`, the kernel has no such sysctl, or none
        /// for each namespace.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// A sysctl switches IPv6 off, on the node or in the container's namespace.
    #[error(
        "the network gives IPv6 addresses, which interface {ifname} cannot have: {source}; set the sysctl, \
         or remove the network's IPv6 ranges"
    )]
    Ipv6Disabled {
        /// The interface.
        ifname: String,
        /// What is set, and cannot be set otherwise.
        source: Ipv6Disabled,
    },
    /// A template switches IPv6 off, and the network gives IPv6 addresses.
    #[error(
        "the template sets sysctl {}, and the network gives IPv6 addresses: change the template, or \
         remove the network's IPv6 ranges",
        sysctl.key
    )]
    Contradiction {
        /// What the template sets.
        sysctl: Sysctl,
    },
    /// An interface that was just made is not there.
    #[error("interface {name} vanished while it was set up: {source}")]
    Vanished {
        /// Its name.
        name: String,
        /// The kernel's word.
        source: io::Error,
    },
    /// The container's namespace cannot be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The programs or maps refused.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// The node does not forward.
    #[error(transparent)]
    Forwarding(#[from] NodeNeedsError),
}

impl BuildError {
    /// Whether something of the name is there already.
    #[must_use]
    pub fn is_present(&self) -> bool {
        matches!(self, Self::Node(error) | Self::Container(error) if error.is_present())
    }

    /// Whether the node has already what the build was to make. It may be a route to the slot's address
    /// that another program made, or a slot that is not on record any more.
    #[must_use]
    pub fn meets_another_on_node(&self) -> bool {
        matches!(self, Self::Node(error) if error.is_present())
    }
}

/// What a slot is built from.
#[derive(Debug)]
pub struct Builder<'a> {
    /// The slot's record.
    pub slot: &'a Slot,
    /// What it is to be.
    pub config: &'a NetworkConfig,
    /// The namespace that gets the container's end.
    pub netns: &'a Netns,
    /// The programs to attach.
    pub programs: &'a Programs,
    /// The database that the slot is recorded in.
    pub owner: Owner,
}

/// The pair of interfaces that was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltPair {
    /// Interface index of the host's end.
    pub host_ifindex: NonZeroU32,
    /// Number of the slot's own namespace in the node's (`netlink/nsid.rs`); none: the slot is direct.
    pub nsid: Option<i32>,
    /// Whether its packets are routed by their source address, as others are in its namespace.
    pub source_routed: bool,
}

impl Builder<'_> {
    /// Builds the slot, without its map entries: no packet passes. After a failure the caller removes
    /// what is left by [`super::tear_down`].
    pub fn build(&self) -> Result<BuiltPair, BuildError> {
        self.enable_forwarding()?;
        let mut node = RouteSocket::open().map_err(BuildError::Node)?;
        failpoint::hit("build:before-link");
        let nsid = self.number_namespace(&mut node)?;
        let host_ifindex = self.create_pair(&mut node)?;
        failpoint::hit("build:link");
        self.equip_host_end(&mut node, host_ifindex.get())?;
        failpoint::hit("build:host-end");
        let source_routed = self.netns.run(|| self.equip_container_end())??;
        failpoint::hit("build:container-end");
        Ok(BuiltPair { host_ifindex, nsid, source_routed })
    }

    /// Numbers the slot's own namespace. This comes before the veth pair, for which the kernel would
    /// choose a number.
    fn number_namespace(&self, node: &mut RouteSocket) -> Result<Option<i32>, BuildError> {
        if !self.slot.owns_netns() {
            return Ok(None);
        }
        let nsid = assign(node, self.netns.as_fd(), self.slot.id.0).map_err(BuildError::Node)?;
        failpoint::hit("build:numbered");
        Ok(Some(nsid))
    }

    fn create_pair(&self, node: &mut RouteSocket) -> Result<NonZeroU32, BuildError> {
        let host_ifname = self.slot.id.host_ifname();
        let pair = Veth {
            host_ifname: &host_ifname,
            host_mac: Mac(GATEWAY_MAC),
            host_group: host_group(self.config.masquerade),
            container_ifname: self.slot.ifname.as_str(),
            container_mac: self.slot.mac,
            container_netns: self.netns.as_fd(),
            mtu: self.config.mtu,
        };
        node.execute(vec![create_veth(&pair)]).map_err(BuildError::Node)?;
        ifindex(&host_ifname)
    }

    /// Sets alias and programs, and for each address route and neighbour entry. The interface comes up
    /// once it has its alias and its programs.
    fn equip_host_end(&self, node: &mut RouteSocket, ifindex: u32) -> Result<(), BuildError> {
        let alias = Alias::new(self.slot, self.owner).to_string();
        let has_ipv6 = NoIpv6::of(self.config.mtu).is_none();
        let mut batch: Vec<_> =
            configure_link(ifindex, has_ipv6, Some(&alias)).into_iter().collect();
        if NodeNeeds::of(self.slot).ipv4 {
            // IPv4 forwarding is a setting of each interface. A new interface copies
            // `net.ipv4.conf.default.forwarding`, which may be off though the node forwards.
            let change = LinkChange { forwarding: true, ..LinkChange::default() };
            batch.push(change_link(ifindex, &change));
        }
        match (self.config.programs, self.slot.hook) {
            (false, _) => {}
            (true, Hook::Clsact) => batch.extend(hook::add_filters(ifindex, self.programs)),
            (true, Hook::Tcx) => attach_by_tcx(ifindex, self.programs)?,
        }
        batch.push(bring_up(ifindex));
        batch.extend(self.ways(ifindex));
        match node.execute(batch) {
            Err(refusal) if self.may_be_disabled(&refusal) => {
                let ifname = self.slot.id.host_ifname();
                enable_on_node(&ifname)
                    .map_err(|source| BuildError::Ipv6Disabled { ifname, source })?;
                failpoint::hit("build:host-ipv6");
                again(node, self.ways(ifindex)).map_err(BuildError::Node)
            }
            executed => executed.map_err(BuildError::Node),
        }
    }

    /// Whether a refusal may come of a sysctl that switches IPv6 off for the interface.
    fn may_be_disabled(&self, refusal: &NetlinkError) -> bool {
        refusal.errno() == Some(libc::EACCES) && !by_family(&self.config.addresses).1.is_empty()
    }

    /// Route and neighbour of each address.
    fn ways(&self, ifindex: u32) -> Vec<Request<RouteNetlinkMessage>> {
        let addresses = self.config.addresses.iter().map(IpNet::addr);
        let way = |address| {
            let route = Route::new(host_net(address), None);
            [add_route(ifindex, &route), add_neighbour(ifindex, address, self.slot.mac)]
        };
        addresses.flat_map(way).collect()
    }

    /// Sysctls, addresses, neighbours, routes and rules, from inside the container's namespace. Sysctls
    /// come first: some of them forbid addresses, or allow them.
    fn equip_container_end(&self) -> Result<bool, BuildError> {
        container_end::set_sysctls(self.slot, self.config)?;
        let mut socket = RouteSocket::open().map_err(BuildError::Container)?;
        let ifindex = ifindex(self.slot.ifname.as_str())?.get();
        let equipment = || container_end::equip(self.slot, self.config, ifindex);
        match socket.execute(equipment()) {
            Err(refusal) if self.may_be_disabled(&refusal) => {
                self.enable_ipv6()?;
                again(&mut socket, equipment()).map_err(BuildError::Container)?;
            }
            executed => executed.map_err(BuildError::Container)?,
        }
        failpoint::hit("build:addresses");
        let routes = container_end::add_routes(self.config, ifindex);
        again(&mut socket, routes).map_err(BuildError::Container)?;
        // A namespace of its own has no other interface yet.
        let source_routed = !self.slot.owns_netns()
            && sources::add(&mut socket, (&self.slot.ifname, ifindex), &self.config.addresses)
                .map_err(BuildError::Container)?;
        container_end::wait_for_addresses(self.config, &mut socket)
            .map_err(BuildError::Container)?;
        Ok(source_routed)
    }

    /// Switches IPv6 on for `lo` and the interface, as the reference plugins do before they add an IPv6
    /// address: the namespace's defaults, or its runtime, switched it off. The kernel's refusal shows
    /// it; reading the sysctls each time would cost what [`container_end::set_sysctls`] says.
    fn enable_ipv6(&self) -> Result<(), BuildError> {
        let ifname = self.slot.ifname.as_str();
        let own = Path::new("ipv6/conf").join(ifname).join("disable_ipv6");
        let path = |sysctl: &Sysctl| sysctl.key.path(&self.slot.ifname);
        let set = self.config.sysctls.iter().rfind(|sysctl| path(sysctl) == own);
        if let Some(sysctl) = set.filter(|sysctl| sysctl.value != "0") {
            return Err(BuildError::Contradiction { sysctl: sysctl.clone() });
        }
        enable_in_container(&["lo", ifname])
            .map_err(|source| BuildError::Ipv6Disabled { ifname: ifname.to_owned(), source })?;
        failpoint::hit("build:container-ipv6");
        Ok(())
    }

    /// Makes the node a router for the families that the slot has addresses of.
    fn enable_forwarding(&self) -> Result<(), BuildError> {
        for family in NodeNeeds::of(self.slot).forwarding() {
            family.switch_on()?;
        }
        Ok(())
    }
}

/// Adds what may be there already: what the kernel did not refuse before, or routes of other interfaces.
fn again(
    socket: &mut RouteSocket,
    requests: Vec<Request<RouteNetlinkMessage>>,
) -> Result<(), NetlinkError> {
    let refusals = socket.execute_each(requests)?;
    refusals.into_iter().find(|refusal| !refusal.is_present()).map_or(Ok(()), Err)
}

fn ifindex(name: &str) -> Result<NonZeroU32, BuildError> {
    // The kernel gives no interface index 0.
    if_nametoindex(name)
        .and_then(|index| NonZeroU32::new(index).ok_or(Errno::ENODEV))
        .map_err(|errno| BuildError::Vanished { name: name.to_owned(), source: errno.into() })
}
