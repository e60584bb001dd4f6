//! A client and a server, between which policies stand.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Container, Node, cli,
    networks::{network, pool},
    traffic::Host,
    wait,
};

use super::{add, ensure_clean};

const LIMIT: Duration = Duration::from_secs(5);
/// How long a datagram that must not come is awaited.
const SILENCE: Duration = Duration::from_millis(200);

/// A client and a server of UDP that stay open.
pub struct Pair<'a> {
    client: UdpSocket,
    server: UdpSocket,
    target: SocketAddr,
    number: u32,
    containers: [&'a Container<'a>; 2],
}

impl<'a> Pair<'a> {
    pub fn new(client: &'a Container<'a>, server: &'a Container<'a>) -> Result<Self> {
        let target = SocketAddr::new(server.addresses()?[0], 9);
        let own: Host = client.host()?;
        Ok(Self {
            client: own.bind_udp((client.addresses()?[0], 4000).into())?,
            server: server.host()?.bind_udp(target)?,
            target,
            number: 0,
            containers: [client, server],
        })
    }

    /// Fails unless a datagram arrives, or does not.
    pub fn ensure(&mut self, arrives: bool, when: &str) -> Result<()> {
        self.number += 1;
        let number = self.number;
        self.client.send_to(&number.to_be_bytes(), self.target).context("send")?;
        self.server.set_nonblocking(true).context("set non-blocking")?;
        let limit = if arrives { LIMIT } else { SILENCE };
        let found = wait::until(limit, "it arrives", || {
            let mut buffer = [0; 4];
            while self.server.recv(&mut buffer).is_ok() {
                if u32::from_be_bytes(buffer) == number {
                    return Ok(());
                }
            }
            ensure!(false, "it does not");
            Ok(())
        });
        ensure!(found.is_ok() == arrives, "{when}: arrives {}, not {arrives}", found.is_ok());
        Ok(())
    }

    /// What `explain` says, which is what packets meet.
    pub fn explain(&self, node: &Node) -> Result<String> {
        let end = |container: &Container<'_>| {
            Ok::<_, anyhow::Error>(container.addresses()?[0].to_string())
        };
        let [from, to] = [end(self.containers[0])?, format!("{}:9/UDP", end(self.containers[1])?)];
        cli::repoint(node, &["policy", "explain", "--from", &from, "--to", &to])
    }
}

pub fn with_pair(
    test: impl FnOnce(&Node, &mut Pair<'_>) -> Result<()> + Send,
    pooled: bool,
) -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "net", 7, |configuration| pool(configuration, pooled))?;
        let one = add(&network, "one", ("shop", "web"))?;
        let two = add(&network, "two", ("shop", "db"))?;
        let mut pair = Pair::new(&one, &two)?;
        pair.ensure(true, "without policies")?;
        test(&node, &mut pair)?;
        one.check()?;
        two.check()?;
        ensure_clean(&node)?;
        one.remove()?;
        two.remove()?;
        ensure_clean(&node)
    })
}

/// Only functions with label `app: web` reach the database.
pub const TO_DB: &str = "{podSelector: {matchLabels: {repoint.dev/function: db}}, ingress: [{from: [{podSelector: \
                     {matchLabels: {app: web}}}], ports: [{protocol: UDP, port: 9}]}]}";
