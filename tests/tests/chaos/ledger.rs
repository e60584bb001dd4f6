//! What the runtime knows of containers, and what it has seen that must not be.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result};
use repoint_tests::{
    netns::{Inode, Netns},
    trust::{Domain, History},
};
use serde_json::Value;

/// What a container has for itself while it is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Belongings {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The slot's interface on the node.
    pub host_ifname: String,
    /// The namespace at its path.
    pub namespace: Inode,
}

impl Belongings {
    /// What ADD said, and what is at the path.
    pub fn of(result: &Value, netns: &Netns) -> Result<Self> {
        let address = |ip: &Value| {
            let text = ip["address"].as_str().context("an address is no text")?;
            let (address, _) = text.split_once('/').context("an address has no prefix length")?;
            address.parse().with_context(|| format!("address {text}"))
        };
        let ips = result["ips"].as_array().context("the result has no ips")?;
        let name = result["interfaces"][0]["name"].as_str();
        Ok(Self {
            addresses: ips.iter().map(address).collect::<Result<_>>()?,
            host_ifname: name.context("the result has no interface on the node")?.to_owned(),
            namespace: netns.inode()?,
        })
    }

    fn things(&self) -> impl Iterator<Item = Thing> {
        let addresses = self.addresses.iter().copied().map(Thing::Address);
        let slot = Thing::Slot(self.host_ifname.clone());
        addresses.chain([slot, Thing::Namespace(self.namespace)])
    }
}

/// What nobody shares.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Thing {
    Address(IpAddr),
    Slot(String),
    Namespace(Inode),
}

/// Who owns what, and what went wrong. Container ids are unique over networks.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Books>);

#[derive(Debug, Default)]
struct Books {
    owners: HashMap<Thing, String>,
    /// Containers that their runtime knows of: GC is to leave them alone.
    known: BTreeSet<String>,
    double_owners: usize,
    /// Trust domains of the containers that each namespace had.
    history: History,
    findings: Vec<String>,
    calls: BTreeMap<&'static str, Calls>,
}

/// Calls of a verb.
#[derive(Debug, Default, Clone, Copy)]
pub struct Calls {
    pub made: usize,
    pub killed: usize,
}

impl Ledger {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A container has these from now on. They are nobody else's.
    pub fn own(&self, container: &str, belongings: &Belongings) {
        let mut books = self.books();
        for thing in belongings.things() {
            if let Some(other) = books.owners.insert(thing.clone(), container.to_owned()) {
                books.double_owners += 1;
                books.findings.push(format!("{thing:?} is {other}'s and {container}'s"));
            }
        }
    }

    /// A container of this domain has been in the namespace of this cookie.
    pub fn note(&self, cookie: u64, domain: Domain) {
        self.books().history.note(cookie, domain);
    }

    /// Every namespace's users.
    pub fn history(&self) -> History {
        self.books().history.clone()
    }

    /// There is a container from now on.
    pub fn know(&self, container: &str) {
        self.books().known.insert(container.to_owned());
    }

    /// A container may lose what it has from now on.
    pub fn disown(&self, container: &str) {
        self.books().owners.retain(|_, owner| owner != container);
    }

    /// A runtime forgets a container: it is for GC from now on.
    pub fn forget(&self, container: &str) {
        self.disown(container);
        self.books().known.remove(container);
    }

    /// Containers that are not forgotten.
    pub fn known(&self) -> BTreeSet<String> {
        self.books().known.clone()
    }

    /// Records what must not be.
    pub fn find(&self, finding: String) {
        self.books().findings.push(finding);
    }

    /// Counts a call.
    pub fn count(&self, verb: &'static str, killed: bool) {
        let mut books = self.books();
        let calls = books.calls.entry(verb).or_default();
        calls.made += 1;
        calls.killed += usize::from(killed);
    }

    /// What must not be, so far.
    pub fn findings(&self) -> Vec<String> {
        self.books().findings.clone()
    }

    /// Things that two had at a time.
    pub fn double_owners(&self) -> usize {
        self.books().double_owners
    }

    /// Calls by verb.
    pub fn calls(&self) -> BTreeMap<&'static str, Calls> {
        self.books().calls.clone()
    }
}
