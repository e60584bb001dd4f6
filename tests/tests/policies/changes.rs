//! Policies that change while flows run.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use repoint_common::{
    LAYOUT_VERSION,
    policy::{DENY, Rule},
};
use repoint_tests::{
    Container, Node, cli, command,
    download::Download,
    networks::{network, pool},
    policies::{ANY, Policies, TCP, UDP, dropped},
};
use serde_json::{Value, json};

use super::add;

/// How long a stopped download is watched.
const WATCHED: Duration = Duration::from_millis(500);
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(20);
/// How long policies are changed as fast as they can be.
const STORM: Duration = Duration::from_secs(3);

/// Two containers of a node, by name.
fn with_two(
    test: impl FnOnce(&Node, &Container<'_>, &Container<'_>) -> Result<()> + Send,
) -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "net", 7, |configuration| pool(configuration, true))?;
        let (one, two) = (add(&network, "one", "client")?, add(&network, "two", "server")?);
        test(&node, &one, &two)?;
        one.remove()?;
        two.remove()
    })
}

#[test]
fn a_download_stops_and_goes_on_with_the_policy() -> Result<()> {
    with_two(|node, one, two| {
        let policies = Policies::open(&node.dirs().bpf)?;
        policies.put(1, DENY, &[ANY])?;
        policies.put(2, DENY, &[])?;
        policies.enforce(one, 1, 2)?;
        policies.enforce(two, 2, 1)?;
        let (client, server) = (one.host()?, two.host()?);
        let address: SocketAddr = (two.addresses()?[0], 80).into();
        let download = Download::start(&client, &server, address)?;
        // Another flow, which policies leave alone.
        let echo: SocketAddr = (two.addresses()?[0], 9).into();
        let echoing = server.bind_udp(echo)?;
        let asking = client.run(|| UdpSocket::bind(("0.0.0.0", 0)).context("bind"))?;
        asking.connect(echo)?;
        asking.set_read_timeout(Some(LIMIT))?;
        let ask = || {
            asking.send(b"?")?;
            let (_, from) = echoing.recv_from(&mut [0; 8])?;
            echoing.send_to(b"!", from)?;
            asking.recv(&mut [0; 8]).context("no answer").map(drop)
        };
        for round in 0..3 {
            download.wait_until_it_runs()?;
            policies.apply(1, DENY, &[Rule { protocol: UDP, ..ANY }])?;
            // What was received by the other kernel end before the change is read by then.
            pause(Duration::from_millis(50));
            let stopped = download.received();
            for _ in 0..20 {
                ask().context("the other flow")?;
            }
            pause(WATCHED);
            let more = download.received() - stopped;
            ensure!(more == 0, "round {round}: {more} bytes more");
            policies.apply(1, DENY, &[ANY])?;
        }
        Ok(())
    })
}

#[expect(clippy::disallowed_methods, reason = "shows that nothing happens for a while")]
fn pause(time: Duration) {
    thread::sleep(time);
}

/// Elements are replaced as fast as possible, by others that say the same of the flows that run.
#[test]
fn a_storm_of_changes_drops_nothing() -> Result<()> {
    with_two(|node, one, two| {
        let policies = Policies::open(&node.dirs().bpf)?;
        let rules = |number| [Rule { protocol: TCP, number, ..ANY }, Rule { protocol: UDP, ..ANY }];
        policies.put(1, DENY, &rules(1))?;
        policies.enforce(one, 1, 1)?;
        policies.enforce(two, 1, 1)?;
        let (client, server) = (one.host()?, two.host()?);
        let address: SocketAddr = (two.addresses()?[0], 80).into();
        let download = Download::start(&client, &server, address)?;
        let begun = Instant::now();
        let mut changes = 0_u32;
        while begun.elapsed() < STORM {
            changes += 1;
            // Another policy's elements take the memory of those that are replaced.
            policies.put(2, DENY, &[])?;
            policies.apply(1, DENY, &rules(changes))?;
            policies.put(2, DENY, &[])?;
        }
        let (bytes, dropped) = (download.received(), dropped(&node.dirs().bpf)?);
        println!("{changes} changes, {bytes} bytes, dropped: {dropped:?}");
        drop(policies);
        let rules = node.dirs().bpf.join(format!("v{LAYOUT_VERSION}")).join("policy_rules");
        let dump =
            command::run("bpftool", ["-j", "map", "dump", "pinned", &rules.to_string_lossy()])?;
        let left = serde_json::from_str::<Vec<Value>>(&dump)?.len();
        ensure!(left == 2, "rules of {left} policies are left, of 2");
        ensure!(dropped.is_empty(), "dropped: {dropped:?}");
        ensure!(changes > 1000 && bytes > 1_000_000, "{changes} changes, {bytes} bytes");
        Ok(())
    })
}

