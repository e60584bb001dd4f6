//! Printing a result in the form of a version.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::{
    super::{CniVersion, Dns, Route},
    CniResult, Interface, IpConfig,
};

/// From version 0.3.0 on.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "cniVersion")]
    cni_version: &'static str,
    interfaces: Vec<InterfaceForm<'a>>,
    ips: Vec<IpForm>,
    routes: Vec<RouteForm>,
    #[serde(skip_serializing_if = "Dns::is_empty")]
    dns: &'a Dns,
}

/// Before version 0.3.0.
#[derive(Serialize)]
struct EarlyDocument<'a> {
    #[serde(rename = "cniVersion")]
    cni_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip4: Option<EarlyIp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip6: Option<EarlyIp>,
    #[serde(skip_serializing_if = "Dns::is_empty")]
    dns: &'a Dns,
}

#[derive(Serialize)]
struct EarlyIp {
    ip: IpNet,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<RouteForm>,
}

#[derive(Serialize)]
struct InterfaceForm<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<&'a str>,
    #[serde(rename = "socketPath", skip_serializing_if = "Option::is_none")]
    socket_path: Option<&'a str>,
    #[serde(rename = "pciID", skip_serializing_if = "Option::is_none")]
    pci_id: Option<&'a str>,
}

#[derive(Serialize)]
struct IpForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    address: IpNet,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<usize>,
}

#[derive(Serialize)]
struct RouteForm {
    dst: IpNet,
    #[serde(skip_serializing_if = "Option::is_none")]
    gw: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advmss: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<u8>,
}

impl CniResult {
    /// The JSON object to print, with the keys that the version defines and no other.
    ///
    /// Before 0.3.0 a result holds the first address of each family and no interfaces.
    pub fn to_json(&self, version: CniVersion) -> Result<String, serde_json::Error> {
        if version.lists_interfaces() {
            serde_json::to_string(&self.document(version))
        } else {
            serde_json::to_string(&self.early_document(version))
        }
    }

    fn document(&self, version: CniVersion) -> Document<'_> {
        Document {
            cni_version: version.as_str(),
            interfaces: self.interfaces.iter().map(|i| InterfaceForm::of(i, version)).collect(),
            ips: self.ips.iter().map(|ip| IpForm::of(ip, version)).collect(),
            routes: self.routes.iter().map(|route| RouteForm::of(route, version)).collect(),
            dns: &self.dns,
        }
    }

    fn early_document(&self, version: CniVersion) -> EarlyDocument<'_> {
        EarlyDocument {
            cni_version: version.as_str(),
            ip4: self.early_ip(version, |address| matches!(address, IpNet::V4(_))),
            ip6: self.early_ip(version, |address| matches!(address, IpNet::V6(_))),
            dns: &self.dns,
        }
    }

    fn early_ip(&self, version: CniVersion, family: fn(&IpNet) -> bool) -> Option<EarlyIp> {
        let ip = self.ips.iter().find(|ip| family(&ip.address))?;
        let routes = self.routes.iter().filter(|route| family(&route.dst));
        Some(EarlyIp {
            ip: ip.address,
            gateway: ip.gateway,
            routes: routes.map(|route| RouteForm::of(route, version)).collect(),
        })
    }
}

impl<'a> InterfaceForm<'a> {
    fn of(interface: &'a Interface, version: CniVersion) -> Self {
        let latest = version >= CniVersion::V1_1_0;
        Self {
            name: &interface.name,
            mac: interface.mac.as_deref(),
            mtu: interface.mtu.filter(|_| latest),
            sandbox: interface.sandbox.as_deref(),
            socket_path: interface.socket_path.as_deref().filter(|_| latest),
            pci_id: interface.pci_id.as_deref().filter(|_| latest),
        }
    }
}

impl IpForm {
    fn of(ip: &IpConfig, version: CniVersion) -> Self {
        let family = match ip.address {
            IpNet::V4(_) => "4",
            IpNet::V6(_) => "6",
        };
        Self {
            version: (version < CniVersion::V1_0_0).then_some(family),
            address: ip.address,
            gateway: ip.gateway,
            interface: ip.interface,
        }
    }
}

