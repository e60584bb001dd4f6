//! One look at the three worlds: the database, the kernel, the maps and pins.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use repoint_common::{endpoint::Endpoint, interface::Interface};

use super::lost;
use crate::{
    agent_socket,
    boot::boot_id,
    conf::Directories,
    datapath::{Maps, PinsSeen},
    model::{Hook, SlotId},
    netlink::{
        Direction, LinkInfo, NetfilterSocket, RouteSocket, attached_programs, links, masquerades,
    },
    netns::{Kept, NetnsInode, NetnsStore, NetnsStoreError, guard},
    node::{NodeError, age, now, policies_difference},
    slot::{Forwarding, Owner, SeenHalf, User, look_at_ways, ours_by_tcx, users},
    store::{Read, Slot, SlotState, Store, StoreError, Survey},
    threads,
};

/// Folder in `runDir` where `repoint activate` mounts namespaces.
const NETNS: &str = "netns";
/// Other names in `runDir` that are ours, beside lock files.
const OWN: [&str; 4] = ["state", "mnt", NETNS, "agent.sock"];

/// Longest duration of an ADD or DEL that is not delayed.
const LATE: Duration = Duration::from_secs(5);

/// What was seen, about at one moment.
#[derive(Debug, Clone, Default)]
pub struct Observation {
    /// When the database was read, nanoseconds since the boot.
    pub now: u64,
    /// The number of this boot, where the kernel reports it.
    pub boot: Option<String>,
    /// The owner of the slots on record.
    pub owner: Owner,
    /// What is on record.
    pub records: Survey,
    /// Every interface of the node.
    pub links: Vec<LinkInfo>,
    /// Numbers of the programs that are attached to interfaces in our place: from the container, to
    /// it.
    pub attached: HashMap<u32, [Option<u32>; 2]>,
    /// Slots' namespaces.
    pub namespaces: Namespaces,
    /// Slots of pools whose namespace is not at their containers' paths.
    pub off_path: HashSet<SlotId>,
    /// The users of namespaces of slots that seem to be abandoned.
    pub used: HashMap<NetnsInode, String>,
    /// Slots of a lost database that containers seem to use, with their users.
    pub lost: HashMap<SlotId, String>,
    /// Whether the masquerade rule is there.
    pub masquerades: bool,
    /// Sysctls of forwarding that are 0.
    pub not_forwarding: Vec<Forwarding>,
    /// Routes and neighbours of slots whose interfaces are there.
    pub halves: HashMap<SlotId, SeenHalf>,
    /// What is pinned.
    pub pins: PinsSeen,
    /// Entries of the maps, where the data plane is whole.
    pub entries: Option<Entries>,
    /// How the policies differ from those that are stored.
    pub policies: Option<String>,
    /// Files in `runDir`.
    pub files: Files,
    /// How long it took.
    pub took: Duration,
    /// The longest time for which the look blocked writes to the database.
    pub locked: Duration,
}

/// Slots' namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Namespaces {
    /// There is no place where they are kept.
    #[default]
    None,
    /// They are kept in another mount namespace, so they and the runtimes' paths are unknown.
    WrongMountNamespace,
    /// What is kept.
    Kept(Kept),
}

/// Entries of the maps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entries {
    /// Addresses.
    pub endpoints: HashMap<IpAddr, Endpoint>,
    /// Interfaces.
    pub interfaces: HashMap<u32, Interface>,
}

/// Files in `runDir`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Whether there is an agent's socket without a process that listens.
    pub deaf_socket: bool,
    /// Where `repoint activate` mounts namespaces.
    pub netns: Vec<NetnsFile>,
    /// What is not ours.
    pub unknown: Vec<String>,
}

/// A file to mount a namespace on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetnsFile {
    /// Its path.
    pub path: PathBuf,
    /// Whether something is mounted on it.
    pub mounted: bool,
    /// When it was made, nanoseconds since the boot.
    pub made: u64,
}

/// Observes a node, with or without a database. The look has a thread of its own, because it enters
/// and leaves namespaces.
///
/// The kernel is read first, then the database. A record is always written before its kernel object, so an
/// object without a record is stale. Slots' records are read once before the kernel as well: those that
/// changed in between are skipped.
pub fn observe(directories: &Directories, store: Option<&Store>) -> Result<Observation, NodeError> {
    threads::run(|| look(directories, store))?
}

