//! The eBPF programs and their pins: packets in, verdict, counter and packet out; loading, pinning
//! and unloading.
#![cfg(test)]

mod addresses;
mod answers;
mod case;
mod destinations;
mod events;
mod headers;
mod isolation;
mod pins;
mod policies;
mod protocols;
mod rig;
mod wire;

use repoint_tests::packet;
