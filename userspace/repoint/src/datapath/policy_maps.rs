//! The maps that policies are read from.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    net::IpAddr,
    path::Path,
    thread,
    time::Duration,
};

use aya::maps::{
    Array, MapData, MapError,
    lpm_trie::{Key, LpmTrie},
};
use ipnet::IpNet;
use nix::{
    errno::Errno,
    libc,
    time::{ClockId, clock_gettime},
};
use repoint_common::{
    conntrack::{self, Connection, ConnectionKey},
    policy::{self, Identity, IdentityKey, Network, Policy, RulesKey},
    settings,
};

use super::{
    DatapathError, Pins,
    pinned_map::{PinnedMap, errno, open_map},
};

/// How many former rules are kept before they are removed.
const FORMER: usize = 1024;
/// `MEMBARRIER_CMD_GLOBAL` of `linux/membarrier.h`.
const MEMBARRIER_CMD_GLOBAL: i32 = 1;
/// Longer than a program runs.
const PROGRAM_TIME: Duration = Duration::from_secs(1);

/// Policies, identities and networks of a loaded data plane.
///
/// What is written applies to the next flow. [`Self::raise_generation`] makes it apply to flows that are open.
pub struct PolicyMaps {
    policies: RefCell<Array<MapData, u64>>,
    rules: PinnedMap<RulesKey, Policy>,
    /// Keys of former rules, which programs may still read.
    former: RefCell<Vec<u64>>,
    identities: PinnedMap<IdentityKey, Identity>,
    networks: RefCell<Option<Networks>>,
    pins: Pins,
    tcp: PinnedMap<ConnectionKey, Connection>,
    other: PinnedMap<ConnectionKey, Connection>,
    settings: RefCell<Array<MapData, u32>>,
}

struct Networks {
    v4: LpmTrie<MapData, [u8; 4], Network>,
    v6: LpmTrie<MapData, [u8; 16], Network>,
}

