//! Sets of ranges, each of which yields one of a container's addresses.

use std::{fmt, net::IpAddr};

use super::Range;

/// Ranges of one family; a container gets one address of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RangeSet(Vec<Range>);

/// Why ranges cannot form a set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeSetError {
    /// No range at all.
    #[error("it holds no range")]
    Empty,
    /// IPv4 and IPv6.
    #[error("it mixes IPv4 and IPv6: each family needs a list of its own")]
    MixedFamilies,
    /// An address is in two ranges.
    #[error("the ranges {first} and {second} overlap")]
    Overlap {
        /// The first range.
        first: String,
        /// The second range.
        second: String,
    },
}

impl RangeSet {
    /// A set of ranges, which are of one family and share no address.
    pub fn new(ranges: Vec<Range>) -> Result<Self, RangeSetError> {
        let first = ranges.first().ok_or(RangeSetError::Empty)?;
        if ranges.iter().any(|range| range.is_ipv4() != first.is_ipv4()) {
            return Err(RangeSetError::MixedFamilies);
        }
        for (index, range) in ranges.iter().enumerate() {
            check_apart(range, &ranges[..index])?;
        }
        Ok(Self(ranges))
    }

    /// Its ranges.
    #[must_use]
    pub fn ranges(&self) -> &[Range] {
        &self.0
    }

    /// Whether its addresses are IPv4's.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.0.iter().any(Range::is_ipv4)
    }

    /// The range that the address is in.
    #[must_use]
    pub fn range_of(&self, address: IpAddr) -> Option<&Range> {
        self.0.iter().find(|range| range.contains(address))
    }

    /// Checks that this set shares no address with another.
    pub fn check_apart(&self, other: &Self) -> Result<(), RangeSetError> {
        self.0.iter().try_for_each(|range| check_apart(range, &other.0))
    }

    /// Every address of the set once, in order, reserved addresses included.
    ///
    /// The order begins after `last` if that is in the set.
    pub(super) fn addresses_after(
        &self,
        last: Option<IpAddr>,
    ) -> impl Iterator<Item = (&Range, IpAddr)> {
        let position = |last| self.0.iter().position(|range| range.contains(last));
        let (last, index) = match last.and_then(position) {
            Some(index) => (last, index),
            None => (None, 0),
        };
        let current = &self.0[index];
        let others = self.0[index + 1..].iter().chain(&self.0[..index]);
        let with = |range| move |address| (range, address);
        current
            .after(last)
            .map(with(current))
            .chain(others.flat_map(move |range| range.after(None).map(with(range))))
            .chain(current.up_to(last).map(with(current)))
    }
}

fn check_apart(range: &Range, others: &[Range]) -> Result<(), RangeSetError> {
    match others.iter().find(|other| other.overlaps(range)) {
        None => Ok(()),
        Some(other) => {
            Err(RangeSetError::Overlap { first: other.to_string(), second: range.to_string() })
        }
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{range}")?;
        }
        Ok(())
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
    fn addresses_go_round_through_all_ranges() {
        let set = RangeSet::new(vec![whole("10.1.0.0/30"), whole("10.2.0.0/30")]).unwrap();
        let after = |last: Option<&str>| -> Vec<String> {
            set.addresses_after(last.map(ip)).map(|(_, address)| address.to_string()).collect()
        };
        let all = ["10.1.0.1", "10.1.0.2", "10.2.0.1", "10.2.0.2"];
        assert_eq!(after(None), all);
        assert_eq!(after(Some("192.0.2.1")), all);
        assert_eq!(after(Some("10.2.0.2")), all);
        assert_eq!(after(Some("10.1.0.1")), ["10.1.0.2", "10.2.0.1", "10.2.0.2", "10.1.0.1"]);
        assert_eq!(after(Some("10.1.0.2")), ["10.2.0.1", "10.2.0.2", "10.1.0.1", "10.1.0.2"]);
    }
}
