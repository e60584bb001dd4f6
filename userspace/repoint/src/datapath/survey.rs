//! What is below `bpfDir`, whole or not.

use std::{fs, io, path::Path};

use aya::programs::ProgramInfo;

use super::{DatapathError, FROM_CONTAINER, Pins, TO_CONTAINER, load::is_loading, maps, programs};

/// What is pinned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PinsSeen {
    /// What of this layout version is missing; none: the folder is not there at all.
    pub missing: Option<Vec<&'static str>>,
    /// There is an incomplete folder, and no process is loading into it.
    pub abandoned: bool,
    /// Names of what else is there: other layout versions, and what is not ours.
    pub others: Vec<String>,
    /// Numbers of the pinned programs, from the container and to it.
    pub programs: Option<[u32; 2]>,
}

impl PinsSeen {
    /// Looks below `bpf_dir`.
    pub fn look(bpf_dir: &Path, run_dir: &Path) -> Result<Self, DatapathError> {
        let pins = Pins::below(bpf_dir);
        let (whole, partial) = (name(pins.folder()), name(&pins.partial()));
        let mut seen = Self::default();
        for entry in names(bpf_dir)? {
            if entry == partial {
                seen.abandoned = !is_loading(run_dir)?;
            } else if entry != whole {
                seen.others.push(entry);
            }
        }
        seen.others.sort_unstable();
        if pins.exist()? {
            let missing = pins.missing(maps::NAMES.into_iter().chain(programs::NAMES))?;
            seen.programs = if missing.is_empty() { Some(numbers(&pins)?) } else { None };
            seen.missing = Some(missing);
        }
        Ok(seen)
    }

    /// Whether everything is pinned that belongs to a data plane.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.missing.as_ref().is_some_and(Vec::is_empty)
    }
}

fn numbers(pins: &Pins) -> Result<[u32; 2], DatapathError> {
    let number = |name| {
        let path = pins.path(name);
        let info = ProgramInfo::from_pin(&path);
        info.map(|info| info.id())
            .map_err(|source| DatapathError::OpenProgram { path, source: Box::new(source) })
    };
    Ok([number(FROM_CONTAINER)?, number(TO_CONTAINER)?])
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Names in a folder; none where it is not there.
fn names(folder: &Path) -> Result<Vec<String>, DatapathError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(DatapathError::folder("read", folder))?,
    };
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()
        .map_err(DatapathError::folder("read", folder))
}
