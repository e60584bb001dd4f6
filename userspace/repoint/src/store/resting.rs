//! Addresses that were in use: until when each rests, and whether the node's connection tracking may
//! know it.

use std::net::IpAddr;

use super::{
    CodecError, StoreError,
    codec::{Decoder, Encoder},
    keys::{address_key, parse_address},
    transaction::{Transaction, Write},
};

const VERSION: u8 = 1;

/// What is recorded of an address that was in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rest {
    /// Until when it rests, nanoseconds since the boot.
    until: u64,
    /// Whether the node may have tracked connections of it.
    tracked: bool,
}

/// An address of which the node may have tracked connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracked {
    /// The address.
    pub address: IpAddr,
    /// Until when it rests since its last use, which that use alone has.
    pub until: u64,
}

impl Rest {
    fn encode(self) -> Vec<u8> {
        let mut encoder = Encoder::new(VERSION);
        encoder.u64(self.until).u8(self.tracked.into());
        encoder.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let read = || {
            let mut decoder = Decoder::new(bytes, VERSION)?;
            let rest = Self { until: decoder.u64("end")?, tracked: decoder.bool("tracking")? };
            decoder.finish()?;
            Ok(rest)
        };
        read().map_err(|source: CodecError| StoreError::Record { what: "rest", source })
    }
}

impl<T: lmdb::Transaction> Transaction<'_, T> {
    fn rest(&self, address: IpAddr) -> Result<Option<Rest>, StoreError> {
        let found = self.get(self.tables.resting, &address_key(address), "read a rest")?;
        found.map(Rest::decode).transpose()
    }

    /// Until when an address rests, nanoseconds since the boot; none: it does not rest at `now`.
    pub fn resting(&self, address: IpAddr, now: u64) -> Result<Option<u64>, StoreError> {
        Ok(self.rest(address)?.map(|rest| rest.until).filter(|until| *until > now))
    }

    /// All addresses that no slot has and that rest at `now`, nanoseconds since the boot.
    pub fn resting_addresses(&self, now: u64) -> Result<Vec<IpAddr>, StoreError> {
        let mut resting = Vec::new();
        for entry in self.entries(self.tables.resting, "list rests")? {
            let (key, value) = entry?;
            let (address, rest) = (parse_address(key)?, Rest::decode(value)?);
            if rest.until > now && self.address_owner(address)?.is_none() {
                resting.push(address);
            }
        }
        Ok(resting)
    }

    /// Those of the addresses of which the node may have tracked connections.
    pub fn tracked(
        &self,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<Vec<Tracked>, StoreError> {
        let mut tracked = Vec::new();
        for address in addresses {
            let rest = self.rest(address)?.filter(|rest| rest.tracked);
            tracked.extend(rest.map(|rest| Tracked { address, until: rest.until }));
        }
        Ok(tracked)
    }

    /// All addresses that no slot has and of which the node may have tracked connections.
    pub fn all_tracked(&self) -> Result<Vec<Tracked>, StoreError> {
        let mut tracked = Vec::new();
        for entry in self.entries(self.tables.resting, "list rests")? {
            let (key, value) = entry?;
            let (address, rest) = (parse_address(key)?, Rest::decode(value)?);
            if rest.tracked && self.address_owner(address)?.is_none() {
                tracked.push(Tracked { address, until: rest.until });
            }
        }
        Ok(tracked)
    }
}

impl Write<'_> {
    /// Records that an address was in use, and rests until `until` at least, nanoseconds since the boot.
    pub(super) fn put_rest(&mut self, address: IpAddr, until: u64) -> Result<(), StoreError> {
        let until = self.rest(address)?.map_or(until, |rest| rest.until.max(until));
        self.replace_rest(address, Rest { until, tracked: true })
    }

    /// Keeps an address from being given until then, nanoseconds since the boot, without its connections
    /// being forgotten: a container has it that is not on record.
    pub fn spare(&mut self, address: IpAddr, until: u64) -> Result<(), StoreError> {
        match self.rest(address)? {
            Some(rest) if rest.until >= until => Ok(()),
            _ => self.replace_rest(address, Rest { until, tracked: false }),
        }
    }

    fn replace_rest(&mut self, address: IpAddr, rest: Rest) -> Result<(), StoreError> {
        let table = self.tables.resting;
        self.put(table, &address_key(address), &rest.encode(), "record a rest")
    }

    /// Records that the node has no tracked connections of these addresses any more, but for those
    /// that were in use again since they were listed.
    pub fn untrack(&mut self, tracked: &[Tracked]) -> Result<(), StoreError> {
        for Tracked { address, until } in tracked {
            let rest = self.rest(*address)?.filter(|rest| rest.until == *until);
            if let Some(rest) = rest {
                self.replace_rest(*address, Rest { tracked: false, ..rest })?;
            }
        }
        Ok(())
    }

    /// Forgets rests that are over, of addresses whose connections are not tracked any more; says how
    /// many.
    pub fn end_rests(&mut self, now: u64) -> Result<usize, StoreError> {
        let mut over = Vec::new();
        for entry in self.entries(self.tables.resting, "list rests")? {
            let (key, value) = entry?;
            let rest = Rest::decode(value)?;
            if rest.until <= now && !rest.tracked {
                over.push(key.to_vec());
            }
        }
        for key in &over {
            self.delete(self.tables.resting, key, "end a rest")?;
        }
        Ok(over.len())
    }
}
