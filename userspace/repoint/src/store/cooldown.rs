//! Cooldowns of addresses, and whether the node may track connections of them.

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
struct Cooldown {
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
    /// End of its cooldown, nanoseconds since the boot; it identifies the last use.
    pub until: u64,
}

impl Cooldown {
    fn encode(self) -> Vec<u8> {
        let mut encoder = Encoder::new(VERSION);
        encoder.u64(self.until).u8(self.tracked.into());
        encoder.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let read = || {
            let mut decoder = Decoder::new(bytes, VERSION)?;
            let cooldown = Self { until: decoder.u64("end")?, tracked: decoder.bool("tracking")? };
            decoder.finish()?;
            Ok(cooldown)
        };
        read().map_err(|source: CodecError| StoreError::Record { what: "cooldown", source })
    }
}

impl<T: lmdb::Transaction> Transaction<'_, T> {
    fn cooldown(&self, address: IpAddr) -> Result<Option<Cooldown>, StoreError> {
        let found = self.get(self.tables.resting, &address_key(address), "read a cooldown")?;
        found.map(Cooldown::decode).transpose()
    }

    /// Until when the cooldown of an address lasts, nanoseconds since the boot; none: it has none at `now`.
    pub fn cooldown_end(&self, address: IpAddr, now: u64) -> Result<Option<u64>, StoreError> {
        Ok(self.cooldown(address)?.map(|cooldown| cooldown.until).filter(|until| *until > now))
    }

    /// All addresses that no slot has and whose cooldown lasts at `now`, nanoseconds since the boot.
    pub fn addresses_in_cooldown(&self, now: u64) -> Result<Vec<IpAddr>, StoreError> {
        let mut resting = Vec::new();
        for entry in self.entries(self.tables.resting, "list cooldowns")? {
            let (key, value) = entry?;
            let (address, cooldown) = (parse_address(key)?, Cooldown::decode(value)?);
            if cooldown.until > now && self.address_owner(address)?.is_none() {
                resting.push(address);
            }
        }
        Ok(resting)
    }

    /// The given addresses of which the node may have tracked connections.
    pub fn tracked(
        &self,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<Vec<Tracked>, StoreError> {
        let mut tracked = Vec::new();
        for address in addresses {
            let cooldown = self.cooldown(address)?.filter(|cooldown| cooldown.tracked);
            tracked.extend(cooldown.map(|cooldown| Tracked { address, until: cooldown.until }));
        }
        Ok(tracked)
    }

    /// All addresses that no slot has and of which the node may have tracked connections.
    pub fn all_tracked(&self) -> Result<Vec<Tracked>, StoreError> {
        let mut tracked = Vec::new();
        for entry in self.entries(self.tables.resting, "list cooldowns")? {
            let (key, value) = entry?;
            let (address, cooldown) = (parse_address(key)?, Cooldown::decode(value)?);
            if cooldown.tracked && self.address_owner(address)?.is_none() {
                tracked.push(Tracked { address, until: cooldown.until });
            }
        }
        Ok(tracked)
    }
}

impl Write<'_> {
    /// Records that an address was in use, and its cooldown.
    ///
    /// The cooldown lasts until `until` at least, nanoseconds since the boot.
    pub(super) fn put_cooldown(&mut self, address: IpAddr, until: u64) -> Result<(), StoreError> {
        let until = self.cooldown(address)?.map_or(until, |cooldown| cooldown.until.max(until));
        self.replace_cooldown(address, Cooldown { until, tracked: true })
    }

    /// Keeps an address from being given until `until`, nanoseconds since the boot.
    ///
    /// A container that is not on record has the address, so its tracked connections stay.
    pub fn spare(&mut self, address: IpAddr, until: u64) -> Result<(), StoreError> {
        match self.cooldown(address)? {
            Some(cooldown) if cooldown.until >= until => Ok(()),
            _ => self.replace_cooldown(address, Cooldown { until, tracked: false }),
        }
    }

    fn replace_cooldown(&mut self, address: IpAddr, cooldown: Cooldown) -> Result<(), StoreError> {
        let table = self.tables.resting;
        self.put(table, &address_key(address), &cooldown.encode(), "record a cooldown")
    }

    /// Records that the node no longer tracks connections of these addresses.
    ///
    /// Addresses that were in use again since they were listed stay as they are.
    pub fn untrack(&mut self, tracked: &[Tracked]) -> Result<(), StoreError> {
        for Tracked { address, until } in tracked {
            let cooldown = self.cooldown(*address)?.filter(|cooldown| cooldown.until == *until);
            if let Some(cooldown) = cooldown {
                self.replace_cooldown(*address, Cooldown { tracked: false, ..cooldown })?;
            }
        }
        Ok(())
    }

    /// Forgets ended cooldowns of addresses without tracked connections; returns how many.
    pub fn end_cooldowns(&mut self, now: u64) -> Result<usize, StoreError> {
        let mut over = Vec::new();
        for entry in self.entries(self.tables.resting, "list cooldowns")? {
            let (key, value) = entry?;
            let cooldown = Cooldown::decode(value)?;
            if cooldown.until <= now && !cooldown.tracked {
                over.push(key.to_vec());
            }
        }
        for key in &over {
            self.delete(self.tables.resting, key, "end a cooldown")?;
        }
        Ok(over.len())
    }
}
