//! A node: its directories, its database and its data plane.

pub(crate) mod addresses;
pub(crate) mod configuration;
pub(crate) mod conflict;
pub(crate) mod effective;
pub(crate) mod error;
mod explain;
pub(crate) mod halves;
pub(crate) mod holders;
mod isolation;
mod policies;
mod records;
pub(crate) mod request;
pub(crate) mod reserved;
pub(crate) mod traffic;

pub use addresses::COOLDOWN_YIELDED;
pub use effective::{mtu_of_pool, record_pool};
pub use error::{CheckError, NodeError, PoolError, StoredTemplateError};
pub use explain::{EndName, Explanation};
pub(crate) use halves::half_differs;
pub use halves::{
    HalfFate, Waiting, owners_of, repair_halves, restore_node, slots_on_record, waiting_for_looks,
};
pub use isolation::Isolated;
pub use policies::policies_difference;
pub use request::{NetworkRequest, Request};
pub use reserved::reserved_addresses;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::time::{ClockId, clock_gettime};

use crate::{
    boot::boot_id,
    conf::Directories,
    datapath::{Datapath, Maps, PolicyMaps},
    model::{SlotId, TemplateName},
    netlink::uplink,
    netns::{Netns, NetnsDirectory, NetnsStore},
    private,
    slot::Owner,
    store::{Store, StoreError, StoredTemplate, Templates},
    template::MTU,
};

/// MTU of a node without an uplink, bytes: Ethernet's.
const MTU_WITHOUT_UPLINK: u32 = 1500;

/// An open node.
#[derive(Debug)]
pub struct Node {
    /// Where its state is.
    pub directories: Directories,
    /// Its database.
    pub store: Store,
    is_agents: bool,
    /// The open directory of slots' namespaces, for programs that activate several slots.
    directory: Mutex<Option<NetnsDirectory>>,
    /// The database of templates, opened at its first use and once a process.
    templates: Mutex<Option<Arc<Templates>>>,
    /// Maps that are open, with the inode number of the folder of their pins.
    maps: Mutex<Option<(u64, Maps)>>,
    /// The same of the maps of policies.
    policy_maps: Mutex<Option<(u64, PolicyMaps)>>,
}

impl Node {
    /// Opens a node, making its database where there is none.
    pub fn open(directories: &Directories) -> Result<Self, NodeError> {
        private::folder(&directories.run)?;
        let store = Store::open(&directories.run.join("state"))?;
        Ok(Self::new(directories, store))
    }

    fn new(directories: &Directories, store: Store) -> Self {
        let directories = directories.clone();
        let (directory, templates) = (Mutex::new(None), Mutex::new(None));
        let (maps, policy_maps) = (Mutex::new(None), Mutex::new(None));
        Self { directories, store, is_agents: false, directory, templates, maps, policy_maps }
    }

    /// The node for the agent, which never creates the namespace store.
    #[must_use]
    pub fn for_agent(self) -> Self {
        Self { is_agents: true, ..self }
    }

    /// Opens a node that has a database.
    pub fn open_existing(directories: &Directories) -> Result<Option<Self>, NodeError> {
        private::existing(&directories.run)?;
        let store = Store::open_existing(&directories.run.join("state"))?;
        Ok(store.map(|store| Self::new(directories, store)))
    }

    /// Opens a node that has a database, to read it: nothing in it is changed.
    pub fn look(directories: &Directories) -> Result<Option<Self>, NodeError> {
        let store = Store::look(&directories.run.join("state"))?;
        Ok(store.map(|store| Self::new(directories, store)))
    }

    /// The folder of the database of templates.
    #[must_use]
    pub fn templates_folder(directories: &Directories) -> PathBuf {
        directories.state.join("templates")
    }

    /// The templates that are stored on this node, with a database made where there is none.
    pub fn templates(&self) -> Result<Arc<Templates>, NodeError> {
        let mut templates = self.templates.lock().unwrap_or_else(PoisonError::into_inner);
        // The operator may have moved the folder away, and stored others.
        if let Some(open) = templates.as_ref().filter(|open| open.ensure_current().is_ok()) {
            return Ok(Arc::clone(open));
        }
        private::folder(&self.directories.state)?;
        let open = Arc::new(Templates::open(&Self::templates_folder(&self.directories))?);
        *templates = Some(Arc::clone(&open));
        Ok(open)
    }

    /// The template of this name, if it is stored on this node.
    pub fn template(&self, name: &TemplateName) -> Result<Option<StoredTemplate>, NodeError> {
        if !Self::templates_folder(&self.directories).exists() {
            return Ok(None);
        }
        Ok(self.templates()?.get(name)?)
    }

    /// The data plane, loaded if it is not.
    pub fn load_datapath(&self) -> Result<Datapath, NodeError> {
        let datapath = Datapath::load(&self.directories.bpf, &self.directories.run)?;
        self.provide_stored_policies()?;
        Ok(datapath)
    }

    /// Where the slots' namespaces are kept, made if there is no such place.
    pub fn netns_store(&self) -> Result<NetnsStore, NodeError> {
        let run = &self.directories.run;
        if self.is_agents {
            return NetnsStore::open_for_agent(run)?.ok_or(NodeError::NoNetnsStore);
        }
        Ok(NetnsStore::open(run)?)
    }

    /// Where the slots' namespaces are kept, if there is such a place.
    pub fn existing_netns_store(&self) -> Result<Option<NetnsStore>, NodeError> {
        Ok(NetnsStore::open_existing(&self.directories.run)?)
    }

