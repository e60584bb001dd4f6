//! Policies that change while flows run: the flows see it at once, and nothing is lost that is allowed.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use repoint::datapath::PolicyMaps;
use repoint_common::{counter::Reason, policy::Identity};
use repoint_tests::{
    Container, Netns, Node,
    download::Download,
    networks::{network, pool},
    plugin::{Attachment, Network},
    policies::dropped,
    pooled::user,
    stream,
    traffic::unspecified,
    wait,
};
use serde_json::json;

use super::{add, apply, ensure_clean, policy};

/// Functions on record, which each change is about.
const FUNCTIONS: usize = 1000;
/// Threads that start them.
const FILLERS: usize = 4;
/// How long policies are changed as fast as they can be.
const STORM: Duration = Duration::from_secs(3);
/// Functions whose packets show when each of them sees a change.
const PROBES: usize = 50;
/// Changes of each kind that are watched by them.
const ROUNDS: usize = 5;
/// Datagrams of each probe before a change, and after it.
const TURNS: u64 = 20;
/// How long these may take, and how long a datagram may be under way.
const LIMIT: Duration = Duration::from_secs(10);
const UNDER_WAY: Duration = Duration::from_millis(100);
/// Memory for datagrams that are not read yet, bytes.
const BUFFER: usize = 64 << 20;

/// What the web function may open to the database.
fn from_web(ports: &str) -> String {
    let spec = format!(
        "{{podSelector: {{matchLabels: {{repoint.dev/function: db}}}}, ingress: [{{from: [{{podSelector: {{matchLabels: \
         {{repoint.dev/function: web}}}}}}], ports: [{ports}]}}]}}"
    );
    policy("shop", "db", &spec)
}

#[test]
fn a_download_stops_and_goes_on_with_the_policy() -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "net", 7, |configuration| pool(configuration, true))?;
        let web = add(&network, "web", ("shop", "web"))?;
        let db = add(&network, "db", ("shop", "db"))?;
        let (client, server, address) = (web.host()?, db.host()?, db.addresses()?[0]);
        let [loose, tight] = ["{protocol: UDP}, {protocol: TCP}", "{protocol: UDP}"].map(from_web);
        apply(&node, &loose)?;
        let download = Download::start(&client, &server, (address, 80).into())?;
        let (other, mut receiver) = stream::start(&client, &server, address)?;
        for round in 0..3 {
            download.wait_until_it_runs()?;
            apply(&node, &tight)?;
            // What was received by the other kernel end before the change is read by then.
            other.wait_until_sent(other.begun() + 25)?;
            let stopped = download.received();
            other.wait_until_sent(other.begun() + 250)?;
            let more = download.received() - stopped;
            ensure!(more == 0, "round {round}: {more} bytes more");
            apply(&node, &loose)?;
        }
        download.wait_until_it_runs()?;
        let sent = other.end();
        receiver.wait_until_all(sent).context("the flow that no change is about")?;
        println!("{} bytes, and {sent} datagrams, none lost", download.received());
        drop(download);
        ensure_clean(&node)?;
        [web, db].into_iter().try_for_each(Container::remove)
    })
}

/// Starts and ends a container of each function of tenant `acme`.
fn put_on_record(network: &Network) -> Result<()> {
    let fill = |first: usize| {
        let netns = Netns::create(&format!("filler-{first}"))?;
        for number in (first..FUNCTIONS).step_by(FILLERS) {
            let user = user("acme", &function(number));
            let attachment = Attachment::new(&format!("c{number}"), netns.path()).args(&user);
            network.add(&attachment)?;
            network.del(&attachment, None)?;
        }
        netns.remove()
    };
    thread::scope(|scope| {
        let fillers: Vec<_> = (0..FILLERS).map(|first| scope.spawn(move || fill(first))).collect();
        fillers.into_iter().try_for_each(|filler| filler.join().expect("the filler panicked"))
    })
}

fn function(number: usize) -> String {
    format!("f{number}")
}

/// Runs a test on a node with [`FUNCTIONS`] functions on record.
fn with_functions(test: impl FnOnce(&Node, &Network) -> Result<()> + Send) -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "net", 7, |configuration| {
            configuration["pool"] = json!({ "warm": 4, "maxSlots": 64, "scope": "network" });
        })?;
        let begun = Instant::now();
        put_on_record(&network)?;
        println!("{FUNCTIONS} functions started in {:?}", begun.elapsed());
        test(&node, &network)?;
        ensure_clean(&node)
    })
}

fn identities(node: &Node) -> Result<BTreeMap<u32, Identity>> {
    let maps = PolicyMaps::open_existing(&node.dirs().bpf)?.context("no data plane")?;
    Ok(maps.identities()?)
}

/// How many identities are not the same under two policies, the second of which stays.
fn count_changed(node: &Node, policies: [&str; 2]) -> Result<usize> {
    apply(node, policies[0])?;
    let before = identities(node)?;
    apply(node, policies[1])?;
    let after = identities(node)?;
    let changed = before.iter().filter(|(number, element)| after.get(number) != Some(element));
    Ok(changed.count())
}

