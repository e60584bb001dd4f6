//! Hostile containers: processes with exactly the capabilities that a test names, which do harm on
//! order and pass descriptors on to each other.
//!
//! The executable `attacker` is such a process. [`Process::start`] starts it in a party's network
//! namespace, as process 1 of a PID namespace of its own: when it is killed, all that it started ends
//! with it. It carries out the orders of [`acts`] and answers each.

pub mod acts;
mod channel;
mod cookie;
mod elf;
mod frames;
mod links;
mod process;
mod rights;
mod sockets;

pub use channel::{Channel, Message};
pub use cookie::netns_cookie;
pub use frames::{MARK, SECRET, Watch};
pub use links::{delete_ipset, rtnl_round_trip};
pub use process::{Process, Reply};
pub use rights::{Capability, Dropped, Rights};
pub use sockets::fast_open_key;
