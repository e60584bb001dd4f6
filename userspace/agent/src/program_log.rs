//! The log of the programs, handed to `tracing`.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    path::Path,
};

use aya_log::EbpfLogger;
use log::{Level, Log, Metadata, Record};
use repoint::datapath::{DatapathError, FROM_CONTAINER, program_id};

/// Target of the events.
const TARGET: &str = "repoint::ebpf";

/// Why the programs' log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ProgramLogError {
    /// The programs cannot be opened.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// Their log cannot be read.
    #[error("cannot read the log of eBPF program {FROM_CONTAINER}: {0}")]
    Log(#[source] Box<aya_log::Error>),
}

/// Reader of the log of the pinned programs, which all write to one ring buffer.
///
/// Works whichever process loaded them. A record goes to one reader only. The file descriptor is readable
/// when there are records; without a reader the buffer fills up and programs write no more.
pub struct LogReader {
    records: EbpfLogger<ToTracing>,
}

/// Describes the slot with this interface index; none: no slot has it.
type Name = Box<dyn Fn(u32) -> Option<String> + Send + Sync>;

/// How the records of `ebpf/src/log.rs` begin.
const INTERFACE: &str = "interface ";

impl LogReader {
    /// The log of the data plane below `bpf_dir`, if it is loaded. `name` describes the interface
    /// with an index, because programs know only the index.
    pub fn open_existing(
        bpf_dir: &Path,
        name: impl Fn(u32) -> Option<String> + Send + Sync + 'static,
    ) -> Result<Option<Self>, ProgramLogError> {
        let Some(id) = program_id(bpf_dir, FROM_CONTAINER)? else {
            return Ok(None);
        };
        let records = EbpfLogger::init_from_id_with_logger(id, ToTracing(Box::new(name)));
        records
            .map(|records| Some(Self { records }))
            .map_err(|source| ProgramLogError::Log(Box::new(source)))
    }

    /// Turns the records that are there into events.
    pub fn drain(&mut self) {
        self.records.flush();
    }
}

impl AsFd for LogReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.records.as_fd()
    }
}

/// What tokio's `AsyncFd` asks for.
impl AsRawFd for LogReader {
    fn as_raw_fd(&self) -> RawFd {
        self.records.as_raw_fd()
    }
}

/// A logger of the crate `log` that makes `tracing` events. The reader of records needs such a logger.
struct ToTracing(Name);

impl Log for ToTracing {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let text = named(&record.args().to_string(), &self.0);
        match record.level() {
            Level::Error => tracing::error!(target: TARGET, "{text}"),
            Level::Warn => tracing::warn!(target: TARGET, "{text}"),
            Level::Info => tracing::info!(target: TARGET, "{text}"),
            Level::Debug => tracing::debug!(target: TARGET, "{text}"),
            Level::Trace => tracing::trace!(target: TARGET, "{text}"),
        }
    }

    fn flush(&self) {}
}

/// A record with the name of its interface behind the index.
fn named(text: &str, name: &Name) -> String {
    let described = text.strip_prefix(INTERFACE).and_then(|rest| {
        let (ifindex, rest) = rest.split_once(':')?;
        let name = name(ifindex.parse().ok()?)?;
        Some(format!("{INTERFACE}{ifindex} ({name}):{rest}"))
    });
    described.unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_names_the_slot_of_its_interface() {
        let name: Name = Box::new(|ifindex| (ifindex == 7).then(|| "slot 1".to_owned()));
        for (text, expected) in [
            (
                "interface 7: foreign source 10.0.0.1",
                "interface 7 (slot 1): foreign source 10.0.0.1",
            ),
            ("interface 8: foreign source 10.0.0.1", "interface 8: foreign source 10.0.0.1"),
            ("interface x: y", "interface x: y"),
            ("other", "other"),
        ] {
            assert_eq!(named(text, &name), expected);
        }
    }
}
