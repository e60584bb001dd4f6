//! Choosing addresses, round-robin.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{NodeAddresses, Range, RangeSet, Reserved, reserved};
use crate::{
    cni::{CniError, ErrorCode},
    model::NetworkName,
};

/// What a network allocates from.
#[derive(Debug, Clone, Copy)]
pub struct Pool<'a> {
    /// The network, for errors.
    pub network: &'a NetworkName,
    /// A container gets one address of each.
    pub sets: &'a [RangeSet],
    /// The address that each set gave last.
    ///
    /// The search continues after it, so that a released address rests for as long as possible.
    pub last: &'a [Option<IpAddr>],
    /// Addresses of the node and of its routers.
    pub node: &'a NodeAddresses,
    /// Whether an address in cooldown is given where no other is left.
    pub cooldown_yields: bool,
}

/// Whether an address can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// The address can be given.
    Free,
    /// The address is in cooldown until this time.
    CoolingDown(u64),
    /// The address is in use.
    Taken,
}

/// Why an address cannot be allocated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllocateError {
    /// There is nothing to allocate from.
    #[error(
        "network {network} has no ranges: ipam.ranges, ipam.subnet and runtimeConfig.ipRanges are all absent"
    )]
    NoRanges {
        /// The network.
        network: NetworkName,
    },
    /// Every address is taken.
    #[error(
        "network {network} has no address left in {ranges}: {in_use} of {in_use} are in use or \
         rest{reserved}"
    )]
    Exhausted {
        /// The network.
        network: NetworkName,
        /// The ranges that were searched.
        ranges: String,
        /// How many addresses they have to give, each of which is taken.
        in_use: u64,
        /// What else is in the ranges: repoint's own addresses and the node's.
        reserved: String,
    },
    /// The requested address belongs to no range.
    #[error("network {network} has no range with the requested address {address}, only {ranges}")]
    RequestedNotInRange {
        /// The network.
        network: NetworkName,
        /// The address.
        address: IpAddr,
        /// The network's ranges.
        ranges: String,
    },
    /// The call requests two addresses of one range set.
    #[error(
        "network {network} gives one address of {ranges}, but both {first} and {second} are requested"
    )]
    RequestedTwice {
        /// The network.
        network: NetworkName,
        /// The ranges.
        ranges: String,
        /// The first requested address.
        first: IpAddr,
        /// The second requested address.
        second: IpAddr,
    },
    /// The requested address is reserved.
    #[error("the requested address {address} of network {network} is {reserved}: ask for another")]
    RequestedReserved {
        /// The network.
        network: NetworkName,
        /// The address.
        address: IpAddr,
        /// Why it is reserved.
        reserved: Reserved,
    },
    /// The requested address is in use.
    #[error("the requested address {address} of network {network} is in use")]
    RequestedTaken {
        /// The network.
        network: NetworkName,
        /// The address.
        address: IpAddr,
    },
}

impl AllocateError {
    /// The error to print.
    #[must_use]
    pub fn to_cni(&self) -> CniError {
        let code = match self {
            Self::NoRanges { .. } => ErrorCode::INVALID_CONFIGURATION,
            _ => ErrorCode::NO_ADDRESS,
        };
        CniError::from_error(code, self)
    }
}

/// Chooses one address of each set of a pool.
///
/// A requested address of the set comes first, even during its cooldown. Otherwise the search takes the
/// first free address after the address given last. Where no address is free and cooldowns yield, it
/// takes the address whose cooldown ends first.
///
/// The search calls `availability` once where the next address is free, and for every address of a set
/// only where none is free.
pub fn allocate<E: From<AllocateError>>(
    pool: &Pool<'_>,
    requested: &[IpAddr],
    mut availability: impl FnMut(IpAddr) -> Result<Availability, E>,
) -> Result<Vec<IpNet>, E> {
    if pool.sets.is_empty() {
        return Err(AllocateError::NoRanges { network: pool.network.clone() }.into());
    }
    if let Some(&address) = requested.iter().find(|address| pool.range_of(**address).is_none()) {
        return Err(pool.not_in_range(address).into());
    }
    let mut choose = |(index, set): (usize, &RangeSet)| match pool.requested_of(set, requested)? {
        Some((range, address)) => pool.take(range, address, &mut availability),
        None => pool.search(index, set, &mut availability),
    };
    pool.sets.iter().enumerate().map(&mut choose).collect()
}

