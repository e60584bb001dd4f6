//! `CNI_ARGS`, and requested addresses.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;

/// An address that a caller asks for: `<ip>[/<prefix>]` (CNI conventions, `ips` and `IP`).
///
/// The prefix is accepted and not used: an address takes the prefix of its range's subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestedAddress(pub IpAddr);

/// A text that is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no IP address")]
pub struct InvalidAddress;

impl FromStr for RequestedAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let address = if text.contains('/') {
            text.parse().map(|network: IpNet| network.addr()).map_err(|_| InvalidAddress)
        } else {
            text.parse().map_err(|_| InvalidAddress)
        };
        address.map(|address: IpAddr| Self(address.to_canonical()))
    }
}

/// The pairs of `CNI_ARGS`: `K=V;K2=V2` (CNI spec, section 2). Unknown keys are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CniArgs {
    text: String,
    ip: Option<RequestedAddress>,
}

/// `CNI_ARGS` is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// A pair without a `=`.
    #[error("holds {pair:?}: it must hold pairs as in \"IP=10.1.0.5;IgnoreUnknown=1\"")]
    NotAPair {
        /// The text between two semicolons.
        pair: String,
    },
    /// `IP` is no address.
    #[error("holds IP={given:?}, which {source}: it must be as in \"IP=10.1.0.5\"")]
    Address {
        /// The value of `IP`.
        given: String,
        /// What is wrong with it.
        source: InvalidAddress,
    },
}

impl CniArgs {
    /// Wraps a text that is only passed on.
    ///
    /// The text is not checked, and requests no address.
    #[must_use]
    pub fn unchecked(text: impl Into<String>) -> Self {
        Self { text: text.into(), ip: None }
    }

    /// The text as it was given, for plugins that this one calls.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The value of a key; the last one where it is given more than once.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        pairs(&self.text)
            .filter_map(|pair| pair.split_once('='))
            .filter(|(name, _)| *name == key)
            .last()
            .map(|(_, value)| value)
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        pairs(&self.text).filter_map(|pair| pair.split_once('=')).map(|(name, _)| name)
    }

    /// The address that `IP` asks for.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.ip.map(|address| address.0)
    }
}

impl FromStr for CniArgs {
    type Err = ArgsError;

    fn from_str(text: &str) -> Result<Self, ArgsError> {
        if let Some(pair) = pairs(text).find(|pair| !pair.contains('=')) {
            return Err(ArgsError::NotAPair { pair: pair.to_owned() });
        }
        let mut args = Self { text: text.to_owned(), ip: None };
        args.ip = match args.get("IP").filter(|value| !value.is_empty()) {
            None => None,
            Some(value) => Some(
                value
                    .parse()
                    .map_err(|source| ArgsError::Address { given: value.to_owned(), source })?,
            ),
        };
        Ok(args)
    }
}

/// The texts between semicolons, without empty ones.
///
/// An empty text is no error: scripts that join pairs leave a semicolon at the end.
fn pairs(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').filter(|pair| !pair.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_kubernetes_runtime_are_accepted() {
        let args: CniArgs =
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;X=a=b;IP=10.1.0.5/16;".parse().unwrap();
        assert_eq!(args.get("K8S_POD_NAMESPACE"), Some("default"));
        assert_eq!(args.get("X"), Some("a=b"));
        assert_eq!(args.get("IgnoreUnknow"), None);
        assert_eq!(args.ip(), Some("10.1.0.5".parse().unwrap()));
    }

    #[test]
    fn nothing_is_asked_for_by_empty_arguments() {
        for text in ["", "IP=", ";"] {
            assert_eq!(text.parse::<CniArgs>().unwrap().ip(), None, "{text:?}");
        }
    }

    #[test]
    fn malformed_arguments_are_named() {
        let error = "A=1;nonsense".parse::<CniArgs>().unwrap_err().to_string();
        assert!(error.contains("\"nonsense\""), "{error}");
        let error = "IP=10.1.0".parse::<CniArgs>().unwrap_err().to_string();
        assert!(error.contains("IP=\"10.1.0\""), "{error}");
    }

    #[test]
    fn an_address_may_have_a_prefix_and_a_mapped_form() {
        for text in ["10.1.0.5", "10.1.0.5/24", "::ffff:10.1.0.5"] {
            let address: RequestedAddress = text.parse().unwrap();
            assert_eq!(address.0, IpAddr::from([10, 1, 0, 5]), "{text}");
        }
        for text in ["", "10.1.0.5/", "10.1.0.5/33", "10.1.0.5/24/3", "eth0"] {
            assert!(text.parse::<RequestedAddress>().is_err(), "{text:?}");
        }
    }
}
