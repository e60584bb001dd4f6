//! Ranges of addresses, with the keys and rules of the `host-local` plugin.

use std::{fmt, net::IpAddr, ops::RangeInclusive};

use ipnet::IpNet;

use super::Reserved;

/// A range of addresses within a subnet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Range {
    subnet: IpNet,
    gateway: IpAddr,
    /// First and last address as numbers, within the subnet.
    bits: RangeInclusive<u128>,
}

/// Why a range is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// The subnet's address has bits beyond the prefix.
    #[error("it has host bits set, the network is {network}")]
    HostBits {
        /// The subnet without them.
        network: IpNet,
    },
    /// Nothing is left besides network, gateway and broadcast address.
    #[error("it is too small to allocate from: the prefix must be at most /{longest}")]
    TooSmall {
        /// Longest prefix that can be used.
        longest: u8,
    },
    /// The first address is outside the subnet.
    #[error("it is not in the subnet {subnet}")]
    StartOutside {
        /// The subnet.
        subnet: IpNet,
    },
    /// The last address is outside the subnet.
    #[error("it is not in the subnet {subnet}")]
    EndOutside {
        /// The subnet.
        subnet: IpNet,
    },
    /// The last address comes before the first.
    #[error("it is before the first address, {start}")]
    EndBeforeStart {
        /// The first address.
        start: IpAddr,
    },
    /// The first address comes after the subnet's last.
    #[error("it is after the last address, {end}")]
    StartAfterEnd {
        /// The last address.
        end: IpAddr,
    },
    /// The gateway is of the other family.
    #[error("it is not of the family of the subnet {subnet}")]
    GatewayFamily {
        /// The subnet.
        subnet: IpNet,
    },
}

impl RangeError {
    /// Which key of the range's configuration is wrong.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::HostBits { .. } | Self::TooSmall { .. } => "subnet",
            Self::StartOutside { .. } | Self::StartAfterEnd { .. } => "rangeStart",
            Self::EndOutside { .. } | Self::EndBeforeStart { .. } => "rangeEnd",
            Self::GatewayFamily { .. } => "gateway",
        }
    }
}

impl Range {
    /// Makes a range of a subnet.
    ///
    /// By default the first address follows the network address, the last address is the subnet's last
    /// (IPv4: the address before the broadcast address), and the gateway follows the network address.
    /// The gateway is never handed out, but need not be in the subnet.
    pub fn new(
        subnet: IpNet,
        start: Option<IpAddr>,
        end: Option<IpAddr>,
        gateway: Option<IpAddr>,
    ) -> Result<Self, RangeError> {
        check_subnet(subnet)?;
        check_addresses(subnet, start, end, gateway)?;
        let after_network = to_bits(subnet.network()) + 1;
        let first = start.map_or(after_network, to_bits);
        let last = end.map_or_else(|| last_bits(subnet), to_bits);
        let address = |bits| from_bits(bits, subnet.addr());
        if last < first && end.is_some() {
            return Err(RangeError::EndBeforeStart { start: address(first) });
        } else if last < first {
            return Err(RangeError::StartAfterEnd { end: address(last) });
        }
        let gateway = gateway.unwrap_or_else(|| address(after_network));
        Ok(Self { subnet, gateway, bits: first..=last })
    }

    /// The subnet.
    #[must_use]
    pub fn subnet(&self) -> IpNet {
        self.subnet
    }

    /// The subnet's gateway, which no container gets.
    #[must_use]
    pub fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// The first address.
    #[must_use]
    pub fn start(&self) -> IpAddr {
        from_bits(*self.bits.start(), self.subnet.addr())
    }

    /// The last address.
    #[must_use]
    pub fn end(&self) -> IpAddr {
        from_bits(*self.bits.end(), self.subnet.addr())
    }

    /// Whether the address lies between the first and the last.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.is_ipv4() == address.is_ipv4() && self.bits.contains(&to_bits(address))
    }

    /// Whether the address is the subnet's gateway, network or (IPv4) broadcast address. IPv6's
    /// network address is the subnet's routers' anycast address (RFC 4291, section 2.6.1).
    #[must_use]
    pub fn reserves(&self, address: IpAddr) -> Option<Reserved> {
        if address == self.gateway {
            return Some(Reserved::Gateway);
        }
        if address == self.subnet.network() {
            return Some(Reserved::Network);
        }
        let is_broadcast = address.is_ipv4() && address == self.subnet.broadcast();
        is_broadcast.then_some(Reserved::Broadcast)
    }

    /// An address of the range, with the subnet's prefix.
    #[must_use]
    pub fn with_prefix(&self, address: IpAddr) -> IpNet {
        IpNet::new(address, self.subnet.prefix_len()).unwrap_or_else(|_| address.into())
    }

    /// Whether the subnet is IPv4's.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.subnet.addr().is_ipv4()
    }

    /// Whether both ranges share an address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.is_ipv4() == other.is_ipv4()
            && self.bits.start() <= other.bits.end()
            && other.bits.start() <= self.bits.end()
    }

    /// The range's addresses after `address`, in order; all where it is none.
    pub(super) fn after(&self, address: Option<IpAddr>) -> impl Iterator<Item = IpAddr> {
        let next = address.map_or(Some(*self.bits.start()), |last| to_bits(last).checked_add(1));
        self.addresses(next.map_or(NOTHING, |next| next..=*self.bits.end()))
    }

    /// The range's addresses up to and with `address`, in order.
    ///
    /// Nothing where `address` is none.
    pub(super) fn up_to(&self, address: Option<IpAddr>) -> impl Iterator<Item = IpAddr> {
        self.addresses(address.map_or(NOTHING, |last| *self.bits.start()..=to_bits(last)))
    }

    fn addresses(&self, part: RangeInclusive<u128>) -> impl Iterator<Item = IpAddr> + use<> {
        let family = self.subnet.addr();
        part.map(move |bits| from_bits(bits, family))
    }
}