/// `repoint events` names policy and rule of what is dropped, and of what would be.
#[test]
fn events_name_the_policy_and_the_rule() -> Result<()> {
    with_two(|node, one, two| {
        let policies = Policies::open(&node.dirs().bpf)?;
        let rules = [Rule { protocol: UDP, action: DENY, number: 4711, ..ANY }];
        policies.put(5, DENY, &rules)?;
        policies.enforce(one, 5, 0)?;
        let target: SocketAddr = (two.addresses()?[0], 9).into();
        let send = || {
            one.host()?.run(|| {
                let socket = UdpSocket::bind(("0.0.0.0", 0)).context("bind")?;
                socket.send_to(b"?", target).context("send").map(drop)
            })
        };
        send()?;
        policies.audit(5)?;
        send()?;
        let shown = cli::repoint(node, &["events", "--json", "--reason", "policy_egress"])?;
        let events = shown.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        let found: Vec<_> =
            events.iter().map(|it| (&it["policy"], &it["rule"], &it["audit"])).collect();
        let wanted = [(4711, false), (1, true)];
        let wanted = wanted.map(|(rule, audit)| (json!(5), json!(rule), json!(audit)));
        let wanted: Vec<_> =
            wanted.iter().map(|(policy, rule, audit)| (policy, rule, audit)).collect();
        ensure!(found == wanted, "{shown}");
        let shown = cli::repoint(node, &["events", "--reason", "policy_egress"])?;
        let mut lines = shown.lines();
        ensure!(lines.next().is_some_and(|line| line.contains(" policy=5 rule=4711 ")), "{shown}");
        let audited = " audit policy=5 rule=1 ";
        ensure!(lines.next().is_some_and(|line| line.contains(audited)), "{shown}");
        Ok(())
    })
}

/// Flows are opened on all CPUs while the policy is tightened: none outlives it.
#[test]
fn no_flow_outlives_the_policy_that_denies_it() -> Result<()> {
    with_two(|node, one, two| {
        let policies = Policies::open(&node.dirs().bpf)?;
        policies.put(1, DENY, &[ANY])?;
        policies.enforce(one, 1, 1)?;
        policies.enforce(two, 1, 1)?;
        let (client, server) = (one.host()?, two.host()?);
        let target: SocketAddr = (two.addresses()?[0], 9).into();
        let socket = server.bind_udp(target)?;
        socket.set_nonblocking(true)?;
        for round in 0..20_u32 {
            policies.apply(1, DENY, &[ANY])?;
            let denied = AtomicBool::new(false);
            let late = thread::scope(|scope| {
                let senders: Vec<_> = (0..2)
                    .map(|_| {
                        scope.spawn(|| {
                            client.run(|| {
                                let mut sockets = Vec::new();
                                while !denied.load(Ordering::SeqCst) && sockets.len() < 60 {
                                    let socket = UdpSocket::bind(("0.0.0.0", 0)).context("bind")?;
                                    socket.send_to(b"early", target).context("send")?;
                                    sockets.push(socket);
                                }
                                Ok(sockets)
                            })
                        })
                    })
                    .collect();
                policies.apply(1, DENY, &[])?;
                denied.store(true, Ordering::SeqCst);
                let mut sockets = Vec::new();
                for sender in senders {
                    sockets.extend(sender.join().map_err(|_| anyhow!("a thread panicked"))??);
                }
                for socket in &sockets {
                    socket.send_to(b"late", target).context("send")?;
                }
                let mut late = 0;
                let mut buffer = [0; 8];
                // A datagram that another CPU still handles.
                pause(Duration::from_millis(20));
                while let Ok(length) = socket.recv(&mut buffer) {
                    late += u32::from(&buffer[..length] == b"late");
                }
                anyhow::Ok(late)
            })?;
            ensure!(late == 0, "round {round}: {late} packets of flows that are denied");
        }
        Ok(())
    })
}
