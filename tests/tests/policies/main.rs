//! Policies under real traffic: first packets of a slot's next user, changes under a download, and floods.
#![cfg(test)]

mod changes;
mod floods;
mod reuse;

use anyhow::Result;
use repoint_tests::{Container, plugin::Network, pooled::user};

/// A container of a function.
fn add<'a>(network: &'a Network, name: &str, function: &str) -> Result<Container<'a>> {
    let user = user("acme", function);
    Container::add_with(network, name, |attachment| attachment.args(&user))
}
