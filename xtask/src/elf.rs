//! What an executable's ELF headers say.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use object::{
    Endianness,
    elf::{ET_EXEC, FileHeader64, PT_INTERP},
    read::elf::{FileHeader as _, ProgramHeader as _},
};

/// How an executable is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linkage {
    /// By the kernel alone, at a fixed address.
    Static,
    /// By the kernel alone, then relocated by its own start-up code.
    StaticPie,
    /// By a dynamic loader (it has a `PT_INTERP` segment).
    Dynamic,
}

/// Reads an executable's linkage from its 64-bit ELF headers.
pub fn linkage(executable: &Path) -> Result<Linkage> {
    let bytes = fs::read(executable).with_context(|| format!("read {}", executable.display()))?;
    headers(&bytes).with_context(|| format!("ELF headers of {}", executable.display()))
}

fn headers(bytes: &[u8]) -> Result<Linkage, object::read::Error> {
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, bytes)?;
    if segments.iter().any(|segment| segment.p_type(endian) == PT_INTERP) {
        return Ok(Linkage::Dynamic);
    }
    Ok(if header.e_type(endian) == ET_EXEC { Linkage::Static } else { Linkage::StaticPie })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_dynamic() {
        assert_eq!(linkage(Path::new("/proc/self/exe")).unwrap(), Linkage::Dynamic);
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let error = linkage(Path::new("/proc/self/status")).unwrap_err();
        assert_eq!(error.to_string(), "ELF headers of /proc/self/status");
    }
}
