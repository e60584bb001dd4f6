//! Links that were added, removed or changed. No operation describes these.

use super::Capture;

/// Prefix of lines about Ethernet addresses that a link takes packets for: of groups that routers
/// join, for one.
const HEARD: &str = "link-layer address on ";
/// Prefixes of lines that come and go with a link: offloads, settings.
const OFFLOADS: &str = "features of link ";
const SETTING: &str = "setting ";
/// Folders of sysctls below which each link has one of its own.
const PER_LINK: [&str; 2] = ["conf", "neigh"];

impl Capture<'_> {
    /// Takes in the line of a link that is new or changed. Lines of links are long: for a changed link
    /// the report has only the words that differ, each behind its name.
    pub(super) fn link(&mut self, line: &str) {
        let Some(name) = name(line) else { return };
        let old = self.difference.missing.iter().find(|old| self::name(old) == Some(name));
        let Some(old) = old else {
            return self.things.push(format!("added: link {name} (there is no such operation)"));
        };
        let (old, new): (Vec<_>, Vec<_>) = (old.split(' ').collect(), line.split(' ').collect());
        let pairs = old.windows(2).zip(new.windows(2));
        let changes = pairs.filter(|(old, new)| old[1] != new[1]);
        let changes: Vec<_> =
            changes.map(|(old, new)| format!("{} is now {}", old.join(" "), new[1])).collect();
        let reported = if old.len() == new.len() { changes.join(", ") } else { line.to_owned() };
        self.things.push(format!("changed: link {name}: {reported} (there is no such operation)"));
    }

    /// Whether a link of this name is new or changed.
    pub(super) fn has_link(&self, wanted: &str) -> bool {
        self.difference.added.iter().any(|line| name(line) == Some(wanted))
    }

    /// Whether a sysctl belongs to a link that only these lines describe. That is a link that came, or
    /// one that went.
    pub(super) fn is_of(&self, path: &str, lines: &[String]) -> bool {
        let mut parts = path.split('/').skip(1);
        let (Some(folder), Some(link)) = (parts.next(), parts.next()) else { return false };
        PER_LINK.contains(&folder) && self.came_or_went(link, lines)
    }

    /// Whether a line is about something that comes and goes with a link which `lines`, and not their
    /// counterpart, describe; or that follows from sysctls and addresses, which are reported themselves.
    pub(super) fn follows(&self, line: &str, lines: &[String]) -> bool {
        if line.starts_with(HEARD) {
            return true;
        }
        let offloads = line.strip_prefix(OFFLOADS).and_then(|rest| rest.split_once(": "));
        let setting = || line.strip_prefix(SETTING)?.split_once('/');
        let reported = offloads.or_else(setting);
        reported.is_some_and(|(link, _)| self.came_or_went(link, lines))
    }

    fn came_or_went(&self, link: &str, lines: &[String]) -> bool {
        let count = |lines: &[String]| lines.iter().filter(|line| name(line) == Some(link)).count();
        let both = count(&self.difference.added) + count(&self.difference.missing);
        count(lines) == 1 && both == 1
    }
}

/// The name in the line of a link.
pub(super) fn name(line: &str) -> Option<&str> {
    Some(line.strip_prefix("link ")?.split_once(": ")?.0)
}
