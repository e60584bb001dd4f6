//! Policies written straight into the maps of a node, for tests of the programs: any rules, and no database.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, ensure};
use repoint::datapath::{Maps, PolicyMaps};
use repoint_common::{
    counter::Reason,
    endpoint,
    interface::FLAG_ENFORCE,
    policy::{ALLOW, AUDIT, GROUP_WORDS, Identity, MAX_RULES, PEER_ANY, Policy, Rule},
};

use crate::Container;

/// `IPPROTO_TCP` of `linux/in.h`.
pub const TCP: u8 = 6;
/// `IPPROTO_UDP`.
pub const UDP: u8 = 17;

/// Allows everything.
pub const ANY: Rule = Rule {
    peer: 0,
    port_low: 0,
    port_high: u16::MAX,
    protocol: 0,
    peer_kind: PEER_ANY,
    action: ALLOW,
    next: 0,
    number: 1,
};

/// What kernels send of their own accord.
const NOISE: [Reason; 2] = [Reason::Multicast, Reason::NeighbourDiscovery];

/// Packets that were dropped by now, by reason, but for what kernels send of their own accord.
pub fn dropped(bpf_dir: &Path) -> Result<BTreeMap<&'static str, u64>> {
    let maps = Maps::open_existing(bpf_dir)?.context("no data plane")?;
    let counters = maps.counters()?.into_iter();
    Ok(counters
        .filter(|(reason, it)| reason.is_drop() && !NOISE.contains(reason) && it.packets > 0)
        .map(|(reason, it)| (reason.label(), it.packets))
        .collect())
}

/// Writes policies into the maps of a node.
pub struct Policies {
    /// Where slots are looked up.
    maps: Maps,
    /// Where policies are looked up.
    pub policies: PolicyMaps,
}

impl Policies {
    /// Of the data plane below `bpf_dir`. One writer at a time.
    pub fn open(bpf_dir: &Path) -> Result<Self> {
        Ok(Self {
            maps: Maps::open_existing(bpf_dir)?.context("no data plane")?,
            policies: PolicyMaps::open_existing(bpf_dir)?.context("no data plane")?,
        })
    }

    /// Makes or replaces a policy.
    pub fn put(&self, number: u32, default: u8, rules: &[Rule]) -> Result<()> {
        ensure!(rules.len() <= MAX_RULES, "{} rules", rules.len());
        let mut all = [Rule { port_high: 0, action: 0, number: 0, ..ANY }; MAX_RULES];
        all[..rules.len()].copy_from_slice(rules);
        let count = u16::try_from(rules.len())?;
        let policy = Policy { count, default, flags: 0, rules: all };
        Ok(self.policies.insert_policy(number, &policy)?)
    }

    /// Makes or replaces a policy that drops nothing, and reports all flows by the rule of number 1.
    pub fn audit(&self, number: u32) -> Result<()> {
        self.put(number, ALLOW, &[Rule { action: AUDIT, ..ANY }])
    }

    /// Makes or replaces a policy, also for flows that are open.
    pub fn apply(&self, number: u32, default: u8, rules: &[Rule]) -> Result<()> {
        self.put(number, default, rules)?;
        Ok(self.policies.raise_generation()?)
    }

    /// Gives a container's function these policies, and enforces them for the container; 0: no policy.
    pub fn enforce(&self, container: &Container<'_>, egress: u32, ingress: u32) -> Result<()> {
        for address in container.addresses()? {
            let mut endpoint = self.maps.endpoint(address)?.context("no endpoint")?;
            let what = Identity { egress, ingress, groups: [0; GROUP_WORDS] };
            self.policies.insert_identity(endpoint.identity, &what)?;
            let mut interface = self.maps.interface(endpoint.ifindex)?.context("no interface")?;
            interface.flags |= FLAG_ENFORCE;
            self.maps.insert_interface(endpoint.ifindex, &interface)?;
            endpoint.flags |= endpoint::FLAG_ENFORCE;
            self.maps.insert_endpoint(address, &endpoint)?;
        }
        Ok(())
    }
}
