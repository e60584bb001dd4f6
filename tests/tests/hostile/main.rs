//! Hostile containers: what they leave behind, keep and go on doing does not reach the next owner of
//! their network, and costs no other container anything.
//!
//! Attacks are real processes with exactly the rights that are named ([`table`]), some with an
//! accomplice in another container to which descriptors are passed. What is judged is always the next
//! owner ([`safe`]).
#![cfg(test)]

mod across;
mod attack;
mod cost;
mod domains;
mod dump;
mod node;
mod page;
mod safe;
#[path = "../scrub/dump.rs"]
mod scrub_dump;
mod table;
mod within;
mod world;