impl Drop for PolicyMaps {
    fn drop(&mut self) {
        if let Err(error) = self.remove_former() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "former rules stay in the map"
            );
        }
    }
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
            policies: RefCell::new(open_map(pins.path(policy::MAP))?),
            rules: PinnedMap::new(&pins, policy::MAP_RULES),
            former: RefCell::default(),
            identities: PinnedMap::new(&pins, policy::MAP_IDENTITIES),
            networks: RefCell::default(),
            tcp: PinnedMap::new(&pins, conntrack::MAP_TCP),
            other: PinnedMap::new(&pins, conntrack::MAP_OTHER),
            settings: RefCell::new(open_map(pins.path(settings::MAP))?),
            pins,
        }))
    }

    /// Makes or replaces a policy, at once for all identities that have it.
    ///
    /// Where two processes do so for one number at once, rules of one of them stay in the map until
    /// [`Self::remove_unused_rules`].
    pub fn insert_policy(&self, number: u32, policy: &Policy) -> Result<(), DatapathError> {
        loop {
            let version = since_boot().max(1);
            let (key, called) = (RulesKey { version }, format_args!("policy {number}"));
            if self.rules.create(&key, policy, &called)? {
                return self.point(number, version);
            }
        }
    }

    /// The rules of a policy, if it is there.
    pub fn policy(&self, number: u32) -> Result<Option<Policy>, DatapathError> {
        let version = self.policies.borrow().get(&number, 0).map_err(of_policy("read", number))?;
        self.rules.get(&RulesKey { version }, &format_args!("policy {number}"))
    }

    /// The numbers of all policies.
    pub fn policies(&self) -> Result<Vec<u32>, DatapathError> {
        let policies = self.policies.borrow();
        let mut numbers = Vec::new();
        for number in 1..policies.len() {
            if policies.get(&number, 0).map_err(of_policy("read", number))? != 0 {
                numbers.push(number);
            }
        }
        Ok(numbers)
    }

    /// Removes rules that no policy has. No other process may write policies meanwhile.
    pub fn remove_unused_rules(&self) -> Result<(), DatapathError> {
        let policies = self.policies.borrow();
        let mut used = HashSet::new();
        for number in 1..policies.len() {
            used.insert(policies.get(&number, 0).map_err(of_policy("read", number))?);
        }
        drop(policies);
        let all: BTreeSet<u64> = self.rules.keys()?.iter().map(|key| key.version).collect();
        let mut former = self.former.borrow_mut();
        former.retain(|version| !all.contains(version));
        former.extend(all.iter().filter(|version| !used.contains(version)));
        drop(former);
        self.remove_former()
    }

    /// Removes a policy. Slots whose identities have it send or receive nothing then.
    pub fn remove_policy(&self, number: u32) -> Result<(), DatapathError> {
        self.point(number, 0)
    }

    /// Gives a policy other rules, or none.
    fn point(&self, number: u32, version: u64) -> Result<(), DatapathError> {
        let mut policies = self.policies.borrow_mut();
        let former = policies.get(&number, 0).map_err(of_policy("read", number))?;
        policies.set(number, version, 0).map_err(of_policy("write", number))?;
        drop(policies);
        if former != 0 {
            self.former.borrow_mut().push(former);
        }
        if self.former.borrow().len() < FORMER { Ok(()) } else { self.remove_former() }
    }

    /// Removes rules that policies had before, once no program can read them any more. It waits for that, some
    /// milliseconds.
    pub fn remove_former(&self) -> Result<(), DatapathError> {
        if self.former.borrow().is_empty() {
            return Ok(());
        }
        wait_for_programs();
        let mut former = self.former.borrow_mut();
        while let Some(&version) = former.last() {
            let key = RulesKey { version };
            self.rules.remove(&key, &format_args!("rules of version {version}"))?;
            former.pop();
        }
        Ok(())
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

    /// What an identity is, if it is there.
    pub fn identity(&self, identity: u32) -> Result<Option<Identity>, DatapathError> {
        let key = IdentityKey { identity };
        self.identities.get(&key, &format_args!("identity {identity}"))
    }

    /// What all identities are.
    pub fn identities(&self) -> Result<BTreeMap<u32, Identity>, DatapathError> {
        let entries = self.identities.entries()?.into_iter();
        Ok(entries.map(|(key, what)| (key.identity, what)).collect())
    }

    /// All prefixes with what their addresses are.
    pub fn networks(&self) -> Result<BTreeMap<IpNet, Network>, DatapathError> {
        let mut found = BTreeMap::new();
        self.with_networks(|networks| {
            for entry in &networks.v4 {
                let (key, network) = entry.map_err(listing(policy::MAP_NETWORKS_V4))?;
                let address = IpAddr::from(key.data());
                found.extend(prefix(address, key.prefix_len()).map(|prefix| (prefix, network)));
            }
            for entry in &networks.v6 {
                let (key, network) = entry.map_err(listing(policy::MAP_NETWORKS_V6))?;
                let address = IpAddr::from(key.data());
                found.extend(prefix(address, key.prefix_len()).map(|prefix| (prefix, network)));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Mark of the policies that the maps hold whole; 0: none.
    pub fn installed(&self) -> Result<u32, DatapathError> {
        let settings = self.settings.borrow();
        settings.get(&settings::POLICIES_INSTALLED, 0).map_err(of_settings("read"))
    }

    /// Records that the maps hold the policies of a mark whole.
    pub fn record_installed(&self, mark: u32) -> Result<(), DatapathError> {
        let mut settings = self.settings.borrow_mut();
        let set = settings.set(settings::POLICIES_INSTALLED, mark, 0);
        set.map_err(of_settings("write"))
    }

    fn with_networks<T>(
        &self,
        work: impl FnOnce(&mut Networks) -> Result<T, DatapathError>,
    ) -> Result<T, DatapathError> {
        let mut networks = self.networks.borrow_mut();
        match &mut *networks {
            Some(open) => work(open),
            closed => work(closed.insert(Networks {
                v4: open_map(self.pins.path(policy::MAP_NETWORKS_V4))?,
                v6: open_map(self.pins.path(policy::MAP_NETWORKS_V6))?,
            })),
        }
    }

    /// Makes or replaces what the addresses of a prefix are.
    pub fn insert_network(&self, prefix: IpNet, network: &Network) -> Result<(), DatapathError> {
        let length = u32::from(prefix.prefix_len());
        self.with_networks(|networks| {
            let inserted = match prefix.trunc() {
                IpNet::V4(v4) => {
                    networks.v4.insert(&Key::new(length, v4.addr().octets()), network, 0)
                }
                IpNet::V6(v6) => {
                    networks.v6.insert(&Key::new(length, v6.addr().octets()), network, 0)
                }
            };
            inserted.map_err(failure("write", &prefix))
        })
    }

    /// Removes what the addresses of a prefix are, if it was there.
    pub fn remove_network(&self, prefix: IpNet) -> Result<(), DatapathError> {
        let length = u32::from(prefix.prefix_len());
        self.with_networks(|networks| {
            let removed = match prefix.trunc() {
                IpNet::V4(v4) => networks.v4.remove(&Key::new(length, v4.addr().octets())),
                IpNet::V6(v6) => networks.v6.remove(&Key::new(length, v6.addr().octets())),
            };
            match removed {
                Err(source) if errno(&source) == Some(Errno::ENOENT) => Ok(()),
                removed => removed.map_err(failure("remove", &prefix)),
            }
        })
    }

    /// Makes the next packet of each open flow be judged again, by what the maps say now.
    ///
    /// One process at a time may call it: it reads the number and writes the next.
    pub fn raise_generation(&self) -> Result<(), DatapathError> {
        if cfg!(not(target_arch = "x86_64")) {
            // A program may read the new number, and rules from before it, where loads are not kept in order.
            wait_for_programs();
        }
        let mut settings = self.settings.borrow_mut();
        let generation = settings.get(&settings::POLICY_GENERATION, 0);
        let raised = generation.and_then(|generation| {
            settings.set(settings::POLICY_GENERATION, generation.wrapping_add(1), 0)
        });
        raised.map_err(of_settings("write"))
    }

    /// Flows that policies let pass, TCP first. One that begins or ends meanwhile may be missing.
    pub fn connections(&self) -> Result<Vec<(ConnectionKey, Connection)>, DatapathError> {
        let mut all = self.tcp.entries()?;
        all.extend(self.other.entries()?);
        Ok(all)
    }
}

/// Waits until each program that runs now has ended.
///
/// Programs run in read-side critical sections of RCU, whose end `membarrier(2)` waits for in this mode. On kernels
/// that lack it (`nohz_full`), a second is long enough.
#[expect(unsafe_code, reason = "no crate calls membarrier(2) in this mode")]
fn wait_for_programs() {
    // SAFETY: takes numbers only.
    let waited = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if waited != 0 {
        pause(PROGRAM_TIME);
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing says when programs have ended")]
fn pause(time: Duration) {
    thread::sleep(time);
}

/// Nanoseconds of `CLOCK_BOOTTIME`.
fn since_boot() -> u64 {
    // The kernel always has this clock.
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn of_policy(action: &'static str, number: u32) -> impl Fn(MapError) -> DatapathError {
    move |source| DatapathError::Entry {
        action,
        key: format!("policy {number}"),
        map: policy::MAP,
        source: Box::new(source),
    }
}

fn of_settings(action: &'static str) -> impl Fn(MapError) -> DatapathError {
    move |source| DatapathError::Entry {
        action,
        key: "the state of policies".to_owned(),
        map: settings::MAP,
        source: Box::new(source),
    }
}

fn listing(map: &'static str) -> impl Fn(MapError) -> DatapathError {
    move |source| DatapathError::Entry {
        action: "list",
        key: "the prefixes".to_owned(),
        map,
        source: Box::new(source),
    }
}

fn prefix(address: IpAddr, length: u32) -> Option<IpNet> {
    IpNet::new(address, u8::try_from(length).ok()?).ok()
}

fn failure(action: &'static str, prefix: &IpNet) -> impl Fn(MapError) -> DatapathError {
    let (key, map) = match prefix {
        IpNet::V4(_) => (prefix.to_string(), policy::MAP_NETWORKS_V4),
        IpNet::V6(_) => (prefix.to_string(), policy::MAP_NETWORKS_V6),
    };
    move |source| DatapathError::Entry { action, key: key.clone(), map, source: Box::new(source) }
}
