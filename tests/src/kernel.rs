//! What the kernel that tests run on has.

use std::fs;

/// Whether the kernel is older than 6.6, which brought tcx; says so then.
#[must_use]
pub fn lacks_tcx() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let lacks = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (6, 6);
    if lacks {
        println!("skipped: kernel {} has no tcx", release.trim());
    }
    lacks
}
