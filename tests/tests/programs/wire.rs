//! The programs attached to interfaces, for what test runs do not give them: packets cut off within
//! their fixed headers, tags that the kernel keeps beside the packet, headers that lie outside the
//! linear part, and the redirect itself.

use std::{
    os::fd::{AsRawFd as _, OwnedFd},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
    },
};
use repoint::datapath::{Datapath, Maps};
use repoint_common::{LAYOUT_VERSION, counter::Reason, endpoint::Endpoint, mac::GATEWAY_MAC};
use repoint_tests::{Netns, Node, command, wait};

use super::{
    case::{
        Case, Device, OWN, OWN_MAC, PEER, PEER_MAC,
        Program::{self, FromContainer, ToContainer},
        good_v4, good_v6, of_both, v4_frame, v6_frame,
    },
    packet::{
        ETHERNET, ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN, IPV4, IPV6, Ipv4, Ipv6, routed, tagged,
    },
    rig::{difference, interface},
};

/// How long a packet may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Larger than a page: the kernel puts what a packet socket sends into fragments then, all but the
/// Ethernet header.
const LARGE: usize = 6000;
const MTU: &str = "9000";

/// Two slots on a node of their own, with the programs attached to the first one's interface.
struct Wire {
    /// Packet socket of the first container.
    container: OwnedFd,
    /// Packet socket of its host-side interface.
    host: OwnedFd,
    /// Packet socket of the other container.
    peer: OwnedFd,
    maps: Maps,
    _namespaces: [Netns; 2],
}

/// Sends all cases' packets on a node of their own. Fails at the end, when one did, naming all that
/// did.
fn run(cases: &[Case]) -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let wire = Wire::new(&node)?;
        let failed = cases.iter().filter(|case| !wire.passes(case)).count();
        ensure!(failed == 0, "{failed} of {} cases failed", cases.len());
        Ok(())
    })
}

impl Wire {
    fn new(node: &Node) -> Result<Self> {
        let dirs = node.dirs();
        let maps = Datapath::load(&dirs.bpf, &dirs.run)?.maps;
        let namespaces = [Netns::create("own")?, Netns::create("peer")?];
        let own = add_slot("own", OWN_MAC)?;
        let peer = add_slot("peer", PEER_MAC)?;
        command::run("tc", ["qdisc", "add", "dev", "own", "clsact"])?;
        for (hook, program) in [("ingress", "from_container"), ("egress", "to_container")] {
            let pin = dirs.bpf.join(format!("v{LAYOUT_VERSION}")).join(program);
            let filter = ["filter", "add", "dev", "own", hook, "bpf", "direct-action"];
            let pin = ["object-pinned".to_owned(), pin.to_string_lossy().into_owned()];
            command::run("tc", filter.map(str::to_owned).into_iter().chain(pin))?;
        }
        let record = interface(Device::Active).context("it is active")?;
        maps.insert_interface(own, &record)?;
        let (ifindex, mac) = (peer, PEER_MAC);
        let endpoint =
            Endpoint { ifindex, identity: 8, mac, flags: 0, tenant: 0, padding: 0, epoch: 5 };
        maps.insert_endpoint(PEER.v4.into(), &endpoint)?;
        maps.insert_endpoint(PEER.v6.into(), &endpoint)?;
        Ok(Self {
            container: namespaces[0].run(|| packet_socket("eth0"))?,
            host: packet_socket("own")?,
            peer: namespaces[1].run(|| packet_socket("eth0"))?,
            maps,
            _namespaces: namespaces,
        })
    }

    /// Sends a case's packet and says how it went.
    fn passes(&self, case: &Case) -> bool {
        let Case { name, program, expected, .. } = case;
        let title = format!("{program:?}: {name}, {} bytes", case.packet.len());
        let sent = self.send(case).with_context(|| title.clone());
        match &sent {
            Ok(()) => println!("ok    {title}: {}", expected.label()),
            Err(error) => println!("FAIL  {error:#}"),
        }
        sent.is_ok()
    }

    fn send(&self, case: &Case) -> Result<()> {
        let before = self.maps.counters()?;
        let entry = match case.program {
            FromContainer => &self.container,
            ToContainer => &self.host,
        };
        match send(entry.as_raw_fd(), &case.packet, MsgFlags::empty()) {
            // What the egress hook drops, its sender learns of.
            Err(Errno::ENOBUFS) if case.program == ToContainer && case.expected.is_drop() => {}
            sent => drop(sent.context("send")?),
        }
        wait::until(LIMIT, "it is counted", || {
            let counted = difference(&before, &self.maps.counters()?);
            let reasons: Vec<_> =
                counted.iter().map(|(reason, one)| (*reason, one.packets)).collect();
            ensure!(reasons == [(case.expected, 1)], "counted are {reasons:?}");
            Ok(())
        })?;
        if case.expected == Reason::Redirected {
            let wanted = routed(&case.packet, PEER_MAC, GATEWAY_MAC);
            self.arrives(&wanted)?;
        }
        Ok(())
    }

