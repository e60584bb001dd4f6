//! Map `settings`: numbers that concern all packets. Most spare them a look at maps that are empty on most nodes.

/// Name of the map from a number of this module to a `u32`.
pub const MAP: &str = "settings";

/// Whether `learned_macs` had an element since the data plane was loaded: 0 or 1, written by programs.
pub const LEARNED_MACS: u32 = 0;

/// Whether `stack_flows` had an element since the data plane was loaded: 0 or 1, written by programs.
pub const STACK_FLOWS: u32 = 1;

/// Generation of the policies, written by user space: another one after each change of what the maps of
/// [`policy`](crate::policy) say.
pub const POLICY_GENERATION: u32 = 2;

/// Mark of the policies that the maps of [`policy`](crate::policy) hold whole, written by user space: which database
/// they are of, and which revision; 0: none. No program reads it.
pub const POLICIES_INSTALLED: u32 = 3;

/// Number of elements.
pub const ENTRIES: usize = 4;