/// A policy of all functions that lets these open flows to each other.
fn among(peers: &str, ports: &str) -> String {
    let rules = |peer| format!("[{{{peer}: [{{podSelector: {peers}}}], ports: [{ports}]}}]");
    let spec = format!(
        "{{podSelector: {{}}, policyTypes: [Ingress, Egress], ingress: {}, egress: {}}}",
        rules("from"),
        rules("to")
    );
    policy("acme", "among", &spec)
}

/// Dropped packets by reason, but for those of slots that no container has.
fn dropped_in_use(node: &Node) -> Result<BTreeMap<&'static str, u64>> {
    let mut dropped = dropped(&node.dirs().bpf)?;
    dropped.remove(Reason::Parked.label());
    Ok(dropped)
}

/// Applies the policies in turn, without pause; gives how many it applies in a second.
fn storm(node: &Node, policies: &[String]) -> Result<f64> {
    let (begun, mut applied) = (Instant::now(), 0_u32);
    while begun.elapsed() < STORM {
        for policy in policies {
            apply(node, policy)?;
            applied += 1;
        }
    }
    Ok(f64::from(applied) / begun.elapsed().as_secs_f64())
}

/// Two policies that allow the same flows by other rules and other groups replace each other as fast as possible.
#[test]
fn a_storm_of_changes_drops_nothing() -> Result<()> {
    with_functions(|node, network| {
        let one = add(network, "one", ("acme", "client"))?;
        let two = add(network, "two", ("acme", "server"))?;
        let versions = [
            among("{matchLabels: {repoint.dev/network: net}}", "{protocol: TCP}, {protocol: UDP}"),
            among(
                "{matchExpressions: [{key: repoint.dev/function, operator: Exists}]}",
                "{protocol: UDP, port: 1, endPort: 65535}, {protocol: TCP, port: 80}",
            ),
        ];
        let touched = count_changed(node, [&versions[0], &versions[1]])?;
        ensure!(touched > FUNCTIONS, "{touched} identities are changed");
        let (client, server, address) = (one.host()?, two.host()?, two.addresses()?[0]);
        let before = dropped_in_use(node)?;
        let download = Download::start(&client, &server, (address, 80).into())?;
        let (stream, mut receiver) = stream::start(&client, &server, address)?;
        download.wait_until_it_runs()?;
        let changes = storm(node, &versions)?;
        download.wait_until_it_runs().context("after the changes")?;
        let (bytes, sent) = (download.received(), stream.end());
        drop(download);
        let alone = storm(node, &versions)?;
        let each = f64::from(u32::try_from(touched)?);
        println!(
            "{touched} identities: {:.0} of them changed a second with {bytes} bytes and {sent} datagrams meanwhile, and \
             {:.0} without; dropped before: {before:?}",
            changes * each,
            alone * each
        );
        let after = dropped_in_use(node)?;
        ensure!(after == before, "dropped {after:?}, and before {before:?}");
        receiver.wait_until_all(sent).context("the datagrams")?;
        [one, two].into_iter().try_for_each(Container::remove)
    })
}

/// Sockets of containers of [`PROBES`] functions, and the one that they send to.
struct Probes {
    begun: Instant,
    sockets: Vec<UdpSocket>,
    receiver: UdpSocket,
    target: SocketAddr,
    turns: AtomicU64,
}

/// When each probe sent its datagrams, or those that arrived.
type Times = Vec<Vec<Duration>>;

/// What probes saw of a change.
struct Seen {
    begun: Duration,
    ended: Duration,
    sent: Times,
    arrived: Times,
}

