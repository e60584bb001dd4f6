//! Map `counters`: what became of packets, by reason.

/// Name of the map from a [`Reason`]'s number to [`Counter`], per CPU.
pub const MAP: &str = "counters";

/// Packets and bytes of one reason, on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets (after segmentation offload: one super-packet counts once).
    pub packets: u64,
    /// Bytes from the Ethernet header on.
    pub bytes: u64,
}

// SAFETY: `repr(C)`, two u64, valid for any bytes.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Counter {}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $label:literal, $drop:literal;)+) => {
        /// What became of a packet, and why: the key of `counters`, the label of metrics and the
        /// word in logs.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason { $($(#[doc = $doc])+ $name = $number),+ }

        impl Reason {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The word for it in metrics and logs.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label),+ }
            }

            /// Whether the packet was dropped.
            #[must_use]
            pub const fn is_drop(self) -> bool {
                match self { $(Self::$name => $drop),+ }
            }
        }
    };
}

reasons! {
    /// Handed to the destination's interface, past the host stack.
    Redirected = 0, "redirected", false;
    /// Left to the host stack.
    ToHost = 1, "to_host", false;
    /// Delivered to the container, out of the host stack.
    ToContainer = 2, "to_container", false;
    /// No slot is recorded for the interface.
    UnknownInterface = 3, "unknown_interface", true;
    /// The slot, or the destination, is parked.
    Parked = 4, "parked", true;
    /// A header is cut off.
    Truncated = 5, "truncated", true;
    /// A header contradicts itself or the packet.
    Malformed = 6, "malformed", true;
    /// From a container: the source Ethernet address is none that a station has, or the gateway's; or
    /// the destination is not the gateway's.
    ForeignMac = 7, "foreign_mac", true;
    /// The source IP address is not the slot's.
    ForeignAddress = 8, "foreign_address", true;
    /// VLAN-tagged.
    Vlan = 9, "vlan", true;
    /// ARP or IPv6 neighbour discovery that does not ask for the gateway.
    NeighbourDiscovery = 10, "neighbour_discovery", true;
    /// To a multicast or broadcast address.
    Multicast = 11, "multicast", true;
    /// Neither IPv4 nor IPv6.
    UnknownProtocol = 12, "unknown_protocol", true;
    /// Out of the host stack, to an address that is not the slot's.
    ForeignDestination = 13, "foreign_destination", true;
    /// The kernel refused to rewrite the packet.
    Unwritable = 14, "unwritable", true;
    /// From a container: to a loopback, IPv4-mapped or unspecified address, or to the gateway's own.
    Martian = 15, "martian", true;
    /// From a container: to a link-local address that the node would forward, and the network denies.
    LinkLocal = 16, "link_local", true;
    /// Larger than the receiver's MTU: left to the host stack, which answers or fragments.
    TooLarge = 17, "too_large", false;
    /// To an endpoint whose interface is gone.
    Undeliverable = 18, "undeliverable", true;
    /// From a container: a question for the gateway, or an echo request to it, answered by the program.
    Answered = 19, "answered", false;
    /// Between slots that `isolation` of the network of either keeps apart.
    Isolated = 20, "isolated", true;
    /// From a container: to an address of a cloud's metadata service that is not link-local, that the node
    /// would forward, and the network denies.
    Metadata = 21, "metadata", true;
    /// The slot's policies are to be enforced, and are not in the maps.
    NoPolicy = 22, "no_policy", true;
    /// The policy of the slot that sends, or that the packet would open a flow for, does not allow it.
    PolicyEgress = 23, "policy_egress", true;
    /// The policy of the slot that receives does not allow it.
    PolicyIngress = 24, "policy_ingress", true;
    /// TCP that opens no flow, and belongs to none.
    NoFlow = 25, "no_flow", true;
    /// The slot, or its tenant's slots, have opened their share of flows.
    FlowRate = 26, "flow_rate", true;
    /// The kernel made no room for a new flow.
    ConntrackFull = 27, "conntrack_full", true;
    /// A fragment that shows no ports, where a rule asks for them.
    Fragment = 28, "fragment", true;
    /// With a source route (IPv4) or a routing header (IPv6), where policies are enforced.
    SourceRoute = 29, "source_route", true;
}

/// Number of reasons: the size of the map.
pub const REASONS: usize = Reason::ALL.len();

const _: () = {
    assert!(size_of::<Counter>() == 16);
    let mut i = 0;
    while i < REASONS {
        assert!(Reason::ALL[i] as usize == i);
        i += 1;
    }
};
