//! The digest by which a pool is found.

use std::hash::{Hash, Hasher};

use sha2::{Digest as _, Sha256};

use super::NetConf;
use crate::model::{IfName, PoolKey, TemplateDigest, TemplateName};

impl NetConf {
    /// Digest of what a pool's slots are built from.
    ///
    /// It covers the interface's name, the configuration, and the name and digest of the stored template,
    /// if there is one. Another build of this program may have other digests: a pool that it finds on
    /// record is built anew.
    #[must_use]
    pub fn pool_key(
        &self,
        ifname: &IfName,
        template: Option<(&TemplateName, &TemplateDigest)>,
    ) -> PoolKey {
        // The template has the same routes, MTU and masquerade; ranges are what it leaves open.
        let Self { name, ip_masq, link_local, local_path, hook, mtu, ipam, .. } = self;
        let mut hasher = Sha256Hasher(Sha256::new());
        (name, ifname, ip_masq, link_local, local_path, hook).hash(&mut hasher);
        (mtu, ipam, template).hash(&mut hasher);
        let mut key = [0; 16];
        key.copy_from_slice(&hasher.0.finalize()[..16]);
        PoolKey(key)
    }
}

/// Hashes values to more than the 64 bits of a [`Hasher`]. A collision would give a container the slot of
/// another configuration.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The first 64 bits.
    fn finish(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0.clone().finalize()[..8]);
        u64::from_le_bytes(first)
    }
}
