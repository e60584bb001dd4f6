//! Sysctls that were set.

use super::Capture;
use crate::{
    slot::fingerprint::{IFNAME, sysctl_of},
    template::SysctlKey,
};

/// The sysctl that holds a key. Readers of a template should not learn it, and two instances should not
/// share it. The key of TCP fast open is no line of a fingerprint: each slot has another.
const SECRET: &str = "stable_secret";
/// Interface names whose sysctls change those of other interfaces, too (`devinet_copy_dflt_conf`,
/// `inet_forward_change`, `neigh_copy_dflt_parms`).
const SEVERAL: [&str; 2] = ["all", "default"];
/// The interface names whose sysctls they change.
const OTHERS: [&str; 3] = ["default", "lo", IFNAME];

impl Capture<'_> {
    pub(super) fn sysctl(&mut self, path: &str, value: &str) {
        // The sysctls of a new interface come with it.
        if self.is_of(path, &self.difference.added) {
            return;
        }
        if path.rsplit('/').next().is_some_and(|name| name == SECRET) {
            return self.things.push(format!("set: sysctl {path} (it is a secret)"));
        }
        let Ok(key) = SysctlKey::of_path(path, IFNAME) else {
            let why = "no template can name it";
            return self.things.push(format!("set: sysctl {path} = {value} ({why})"));
        };
        self.put(path.to_owned(), key, value);
        self.keep_others(path);
    }

    fn put(&mut self, path: String, key: SysctlKey, value: &str) {
        // The kernel prints tabs between the numbers of some sysctls, and accepts spaces.
        self.sysctls.insert(path, (key, value.replace('\t', " ")));
    }

    /// Also records the sysctls that setting this one may change. Their own values did not change.
    fn keep_others(&mut self, path: &str) {
        let parts: Vec<_> = path.split('/').collect();
        let [family, folder, name, last] = parts.as_slice() else { return };
        if !SEVERAL.contains(name) {
            return;
        }
        for other in OTHERS {
            let path = format!("{family}/{folder}/{other}/{last}");
            let mut values = self.now.lines().iter().filter_map(|line| sysctl_of(line));
            let value = values.find_map(|(of, value)| (of == path).then_some(value));
            if let (Some(value), Ok(key)) = (value, SysctlKey::of_path(&path, IFNAME)) {
                self.put(path, key, value);
            }
        }
    }

    /// Whether a sysctl has a value now that it had not.
    pub(super) fn is_set(&self, path: &str) -> bool {
        let mut added = self.difference.added.iter().filter_map(|line| sysctl_of(line));
        added.any(|(set, _)| set == path)
    }
}
