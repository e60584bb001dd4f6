//! First packets of slots that pass from function to function, and functions that are new.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Container,
    share::is_whole,
    traffic::{self, numbers_received},
    wait, with_pool,
};
use serde_json::json;

use super::{add, apply, ensure_clean, policy};

/// Activations of [`no_packet_passes_under_the_policy_of_another_function`]; all under `--whole`.
const ACTIVATIONS: [u32; 2] = [200, 1000];
/// How long a packet may take to its receiver.
const LIMIT: Duration = Duration::from_secs(5);
/// The functions that use the slots in turn: the first may open flows to the server, the second none.
const FUNCTIONS: [&str; 2] = ["open", "shut"];

fn policies() -> String {
    [
        policy("acme", "nothing-out", "{podSelector: {matchLabels: {repoint.dev/function: shut}}, policyTypes: [Egress]}"),
        policy("acme", "server", "{podSelector: {matchLabels: {repoint.dev/function: server}}, ingress: [{from: [{podSelector: {matchExpressions: [{key: repoint.dev/function, operator: In, values: [open, shut]}]}}]}]}"),
        policy("acme", "other-server", "{podSelector: {matchLabels: {repoint.dev/function: other-server}}, ingress: [{from: [{podSelector: {matchLabels: {repoint.dev/function: shut}}}]}]}"),
    ]
    .concat()
}

/// Sends a number to servers from a container, at once.
fn send(container: &Container<'_>, targets: &[SocketAddr], number: u32) -> Result<()> {
    container.host()?.run(|| {
        targets.iter().try_for_each(|&target| {
            let socket = UdpSocket::bind(traffic::unspecified(target.ip()))?;
            // A packet that is dropped is no error to its sender.
            socket.send_to(&number.to_be_bytes(), target).context("send").map(drop)
        })
    })
}

/// Two functions with opposite policies have the same few slots in turn, with no agent. Both send as soon as ADD
/// returns, to a server that admits both and to one that admits none of the two.
#[test]
fn no_packet_passes_under_the_policy_of_another_function() -> Result<()> {
    let activations = ACTIVATIONS[usize::from(is_whole())];
    with_pool(&json!({ "warm": 4, "maxSlots": 6, "scope": "network" }), |pooled| {
        pooled.fill()?;
        apply(pooled.node(), &policies())?;
        let network = pooled.network_with(|_| ())?;
        let servers = [
            add(&network, "server", ("acme", "server"))?,
            add(&network, "other", ("acme", "other-server"))?,
        ];
        let mut sockets = Vec::new();
        let mut targets = Vec::new();
        for server in &servers {
            let host = server.host()?;
            let mut bound = Vec::new();
            for address in server.addresses()? {
                let target = SocketAddr::new(address, 9);
                bound.push(host.bind_udp(target)?);
                targets.push(target);
            }
            sockets.push(bound);
        }
        let families = targets.len() / 2;
        let (mut slots, mut seen) = (BTreeSet::new(), Vec::new());
        for number in 0..activations {
            let place = number as usize % 2;
            let container = add(&network, &format!("c{number}"), ("acme", FUNCTIONS[place]))?;
            send(&container, &targets, number)?;
            slots.insert(pooled.slot_of(&container)?.slot);
            if place == 0 {
                // A packet of the other one was sent before.
                wait::until(LIMIT, "the packets arrive", || {
                    seen.extend(numbers_received(&sockets[0])?);
                    let arrived = seen.iter().filter(|seen| **seen == number).count();
                    ensure!(arrived == families, "{arrived} of {families} packets");
                    Ok(())
                })?;
            }
            container.remove()?;
        }
        seen.extend(numbers_received(&sockets[0])?);
        let wrong: Vec<_> = seen.iter().filter(|number| **number % 2 == 1).collect();
        ensure!(wrong.is_empty(), "packets of {wrong:?} arrived");
        let others = numbers_received(&sockets[1])?;
        ensure!(others.is_empty(), "packets of {others:?} arrived at the other server");
        println!(
            "{activations} activations of {} slots: {} packets, all right",
            slots.len(),
            seen.len()
        );
        ensure!(slots.len() < activations as usize / 10, "slots were not reused: {slots:?}");
        ensure!(seen.len() == activations as usize / 2 * families, "{} packets", seen.len());
        servers.into_iter().try_for_each(Container::remove)?;
        ensure_clean(pooled.node())
    })
}

/// A function that no ADD has named before gets its policies in its ADD: pooled, built, and in its own namespace.
#[test]
fn functions_that_are_new_have_their_policies_at_once() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 3 }), |pooled| {
        pooled.fill()?;
        let all =
            "{podSelector: {matchLabels: {repoint.dev/network: functions}}, policyTypes: [Egress]}";
        apply(pooled.node(), &policy("acme", "nothing-out", all))?;
        let network = pooled.network_with(|_| ())?;
        let server = add(&network, "server", ("bolt", "server"))?;
        let host = server.host()?;
        let targets: Vec<SocketAddr> =
            server.addresses()?.into_iter().map(|address| (address, 9).into()).collect();
        let sockets =
            targets.iter().map(|target| host.bind_udp(*target)).collect::<Result<Vec<_>>>()?;
        let (mut outcomes, mut containers) = (BTreeSet::new(), vec![server]);
        for (number, tenant) in (0..).zip(["acme", "acme", "acme", "acme", "bolt"]) {
            let function = format!("new-{number}");
            let container = add(&network, &format!("c{number}"), (tenant, &function))?;
            outcomes.insert(pooled.slot_of(&container)?.served().to_owned());
            send(&container, &targets, number)?;
            containers.push(container);
        }
        let mut seen = Vec::new();
        wait::until(LIMIT, "the last one's packets arrive", || {
            seen.extend(numbers_received(&sockets)?);
            ensure!(seen.len() >= targets.len(), "{seen:?}");
            Ok(())
        })?;
        ensure!(seen.iter().all(|number| *number == 4), "{seen:?}");
        println!("served: {outcomes:?}");
        ensure!(outcomes.len() >= 2, "{outcomes:?}");
        containers.into_iter().try_for_each(Container::remove)
    })
}