/// An empty range of numbers.
const NOTHING: RangeInclusive<u128> = RangeInclusive::new(1, 0);

fn check_subnet(subnet: IpNet) -> Result<(), RangeError> {
    if subnet.addr() != subnet.network() {
        return Err(RangeError::HostBits { network: subnet.trunc() });
    }
    let longest = subnet.max_prefix_len() - 2;
    if subnet.prefix_len() > longest {
        return Err(RangeError::TooSmall { longest });
    }
    Ok(())
}

fn check_addresses(
    subnet: IpNet,
    start: Option<IpAddr>,
    end: Option<IpAddr>,
    gateway: Option<IpAddr>,
) -> Result<(), RangeError> {
    if start.is_some_and(|start| !subnet.contains(&start)) {
        return Err(RangeError::StartOutside { subnet });
    }
    if end.is_some_and(|end| !subnet.contains(&end)) {
        return Err(RangeError::EndOutside { subnet });
    }
    if gateway.is_some_and(|gateway| gateway.is_ipv4() != subnet.addr().is_ipv4()) {
        return Err(RangeError::GatewayFamily { subnet });
    }
    Ok(())
}

/// The last address that a subnet hands out where no end is given.
fn last_bits(subnet: IpNet) -> u128 {
    let last = to_bits(subnet.broadcast());
    if subnet.addr().is_ipv4() { last - 1 } else { last }
}

fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address of a number, in the family of another address.
fn from_bits(bits: u128, family: IpAddr) -> IpAddr {
    match (family, u32::try_from(bits)) {
        (IpAddr::V4(_), Ok(bits)) => IpAddr::V4(bits.into()),
        _ => IpAddr::V6(bits.into()),
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start(), self.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn whole(subnet: &str) -> Range {
        Range::new(subnet.parse().unwrap(), None, None, None).unwrap()
    }

    #[test]
    fn defaults_leave_network_and_broadcast_out() {
        for (subnet, start, end, gateway) in [
            ("10.1.2.0/24", "10.1.2.1", "10.1.2.254", "10.1.2.1"),
            ("10.1.2.4/30", "10.1.2.5", "10.1.2.6", "10.1.2.5"),
            ("0.0.0.0/0", "0.0.0.1", "255.255.255.254", "0.0.0.1"),
            ("fd00::/64", "fd00::1", "fd00::ffff:ffff:ffff:ffff", "fd00::1"),
            ("fd00::4/126", "fd00::5", "fd00::7", "fd00::5"),
            ("::/0", "::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::1"),
        ] {
            let range = whole(subnet);
            let found = (range.start(), range.end(), range.gateway());
            assert_eq!(found, (ip(start), ip(end), ip(gateway)), "{subnet}");
        }
    }

    #[test]
    fn subnets_without_room_are_refused() {
        for (subnet, longest) in
            [("10.1.2.0/31", 30), ("10.1.2.0/32", 30), ("fd00::/127", 126), ("fd00::/128", 126)]
        {
            let refused = Range::new(subnet.parse().unwrap(), None, None, None);
            assert_eq!(refused, Err(RangeError::TooSmall { longest }), "{subnet}");
        }
    }

    #[test]
    fn a_gateway_outside_the_subnet_is_accepted() {
        let gateway = Some(ip("169.254.1.1"));
        let range = Range::new("10.1.2.0/24".parse().unwrap(), None, None, gateway).unwrap();
        assert_eq!(range.reserves(ip("169.254.1.1")), Some(Reserved::Gateway));
        assert_eq!(range.reserves(ip("10.1.2.1")), None);
    }

    #[test]
    fn a_range_may_name_the_ends_of_its_subnet_which_stay_reserved() {
        let (start, end) = (Some(ip("10.1.2.0")), Some(ip("10.1.2.255")));
        let range = Range::new("10.1.2.0/24".parse().unwrap(), start, end, None).unwrap();
        for address in ["10.1.2.0", "10.1.2.255"].map(ip) {
            assert!(range.contains(address) && range.reserves(address).is_some(), "{address}");
        }
    }
}
