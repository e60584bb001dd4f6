//! A slot's own values, and the placeholders that stand for them.
//!
//! A placeholder holds braces, and a written name holds none: no name that a user chose equals a
//! placeholder.

use std::{
    collections::HashMap,
    fmt::Write as _,
    net::{IpAddr, Ipv6Addr},
};

use crate::{model::Mac, store::Slot};

/// Stands for the name of the slot's interface. The kernel takes no colon in one (`dev_valid_name`).
pub(in crate::slot) const IFNAME: &str = "{:ifname}";

/// How values of one slot are written.
pub(super) struct Names<'a> {
    slot: &'a Slot,
    /// Names of the links by their index, with the placeholder.
    links: HashMap<u32, String>,
}

impl<'a> Names<'a> {
    pub(super) fn new(slot: &'a Slot) -> Self {
        Self { slot, links: HashMap::new() }
    }

    pub(super) fn learn(&mut self, ifindex: u32, name: &[u8]) {
        let name = self.text(name);
        self.links.insert(ifindex, name);
    }

    /// A name or another text.
    pub(super) fn text(&self, text: &[u8]) -> String {
        if text == self.slot.ifname.as_str().as_bytes() { IFNAME.to_owned() } else { shown(text) }
    }

    pub(super) fn link(&self, ifindex: u32) -> String {
        self.links.get(&ifindex).cloned().unwrap_or_else(|| format!("#{ifindex}"))
    }

    /// The other end of a veth, with a placeholder for the slot's end on the node. Until the index of
    /// that end is on record, every peer is the slot's end.
    pub(super) fn peer(&self, ifindex: u32) -> String {
        if ifindex == 0 {
            return "none".to_owned();
        }
        let is_own = self.slot.host_ifindex().is_none_or(|own| own == ifindex);
        if is_own { "{:host-end}".to_owned() } else { format!("#{ifindex}") }
    }

    pub(super) fn mac(&self, octets: &[u8]) -> String {
        match <[u8; 6]>::try_from(octets) {
            Ok(octets) if octets == self.slot.mac.0 => "{:mac}".to_owned(),
            Ok(octets) => Mac(octets).to_string(),
            Err(_) => hexadecimal(octets),
        }
    }

    pub(super) fn address(&self, octets: &[u8]) -> String {
        let Some(address) = parse(octets) else { return hexadecimal(octets) };
        match self.slot.addresses.iter().position(|own| own.addr() == address) {
            Some(number) => format!("{{:address{number}}}"),
            None => address.to_string(),
        }
    }

    /// Whether `mac` is the solicited-node group of one of the slot's addresses. A neighbour sends its
    /// solicitations for the address there (RFC 4291, section 2.7.1, and RFC 2464, section 7). The group
    /// follows from the address.
    pub(super) fn is_solicited(&self, mac: &[u8]) -> bool {
        let Some(end) = mac.strip_prefix(&[0x33, 0x33, 0xff]) else { return false };
        let is_asked_for = |address: IpAddr| match address {
            IpAddr::V4(_) => false,
            IpAddr::V6(address) => address.octets().ends_with(end),
        };
        end.len() == 3 && self.slot.addresses.iter().any(|own| is_asked_for(own.addr()))
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
    octets.iter().fold(String::from("0x"), |mut text, octet| {
        // Writing to a string cannot fail.
        _ = write!(text, "{octet:02x}");
        text
    })
}

/// Bytes that a user chose, as one word of plain characters; others stand as `\xHH`. Different bytes
/// give different words.
pub(in crate::slot) fn shown(bytes: &[u8]) -> String {
    let mut word = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_graphic() && !b"{}\\".contains(byte) {
            word.push(char::from(*byte));
        } else {
            // Writing to a string cannot fail.
            _ = write!(word, "\\x{byte:02x}");
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_written_as_a_placeholder_or_as_another_text() {
        assert_eq!(shown(b"eth0.7-a_b"), "eth0.7-a_b");
        assert_eq!(shown(b"{:ifname}"), "\\x7b:ifname\\x7d");
        assert_eq!(shown(b"\\x7b"), "\\x5cx7b");
        assert_eq!(shown(b"a b\n\xff"), "a\\x20b\\x0a\\xff");
    }
}