fn look(directories: &Directories, store: Option<&Store>) -> Result<Observation, NodeError> {
    let begun = Instant::now();
    let (before, mut locked) = timed(store, |transaction| transaction.slot_images())?;
    let mut socket = RouteSocket::open()?;
    let links = links(&mut socket)?;
    let attached = attached(&mut socket, &links)?;
    let namespaces = namespaces(&directories.run)?;
    let pins = PinsSeen::look(&directories.bpf, &directories.run)?;
    let entries = if pins.is_whole() { entries(&directories.bpf)? } else { None };
    let masquerades = NetfilterSocket::open_netfilter().and_then(|mut s| masquerades(&mut s))?;
    let not_forwarding = not_forwarding()?;
    let files = files(&directories.run)?;
    let (records, longer) = timed(store, |transaction| transaction.survey())?;
    locked = locked.max(longer);
    // A database that was removed lacks what was recorded since.
    store.map(Store::ensure_current).transpose()?;
    let before = before.unwrap_or_default();
    let records = records.map(|records| records.read(&before)).unwrap_or_default();
    let policies = store.filter(|_| pins.is_whole());
    let policies = policies.map(|store| policies_difference(directories, store)).transpose()?;
    let mut seen = Observation {
        now: now(),
        boot: boot_id(),
        owner: Owner::of(&directories.run),
        records,
        links,
        attached,
        namespaces,
        masquerades,
        not_forwarding,
        pins,
        entries,
        policies: policies.flatten(),
        files,
        locked,
        ..Observation::default()
    };
    seen.look_at_tcx()?;
    seen.look_at_paths(&directories.run)?;
    seen.look_at_ways(&mut socket)?;
    seen.lost = lost::look(&seen, &directories.run)?;
    seen.took = begun.elapsed();
    Ok(seen)
}

/// The result of `work`, and how long it blocked writes; none without a database.
fn timed<T>(
    store: Option<&Store>,
    work: impl FnOnce(&Read<'_>) -> Result<T, StoreError>,
) -> Result<(Option<T>, Duration), StoreError> {
    let Some(store) = store else { return Ok((None, Duration::ZERO)) };
    store.read(|transaction| {
        let begun = Instant::now();
        let value = work(transaction)?;
        Ok((Some(value), begun.elapsed()))
    })
}

fn attached(
    socket: &mut RouteSocket,
    links: &[LinkInfo],
) -> Result<HashMap<u32, [Option<u32>; 2]>, NodeError> {
    let both =
        |link: &LinkInfo| [(link.ifindex, Direction::Ingress), (link.ifindex, Direction::Egress)];
    let places: Vec<_> = links.iter().flat_map(both).collect();
    let programs = attached_programs(socket, &places)?;
    let pairs = links.iter().zip(programs.chunks_exact(2));
    Ok(pairs.map(|(link, pair)| (link.ifindex, [pair[0], pair[1]])).collect())
}

fn namespaces(run: &Path) -> Result<Namespaces, NodeError> {
    let netns_store = match NetnsStore::open_existing(run) {
        Err(NetnsStoreError::WrongMountNamespace { .. }) => {
            return Ok(Namespaces::WrongMountNamespace);
        }
        Ok(None) => return Ok(Namespaces::None),
        found => found?,
    };
    let Some(netns_store) = netns_store else { return Ok(Namespaces::None) };
    Ok(Namespaces::Kept(netns_store.enter(|inside| inside.kept())??))
}

fn not_forwarding() -> Result<Vec<Forwarding>, NodeError> {
    let mut off = Vec::new();
    for family in [Forwarding::Ipv4, Forwarding::Ipv6] {
        off.extend(family.is_off()?.then_some(family));
    }
    Ok(off)
}

fn entries(bpf: &Path) -> Result<Option<Entries>, NodeError> {
    let Some(maps) = Maps::open_existing(bpf)? else { return Ok(None) };
    let (endpoints, interfaces) = (maps.endpoints()?, maps.interfaces()?);
    Ok(Some(Entries {
        endpoints: endpoints.into_iter().collect(),
        interfaces: interfaces.into_iter().collect(),
    }))
}

fn files(run: &Path) -> Result<Files, NodeError> {
    let mut files = Files {
        deaf_socket: agent_socket::path(run).exists() && !agent_socket::is_served(run),
        ..Files::default()
    };
    for entry in folder(run)? {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_lock = Path::new(&name).extension().is_some_and(|suffix| suffix == "lock");
        if !is_lock && !OWN.contains(&name.as_str()) {
            files.unknown.push(name);
        }
    }
    for entry in folder(&run.join(NETNS))? {
        let path = entry.path();
        let mounted = guard::is_mount(&path).unwrap_or(false);
        // The file's own time, and not that of what is mounted on it.
        let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        let made = modified.map_or(u64::MAX, |made| since_boot(made, SystemTime::now(), now()));
        files.netns.push(NetnsFile { path, mounted, made });
    }
    files.unknown.sort_unstable();
    files.netns.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

/// A file's time in nanoseconds since the boot; `wall` and `now` are the same moment. A file with a later
/// time than now was made before the time of day was set back. Its age is unknown, and it counts as old.
fn since_boot(made: SystemTime, wall: SystemTime, now: u64) -> u64 {
    wall.duration_since(made)
        .map_or(0, |age| now.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)))
}

/// What is in a folder; nothing where it is not there.
fn folder(path: &Path) -> Result<Vec<fs::DirEntry>, NodeError> {
    let failed = |source| NodeError::File { what: "read", path: path.to_owned(), source };
    match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries.map_err(failed)?.collect::<io::Result<_>>().map_err(failed),
    }
}

