//! Services of the same node, by rules that any kernel has. The suite `kernels` has IPVS and SCTP.

use anyhow::{Result, ensure};
use repoint_tests::{
    Container, Node,
    networks::network,
    services::{self, Rules, flows},
    traffic::{self, Host},
};

use super::skipped;

#[test]
fn a_service_of_nftables_answers_containers_of_the_same_node() -> Result<()> {
    if skipped() { Ok(()) } else { services::answers(Rules::Nftables, &["tcp", "udp"]) }
}

#[test]
fn a_service_of_iptables_answers_containers_of_the_same_node() -> Result<()> {
    if skipped() { Ok(()) } else { services::answers(Rules::Iptables, &["tcp", "udp"]) }
}

/// A node without such translations remembers no flow, and has no answer looked up.
#[test]
fn a_node_without_translations_remembers_nothing() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "one", 7, |_| ())?;
        let (one, two) = (Container::add(&network, "one")?, Container::add(&network, "two")?);
        let (outside, here) = (node.outside_host()?, Host::here("node")?);
        traffic::all(&one.host()?, &two.host()?, &two.addresses()?)?;
        traffic::all(&here, &one.host()?, &one.addresses()?)?;
        for address in repoint_tests::node::OUTSIDE {
            traffic::tcp(&one.host()?, &outside, address)?;
        }
        ensure!(flows(&node)? == 0, "flows are remembered");
        one.remove()?;
        two.remove()
    })
}
