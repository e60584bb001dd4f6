//! The eBPF programs of repoint: one program a file, one concept a module.
//!
//! Both programs are attached to the host side of a slot's veth pair:
//!
//! | Program | Hook | Sees |
//! |---|---|---|
//! | [`from_container`] | clsact ingress | what the container sends |
//! | [`to_container`] | clsact egress | what reaches the container through the host stack |
//!
//! What one container sends to another never meets `to_container`: `bpf_redirect_peer` hands it to
//! the far end of the destination's veth pair.
#![no_std]
#![no_main]
// `asm!` is stable on hosts, where clippy looks at this.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(unsafe_code, reason = "maps, helpers and the program's context are the kernel's")]
#![expect(
    clippy::inline_always,
    reason = "a function that is called has a frame of its own, and the stack has 512 bytes for all"
)]

mod arp;
mod budgets;
mod conntrack;
mod counters;
mod drops;
mod echo;
mod endpoints;
mod enforce;
mod ethernet;
mod events;
mod fib;
mod flows;
mod from_container;
mod interfaces;
mod ip;
mod ipv4;
mod ipv6;
mod isolation;
mod judge;
mod learned;
mod log;
mod mtu;
mod ndp;
mod packet;
mod policies;
mod segment;
mod settings;
mod subject;
mod to_container;
mod transport;
mod verdict;
mod work;

/// The kernel offers the helpers that the log needs to programs under this licence only.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // A program that could get here would loop for ever, and the verifier refuses it.
    loop {}
}