impl Observation {
    /// Looks at the programs of slots that are attached by tcx: those are not among the filters.
    fn look_at_tcx(&mut self) -> Result<(), NodeError> {
        let Some(pinned) = self.pins.programs else { return Ok(()) };
        for slot in self.records.slots.iter().filter(|slot| slot.hook == Hook::Tcx) {
            let Some(ifindex) = slot.host_ifindex() else { continue };
            if let Some(attached) = self.attached.get_mut(&ifindex) {
                *attached = ours_by_tcx(ifindex, pinned)?;
            }
        }
        Ok(())
    }

    /// Finds slots in use whose namespaces are not at their containers' paths. Also finds the
    /// processes that use the namespaces of these slots, and of slots that are late.
    fn look_at_paths(&mut self, run: &Path) -> Result<(), NodeError> {
        let Namespaces::Kept(kept) = &self.namespaces else { return Ok(()) };
        let slots = &self.records.slots;
        self.off_path = slots.iter().filter(|slot| is_off_path(slot)).map(|slot| slot.id).collect();
        let names: HashSet<_> = self.links.iter().map(|link| link.name.as_str()).collect();
        let lost = |slot: &Slot| {
            slot.owns_netns()
                && slot.state() == SlotState::Active
                && !names.contains(slot.id.host_ifname().as_str())
        };
        let doubtful = |slot: &&Slot| {
            self.off_path.contains(&slot.id) || is_late(slot, self.now) || lost(slot)
        };
        let doubtful: Vec<&Slot> = slots.iter().filter(doubtful).collect();
        self.used = others_who_use(&doubtful, kept, run)?;
        Ok(())
    }

    /// Reads the routes and neighbour entries for slots' addresses. A slot that changes meanwhile
    /// does no harm, because a difference must be seen twice.
    fn look_at_ways(&mut self, socket: &mut RouteSocket) -> Result<(), NodeError> {
        let indices: HashSet<u32> = self.links.iter().map(|link| link.ifindex).collect();
        let is_there = |slot: &&Slot| {
            slot.state().is_settled()
                && slot.host_ifindex().is_some_and(|own| indices.contains(&own))
        };
        let slots: Vec<&Slot> = self.records.slots.iter().filter(is_there).collect();
        let ways = look_at_ways(socket, &slots)?;
        self.halves = slots.iter().map(|slot| slot.id).zip(ways).collect();
        Ok(())
    }
}

/// The users of some slots' namespaces, beside the mounts at their containers' paths.
///
/// Skips a slot whose namespace is no longer in the store: its inode number may belong to another namespace
/// by now.
pub(super) fn others_who_use(
    slots: &[&Slot],
    kept: &Kept,
    run: &Path,
) -> Result<HashMap<NetnsInode, String>, NodeError> {
    let is_there =
        |slot: &Slot| !slot.owns_netns() || kept.slots.get(&slot.id).copied() == slot.netns;
    let own: HashMap<NetnsInode, &Slot> = slots
        .iter()
        .filter(|slot| is_there(slot))
        .filter_map(|slot| Some((slot.netns?, *slot)))
        .collect();
    if own.is_empty() {
        return Ok(HashMap::new());
    }
    let netns_store = NetnsStore::open_existing(run)?;
    let inode =
        netns_store.map(|netns_store| netns_store.inode()).transpose()?.map(|inode| inode.inode);
    let users = users(&own.keys().copied().collect::<Vec<_>>(), inode)?;
    // A slot's own mount over the runtime's path does not count as a use.
    let is_bound_over = |inode: &NetnsInode, user: &User| match user {
        User::Mount { path, .. } => {
            own.get(inode).is_some_and(|slot| slot.netns_path.as_ref() == Some(path))
        }
        _ => false,
    };
    let is_known = |user: &User| !matches!(user, User::Unproved { .. });
    let users =
        users.into_iter().filter(|(inode, user)| is_known(user) && !is_bound_over(inode, user));
    Ok(users.map(|(inode, user)| (inode, user.to_string())).collect())
}

/// Whether the namespace of a pool's slot in use is not at its container's path.
pub(super) fn is_off_path(slot: &Slot) -> bool {
    let in_use = slot.owns_netns() && slot.state() == SlotState::Active;
    slot.netns_path.as_deref().filter(|_| in_use).is_some_and(|path| {
        let found = fs::metadata(path).ok();
        found.map(|found| NetnsInode::of(&found)) != slot.netns
    })
}

/// Whether an ADD or DEL of a pool's slot takes longer than it should.
fn is_late(slot: &Slot, now: u64) -> bool {
    slot.owns_netns()
        && slot.container.is_some()
        && !matches!(slot.state(), SlotState::Active)
        && age(slot.changed, now) > LATE
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time of day may be set in either direction while a file is there.
    #[test]
    fn a_files_age_survives_a_clock_that_is_set() {
        let second = 1_000_000_000;
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let made = |ago: i64| {
            let by = Duration::from_secs(ago.unsigned_abs());
            if ago < 0 { wall + by } else { wall - by }
        };
        let since = |ago| since_boot(made(ago), wall, 500 * second);
        assert_eq!(since(0), 500 * second);
        assert_eq!(since(60), 440 * second);
        assert_eq!(since(10_000), 0, "older than the boot, if the clock is right");
        assert_eq!(since(-1), 0, "made after now: the clock was set back");
        assert_eq!(since(-900_000), 0);
    }
}
