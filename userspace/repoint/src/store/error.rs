//! Why the database cannot be used, or refuses a change.

use std::{io, path::PathBuf};

use repoint_policy::CompileError;

use super::{codec::CodecError, record::SlotState, templates::TemplateOwner};
use crate::{
    lock::LockError,
    model::{AttachmentId, Identity, SlotId, TemplateDigest, TemplateName},
    private::PrivateError,
    template::TemplateError,
};

/// Why the database cannot be used, or refuses a change.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Its folder or file cannot be made, or is not the node's own.
    #[error("cannot use the database: {0}")]
    Private(#[from] PrivateError),
    /// Its file cannot be opened, or locked.
    #[error("cannot use the database {path}: {call}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system call.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// Others hold its lock.
    #[error(transparent)]
    Held(#[from] LockError),
    /// The environment cannot be opened.
    #[error("cannot open the database in {path}: {source}{advice}")]
    Open {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: lmdb::Error,
        /// What to do.
        advice: &'static str,
    },
    /// The end of its file is lost.
    #[error("the database in {path} is {length} bytes long and should be at least {used}{advice}")]
    Truncated {
        /// The folder.
        path: PathBuf,
        /// Bytes that there are.
        length: u64,
        /// Bytes that were written.
        used: u64,
        /// What to do.
        advice: &'static str,
    },
    /// Its file was removed or replaced.
    #[error("the database in {path} was removed or replaced while it was open")]
    Gone {
        /// The folder.
        path: PathBuf,
    },
    /// Its file system is full but for what is kept for deletions.
    #[error(
        "the database in {path} cannot grow: {source}: make room on its file system; containers can \
         be removed meanwhile"
    )]
    NoSpace {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is full but for what is kept for deletions.
    #[error(
        "the database in {path} is full, it holds {size} bytes at most: remove slots, templates or policies"
    )]
    Full {
        /// The folder.
        path: PathBuf,
        /// Size of the map, bytes.
        size: u64,
    },
    /// The database is of another version of repoint.
    #[error("the database in {path} has schema version {found}, this is version {known}: {advice}")]
    Schema {
        /// The folder.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The only known version.
        known: u32,
        /// What to do.
        advice: &'static str,
    },
    /// LMDB refused.
    #[error("cannot {what} in the database: {source}{}", advice(*.source))]
    Lmdb {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: lmdb::Error,
    },
    /// Every number of functions and tenants is in use.
    #[error(
        "no number is left for another function or tenant: {} are in use, or were within an hour; remove \
         slots, or wait",
        Identity::LAST.0 - Identity::FIRST.0 + 1
    )]
    NoIdentity,
    /// The policies about a function cannot be enforced.
    #[error("policies cannot be enforced: {0}")]
    Policies(#[from] CompileError),
    /// Every number of policies is in use.
    #[error(
        "no number is left for another policy: functions of this node have {most} different ones; delete \
         policies, or use the same rules for more functions"
    )]
    NoPolicyNumber {
        /// How many policies there may be.
        most: u32,
    },
    /// The database is new: no process has copied the stored policies into it.
    #[error("the policies are not in the database yet: run `repoint load`")]
    PoliciesUnknown,
    /// What is enforced is not stored any more.
    #[error(
        "policies are enforced, and {path} does not hold them any more: put the folder back, or apply the \
         policies again"
    )]
    PoliciesGone {
        /// The folder.
        path: PathBuf,
    },
    /// Another process has changed the policies.
    #[error("the policies were changed by another command meanwhile: try again")]
    PoliciesChanged,
    /// A record cannot be read.
    #[error("the {what} record in the database cannot be read: {source}")]
    Record {
        /// Which kind of record.
        what: &'static str,
        /// What is wrong with it.
        source: CodecError,
    },
    /// The record of a template cannot be read.
    #[error(
        "the record of template {name} cannot be read: {source}: delete it with `repoint template \
         delete {name}`, or use the version of repoint that stored it"
    )]
    StoredTemplate {
        /// Its name.
        name: TemplateName,
        /// What is wrong with the record.
        source: CodecError,
    },
    /// A template cannot be stored, or the one that is stored cannot be used.
    #[error("template {name}: {source}")]
    Template {
        /// Its name.
        name: TemplateName,
        /// What is wrong with it.
        source: TemplateError,
    },
    /// A container's settings cannot replace a confirmed template.
    #[error(
        "template {name} is confirmed, and what a container has does not replace it: store it under \
         another name, and put that one in its place by `repoint template confirm OTHER --as {name}`"
    )]
    TemplateConfirmed {
        /// Its name.
        name: TemplateName,
    },
    /// A template of another owner's container has the name.
    #[error(
        "template {name} was made of a container of {owner}, and is not confirmed: use another name, \
         or confirm it (`repoint template confirm {name}`) or delete it \
         (`repoint template delete {name}`) first"
    )]
    TemplateOfOther {
        /// Its name.
        name: TemplateName,
        /// The owner of that container.
        owner: TemplateOwner,
    },
    /// The template was replaced after the operator saw it.
    #[error(
        "template {name} has digest {found} now, not {shown}: it was replaced; look at it again by \
         `repoint template confirm {name}`"
    )]
    TemplateReplaced {
        /// Its name.
        name: TemplateName,
        /// Its digest.
        found: TemplateDigest,
        /// The digest that was to be confirmed.
        shown: TemplateDigest,
    },
    /// The attachment exists.
    #[error("{attachment} is attached already (slot {slot}): DEL it first")]
    AttachmentTaken {
        /// The attachment.
        attachment: AttachmentId,
        /// Its slot.
        slot: SlotId,
    },
    /// The address is another slot's.
    #[error("address {address} is in use by slot {slot}")]
    AddressTaken {
        /// The address.
        address: std::net::IpAddr,
        /// The slot that has it.
        slot: SlotId,
    },
    /// The host's ends of slots are in another network namespace.
    #[error(
        "slots on record were built in another network namespace ({host}) than this process's ({here}), \
         where none of their interfaces is to be seen: run it in that one (a pod: hostNetwork: true); \
         if that one is gone, move the folder `state` in runDir away, then `repoint sweep`"
    )]
    WrongNetns {
        /// Device and inode number of that namespace.
        host: String,
        /// The same of this process's namespace.
        here: String,
    },
    /// A slot's state does not allow the transition.
    #[error("slot {slot} is {from} and cannot become {to}")]
    Transition {
        /// The slot.
        slot: SlotId,
        /// Its state.
        from: SlotState,
        /// The state wanted.
        to: SlotState,
    },
    /// A slot is on record as not built, and is used as if it were.
    #[error("slot {slot} is not built, its record has no interface: run `repoint sweep`")]
    NotBuilt {
        /// The slot.
        slot: SlotId,
    },
    /// A slot is gone: another process deleted it meanwhile.
    #[error("slot {slot} is gone from the database: it was deleted meanwhile")]
    SlotGone {
        /// The slot.
        slot: SlotId,
    },
}

/// What a person can do about an error of LMDB.
pub(super) fn advice(error: lmdb::Error) -> &'static str {
    match error {
        lmdb::Error::MapFull => ": it is full, remove slots or templates",
        // LMDB reports a short write as EIO.
        lmdb::Error::Other(libc::ENOSPC | libc::EDQUOT | libc::EIO) => {
            ": its file system is full, or fails: make room there"
        }
        lmdb::Error::Other(libc::EFBIG) => {
            ": the process may write no file so large: raise RLIMIT_FSIZE"
        }
        lmdb::Error::Other(libc::ENOMEM) => {
            ": the process has no address space left: raise RLIMIT_AS (`ulimit -v`)"
        }
        lmdb::Error::Other(libc::EMFILE) => {
            ": the process has too many files open: raise RLIMIT_NOFILE (`ulimit -n`)"
        }
        _ => "",
    }
}
