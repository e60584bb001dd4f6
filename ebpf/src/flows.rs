//! Map `stack_flows`: flows between slots of this node that came by the host stack, where their answers
//! must go as well.

use aya_ebpf::{bindings::BPF_ANY, btf_maps::LruHashMap, macros::btf_map};
use repoint_common::{
    flow::{Flow, FlowKey, MAX_ENTRIES},
    settings,
};

use crate::{
    ip::Ip,
    packet::Packet,
    settings::{is_set, set},
    transport::{self, Ports},
};

#[btf_map(name = "stack_flows")]
static STACK_FLOWS: LruHashMap<FlowKey, Flow, MAX_ENTRIES> = LruHashMap::new();

/// Remembers the flow of a packet of a slot that the host stack hands to the slot behind `packet`'s
/// interface.
pub fn remember<H: Ip>(packet: &Packet, header: &H) {
    if H::endpoint(header.source()).is_none() {
        return;
    }
    let ports = transport::ports(packet, header);
    note(&key(packet, H::mapped(header.source()), ports));
    note(&key(packet, H::mapped(header.source()), Ports::NONE));
}

/// Whether a packet between slots answers one from the host stack.
pub fn is_answer<H: Ip>(packet: &Packet, header: &H) -> bool {
    is_set(settings::STACK_FLOWS) && is_known_answer(packet, header)
}

#[inline(never)]
fn is_known_answer<H: Ip>(packet: &Packet, header: &H) -> bool {
    let ports = transport::ports_of_answer(packet, header);
    is_known(&key(packet, H::mapped(header.destination()), ports))
}

fn key(packet: &Packet, peer: [u8; 16], ports: Ports) -> FlowKey {
    let Ports { protocol, own, peer: peer_port } = ports;
    let ifindex = packet.ifindex();
    FlowKey { ifindex, peer, own_port: own, peer_port, protocol, padding: [0; 3] }
}

fn is_known(key: &FlowKey) -> bool {
    // SAFETY: nothing of the element is read.
    unsafe { STACK_FLOWS.get(key) }.is_some()
}

fn note(key: &FlowKey) {
    // An update of an element may push out another.
    if is_known(key) {
        return;
    }
    // Where it fails, the next packet tries again.
    let _ = STACK_FLOWS.insert(key, Flow { seen: 1 }, u64::from(BPF_ANY));
    set(settings::STACK_FLOWS);
}
