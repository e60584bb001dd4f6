//! Policies: rules, flows, fragments and errors, by packets one at a time.

mod errors;
mod floods;
mod flows;
mod fragments;
mod properties;
mod rules;
mod world;