    /// Opens the namespace of a slot without going where it is: for a process that has threads.
    pub(crate) fn netns_from_directory(&self, slot: SlotId) -> Result<Netns, NodeError> {
        let mut directory = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = directory.as_ref().and_then(|directory| directory.netns(slot).ok()) {
            return Ok(opened);
        }
        // No directory was open, or it leads to a namespace store that was replaced.
        let netns_store = self.existing_netns_store()?.ok_or(NodeError::NoNetnsStore)?;
        let opened = netns_store.directory()?;
        let netns = opened.netns(slot)?;
        *directory = Some(opened);
        Ok(netns)
    }

    /// Calls `work` with the maps, if the data plane is loaded. The maps stay open until another
    /// data plane replaces this one.
    pub(crate) fn with_maps<T>(
        &self,
        work: impl FnOnce(&Maps) -> Result<T, NodeError>,
    ) -> Result<Option<T>, NodeError> {
        let mut open = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(folder) = Maps::folder(&self.directories.bpf)? else {
            *open = None;
            return Ok(None);
        };
        if open.as_ref().is_none_or(|(known, _)| *known != folder) {
            *open = self.maps()?.map(|maps| (folder, maps));
        }
        open.as_ref().map(|(_, maps)| work(maps)).transpose()
    }

    /// The owner of its slots, as the interfaces' aliases name it.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner::of(&self.directories.run)
    }

    /// Fails in another network namespace than the host netns of the recorded slots. Their interfaces
    /// would seem to be gone there. Slots of another boot do not count: their interfaces are gone.
    pub fn ensure_host_netns(&self) -> Result<(), NodeError> {
        let here = Netns::current()?.inode();
        let (checked, boot) = self.store.read(|transaction| {
            Ok::<_, StoreError>((transaction.check_host_netns(here), transaction.boot()?))
        })?;
        match checked {
            Err(StoreError::WrongNetns { .. }) if boot.is_some() && boot != boot_id() => Ok(()),
            checked => Ok(checked?),
        }
    }

    /// The maps, where the data plane is loaded.
    pub fn maps(&self) -> Result<Option<Maps>, NodeError> {
        Ok(Maps::open_existing(&self.directories.bpf)?)
    }
}

/// The clock of slots' records, in nanoseconds since the boot, suspension included. No process can
/// set this clock, so a change of the time of day does not affect periods.
#[must_use]
pub fn now() -> u64 {
    // The kernel has that clock always.
    let since = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    nanoseconds(since)
}

/// How long it is at the time `now` since the time `since`, both of the clock of [`now`].
///
/// Zero for a time to come: another process may have recorded it after the caller looked at the clock.
#[must_use]
pub fn age(since: u64, now: u64) -> Duration {
    Duration::from_nanos(now.saturating_sub(since))
}

/// The time of day, in nanoseconds since the Unix epoch. It dates what outlives the boot, and what
/// people read.
#[must_use]
pub fn time_of_day() -> u64 {
    nanoseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// MTU of the node's uplink, bytes; Ethernet's if there is no uplink.
pub fn uplink_mtu() -> Result<u32, NodeError> {
    Ok(mtu_of_uplink()?.unwrap_or(MTU_WITHOUT_UPLINK))
}

/// MTU of the node's uplink, bytes, or the nearest that a slot's interfaces can have; none where no
/// default route leads to the outside.
pub fn mtu_of_uplink() -> Result<Option<u32>, NodeError> {
    Ok(uplink()?.map(|uplink| uplink.mtu.clamp(*MTU.start(), *MTU.end())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::TemplateSource,
        template::{AddressSource, Operation, Template, VERSION},
    };

    fn node(folder: &std::path::Path) -> Node {
        let place = |name| folder.join(name);
        let directories =
            Directories { run: place("run"), state: place("state"), bpf: place("bpf") };
        Node::open(&directories).unwrap()
    }

    /// Ages go on, whatever the operator does to the time of day.
    #[test]
    fn times_of_records_are_those_since_the_boot() {
        let uptime = || {
            let text = std::fs::read_to_string("/proc/uptime").unwrap();
            let seconds: f64 = text.split(' ').next().unwrap().parse().unwrap();
            Duration::from_secs_f64(seconds)
        };
        // The kernel shows hundredths.
        let (before, between, after) = (uptime(), Duration::from_nanos(now()), uptime());
        let tick = Duration::from_millis(10);
        assert!(before <= between + tick && between <= after + tick, "{before:?} {between:?}");
        let age = time_of_day().saturating_sub(now());
        assert!(age > now(), "the time of day is another one");
    }

    #[test]
    fn templates_that_were_moved_away_are_not_read_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let node = node(folder.path());
        let name: TemplateName = "t".parse().unwrap();
        let operations = vec![
            Operation::CreateLink { mtu: None },
            Operation::AssignAddress { from: AddressSource::Ipam },
            Operation::AttachPrograms,
        ];
        let template = Template { version: VERSION, origin: "test".to_owned(), operations };
        let source = TemplateSource::Confirmed;
        node.templates().unwrap().put(&name, &template, &source, 1).unwrap();
        assert!(node.template(&name).unwrap().is_some());
        std::fs::rename(folder.path().join("state"), folder.path().join("away")).unwrap();
        assert!(node.template(&name).unwrap().is_none());
        assert!(node.templates().unwrap().list().unwrap().is_empty());
    }
}