impl Probes {
    fn new(containers: &[Container<'_>], server: &Container<'_>) -> Result<Self> {
        let receiver = server.host()?.bind_udp((server.addresses()?[0], 0).into())?;
        setsockopt(&receiver, sockopt::RcvBufForce, &BUFFER).context("set a socket's buffer")?;
        receiver.set_read_timeout(Some(UNDER_WAY)).context("limit reads")?;
        let target = receiver.local_addr().context("address of a socket")?;
        let bind = |container: &Container<'_>| container.host()?.bind_udp(unspecified(target.ip()));
        let sockets = containers.iter().map(bind).collect::<Result<_>>()?;
        Ok(Self { begun: Instant::now(), sockets, receiver, target, turns: AtomicU64::new(0) })
    }

    /// Sends from each probe in turn, without pause.
    fn send(&self, done: &AtomicBool) -> Result<Times> {
        let mut sent = vec![Vec::new(); self.sockets.len()];
        while !done.load(Ordering::SeqCst) {
            for (number, (socket, sent)) in self.sockets.iter().zip(&mut sent).enumerate() {
                let now = self.begun.elapsed();
                let number = u32::try_from(number)?.to_be_bytes();
                let time = u64::try_from(now.as_nanos())?.to_be_bytes();
                let datagram = [&number[..], &time].concat();
                socket.send_to(&datagram, self.target).context("send")?;
                sent.push(now);
            }
            self.turns.fetch_add(1, Ordering::SeqCst);
        }
        Ok(sent)
    }

    fn receive(&self, done: &AtomicBool) -> Result<Times> {
        let mut arrived = vec![Vec::new(); self.sockets.len()];
        let mut datagram = [0; 12];
        loop {
            // Read before the socket is, so that nothing may come after it.
            let is_last = done.load(Ordering::SeqCst);
            match self.receiver.recv(&mut datagram) {
                Ok(_) => {
                    let number = u32::from_be_bytes(datagram[..4].try_into()?) as usize;
                    let time = u64::from_be_bytes(datagram[4..].try_into()?);
                    arrived[number].push(Duration::from_nanos(time));
                }
                Err(_) if is_last => return Ok(arrived),
                Err(_) => {}
            }
        }
    }

    /// Waits until each probe has sent some datagrams more.
    fn wait_for_turns(&self) -> Result<()> {
        let enough = self.turns.load(Ordering::SeqCst) + TURNS;
        wait::until(LIMIT, "the probes send", || {
            ensure!(self.turns.load(Ordering::SeqCst) > enough);
            Ok(())
        })
    }

    fn change(&self, change: impl FnOnce() -> Result<()>) -> Result<[Duration; 2]> {
        self.wait_for_turns()?;
        let begun = self.begun.elapsed();
        change()?;
        let ended = self.begun.elapsed();
        self.wait_for_turns()?;
        Ok([begun, ended])
    }

    /// Makes a change while all probes send.
    fn watch(&self, change: impl FnOnce() -> Result<()>) -> Result<Seen> {
        let (sent_all, arrived_all) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            let sender = scope.spawn(|| self.send(&sent_all));
            let receiver = scope.spawn(|| self.receive(&arrived_all));
            let changed = self.change(change);
            sent_all.store(true, Ordering::SeqCst);
            let sent = sender.join().map_err(|_| anyhow!("the sender panicked"))?;
            arrived_all.store(true, Ordering::SeqCst);
            let arrived = receiver.join().map_err(|_| anyhow!("the receiver panicked"))?;
            let [begun, ended] = changed?;
            Ok(Seen { begun, ended, sent: sent?, arrived: arrived? })
        })
    }
}

impl Seen {
    /// Fails unless all that was sent before the change has arrived and nothing of after it, or the other way.
    fn ensure(&self, is_denied: bool) -> Result<()> {
        for (number, (sent, arrived)) in self.sent.iter().zip(&self.arrived).enumerate() {
            let before = |times: &[Duration]| times.iter().filter(|it| **it < self.begun).count();
            let after = |times: &[Duration]| times.iter().filter(|it| **it > self.ended).count();
            let sent = [before(sent), after(sent)];
            let wanted = if is_denied { [sent[0], 0] } else { [0, sent[1]] };
            let arrived = [before(arrived), after(arrived)];
            ensure!(sent.iter().all(|count| *count > 0), "probe {number} sent {sent:?}");
            ensure!(arrived == wanted, "probe {number}: {arrived:?} arrived, not {wanted:?}");
        }
        Ok(())
    }

    /// Prints when the probes saw the change, since `apply` began.
    fn print(&self, is_denied: bool) {
        let edge =
            |times: &Vec<Duration>| if is_denied { times.last() } else { times.first() }.copied();
        let seen = || self.arrived.iter().filter_map(edge).map(|it| it.saturating_sub(self.begun));
        let (first, last) = (seen().min().unwrap_or_default(), seen().max().unwrap_or_default());
        let what = if is_denied { "denied" } else { "allowed" };
        println!(
            "{what}: the first function after {first:?}, the last {:?} later; apply took {:?}",
            last.saturating_sub(first),
            self.ended.saturating_sub(self.begun)
        );
    }
}

/// What a function sends after `apply` has returned meets the new policy, and what it sent before `apply` the former.
#[test]
fn all_functions_have_the_new_policy_when_apply_returns() -> Result<()> {
    with_functions(|node, network| {
        let server = add(network, "server", ("acme", "server"))?;
        let probe = |number| add(network, &format!("p{number}"), ("acme", &function(number)));
        let containers = (0..PROBES).map(probe).collect::<Result<Vec<_>>>()?;
        let egress = |rules| {
            policy(
                "acme",
                "all",
                &format!("{{podSelector: {{}}, policyTypes: [Egress], egress: [{rules}]}}"),
            )
        };
        let [allowed, denied] = ["{}", ""].map(egress);
        let touched = count_changed(node, [&denied, &allowed])?;
        ensure!(touched > FUNCTIONS, "{touched} identities are changed");
        let probes = Probes::new(&containers, &server)?;
        for _ in 0..ROUNDS {
            for (policies, is_denied) in [(&denied, true), (&allowed, false)] {
                let seen = probes.watch(|| apply(node, policies).map(drop))?;
                seen.print(is_denied);
                seen.ensure(is_denied)?;
            }
        }
        containers.into_iter().chain([server]).try_for_each(Container::remove)
    })
}
