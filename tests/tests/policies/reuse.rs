//! Slots that pass from user to user while the peers of the former one go on sending.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use repoint_common::policy::{ALLOW, DENY};
use repoint_tests::{Container, policies::Policies, traffic::Host, wait, with_pool};
use serde_json::json;

use super::add;

const LIMIT: Duration = Duration::from_secs(5);

/// What a socket has received by now.
fn received(socket: &UdpSocket) -> Result<usize> {
    socket.set_nonblocking(true).context("set non-blocking")?;
    let mut count = 0;
    while socket.recv(&mut [0; 64]).is_ok() {
        count += 1;
    }
    Ok(count)
}

fn any_port(host: &Host) -> Result<UdpSocket> {
    host.run(|| UdpSocket::bind(("0.0.0.0", 0)).context("bind"))
}

/// The next user of an address gets nothing that the former one's flows would have let through, and may have the
/// same flow by its own right.
#[test]
fn the_next_user_of_a_slot_has_no_flow_of_the_former_one() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 4, "scope": "network" }), |pooled| {
        pooled.fill()?;
        let network = pooled.network_with(|_| ())?;
        let peer = add(&network, "peer", "peer")?;
        let policies = Policies::open(&pooled.node().dirs().bpf)?;
        policies.put(1, ALLOW, &[])?;
        policies.put(2, DENY, &[])?;
        policies.enforce(&peer, 0, 0)?;
        let host = peer.host()?;
        let peers: SocketAddr = (first_v4(&peer)?, 9).into();
        let peers_socket = host.bind_udp(peers)?;
        let mut former: Option<(IpAddr, u16)> = None;
        let mut reused = 0;
        for number in 0..20 {
            // Both may open any flow, and nothing may be opened to them.
            let container = add(&network, &format!("c{number}"), "resize")?;
            policies.enforce(&container, 1, 2)?;
            let address = first_v4(&container)?;
            let own = container.host()?;
            if let Some((its_address, port)) = former
                && its_address == address
            {
                reused += 1;
                // The peer of the former user goes on, to the socket that the next one has on the same port.
                let socket = own.bind_udp((address, port).into())?;
                for _ in 0..20 {
                    peers_socket.send_to(b"late", (address, port)).context("send")?;
                }
                ensure!(received(&socket)? == 0, "late packets of the former user's peer arrive");
                // Its own flow, with the same addresses and ports. One that is late now would be one too many.
                ask(&socket, &peers_socket, peers)?;
            } else {
                let socket = any_port(&own)?;
                let port = socket.local_addr()?.port();
                ask(&socket, &peers_socket, peers)?;
                former = Some((address, port));
            }
            container.remove()?;
        }
        println!("{reused} of 20 containers had the slot again");
        ensure!(reused > 10, "{reused}");
        peer.remove()
    })
}

fn first_v4(container: &Container<'_>) -> Result<IpAddr> {
    container.addresses()?.into_iter().find(IpAddr::is_ipv4).context("no IPv4 address")
}

/// Sends a question to the peer, whose answer is all that arrives.
fn ask(socket: &UdpSocket, peers_socket: &UdpSocket, peers: SocketAddr) -> Result<()> {
    socket.send_to(b"question", peers).context("send")?;
    peers_socket.set_nonblocking(false).context("set blocking")?;
    peers_socket.set_read_timeout(Some(LIMIT)).context("limit reads")?;
    let (_, from) = peers_socket.recv_from(&mut [0; 64]).context("no question")?;
    peers_socket.send_to(b"answer", from).context("send")?;
    wait::until(LIMIT, "the answer arrives", || {
        let answers = received(socket)?;
        ensure!(answers == 1, "{answers} datagrams");
        Ok(())
    })
}
