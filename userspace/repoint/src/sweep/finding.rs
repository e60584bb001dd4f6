//! What a sweep finds, and what is to be done about it.

use std::{collections::HashMap, fmt, net::IpAddr, path::PathBuf, time::Duration};

use serde::Serialize;

use crate::{
    model::{AttachmentId, NetworkName, SlotId},
    node::age,
    slot::Forwarding,
    store::{IndexFault, SlotState},
};

/// Which kind of thing is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The database is of another boot than this one.
    Boot,
    /// A record that cannot be read.
    Record,
    /// An entry of the index of slots that is wrong, or missing.
    Index,
    /// An attachment of a slot that is not on record or not its own, or the other way round.
    Attachment,
    /// An address of a slot that is not on record or has it not, or the other way round.
    Address,
    /// Something of the data plane's pins.
    Pin,
    /// A slot's map entries are missing, or say something else than its record.
    Entries,
    /// The policies of the node are not those that are stored.
    Policies,
    /// A slot's interface does not run the pinned programs.
    Filter,
    /// A slot's interface on the node, or the way to its addresses, is not as it was built.
    HostHalf,
    /// A slot that stays in a state which slots only pass through.
    Stuck,
    /// A slot whose container is gone.
    Abandoned,
    /// A slot whose interface is gone, or belongs to another slot or program.
    SlotLink,
    /// A slot whose namespace is gone, or was replaced by another.
    SlotNamespace,
    /// An endpoint in the maps that is no slot's.
    Endpoint,
    /// An interface in the maps that is no slot's.
    Interface,
    /// An interface on the node that is no slot's.
    Link,
    /// A namespace that is kept for no slot.
    Namespace,
    /// The masquerade rule is missing, or no slot needs it.
    Masquerade,
    /// The node does not forward packets of a family that a slot has addresses of.
    Forwarding,
    /// A file in `runDir` that no process needs.
    File,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 21] = [
        Self::Boot,
        Self::Record,
        Self::Index,
        Self::Attachment,
        Self::Address,
        Self::Pin,
        Self::Entries,
        Self::Policies,
        Self::Filter,
        Self::HostHalf,
        Self::Stuck,
        Self::Abandoned,
        Self::SlotLink,
        Self::SlotNamespace,
        Self::Endpoint,
        Self::Interface,
        Self::Link,
        Self::Namespace,
        Self::Masquerade,
        Self::Forwarding,
        Self::File,
    ];

    /// As tables, logs and JSON have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Record => "record",
            Self::Index => "index",
            Self::Attachment => "attachment",
            Self::Address => "address",
            Self::Pin => "pin",
            Self::Entries => "entries",
            Self::Policies => "policies",
            Self::Filter => "filter",
            Self::HostHalf => "host-half",
            Self::Stuck => "stuck",
            Self::Abandoned => "abandoned",
            Self::SlotLink => "slot-link",
            Self::SlotNamespace => "slot-namespace",
            Self::Endpoint => "endpoint",
            Self::Interface => "interface",
            Self::Link => "link",
            Self::Namespace => "namespace",
            Self::Masquerade => "masquerade",
            Self::Forwarding => "forwarding",
            Self::File => "file",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A slot as it was when a finding was made. A repair skips a slot that has changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    /// Its number.
    pub slot: SlotId,
    /// Where it was in its life.
    pub state: SlotState,
    /// When that changed last, nanoseconds since the boot.
    pub changed: u64,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Remedy {
    /// Nothing: it is not ours, it is in use, or an operator must decide.
    Leave,
    /// Forget all slots: they ended with the boot.
    ForgetBoot,
    /// Repair an entry of the index.
    RepairIndex(IndexFault),
    /// Forget an attachment that leads to this slot.
    ForgetAttachment(AttachmentId, SlotId),
    /// Record the attachment of a slot.
    RecordAttachment(Version),
    /// Forget the container of a slot that waits.
    Detach(Version),
    /// Forget that an address is this slot's.
    ForgetAddress(IpAddr, SlotId),
    /// Record that an address is this slot's.
    RecordAddress(IpAddr, Version),
    /// Load a new data plane.
    Reload,
    /// Remove a folder of pins that is not whole.
    ClearPins,
    /// Write a slot's map entries as its record says.
    Point(Version),
    /// Copy the stored policies, and write them into the maps.
    RestorePolicies,
    /// Attach the programs to a slot's interface.
    Attach(Version),
    /// Restore a slot's half on the node.
    RestoreHalf(Version),
    /// Remove all there is of a slot.
    Delete(Version),
    /// Scrub a slot again whose scrub was interrupted.
    Resume(Version),
    /// Scrub a slot that came back.
    Scrub(Version),
    /// Remove an endpoint from the maps that leads to this interface.
    RemoveEndpoint(IpAddr, u32),
    /// Remove an interface from the maps whose entry names this slot.
    RemoveInterface(u32, SlotId),
    /// Remove this slot's interface from the node.
    RemoveLink(SlotId, u32),
    /// Release the namespace that the store keeps for this slot.
    ReleaseNamespace(SlotId),
    /// Add the masquerade rule.
    AddRule,
    /// Remove the masquerade rule.
    RemoveRule,
    /// Make the node forward packets of a family.
    SwitchOn(Forwarding),
    /// Remove the file that a namespace was mounted on.
    RemoveFile(PathBuf),
    /// Remove the socket of an agent that is gone.
    RemoveSocket,
}

