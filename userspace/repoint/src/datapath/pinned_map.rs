//! One pinned hash map, opened when it is first used.

use std::{cell::RefCell, fmt, path::PathBuf};

use aya::{
    Pod,
    maps::{HashMap, Map, MapData, MapError},
    sys::SyscallError,
};
use nix::errno::Errno;

use super::{DatapathError, Pins};

/// Flag of `BPF_MAP_UPDATE_ELEM`: the entry must be there (`include/uapi/linux/bpf.h`).
const BPF_EXIST: u64 = 2;
/// The same: the entry must not be there.
const BPF_NOEXIST: u64 = 1;

type Open<K, V> = HashMap<MapData, K, V>;

/// A pinned hash map.
#[derive(Debug)]
pub struct PinnedMap<K, V> {
    name: &'static str,
    path: PathBuf,
    open: RefCell<Option<Open<K, V>>>,
}

impl<K: Pod, V: Pod> PinnedMap<K, V> {
    /// The map of this name, which costs nothing yet.
    pub fn new(pins: &Pins, name: &'static str) -> Self {
        Self { name, path: pins.path(name), open: RefCell::new(None) }
    }

    /// The entry of `key`, which messages call `called`.
    pub fn get(&self, key: &K, called: &dyn fmt::Display) -> Result<Option<V>, DatapathError> {
        self.with(|map| match map.get(key, 0) {
            Ok(value) => Ok(Some(value)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(source) => Err(self.failure("read", called, source)),
        })
    }

    /// Makes or replaces the entry of `key`.
    pub fn insert(
        &self,
        key: &K,
        value: &V,
        called: &dyn fmt::Display,
    ) -> Result<(), DatapathError> {
        self.with(|map| match map.insert(key, value, 0) {
            Err(source) if errno(&source) == Some(Errno::E2BIG) => {
                Err(DatapathError::Full { map: self.name })
            }
            result => result.map_err(|source| self.failure("write", called, source)),
        })
    }

    /// Makes the entry of `key`; returns false where there is one, which stays.
    pub fn create(
        &self,
        key: &K,
        value: &V,
        called: &dyn fmt::Display,
    ) -> Result<bool, DatapathError> {
        self.with(|map| match map.insert(key, value, BPF_NOEXIST) {
            Ok(()) => Ok(true),
            Err(source) => match errno(&source) {
                Some(Errno::EEXIST) => Ok(false),
                Some(Errno::E2BIG) => Err(DatapathError::Full { map: self.name }),
                _ => Err(self.failure("write", called, source)),
            },
        })
    }

    /// Replaces the entry of `key`; [`DatapathError::Absent`] where there is none.
    pub fn replace(
        &self,
        key: &K,
        value: &V,
        called: &dyn fmt::Display,
    ) -> Result<(), DatapathError> {
        self.with(|map| match map.insert(key, value, BPF_EXIST) {
            Err(source) if errno(&source) == Some(Errno::ENOENT) => {
                Err(DatapathError::Absent { key: called.to_string(), map: self.name })
            }
            result => result.map_err(|source| self.failure("write", called, source)),
        })
    }

    /// Removes the entry of `key`, if there is one.
    pub fn remove(&self, key: &K, called: &dyn fmt::Display) -> Result<(), DatapathError> {
        self.with(|map| match map.remove(key) {
            Err(source) if errno(&source) == Some(Errno::ENOENT) => Ok(()),
            result => result.map_err(|source| self.failure("remove", called, source)),
        })
    }

    /// All entries. An entry that is made meanwhile may be missing. When an entry is removed meanwhile,
    /// the kernel may begin again, so that other entries come twice.
    pub fn entries(&self) -> Result<Vec<(K, V)>, DatapathError> {
        self.with(|map| {
            let entries: Result<_, _> = map.iter().collect();
            entries.map_err(|source| self.failure("list", &"the entries", source))
        })
    }

    /// All keys, as [`Self::entries`].
    pub fn keys(&self) -> Result<Vec<K>, DatapathError> {
        self.with(|map| {
            let keys: Result<_, _> = map.keys().collect();
            keys.map_err(|source| self.failure("list", &"the keys", source))
        })
    }

    fn with<T>(
        &self,
        f: impl FnOnce(&mut Open<K, V>) -> Result<T, DatapathError>,
    ) -> Result<T, DatapathError> {
        let mut open = self.open.borrow_mut();
        match &mut *open {
            Some(map) => f(map),
            closed => f(closed.insert(open_map(self.path.clone())?)),
        }
    }

    fn failure(
        &self,
        action: &'static str,
        key: &dyn fmt::Display,
        source: MapError,
    ) -> DatapathError {
        DatapathError::Entry {
            action,
            key: key.to_string(),
            map: self.name,
            source: Box::new(source),
        }
    }
}

/// Opens a pinned map as `M`, whose key and value must have the sizes of the map's.
pub fn open_map<M: TryFrom<Map, Error = MapError>>(path: PathBuf) -> Result<M, DatapathError> {
    match MapData::from_pin(&path).and_then(Map::from_map_data) {
        Err(source) => Err(DatapathError::OpenMap { path, source: Box::new(source) }),
        Ok(map) => M::try_from(map)
            .map_err(|source| DatapathError::Layout { path, source: Box::new(source) }),
    }
}

/// The number of the kernel's error, where it was the kernel's.
pub fn errno(error: &MapError) -> Option<Errno> {
    match error {
        MapError::SyscallError(SyscallError { io_error, .. }) => {
            io_error.raw_os_error().map(Errno::from_raw)
        }
        _ => None,
    }
}
