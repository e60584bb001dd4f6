//! A gateway that starts functions itself: networks for them come from a pool, by a library call.
//!
//! ```console
//! # cargo run --example gateway -- functions.conf resize-image
//! ```
//!
//! The network's configuration is the plugin's own, with a pool:
//!
//! ```json
//! {
//!   "cniVersion": "1.0.0", "name": "functions", "type": "repoint-cni",
//!   "pool": { "warm": 64, "maxSlots": 1024, "scope": "tenant" },
//!   "ipam": { "ranges": [[{ "subnet": "10.217.0.0/16" }]], "routes": [{ "dst": "0.0.0.0/0" }] }
//! }
//! ```
//!
//! `repoint-agent` keeps the pool filled. Without it this works as well: a slot is built when none
//! is ready, and one that is parked is brought back at once.
#![forbid(unsafe_code)]

use std::{
    env,
    error::Error,
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _},
    process,
    process::Command,
};

use repoint::{ActivateRequest, Activation, AttachmentId, FunctionKey, NetConf, Node, User};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(file), Some(function)) = (arguments.next(), arguments.next()) else {
        return Err("usage: gateway CONFIGURATION FUNCTION".into());
    };
    let conf = NetConf::parse(&fs::read(file)?)?;
    // Once a program: it keeps the database open, and a thread where the slots' namespaces are.
    let node = Node::open(&conf.directories)?;
    serve(&node, &conf, function.parse()?)
}

/// Starts a function, lets it end, and starts it again: it has the same network.
fn serve(node: &Node, conf: &NetConf, function: FunctionKey) -> Result<(), Box<dyn Error>> {
    let user = User { function: Some(function), ..User::default() };
    for invocation in 1..=2 {
        let attachment = AttachmentId {
            network: conf.name.clone(),
            // Of the gateway's choice: what the attachment is parked by.
            container: format!("gateway-{}-{invocation}", process::id()).parse()?,
            ifname: "eth0".parse()?,
        };
        // A path is for programs that need one: a runtime that joins namespaces, or `ip netns`.
        let request = ActivateRequest {
            conf,
            attachment: &attachment,
            user: &user,
            path: None,
            prepared_only: false,
        };
        let activation = node.activate(&request)?;
        let ran = invoke(&activation);
        // Whatever became of the function, and after its processes have ended.
        drop(activation);
        node.park(&attachment)?;
        ran?;
    }
    Ok(())
}

/// Runs a program in the function's network: here one that lists its addresses.
fn invoke(activation: &Activation) -> Result<(), Box<dyn Error>> {
    let Activation { slot, netns, addresses, mac, outcome, .. } = activation;
    // What is started inside stays inside; a descriptor can be handed to another program as well.
    println!("{} slot {slot}, netns descriptor {}", outcome.label(), netns.as_fd().as_raw_fd());
    println!("{mac} {addresses:?}");
    let listing = ["-brief", "address", "show", "dev", "eth0"];
    let status: io::Result<_> = netns.run(|| Command::new("ip").args(listing).status())?;
    if !status?.success() {
        return Err("the function failed".into());
    }
    Ok(())
}