impl Remedy {
    /// What is done, in words.
    #[must_use]
    pub const fn words(&self) -> &'static str {
        match self {
            Self::Leave => "left alone",
            Self::ForgetBoot => "forget all slots",
            Self::RepairIndex(_) => "repair the index",
            Self::ForgetAttachment(..) => "forget the attachment",
            Self::RecordAttachment(_) => "record the attachment",
            Self::Detach(_) => "forget the container",
            Self::ForgetAddress(..) => "release the address",
            Self::RecordAddress(..) => "record the address",
            Self::Reload => "load the data plane anew",
            Self::ClearPins => "remove the pins",
            Self::Point(_) => "write the map entries",
            Self::RestorePolicies => "write the policies",
            Self::Attach(_) => "attach the programs",
            Self::RestoreHalf(_) => "restore the host's half",
            Self::Delete(_) => "delete the slot",
            Self::Resume(_) => "have it scrubbed again",
            Self::Scrub(_) => "scrub the slot",
            Self::RemoveEndpoint(..) | Self::RemoveInterface(..) => "remove the map entry",
            Self::RemoveLink(..) => "remove the interface",
            Self::ReleaseNamespace(_) => "let the namespace go",
            Self::AddRule => "add the rule",
            Self::RemoveRule => "remove the rule",
            Self::SwitchOn(_) => "set the sysctl to 1",
            Self::RemoveFile(_) | Self::RemoveSocket => "remove the file",
        }
    }
}

/// When something is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At once: it was all seen in one moment.
    Now,
    /// When a second look sees it again: an ADD or DEL at work looks alike.
    Again,
    /// As [`Self::Again`], and not before it has lasted for a while.
    Aged {
        /// Since when it is so, nanoseconds since the boot.
        since: u64,
        /// For how long it may be.
        grace: Duration,
    },
    /// When looks have seen it for this long.
    Seen(Duration),
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which kind of thing.
    pub kind: Kind,
    /// Which one.
    pub name: String,
    /// Why it counts as stale, or as foreign.
    pub why: String,
    /// What is to be done.
    pub remedy: Remedy,
    /// When.
    pub when: When,
    /// The network that it is of, where that is known.
    pub network: Option<NetworkName>,
}

/// What distinguishes a finding from others: seen again, it is the same one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    kind: Kind,
    name: String,
    remedy: Remedy,
}

impl Finding {
    /// Whether the remedy ends the traffic of a running container.
    #[must_use]
    pub fn is_of_container(&self) -> bool {
        matches!((&self.remedy, self.when), (Remedy::RemoveLink(..), When::Seen(_)))
    }

    /// What distinguishes it from others.
    #[must_use]
    pub fn key(&self) -> Key {
        Key { kind: self.kind, name: self.name.clone(), remedy: self.remedy.clone() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.kind, self.name, self.why)
    }
}

/// What was found before, and when it was found first, nanoseconds since the boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FindingTracker(HashMap<Key, u64>);

/// What is to be done about a finding at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Readiness {
    /// It is to be repaired.
    Due,
    /// Only one look has seen it: an ADD or DEL at work looks alike.
    Unsure,
    /// It waits for its time to come.
    Waits,
    /// It is reported, and left.
    Left,
}

impl FindingTracker {
    /// What is to be done about a finding at the time `now`.
    #[must_use]
    pub fn readiness(&self, finding: &Finding, now: u64) -> Readiness {
        let first = self.0.get(&finding.key()).copied();
        if first.is_none() && finding.when != When::Now {
            return Readiness::Unsure;
        }
        let lasted = |since, grace| age(since, now) >= grace;
        let due = match finding.when {
            When::Now | When::Again => true,
            When::Aged { since, grace } => lasted(since, grace),
            When::Seen(grace) => first.is_some_and(|first| lasted(first, grace)),
        };
        match &finding.remedy {
            Remedy::Leave => Readiness::Left,
            _ if due => Readiness::Due,
            _ => Readiness::Waits,
        }
    }

    /// The tracker for the next look: these findings, and since when each was there.
    #[must_use]
    pub fn succeed(&self, findings: &[Finding], now: u64) -> Self {
        let remember = |finding: &Finding| {
            let key = finding.key();
            let first = self.0.get(&key).copied().unwrap_or(now);
            (key, first)
        };
        Self(findings.iter().map(remember).collect())
    }

    /// Whether a finding is known.
    #[must_use]
    pub fn know(&self, finding: &Finding) -> bool {
        self.0.contains_key(&finding.key())
    }
}
