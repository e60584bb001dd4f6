//! Policies: rules, flows, fragments and errors, by packets one at a time.

mod errors;
mod floods;
mod flows;
mod fragments;
mod naive;
mod objects;
mod payloads;
mod properties;
mod rules;
mod world;
