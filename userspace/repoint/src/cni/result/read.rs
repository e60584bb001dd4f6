//! Reading a result: `prevResult`, and what a delegated plugin printed.

use ipnet::IpNet;
use serde_json::Value;

use super::{
    super::{
        CniVersion, Dns, Route,
        json::{KeyError, Node, Object},
    },
    CniResult, Interface, IpConfig,
};

/// The expected form of an address with prefix, for errors.
const ADDRESS: &str = "an address with prefix such as \"10.1.0.5/24\"";
/// The expected form of a gateway, for errors.
const GATEWAY: &str = "an address such as \"10.1.0.1\"";

/// A text that is no result.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// It is not JSON.
    #[error("the result is not JSON")]
    NotJson(#[from] serde_json::Error),
    /// One of its keys is wrong.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl CniResult {
    /// Reads the JSON text of a result. `default` is its version where it names none, as libcni
    /// takes it.
    pub fn from_json(text: &[u8], default: CniVersion) -> Result<Self, ResultError> {
        let value: Value = serde_json::from_slice(text)?;
        Ok(Self::read(&Object::root(&value, "the result")?, default)?)
    }

    /// Reads a result. `default` is its version where it names none.
    pub fn read(result: &Object<'_>, default: CniVersion) -> Result<Self, KeyError> {
        let version = match result.get("cniVersion") {
            Some(node) if node.string("a version")?.is_empty() => default,
            Some(node) => node.parse("a version such as \"1.0.0\"")?,
            None => default,
        };
        let dns = result.get("dns").map(|node| node.object("an object")).transpose()?;
        let dns = dns.map_or(Ok(Dns::default()), |dns| Dns::read(&dns))?;
        if version.lists_interfaces() {
            Self::read_lists(result, dns)
        } else {
            Self::read_early(result, dns)
        }
    }

    fn read_lists(result: &Object<'_>, dns: Dns) -> Result<Self, KeyError> {
        Ok(Self {
            interfaces: list(result, "interfaces", interface)?,
            ips: list(result, "ips", ip)?,
            routes: list(result, "routes", Route::read)?,
            dns,
        })
    }

    /// Before 0.3.0: `ip4` and `ip6`.
    fn read_early(result: &Object<'_>, dns: Dns) -> Result<Self, KeyError> {
        let mut read = Self { dns, ..Self::default() };
        for key in ["ip4", "ip6"] {
            let Some(node) = result.get(key) else {
                continue;
            };
            let part = node.object("an object")?;
            read.ips.push(IpConfig {
                address: part.require("ip", ADDRESS)?.parse(ADDRESS)?,
                gateway: part.text("gateway").map(|node| node.parse(GATEWAY)).transpose()?,
                interface: None,
            });
            read.routes.extend(list(&part, "routes", Route::read)?);
        }
        Ok(read)
    }
}

/// The elements of a list of objects.
fn list<T>(
    result: &Object<'_>,
    key: &str,
    read: fn(&Object<'_>) -> Result<T, KeyError>,
) -> Result<Vec<T>, KeyError> {
    let Some(node) = result.get(key) else {
        return Ok(Vec::new());
    };
    let element = |item: Node<'_>| read(&item.object("an object")?);
    node.items("a list of objects")?.map(element).collect()
}

fn interface(interface: &Object<'_>) -> Result<Interface, KeyError> {
    let text = |key: &str| {
        let text = interface.get(key).map(|node| node.string("a string")).transpose();
        text.map(|text| text.filter(|text| !text.is_empty()).map(str::to_owned))
    };
    let mtu = interface.get("mtu").map(|node| node.integer(0..=u32::MAX)).transpose()?;
    Ok(Interface {
        name: interface.require("name", "a string")?.string("a string")?.to_owned(),
        mac: text("mac")?,
        mtu: mtu.filter(|mtu| *mtu != 0),
        sandbox: text("sandbox")?,
        socket_path: text("socketPath")?,
        pci_id: text("pciID")?,
    })
}

fn ip(ip: &Object<'_>) -> Result<IpConfig, KeyError> {
    let address: IpNet = ip.require("address", ADDRESS)?.parse(ADDRESS)?;
    Ok(IpConfig {
        address,
        gateway: ip.text("gateway").map(|node| node.parse(GATEWAY)).transpose()?,
        interface: ip
            .get("interface")
            .map(|node| node.integer(0..=u32::MAX))
            .transpose()?
            .map(|index| index as usize),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<CniResult, ResultError> {
        CniResult::from_json(text.as_bytes(), CniVersion::V1_0_0)
    }

    #[test]
    fn address_management_leaves_interfaces_out() {
        let result = read(
            r#"{"ips": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1"}],
                             "routes": [{"dst": "0.0.0.0/0"}], "interfaces": null}"#,
        );
        let result = result.unwrap();
        assert_eq!(result.ips[0].interface, None);
        assert_eq!(result.ips[0].address.to_string(), "10.1.0.5/16");
        assert_eq!(result.routes.len(), 1);
    }

    #[test]
    fn the_first_versions_have_one_address_a_family() {
        let result = read(
            r#"{"cniVersion": "0.2.0",
            "ip4": {"ip": "10.1.0.5/16", "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}]},
            "ip6": {"ip": "fd00::5/64", "gateway": "fd00::1"}, "dns": {}}"#,
        );
        let result = result.unwrap();
        let addresses: Vec<_> = result.ips.iter().map(|ip| ip.address.to_string()).collect();
        assert_eq!(addresses, ["10.1.0.5/16", "fd00::5/64"]);
        assert_eq!(result.routes[0].gw, Some("10.1.0.1".parse().unwrap()));
    }

    /// As Go's `net.IP` reads an address that is not set.
    #[test]
    fn an_empty_gateway_is_none() {
        let text = r#"{"ips": [{"address": "10.1.0.5/16", "gateway": ""}],
                       "routes": [{"dst": "0.0.0.0/0", "gw": ""}]}"#;
        let result = read(text).unwrap();
        assert_eq!((result.ips[0].gateway, result.routes[0].gw), (None, None));
    }

    #[test]
    fn an_empty_result_is_one() {
        assert_eq!(read("{}").unwrap(), CniResult::default());
    }

    #[test]
    fn errors_name_the_key() {
        for (text, path) in [
            (r#"{"ips": [{"address": "10.1.0.5/16"}, {"address": "10.1.0.5"}]}"#, "ips[1].address"),
            (r#"{"ips": [{}]}"#, "ips[0].address"),
            (r#"{"interfaces": [{"name": 1}]}"#, "interfaces[0].name"),
            (r#"{"routes": [{"dst": "10.0.0.0/8", "scope": 256}]}"#, "routes[0].scope"),
            (r#"{"cniVersion": "0.1.0", "ip4": {"ip": "10.1.0.5"}}"#, "ip4.ip"),
            (r#"{"cniVersion": "3"}"#, "cniVersion"),
            (r#"{"dns": {"search": "a"}}"#, "dns.search"),
            ("[]", "the result"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{path} is ")), "{error}");
        }
    }
}
