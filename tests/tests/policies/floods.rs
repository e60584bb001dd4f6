//! A container that opens as many flows as it can, beside one whose flows are idle.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use repoint::datapath::Maps;
use repoint_common::{counter::Reason, policy::DENY};
use repoint_tests::{
    Container, Node,
    networks::network,
    policies::{ANY, Policies},
    pooled::user,
    share::is_whole,
    traffic::Host,
};
use serde_json::json;

use super::add;

/// How long flows are idle beside the flood: as a part of CI, and under `--whole`.
const IDLE: [Duration; 2] = [Duration::from_secs(4), Duration::from_secs(30)];
/// Flows that are idle.
const FLOWS: usize = 200;

/// Slots of one tenant that flood together.
const MANY: usize = 100;
/// Flows that an attacker opens before another one has its turn.
const TURN: u64 = 100;

/// Two datagrams of each flow, from as many ports as there are: what pushes out most.
fn flood(attackers: &[Host], target: SocketAddr, done: &AtomicBool) -> Result<u64> {
    let mut flows = 0;
    for attacker in attackers.iter().cycle() {
        if done.load(Ordering::Relaxed) {
            break;
        }
        attacker.run(|| {
            for _ in 0..TURN {
                let socket = UdpSocket::bind(("0.0.0.0", 0)).context("bind")?;
                for _ in 0..2 {
                    // A datagram that is dropped is no error to its sender.
                    drop(socket.send_to(b"flood", target));
                }
            }
            Ok(())
        })?;
        flows += TURN;
    }
    Ok(flows)
}

#[test]
fn idle_flows_survive_their_neighbours_flood() -> Result<()> {
    ensure_idle_flows_survive(1)
}

#[test]
fn idle_flows_survive_the_flood_of_another_tenants_slots() -> Result<()> {
    ensure_idle_flows_survive(MANY)
}

fn ensure_idle_flows_survive(count: usize) -> Result<()> {
    let idle = IDLE[usize::from(is_whole())];
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "net", 7, |configuration| {
            configuration["pool"] = json!({ "warm": 1, "maxSlots": MANY + 8 });
        })?;
        let victim = add(&network, "victim", "victim")?;
        let peer = add(&network, "peer", "peer")?;
        let user = user("bolt", "attacker");
        let attackers = (0..count)
            .map(|number| {
                let name = format!("attacker-{number}");
                Container::add_with(&network, &name, |attachment| attachment.args(&user))
            })
            .collect::<Result<Vec<_>>>()?;
        let policies = Policies::open(&node.dirs().bpf)?;
        policies.put(1, DENY, &[ANY])?;
        policies.put(2, DENY, &[])?;
        // Nothing may be opened to the victim: without its flow an answer is dropped.
        policies.enforce(&victim, 1, 2)?;
        policies.enforce(&peer, 1, 1)?;
        attackers.iter().try_for_each(|attacker| policies.enforce(attacker, 1, 1))?;
        let v4 = peer.addresses()?.into_iter().find(IpAddr::is_ipv4).context("no IPv4 address")?;
        let target: SocketAddr = (v4, 9).into();
        let socket = peer.host()?.bind_udp(target)?;
        let sockets = victim.host()?.run(|| {
            (0..FLOWS)
                .map(|_| {
                    let socket = UdpSocket::bind(("0.0.0.0", 0)).context("bind")?;
                    socket.send_to(b"question", target).context("send")?;
                    Ok(socket)
                })
                .collect::<Result<Vec<_>>>()
        })?;
        let mut askers = Vec::new();
        for _ in 0..FLOWS {
            let (_, from) = socket.recv_from(&mut [0; 64]).context("no question")?;
            socket.send_to(b"answer", from).context("send")?;
            askers.push(from);
        }
        let done = AtomicBool::new(false);
        let hosts = attackers.iter().map(Container::host).collect::<Result<Vec<_>>>()?;
        let begun = Instant::now();
        let flows = thread::scope(|scope| {
            let attack = scope.spawn(|| flood(&hosts, (v4, 10).into(), &done));
            pause(idle);
            done.store(true, Ordering::Relaxed);
            attack.join().map_err(|_| anyhow!("a thread panicked"))?
        })?;
        for from in &askers {
            socket.send_to(b"answer", from).context("send")?;
        }
        pause(Duration::from_millis(50));
        let mut alive = 0;
        for socket in &sockets {
            socket.set_nonblocking(true)?;
            let mut answers = 0;
            while socket.recv(&mut [0; 64]).is_ok() {
                answers += 1;
            }
            alive += usize::from(answers == 2);
        }
        let maps = Maps::open_existing(&node.dirs().bpf)?.context("no data plane")?;
        let counters = maps.counters()?;
        let limited = counters.iter().find(|(reason, _)| *reason == Reason::FlowRate);
        let limited = limited.map_or(0, |(_, counter)| counter.packets);
        println!(
            "{count} slots: {flows} flows tried in {:?}, {limited} packets beyond the share, {alive} of {FLOWS} idle flows alive",
            begun.elapsed()
        );
        ensure!(alive == FLOWS, "{alive} of {FLOWS} idle flows are alive");
        ensure!(limited > 0, "the flood was no flood");
        [victim, peer].into_iter().chain(attackers).try_for_each(Container::remove)
    })
}

#[expect(clippy::disallowed_methods, reason = "the flows are idle for this long")]
fn pause(time: Duration) {
    thread::sleep(time);
}
