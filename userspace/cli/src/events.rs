//! `repoint events`.

mod names;
mod shown;
mod suppressed;

use std::{
    io::{self, Write as _},
    thread,
    time::Duration,
};

use clap::builder::PossibleValuesParser;
use repoint::{
    conf::Directories,
    datapath::{EventReader, EventsFrom, Maps},
    model::{FunctionKey, Tenant},
};
use repoint_common::counter::Reason;

use crate::{
    node,
    output::{CommandError, said},
    party::Party,
};
use names::Names;
use shown::{Clock, Shown};
use suppressed::Suppressed;

/// How often `--follow` looks for new events.
const INTERVAL: Duration = Duration::from_millis(100);

/// Which events are shown, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Wanted {
    /// Show what is dropped from now on, until the command is interrupted
    #[arg(long, short)]
    follow: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Only packets from or to this function
    #[arg(long, value_name = "NAME")]
    function: Option<FunctionKey>,
    /// Only packets from or to functions of this tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<Tenant>,
    /// Only packets that were dropped for this reason
    #[arg(long, value_name = "WORD", value_parser = PossibleValuesParser::new(drop_reasons()))]
    reason: Option<String>,
}

/// The words for reasons that packets are dropped for.
fn drop_reasons() -> impl Iterator<Item = &'static str> {
    Reason::ALL.iter().filter(|reason| reason.is_drop()).map(|reason| reason.label())
}

/// Shows dropped packets: those on record, or those to come.
pub(crate) fn run(directories: &Directories, wanted: &Wanted) -> Result<(), CommandError> {
    node::open(directories)?;
    let from = if wanted.follow { EventsFrom::Now } else { EventsFrom::Oldest };
    let reader = Reader::open(directories, from)?;
    let reader =
        reader.ok_or_else(|| CommandError::NotLoaded { bpf_dir: directories.bpf.clone() })?;
    let mut output = Output { names: Names::new(directories), wanted };
    let done = if wanted.follow {
        follow(directories, &mut output, reader)
    } else {
        output.show_all(reader)
    };
    match done {
        // The program that reads the output has ended.
        Err(CommandError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// A reader, and the data plane that it reads.
struct Reader {
    events: EventReader,
    suppressed: Suppressed,
    /// Inode number of the folder of pins.
    folder: Option<u64>,
}

impl Reader {
    fn open(directories: &Directories, from: EventsFrom) -> Result<Option<Self>, CommandError> {
        // The folder's number comes first: if the folder is replaced then, `follow` sees it.
        let folder = Maps::folder(&directories.bpf)?;
        let Some(events) = EventReader::open_existing(&directories.bpf, from)? else {
            return Ok(None);
        };
        let suppressed = match from {
            EventsFrom::Oldest => Suppressed::default(),
            EventsFrom::Now => Suppressed::until_now(&events)?,
        };
        Ok(Some(Self { events, suppressed, folder }))
    }
}

/// Shows events to come, also of a data plane that is loaded in this one's place.
#[expect(clippy::disallowed_methods, reason = "the programs wake no reader")]
fn follow(
    directories: &Directories,
    output: &mut Output<'_>,
    mut reader: Reader,
) -> Result<(), CommandError> {
    loop {
        output.show(&mut reader)?;
        thread::sleep(INTERVAL);
        let folder = Maps::folder(&directories.bpf)?;
        if folder.is_none() || folder == reader.folder {
            continue;
        }
        match Reader::open(directories, EventsFrom::Oldest) {
            Ok(Some(next)) => {
                // Interfaces have had the former programs until now.
                output.show(&mut reader)?;
                reader = next;
            }
            Ok(None) => {}
            // The folder was removed while its pins were opened.
            Err(_) if Maps::folder(&directories.bpf)? != folder => {}
            Err(error) => return Err(error),
        }
    }
}

/// Where events go.
struct Output<'a> {
    names: Names<'a>,
    wanted: &'a Wanted,
}

impl Output<'_> {
    fn show_all(&mut self, mut reader: Reader) -> Result<(), CommandError> {
        self.show(&mut reader)?;
        reader.suppressed.report_now(&reader.events)
    }

    /// Shows the events that are there, and reports how many are not.
    fn show(&mut self, reader: &mut Reader) -> Result<(), CommandError> {
        let mut events = Vec::new();
        while let Some(event) = reader.events.next_event()? {
            events.push(event);
        }
        let missed = reader.events.take_missed();
        if missed > 0 {
            writeln!(
                io::stderr(),
                "repoint: {missed} events were overwritten before they were read"
            )?;
        }
        reader.suppressed.report(&reader.events)?;
        if events.is_empty() {
            return Ok(());
        }
        self.names.look_up(&events);
        let clock = Clock::now();
        for event in &events {
            let shown = Shown::new(event, &self.names, &clock);
            if self.is_wanted(&shown) {
                let line = if self.wanted.json {
                    serde_json::to_string(&shown)?
                } else {
                    shown.to_string()
                };
                said(&line)?;
            }
        }
        Ok(())
    }

    fn is_wanted(&self, shown: &Shown) -> bool {
        let Wanted { function, tenant, reason, .. } = self.wanted;
        let is_it = |wanted: Option<String>, is: &Option<String>| wanted.is_none() || wanted == *is;
        let function = function.as_ref().map(ToString::to_string);
        let tenant = tenant.as_ref().map(ToString::to_string);
        // A function's name belongs to its tenant: both are of one end.
        let has_end = shown.parties().any(|party: &Party| {
            is_it(function.clone(), &party.function) && is_it(tenant.clone(), &party.tenant)
        });
        has_end && reason.as_ref().is_none_or(|reason| reason == shown.reason)
    }
}
