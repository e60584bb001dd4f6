//! SCTP and IPVS, which guests' kernels have as modules.
//!
//! The tests of a container's life that follow find the modules loaded: slots are scrubbed nevertheless.

use anyhow::{Result, ensure};
use repoint_tests::{
    Container, Node, command,
    networks::{POOLED, network, pool},
    node::{NODE, OUTSIDE},
    sctp::sctp,
    services::{self, Rules},
    traffic::Host,
};

fn load() -> Result<()> {
    command::run("modprobe", ["--all", "dummy", "ip_vs", "ip_vs_rr", "sctp"]).map(drop)
}

#[test]
#[ignore = "it loads modules of the kernel: `cargo xtask vm` runs it"]
fn a_service_of_ipvs_answers_containers_of_the_same_node() -> Result<()> {
    load()?;
    services::answers(Rules::Ipvs, &["tcp", "udp", "sctp"])
}

#[test]
#[ignore = "it loads modules of the kernel: `cargo xtask vm` runs it"]
fn a_service_of_nftables_answers_by_sctp() -> Result<()> {
    load()?;
    services::answers(Rules::Nftables, &["sctp"])
}

/// Between slots, between the node and slots, and masqueraded to the outside.
#[test]
#[ignore = "it loads modules of the kernel: `cargo xtask vm` runs it"]
fn containers_have_sctp() -> Result<()> {
    load()?;
    for pooled in POOLED {
        let node = Node::new()?;
        node.run(|| {
            let one = network(&node, "one", 7, |configuration| pool(configuration, pooled))?;
            let two = network(&node, "two", 8, |configuration| pool(configuration, pooled))?;
            let client = Container::add(&one, "client")?;
            let (same, other) = (Container::add(&one, "same")?, Container::add(&two, "other")?);
            let (inside, here) = (client.host()?, Host::here("node")?);
            for container in [&same, &other] {
                for (address, own) in container.addresses()?.into_iter().zip(client.addresses()?) {
                    let seen = sctp(&inside, &container.host()?, address)?;
                    ensure!(seen == own, "{address} sees {seen}");
                    sctp(&here, &container.host()?, address)?;
                }
            }
            let outside = node.outside_host()?;
            for (address, there) in NODE.into_iter().zip(OUTSIDE) {
                sctp(&inside, &here, address)?;
                let seen = sctp(&inside, &outside, there)?;
                ensure!(seen == address, "the outside sees {seen}");
            }
            for container in [client, same, other] {
                container.check()?;
                container.remove()?;
            }
            Ok(())
        })?;
    }
    Ok(())
}