    /// Whether the next packet that reaches the other container is this one.
    fn arrives(&self, wanted: &[u8]) -> Result<()> {
        let mut buffer = vec![0; 2 * LARGE];
        let length = wait::until(LIMIT, "it arrives", || {
            Ok(recv(self.peer.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?)
        })?;
        ensure!(buffer[..length] == *wanted, "what arrives is {:02x?}", &buffer[..length.min(64)]);
        Ok(())
    }
}

/// Makes an interface pair, one end in the namespace of the same name, and gives the index of the
/// other.
fn add_slot(name: &str, mac: [u8; 6]) -> Result<u32> {
    let [gateway, mac] =
        [GATEWAY_MAC, mac].map(|mac| mac.map(|octet| format!("{octet:02x}")).join(":"));
    let commands = format!(
        "link add {name} mtu {MTU} address {gateway} type veth peer eth0 mtu {MTU} address {mac} netns {name}
         link set {name} addrgenmode none up"
    );
    command::run_with_input("ip", ["-batch", "-"], commands.as_bytes())?;
    command::run("ip", ["-n", name, "link", "set", "eth0", "addrgenmode", "none", "up"])?;
    Ok(nix::net::if_::if_nametoindex(name)?)
}

/// A packet socket bound to an interface of the calling thread's namespace.
fn packet_socket(interface: &str) -> Result<OwnedFd> {
    let protocol = SockProtocol::EthAll;
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    let address = getifaddrs()?
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr().copied())
        .with_context(|| format!("{interface} is not there"))?;
    bind(socket.as_raw_fd(), &address)?;
    Ok(socket)
}

/// The packet cut off at every length that test runs refuse.
fn cuts(name: &str, program: Program, packet: &[u8], headers: usize) -> Vec<Case> {
    (ETHERNET..headers)
        .map(|length| Case::new(name, program, packet[..length].to_vec(), Reason::Truncated))
        .collect()
}

#[test]
fn packets_cut_off_in_the_fixed_header_are_dropped() -> Result<()> {
    run(&of_both(|program| {
        let (v4, v6) = (good_v4(program).0, good_v6(program).0);
        [
            cuts("IPv4 cut off", program, &v4_frame(program, &v4), ETHERNET + IPV4),
            cuts("IPv6 cut off", program, &v6_frame(program, &v6), ETHERNET + IPV6),
        ]
        .concat()
    }))
}

/// The kernel takes the outer tag out of what it receives.
#[test]
fn tags_beside_the_packet_are_seen() -> Result<()> {
    let v4 = v4_frame(FromContainer, &Ipv4::new(OWN.v4, PEER.v4));
    let v6 = v6_frame(FromContainer, &Ipv6::new(OWN.v6, PEER.v6));
    let cases = [
        ("IPv4 in a VLAN", tagged(ETHERTYPE_VLAN, &v4)),
        ("IPv6 in a VLAN", tagged(ETHERTYPE_VLAN, &v6)),
        ("IPv4 in a service VLAN", tagged(ETHERTYPE_SERVICE_VLAN, &v4)),
        ("IPv4 in both", tagged(ETHERTYPE_SERVICE_VLAN, &tagged(ETHERTYPE_VLAN, &v4))),
    ];
    run(&cases.map(|(name, packet)| Case::new(name, FromContainer, packet, Reason::Vlan)))
}

#[test]
fn redirected_packets_arrive_as_from_a_router() -> Result<()> {
    let v4 = |payload| Ipv4 { payload, ..Ipv4::new(OWN.v4, PEER.v4) };
    let v6 = |payload| Ipv6 { payload, ..Ipv6::new(OWN.v6, PEER.v6) };
    let cases = [
        ("small IPv4", v4_frame(FromContainer, &v4(vec![1; 64]))),
        ("small IPv6", v6_frame(FromContainer, &v6(vec![1; 64]))),
        ("IPv4 in pieces", v4_frame(FromContainer, &v4(vec![2; LARGE]))),
        ("IPv6 in pieces", v6_frame(FromContainer, &v6(vec![2; LARGE]))),
    ];
    run(&cases.map(|(name, packet)| Case::new(name, FromContainer, packet, Reason::Redirected)))
}

/// Also of what lies outside the linear part the source is seen.
#[test]
fn forged_packets_in_pieces_are_dropped() -> Result<()> {
    let payload = || vec![3; LARGE];
    let v4 = Ipv4 { payload: payload(), ..Ipv4::new(PEER.v4, PEER.v4) };
    let v6 = Ipv6 { payload: payload(), ..Ipv6::new(PEER.v6, PEER.v6) };
    let packets = [v4_frame(FromContainer, &v4), v6_frame(FromContainer, &v6)];
    run(&packets.map(|packet| {
        Case::new("forged, in pieces", FromContainer, packet, Reason::ForeignAddress)
    }))
}
