//! The eBPF data plane: loading it once on a node, and the programs and maps that are pinned then.
//!
//! ```text
//! <bpfDir>/v8/endpoints_v4     IPv4 address -> interface, identity, tenant, MAC
//! <bpfDir>/v8/endpoints_v6     IPv6 address -> the same
//! <bpfDir>/v8/interfaces       interface -> slot, addresses, identity, tenant, MAC
//! <bpfDir>/v8/counters         reason -> packets, bytes, per CPU
//! <bpfDir>/v8/drops            slot, interface, reason -> packets, bytes
//! <bpfDir>/v8/events           ring of records of dropped packets
//! <bpfDir>/v8/event_head       how many records were ever written
//! <bpfDir>/v8/event_budgets    reason -> what a CPU may write, and what it left out, per CPU
//! <bpfDir>/v8/learned_macs     interface -> MAC that the container took
//! <bpfDir>/v8/stack_flows      flows between slots that go through the host stack
//! <bpfDir>/v8/settings         whether maps are used that are empty on most nodes; state of policies
//! <bpfDir>/v8/policies         number -> key of its rules
//! <bpfDir>/v8/policy_rules     that key -> rules
//! <bpfDir>/v8/identities       identity -> its policies and groups
//! <bpfDir>/v8/networks_v4      IPv4 prefix -> identity and groups
//! <bpfDir>/v8/networks_v6      IPv6 prefix -> the same
//! <bpfDir>/v8/conntrack_tcp    flows of TCP that policies let pass
//! <bpfDir>/v8/conntrack_other  flows of other protocols that policies let pass
//! <bpfDir>/v8/fragments        first fragments of packets, by what the others show
//! <bpfDir>/v8/flow_budgets     slot or tenant -> until when its flows are paid for
//! <bpfDir>/v8/from_container   program of the ingress hook of host-side interfaces
//! <bpfDir>/v8/to_container     program of their egress hook
//! ```
//!
//! `v8` is the version of the layout. The folder appears whole or not at all. Programs that are
//! attached go on with the maps that they were loaded with, also after [`unload`].

mod attached;
mod bpf_file_system;
mod error;
mod events;
mod load;
mod maps;
mod other_layout;
mod pinned_map;
mod pins;
mod policy_maps;
mod programs;
mod survey;
mod tcx;

use std::path::Path;

pub use attached::{AttachPoint, attached_count, namespace_attach_types};
pub use error::DatapathError;
pub use events::{EventReader, EventsFrom};
pub use load::{clear_abandoned, reload, unload};
pub use maps::Maps;
pub use other_layout::has_other_layout_in_use;
pub use policy_maps::PolicyMaps;
pub use programs::{FROM_CONTAINER, Programs, TO_CONTAINER, program_id};
pub use survey::PinsSeen;
pub use tcx::{TcxProgram, attach as attach_tcx, detach as detach_tcx, tcx_programs};

use pins::Pins;

use crate::private;

/// A loaded data plane.
#[derive(Debug)]
pub struct Datapath {
    /// The programs to attach.
    pub programs: Programs,
    /// The maps that they look things up in.
    pub maps: Maps,
}

impl Datapath {
    /// Opens the data plane below `bpf_dir`, loading it if it is not.
    ///
    /// Where it is loaded this costs the opening of the pins and nothing else. `run_dir` holds the
    /// lock that keeps loaders apart; it is created.
    pub fn load(bpf_dir: &Path, run_dir: &Path) -> Result<Self, DatapathError> {
        if let Some(open) = Self::open_existing(bpf_dir)? {
            private::existing(bpf_dir)?;
            return Ok(open);
        }
        load::load(bpf_dir, run_dir)?;
        let pins = Pins::below(bpf_dir);
        Ok(Self { programs: Programs::open(&pins)?, maps: Maps::open(&pins) })
    }

    /// Opens the data plane below `bpf_dir`, if it is loaded.
    pub fn open_existing(bpf_dir: &Path) -> Result<Option<Self>, DatapathError> {
        let Some(pins) = Pins::existing(bpf_dir)? else {
            return Ok(None);
        };
        Ok(Some(Self { programs: Programs::open(&pins)?, maps: Maps::open(&pins) }))
    }
}
