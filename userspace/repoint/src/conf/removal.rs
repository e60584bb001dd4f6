//! The keys of a configuration that DEL, PARK and GC read.
//!
//! A runtime repeats DEL until it succeeds, and keeps the container until then. DEL therefore ignores
//! errors in keys that it does not use (CNI spec, section 2, DEL). ADD may have failed for just such a
//! key.

use super::{
    CONCURRENT_BUILDS, Directories, Document, IpamConf, NAME, NetConf, OwnIpam, PoolConf,
    addresses, annotations, attachments, object, pool, runtime, spelling,
};
use crate::{
    cni::{
        CniVersion, Dns,
        json::{KeyError, Object},
    },
    model::{Hook, Isolation, LinkLocal, LocalPath, NetworkName, PoolPolicy},
};

impl NetConf {
    /// Reads the keys that DEL, PARK and GC use.
    ///
    /// These are the network's name, the node's directories, the lists of valid attachments, the plugin
    /// that gives addresses, and the cooldown. A plugin or cooldown that cannot be read counts as absent.
    pub(super) fn read_removal(
        document: &Document,
        conf: &Object<'_>,
        cni_version: CniVersion,
    ) -> Result<Self, KeyError> {
        spelling::check_removal(conf)?;
        let name: NetworkName = conf.require("name", NAME)?.checked(NAME)?;
        let cooldown = pool::cooldown(conf);
        Ok(Self {
            cni_version,
            directories: Directories::of_attachments(conf)?,
            valid_attachments: attachments::read(conf, &name)?,
            ipam: ipam(conf),
            pool: cooldown.map(|time| PoolPolicy { cooldown: Some(time), ..PoolPolicy::default() }),
            document: document.clone(),
            name,
            ip_masq: false,
            link_local: LinkLocal::default(),
            local_path: LocalPath::default(),
            hook: Hook::default(),
            isolation: Isolation::default(),
            mtu: None,
            max_concurrent_builds: CONCURRENT_BUILDS,
            pool_conf: PoolConf::default(),
            mac: None,
            prev_result: None,
            dns: Dns::default(),
            runtime_dns: Dns::default(),
            requested: runtime::Requested::default(),
            user: annotations::Named::default(),
            runtime_ranges: false,
        })
    }
}

/// The address management: another plugin's name, or this plugin without its ranges.
fn ipam(conf: &Object<'_>) -> IpamConf {
    let ipam = object(conf, "ipam").ok().flatten();
    let plugin = ipam.and_then(|ipam| addresses::delegated(&ipam).ok().flatten());
    plugin.map_or_else(|| IpamConf::Own(OwnIpam::default()), IpamConf::Delegated)
}
