//! Building a slot: the pair of interfaces, what belongs on either end, and its map entries.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
};

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use nix::net::if_::if_nametoindex;
use repoint_common::mac::GATEWAY_MAC;

use super::{Alias, NodeNeeds, NodeNeedsError, Owner, container_end, host_group};
use crate::{
    datapath::{DatapathError, Programs},
    failpoint,
    netlink::{
        Direction, LinkChange, NetlinkError, Request, Route, RouteSocket, Veth, add_clsact,
        add_filter, add_neighbour, add_route, assign, bring_up, change_link, configure_link,
        create_veth,
    },
    netns::{Netns, NetnsError},
    store::Slot,
    template::{NetworkConfig, Sysctl, host_net},
    types::Mac,
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
    /// Whose it is.
    pub owner: Owner,
}

/// What was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Name of the host's end.
    pub host_ifname: String,
    /// Interface index of the host's end.
    pub host_ifindex: u32,
    /// Number of the slot's own namespace in the node's (`netlink/nsid.rs`).
    pub nsid: Option<i32>,
}

impl Builder<'_> {
    /// Builds the slot, without its map entries: no packet passes. What a failure leaves is taken down by [`super::tear_down`].
    pub fn build(&self) -> Result<Built, BuildError> {
        self.enable_forwarding()?;
        let mut node = RouteSocket::open().map_err(BuildError::Node)?;
        failpoint::hit("build:before-link");
        let nsid = self.number_namespace(&mut node)?;
        let built = Built { nsid, ..self.create_pair(&mut node)? };
        failpoint::hit("build:link");
        self.equip_host_end(&mut node, built.host_ifindex)?;
        failpoint::hit("build:host-end");
        self.netns.run(|| self.equip_container_end())??;
        failpoint::hit("build:container-end");
        Ok(built)
    }

    /// Gives the slot's own namespace its number, before the pair would have the kernel choose one.
    fn number_namespace(&self, node: &mut RouteSocket) -> Result<Option<i32>, BuildError> {
        if !self.slot.owns_netns {
            return Ok(None);
        }
        let nsid = assign(node, self.netns.as_fd(), self.slot.id.0).map_err(BuildError::Node)?;
        failpoint::hit("build:numbered");
        Ok(Some(nsid))
    }

    fn create_pair(&self, node: &mut RouteSocket) -> Result<Built, BuildError> {
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
        let host_ifindex = ifindex(&host_ifname)?;
        Ok(Built { host_ifname, host_ifindex, nsid: None })
    }

    /// Alias, programs, and for each address the way to it. The interface comes up once it has
    /// its alias and its programs.
    fn equip_host_end(&self, node: &mut RouteSocket, ifindex: u32) -> Result<(), BuildError> {
        let alias = Alias::new(self.slot, self.owner).to_string();
        let mut batch = vec![configure_link(ifindex, Some(&alias))];
        if NodeNeeds::of(self.slot).ipv4 {
            // A new interface has what `net.ipv4.conf.default.forwarding` has.
            batch.push(change_link(
                ifindex,
                &LinkChange { forwarding: true, ..LinkChange::default() },
            ));
        }
        if self.config.programs {
            batch.extend(self.attach_programs(ifindex));
        }
        batch.push(bring_up(ifindex));
        for address in self.config.addresses.iter().map(IpNet::addr) {
            batch.push(add_route(ifindex, &Route::new(host_net(address), None)));
            batch.push(add_neighbour(ifindex, address, self.slot.mac));
        }
        node.execute(batch).map_err(BuildError::Node)
    }

    fn attach_programs(&self, ifindex: u32) -> [Request<RouteNetlinkMessage>; 3] {
        let filter = |direction, program: BorrowedFd<'_>, name| {
            add_filter(ifindex, direction, program, name)
        };
        [
            add_clsact(ifindex),
            filter(Direction::Ingress, self.programs.from_container(), "from_container"),
            filter(Direction::Egress, self.programs.to_container(), "to_container"),
        ]
    }

    /// Sysctls, addresses, neighbours and routes, from inside the container's namespace. Sysctls
    /// come first: some of them forbid addresses, or allow them.
    fn equip_container_end(&self) -> Result<(), BuildError> {
        container_end::set_sysctls(self.slot, self.config)?;
        let mut socket = RouteSocket::open().map_err(BuildError::Container)?;
        let ifindex = ifindex(self.slot.ifname.as_str())?;
        let equipment = container_end::equip(self.slot, self.config, ifindex);
        socket.execute(equipment).map_err(BuildError::Container)?;
        failpoint::hit("build:addresses");
        let routes = container_end::add_routes(self.config, ifindex);
        let refusals = socket.execute_each(routes).map_err(BuildError::Container)?;
        if let Some(refusal) = refusals.into_iter().find(|refusal| !refusal.is_present()) {
            return Err(BuildError::Container(refusal));
        }
        container_end::wait_for_addresses(self.config, &mut socket).map_err(BuildError::Container)
    }

    /// Makes the node a router for the families that the slot has addresses of.
    fn enable_forwarding(&self) -> Result<(), BuildError> {
        for family in NodeNeeds::of(self.slot).forwarding() {
            family.switch_on()?;
        }
        Ok(())
    }
}

fn ifindex(name: &str) -> Result<u32, BuildError> {
    if_nametoindex(name)
        .map_err(|errno| BuildError::Vanished { name: name.to_owned(), source: errno.into() })
}
