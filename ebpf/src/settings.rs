//! Map `settings`: numbers that concern all packets.

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use repoint_common::settings;

#[btf_map(name = "settings")]
static SETTINGS: Array<u32, { settings::ENTRIES }> = Array::new();

/// Whether a number is set.
pub fn is_set(number: u32) -> bool {
    value(number) != 0
}

/// A number.
pub fn value(number: u32) -> u32 {
    let found = SETTINGS.get_ptr(number);
    // SAFETY: the element is one aligned word, and stays where it is.
    found.map_or(0, |found| unsafe { found.read_volatile() })
}

/// Sets a number, for good.
pub fn set(number: u32) {
    if let Some(found) = SETTINGS.get_ptr_mut(number) {
        // SAFETY: the element is one aligned word, and every writer writes the same value.
        unsafe { found.write_volatile(1) };
    }
}
