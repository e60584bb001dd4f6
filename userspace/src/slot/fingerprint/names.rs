//! A slot's own values, and the placeholders that stand for them.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};

use crate::{store::Slot, types::Mac};

/// Stands for the name of the slot's interface.
pub(in crate::slot) const IFNAME: &str = "{ifname}";

/// How values of one slot are told.
pub(super) struct Names<'a> {
    slot: &'a Slot,
    /// Names of the links by their index, with the placeholder.
    links: HashMap<u32, String>,
}

impl<'a> Names<'a> {
    pub(super) fn new(slot: &'a Slot) -> Self {
        Self { slot, links: HashMap::new() }
    }

    pub(super) fn learn(&mut self, ifindex: u32, name: &str) {
        let name = self.text(name);
        self.links.insert(ifindex, name);
    }

    pub(super) fn text(&self, text: &str) -> String {
        if text == self.slot.ifname.as_str() { IFNAME.to_owned() } else { text.to_owned() }
    }

    pub(super) fn link(&self, ifindex: u32) -> String {
        self.links.get(&ifindex).cloned().unwrap_or_else(|| format!("#{ifindex}"))
    }

    pub(super) fn mac(&self, octets: &[u8]) -> String {
        match <[u8; 6]>::try_from(octets) {
            Ok(octets) if octets == self.slot.mac.0 => "{mac}".to_owned(),
            Ok(octets) => Mac(octets).to_string(),
            Err(_) => hexadecimal(octets),
        }
    }

    pub(super) fn address(&self, octets: &[u8]) -> String {
        let Some(address) = parse(octets) else { return hexadecimal(octets) };
        match self.slot.addresses.iter().position(|own| own.addr() == address) {
            Some(number) => format!("{{address{number}}}"),
            None => address.to_string(),
        }
    }
}

fn parse(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(octets).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

pub(super) fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().fold(String::from("0x"), |text, octet| text + &format!("{octet:02x}"))
}
