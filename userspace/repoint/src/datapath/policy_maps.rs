//! The maps that policies are read from.

use std::{cell::RefCell, fmt, path::Path};

use aya::maps::{
    Array, MapData, MapError,
    lpm_trie::{Key, LpmTrie},
};
use ipnet::IpNet;
use nix::errno::Errno;
use repoint_common::{
    conntrack::{self, Connection, ConnectionKey},
    policy::{self, Identity, IdentityKey, Network, Policy, PolicyKey},
    settings,
};

use super::{
    DatapathError, Pins,
    pinned_map::{PinnedMap, errno, open_map},
};

/// Policies, identities and networks of a loaded data plane.
///
/// What is written applies to the next flow. [`Self::raise_generation`] makes it apply to flows that are open.
pub struct PolicyMaps {
    policies: PinnedMap<PolicyKey, Policy>,
    identities: PinnedMap<IdentityKey, Identity>,
    networks: RefCell<Networks>,
    tcp: PinnedMap<ConnectionKey, Connection>,
    other: PinnedMap<ConnectionKey, Connection>,
    settings: RefCell<Array<MapData, u32>>,
}

struct Networks {
    v4: LpmTrie<MapData, [u8; 4], Network>,
    v6: LpmTrie<MapData, [u8; 16], Network>,
}

impl fmt::Debug for PolicyMaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyMaps").finish_non_exhaustive()
    }
}

impl PolicyMaps {
    /// The maps below `bpf_dir`, if the data plane is loaded.
    pub fn open_existing(bpf_dir: &Path) -> Result<Option<Self>, DatapathError> {
        let Some(pins) = Pins::existing(bpf_dir)? else { return Ok(None) };
        Ok(Some(Self {
            policies: PinnedMap::new(&pins, policy::MAP),
            identities: PinnedMap::new(&pins, policy::MAP_IDENTITIES),
            networks: RefCell::new(Networks {
                v4: open_map(pins.path(policy::MAP_NETWORKS_V4))?,
                v6: open_map(pins.path(policy::MAP_NETWORKS_V6))?,
            }),
            tcp: PinnedMap::new(&pins, conntrack::MAP_TCP),
            other: PinnedMap::new(&pins, conntrack::MAP_OTHER),
            settings: RefCell::new(open_map(pins.path(settings::MAP))?),
        }))
    }

    /// Makes or replaces a policy, at once for all identities that have it.
    pub fn insert_policy(&self, number: u32, policy: &Policy) -> Result<(), DatapathError> {
        self.policies.insert(&PolicyKey { number }, policy, &format_args!("policy {number}"))
    }

    /// Removes a policy. Slots whose identities have it send or receive nothing then.
    pub fn remove_policy(&self, number: u32) -> Result<(), DatapathError> {
        self.policies.remove(&PolicyKey { number }, &format_args!("policy {number}"))
    }

    /// Makes or replaces what an identity is.
    pub fn insert_identity(&self, identity: u32, what: &Identity) -> Result<(), DatapathError> {
        let key = IdentityKey { identity };
        self.identities.insert(&key, what, &format_args!("identity {identity}"))
    }

    /// Removes what an identity is. Slots that enforce policies and have it send and receive nothing then.
    pub fn remove_identity(&self, identity: u32) -> Result<(), DatapathError> {
        let key = IdentityKey { identity };
        self.identities.remove(&key, &format_args!("identity {identity}"))
    }

    /// Makes or replaces what the addresses of a prefix are.
    pub fn insert_network(&self, prefix: IpNet, network: &Network) -> Result<(), DatapathError> {
        let mut networks = self.networks.borrow_mut();
        let length = u32::from(prefix.prefix_len());
        let inserted = match prefix.trunc() {
            IpNet::V4(v4) => networks.v4.insert(&Key::new(length, v4.addr().octets()), network, 0),
            IpNet::V6(v6) => networks.v6.insert(&Key::new(length, v6.addr().octets()), network, 0),
        };
        inserted.map_err(failure("write", &prefix))
    }

    /// Removes what the addresses of a prefix are, if it was there.
    pub fn remove_network(&self, prefix: IpNet) -> Result<(), DatapathError> {
        let mut networks = self.networks.borrow_mut();
        let length = u32::from(prefix.prefix_len());
        let removed = match prefix.trunc() {
            IpNet::V4(v4) => networks.v4.remove(&Key::new(length, v4.addr().octets())),
            IpNet::V6(v6) => networks.v6.remove(&Key::new(length, v6.addr().octets())),
        };
        match removed {
            Err(source) if errno(&source) == Some(Errno::ENOENT) => Ok(()),
            removed => removed.map_err(failure("remove", &prefix)),
        }
    }

    /// Makes the next packet of each open flow be judged again, by what the maps say now.
    ///
    /// One process at a time may call it: it reads the number and writes the next.
    pub fn raise_generation(&self) -> Result<(), DatapathError> {
        let mut settings = self.settings.borrow_mut();
        let generation = settings.get(&settings::POLICY_GENERATION, 0);
        let raised = generation.and_then(|generation| {
            settings.set(settings::POLICY_GENERATION, generation.wrapping_add(1), 0)
        });
        raised.map_err(|source| DatapathError::Entry {
            action: "write",
            key: "the generation of policies".to_owned(),
            map: settings::MAP,
            source: Box::new(source),
        })
    }

    /// Flows that policies let pass, TCP first. One that begins or ends meanwhile may be missing.
    pub fn connections(&self) -> Result<Vec<(ConnectionKey, Connection)>, DatapathError> {
        let mut all = self.tcp.entries()?;
        all.extend(self.other.entries()?);
        Ok(all)
    }
}

fn failure(action: &'static str, prefix: &IpNet) -> impl Fn(MapError) -> DatapathError {
    let (key, map) = match prefix {
        IpNet::V4(_) => (prefix.to_string(), policy::MAP_NETWORKS_V4),
        IpNet::V6(_) => (prefix.to_string(), policy::MAP_NETWORKS_V6),
    };
    move |source| DatapathError::Entry { action, key: key.clone(), map, source: Box::new(source) }
}
