//! What the runtime asks for one attachment, and DNS settings.

use std::net::IpAddr;

use repoint_common::mac::GATEWAY_MAC;

use super::object;
use crate::{
    cni::{
        CniArgs, Dns, RequestedAddress,
        dns::texts,
        json::{KeyError, Node, Object},
    },
    model::Mac,
};

const MAC: &str = "a MAC address such as \"02:00:00:00:00:07\"";
const IPS: &str = "a list of addresses such as [\"10.1.0.5\"]";
const IP: &str = "an address such as \"10.1.0.5\"";

/// Addresses that are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Requested {
    /// `runtimeConfig.ips`.
    runtime: Vec<IpAddr>,
    /// `args.cni.ips`.
    args: Vec<IpAddr>,
}

impl Requested {
    pub(super) fn read(conf: &Object<'_>, runtime: Option<&Object<'_>>) -> Result<Self, KeyError> {
        let args = object(conf, "args")?;
        let cni = args.as_ref().map_or(Ok(None), |args| object(args, "cni"))?;
        Ok(Self { runtime: addresses(runtime)?, args: addresses(cni.as_ref())? })
    }

    pub(super) fn addresses(&self, args: &CniArgs) -> Vec<IpAddr> {
        let ip = args.ip().filter(|_| self.args.is_empty());
        self.runtime.iter().chain(&self.args).copied().chain(ip).collect()
    }
}

/// Key `ips` of an object.
fn addresses(object: Option<&Object<'_>>) -> Result<Vec<IpAddr>, KeyError> {
    let Some(node) = object.and_then(|object| object.get("ips")) else {
        return Ok(Vec::new());
    };
    let address = |item: Node<'_>| item.parse(IP).map(|address: RequestedAddress| address.0);
    node.items(IPS)?.map(address).collect()
}

/// Key `runtimeConfig.mac`.
pub(super) fn mac(runtime: &Object<'_>) -> Result<Option<Mac>, KeyError> {
    let Some(node) = runtime.text("mac") else {
        return Ok(None);
    };
    let mac: Mac = node.checked(MAC)?;
    if mac.0 == GATEWAY_MAC {
        return Err(node.bad_value("it is that of the containers' gateway: ask for another"));
    }
    Ok(Some(mac))
}

/// Key `dns`.
pub(super) fn dns(conf: &Object<'_>) -> Result<Dns, KeyError> {
    let Some(dns) = object(conf, "dns")? else {
        return Ok(Dns::default());
    };
    check_servers(&dns, "nameservers")?;
    Dns::read(&dns)
}

/// Key `runtimeConfig.dns`, whose lists have names of their own (CNI conventions, `dns`).
pub(super) fn runtime_dns(runtime: &Object<'_>) -> Result<Dns, KeyError> {
    let Some(dns) = object(runtime, "dns")? else {
        return Ok(Dns::default());
    };
    check_servers(&dns, "servers")?;
    Ok(Dns {
        nameservers: texts(&dns, "servers")?,
        search: texts(&dns, "searches")?,
        options: texts(&dns, "options")?,
        domain: None,
    })
}

/// Checks that each name server is an address.
///
/// A link-local address may name its interface after a `%`.
fn check_servers(dns: &Object<'_>, key: &str) -> Result<(), KeyError> {
    let Some(node) = dns.get(key) else {
        return Ok(());
    };
    node.items("a list of addresses such as [\"192.0.2.53\"]")?.try_for_each(|item| {
        let text = item.string("an address such as \"192.0.2.53\"")?;
        let address = text.split_once('%').map_or(text, |(address, _)| address);
        match address.parse::<IpAddr>() {
            Ok(_) => Ok(()),
            Err(error) => Err(item.bad_value(error)),
        }
    })
}
