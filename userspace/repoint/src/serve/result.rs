//! The result that the runtime gets for an attachment.

use crate::{
    cni::{CniResult, Dns, Interface, IpConfig, Route},
    model::{Mac, NetnsPath},
    netlink,
    store::Slot,
    template::{NetworkConfig, gateway},
};

use repoint_common::mac::GATEWAY_MAC;

/// The result as the kernel has it now.
pub(crate) fn result(slot: &Slot, config: &NetworkConfig, path: &NetnsPath, dns: Dns) -> CniResult {
    let interface = |name: &str, mac: Mac, sandbox| Interface {
        name: name.to_owned(),
        mac: Some(mac.to_string()),
        mtu: Some(config.mtu),
        sandbox,
        ..Interface::default()
    };
    let container = interface(slot.ifname.as_str(), slot.mac, Some(path.to_string()));
    CniResult {
        interfaces: vec![interface(&slot.id.host_ifname(), Mac(GATEWAY_MAC), None), container],
        ips: config
            .addresses
            .iter()
            .map(|&address| IpConfig {
                address,
                gateway: Some(gateway(address.addr())),
                interface: Some(1),
            })
            .collect(),
        routes: config.reported_routes().map(reported).collect(),
        dns,
    }
}

fn reported(route: &netlink::Route) -> Route {
    let netlink::RouteOptions { mtu, advmss, priority, table, scope } = route.options;
    Route { dst: route.destination, gw: route.gateway, mtu, advmss, priority, table, scope }
}
