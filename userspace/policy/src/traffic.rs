//! What a flow carries, as people write it: `80/TCP`, `53/UDP`, `ICMP`.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::evaluate::Traffic;

/// Protocol of `ping`, IPv4.
const ICMP: u8 = 1;
/// Type of an echo request, IPv4 (RFC 792).
const ECHO_REQUEST: u16 = 8;

/// What a flow carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedTraffic(Traffic);

/// A text that does not say what a flow carries.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "\"{text}\" is no traffic: write a port and a protocol such as 80/TCP, 53/UDP or 9/SCTP, or ICMP for ping"
)]
pub struct InvalidTraffic {
    text: String,
}

impl From<NamedTraffic> for Traffic {
    fn from(NamedTraffic(traffic): NamedTraffic) -> Self {
        traffic
    }
}

impl FromStr for NamedTraffic {
    type Err = InvalidTraffic;

    fn from_str(text: &str) -> Result<Self, InvalidTraffic> {
        let invalid = || InvalidTraffic { text: text.to_owned() };
        if text.eq_ignore_ascii_case("icmp") {
            return Ok(Self(Traffic { protocol: ICMP, port: ECHO_REQUEST }));
        }
        let (port, protocol) = text.split_once('/').unwrap_or((text, "TCP"));
        let protocol = match protocol.to_ascii_uppercase().as_str() {
            "TCP" => 6,
            "UDP" => 17,
            "SCTP" => 132,
            _ => return Err(invalid()),
        };
        Ok(Self(Traffic { protocol, port: port.parse().map_err(|_| invalid())? }))
    }
}

impl fmt::Display for NamedTraffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Traffic { protocol, port }) = self;
        match protocol {
            6 => write!(f, "{port}/TCP"),
            17 => write!(f, "{port}/UDP"),
            132 => write!(f, "{port}/SCTP"),
            _ => f.write_str("ICMP"),
        }
    }
}