impl<'a> Pool<'a> {
    fn range_of(&self, address: IpAddr) -> Option<&'a Range> {
        self.sets.iter().find_map(|set| set.range_of(address))
    }

    /// Why the pool reserves the address, in any of its ranges.
    fn reserves(&self, address: IpAddr) -> Option<Reserved> {
        let mut ranges = self.sets.iter().flat_map(RangeSet::ranges);
        let by_range = ranges.find_map(|range| range.reserves(address));
        by_range.or_else(|| reserved::by_node(self.node, address))
    }

    /// The requested address of a set, if there is one.
    fn requested_of<'s>(
        &self,
        set: &'s RangeSet,
        requested: &[IpAddr],
    ) -> Result<Option<(&'s Range, IpAddr)>, AllocateError> {
        let mut of_set =
            requested.iter().filter_map(|&address| Some((set.range_of(address)?, address)));
        let first = of_set.next();
        match (first, of_set.find(|second| first.is_some_and(|first| first.1 != second.1))) {
            (Some((_, first)), Some((_, second))) => Err(AllocateError::RequestedTwice {
                network: self.network.clone(),
                ranges: set.to_string(),
                first,
                second,
            }),
            _ => Ok(first),
        }
    }

    fn take<E: From<AllocateError>>(
        &self,
        range: &Range,
        address: IpAddr,
        availability: &mut impl FnMut(IpAddr) -> Result<Availability, E>,
    ) -> Result<IpNet, E> {
        let network = || self.network.clone();
        if let Some(reserved) = self.reserves(address) {
            let network = network();
            return Err(AllocateError::RequestedReserved { network, address, reserved }.into());
        }
        if availability(address)? == Availability::Taken {
            return Err(AllocateError::RequestedTaken { network: network(), address }.into());
        }
        Ok(range.with_prefix(address))
    }

    fn search<E: From<AllocateError>>(
        &self,
        index: usize,
        set: &RangeSet,
        availability: &mut impl FnMut(IpAddr) -> Result<Availability, E>,
    ) -> Result<IpNet, E> {
        let last = self.last.get(index).copied().flatten();
        let (mut in_use, mut rested_longest, mut kept) = (0, None, String::new());
        for (range, address) in set.addresses_after(last) {
            match self.reserves(address) {
                None => {}
                Some(Reserved::Gateway | Reserved::Network | Reserved::Broadcast) => continue,
                Some(own) => {
                    kept = format!("{kept}; {address} is {own}");
                    continue;
                }
            }
            match availability(address)? {
                Availability::Free => return Ok(range.with_prefix(address)),
                Availability::CoolingDown(until) if self.cooldown_yields => {
                    let earlier = |(known, _): &(u64, IpNet)| until < *known;
                    if rested_longest.as_ref().is_none_or(earlier) {
                        rested_longest = Some((until, range.with_prefix(address)));
                    }
                }
                Availability::CoolingDown(_) | Availability::Taken => {}
            }
            in_use += 1;
        }
        if let Some((_, address)) = rested_longest {
            return Ok(address);
        }
        let (network, ranges) = (self.network.clone(), set.to_string());
        Err(AllocateError::Exhausted { network, ranges, in_use, reserved: kept }.into())
    }

    fn not_in_range(&self, address: IpAddr) -> AllocateError {
        let ranges = self.sets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        AllocateError::RequestedNotInRange { network: self.network.clone(), address, ranges }
    }
}

#[cfg(test)]
mod tests;
