//! SCTP and IPVS, which guests' kernels have as modules.
//!
//! The tests after these find the modules loaded, and slots are scrubbed nevertheless.

use anyhow::{Result, ensure};
use repoint_tests::{
    Container, Node, command,
    networks::{POOLED, network, pool},
    node::{NODE, OUTSIDE, has_ipv6},
    sctp::sctp,
    services::{self, Rules},
    traffic::Host,
};

/// Whether both families are there, and all modules.
fn is_ready() -> Result<bool> {
    if !has_ipv6() {
        return Ok(false);
    }
    command::run("modprobe", ["--all", "dummy", "ip_vs", "ip_vs_rr", "sctp"])?;
    Ok(true)
}

#[test]
#[ignore = "it loads modules of the kernel: `cargo xtask vm` runs it"]
fn a_service_of_ipvs_answers_containers_of_the_same_node() -> Result<()> {
    if is_ready()? { services::answers(Rules::Ipvs, &["tcp", "udp", "sctp"]) } else { Ok(()) }
}

#[test]
#[ignore = "it loads modules of the kernel: `cargo xtask vm` runs it"]
fn a_service_of_nftables_answers_by_sctp() -> Result<()> {
    if is_ready()? { services::answers(Rules::Nftables, &["sctp"]) } else { Ok(()) }
}

/// Between slots, between the node and slots, and masqueraded to the outside.
#[test]
#[ignore = "it loads modules of the kernel: `cargo xtask vm` runs it"]
fn containers_have_sctp() -> Result<()> {
    if !is_ready()? {
        return Ok(());
    }
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