impl RouteForm {
    fn of(route: &Route, version: CniVersion) -> Self {
        let latest = version >= CniVersion::V1_1_0;
        Self {
            dst: route.dst,
            gw: route.gw,
            mtu: route.mtu.filter(|_| latest),
            advmss: route.advmss.filter(|_| latest),
            priority: route.priority.filter(|_| latest),
            table: route.table.filter(|_| latest),
            scope: route.scope.filter(|_| latest),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn full() -> CniResult {
        let ip = |address: &str, gateway: &str| IpConfig {
            address: address.parse().unwrap(),
            gateway: Some(gateway.parse().unwrap()),
            interface: Some(1),
        };
        let host = Interface {
            name: "rp000000000001".to_owned(),
            mac: Some("0e:00:00:00:00:01".to_owned()),
            mtu: Some(1500),
            ..Interface::default()
        };
        let container = Interface {
            name: "eth0".to_owned(),
            sandbox: Some("/run/netns/a".to_owned()),
            ..host.clone()
        };
        let mut route = Route::new("0.0.0.0/0".parse().unwrap(), None);
        route.priority = Some(7);
        CniResult {
            interfaces: vec![host, container],
            ips: vec![ip("10.1.0.5/24", "169.254.1.1"), ip("fd00::5/64", "fe80::1")],
            routes: vec![route, Route::new("::/0".parse().unwrap(), "fe80::1".parse().ok())],
            dns: Dns { nameservers: vec!["192.0.2.53".to_owned()], ..Dns::default() },
        }
    }

    fn printed(version: CniVersion) -> Value {
        serde_json::from_str(&full().to_json(version).unwrap()).unwrap()
    }

    #[test]
    fn at_1_1_0_every_key_is_there() {
        assert_eq!(
            printed(CniVersion::V1_1_0),
            json!({
                "cniVersion": "1.1.0",
                "interfaces": [
                    {"name": "rp000000000001", "mac": "0e:00:00:00:00:01", "mtu": 1500},
                    {"name": "eth0", "mac": "0e:00:00:00:00:01", "mtu": 1500,
                     "sandbox": "/run/netns/a"},
                ],
                "ips": [
                    {"address": "10.1.0.5/24", "gateway": "169.254.1.1", "interface": 1},
                    {"address": "fd00::5/64", "gateway": "fe80::1", "interface": 1},
                ],
                "routes": [{"dst": "0.0.0.0/0", "priority": 7}, {"dst": "::/0", "gw": "fe80::1"}],
                "dns": {"nameservers": ["192.0.2.53"]},
            })
        );
    }

    #[test]
    fn at_1_0_0_keys_of_1_1_0_are_left_out() {
        let printed = printed(CniVersion::V1_0_0);
        assert_eq!(printed["interfaces"][0].get("mtu"), None, "{printed}");
        assert_eq!(printed["routes"][0], json!({"dst": "0.0.0.0/0"}));
        assert_eq!(printed["ips"][0].get("version"), None, "{printed}");
    }

    #[test]
    fn from_0_3_0_to_0_4_0_addresses_tell_their_family() {
        for version in [CniVersion::V0_3_0, CniVersion::V0_3_1, CniVersion::V0_4_0] {
            let printed = printed(version);
            assert_eq!(printed["ips"][0]["version"], "4", "{version}");
            assert_eq!(printed["ips"][1]["version"], "6", "{version}");
            assert_eq!(printed["interfaces"][1].get("mtu"), None, "{version}");
        }
    }

    #[test]
    fn before_0_3_0_there_is_one_address_a_family() {
        assert_eq!(
            printed(CniVersion::V0_2_0),
            json!({
                "cniVersion": "0.2.0",
                "ip4": {"ip": "10.1.0.5/24", "gateway": "169.254.1.1",
                        "routes": [{"dst": "0.0.0.0/0"}]},
                "ip6": {"ip": "fd00::5/64", "gateway": "fe80::1",
                        "routes": [{"dst": "::/0", "gw": "fe80::1"}]},
                "dns": {"nameservers": ["192.0.2.53"]},
            })
        );
    }

    #[test]
    fn what_is_printed_is_read_back() {
        for version in [CniVersion::V1_1_0, CniVersion::V1_0_0, CniVersion::V0_3_1] {
            let read = CniResult::from_json(full().to_json(version).unwrap().as_bytes(), version);
            let read = read.unwrap();
            assert_eq!(read.to_json(version).unwrap(), full().to_json(version).unwrap());
            assert_eq!(read.ips, full().ips);
        }
        let latest = full().to_json(CniVersion::LATEST).unwrap();
        assert_eq!(CniResult::from_json(latest.as_bytes(), CniVersion::LATEST).unwrap(), full());
    }
}
