//! Sockets that are left.

use std::{
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixDatagram,
};

use anyhow::{Result, ensure};
use repoint::slot::{Scrubbed, User};
use repoint_tests::{command, node::NODE_V4, wait};

use super::fixture::{Built, clean, with_slot};

fn is_in_use(slot: &Built) -> Result<bool> {
    let scrubbed = slot.scrub()?;
    println!("{scrubbed:?}");
    Ok(matches!(scrubbed, Scrubbed::InUse(User::Sockets { .. })))
}

#[test]
fn a_socket_of_any_family_is_a_user_until_it_is_closed() -> Result<()> {
    with_slot(|slot| {
        let listener = slot.netns.run(|| TcpListener::bind("127.0.0.1:0"))??;
        ensure!(is_in_use(slot)?, "listening");
        drop(listener);
        let udp = slot.netns.run(|| UdpSocket::bind("[::1]:0"))??;
        ensure!(is_in_use(slot)?, "UDP");
        drop(udp);
        let unix = slot.netns.run(UnixDatagram::unbound)??;
        ensure!(is_in_use(slot)?, "Unix");
        drop(unix);
        slot.wait_for_sockets()?;
        let scrubbed = slot.scrub()?;
        ensure!(scrubbed == clean(), "{scrubbed:?}");
        Ok(())
    })
}

#[test]
fn connections_in_time_wait_are_ended() -> Result<()> {
    with_slot(|slot| {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            slot.netns.run(|| {
                let listener = TcpListener::bind(address)?;
                let client = TcpStream::connect(listener.local_addr()?)?;
                let server = listener.accept()?.0;
                drop(client);
                drop(server);
                anyhow::Ok(())
            })??;
        }
        let seen = slot.shell("cat /proc/net/sockstat")?;
        ensure!(seen.contains("tw 2"), "{seen}");
        let scrubbed = slot.scrub()?;
        ensure!(scrubbed == clean(), "{scrubbed:?}");
        ensure!(slot.shell("cat /proc/net/sockstat")?.contains("tw 0"));
        Ok(())
    })
}

/// The peer keeps its side open, and the client has said goodbye.
#[test]
fn connections_that_wait_for_their_peers_goodbye_are_ended() -> Result<()> {
    with_slot(|slot| {
        let listener = TcpListener::bind((NODE_V4, 0))?;
        let address = listener.local_addr()?;
        let client = slot.netns.run(|| TcpStream::connect(address))??;
        let _server = listener.accept()?;
        drop(client);
        wait_for_state(slot, "FIN-WAIT-2")?;
        let scrubbed = slot.scrub()?;
        ensure!(scrubbed == clean(), "{scrubbed:?}");
        Ok(())
    })
}

/// The peer is silent, and nothing of the client's goodbye was acknowledged.
#[test]
fn connections_whose_goodbye_is_not_heard_are_ended() -> Result<()> {
    with_slot(|slot| {
        let listener = TcpListener::bind((NODE_V4, 0))?;
        let address: SocketAddr = listener.local_addr()?;
        let client = slot.netns.run(|| TcpStream::connect(address))??;
        let _server = listener.accept()?;
        let ruleset = format!(
            "table inet silence {{ chain c {{ type filter hook input priority 0; \
             iifname {} drop; }}; }}",
            slot.host_ifname
        );
        command::run_with_input("nft", ["-f", "-"], ruleset.as_bytes())?;
        drop(client);
        wait_for_state(slot, "FIN-WAIT-1")?;
        let scrubbed = slot.scrub()?;
        ensure!(scrubbed == clean(), "{scrubbed:?}");
        Ok(())
    })
}

fn wait_for_state(slot: &Built, state: &str) -> Result<()> {
    wait::until(std::time::Duration::from_secs(5), state, || {
        let connections = slot.shell("ss --numeric --tcp --all")?;
        ensure!(connections.contains(state), "{connections}");
        Ok(())
    })
}
