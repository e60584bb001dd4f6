//! Real pods: Debian's containerd starts and stops them through its CRI, with our plugin.
#![cfg(test)]

mod annotations;
mod churn;
mod client;
mod containerd;
mod image;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use repoint_tests::{Node, Snapshot, dist, example, missing, wait};
use serde_json::Value;
use tokio::{runtime::Runtime, sync::Semaphore, task::JoinSet};

use client::{Client, Pod};
use containerd::Containerd;

/// Pods that are started and stopped.
const PODS: usize = 50;
/// Requests that are under way at a time.
const PARALLEL: usize = 10;
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn fifty_pods_come_talk_and_go() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let network = example("functions.conflist")?;
    on_containerd(network, pods)
}

/// Starts containerd with a network on a node of its own, and runs `test` in the node's namespaces
/// with a client that is ready. No process of a pod may be left then.
fn on_containerd(
    mut network: Value,
    test: impl FnOnce(&Node, &Runtime, Client) -> Result<()> + Send,
) -> Result<()> {
    let node = Node::new()?;
    node.dirs().patch(&mut network["plugins"][0]);
    node.run(|| {
        let containerd = Containerd::start(&node, &network, &dist::plugin())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let outcome =
            connect(&runtime, containerd.cgroup()).and_then(|client| test(&node, &runtime, client));
        if outcome.is_err() {
            eprintln!("containerd's complaints:\n{}", Containerd::complaints());
        }
        outcome.and_then(|()| containerd.stop())
    })
}

fn connect(runtime: &Runtime, cgroup: &str) -> Result<Client> {
    let mut client = runtime.block_on(Client::connect(cgroup))?;
    wait::until(LIMIT, "the CRI knows the image", || {
        ensure!(runtime.block_on(client.has_image())?, "it does not");
        Ok(())
    })?;
    Ok(client)
}

/// Whether something is missing that pods need; if so, says what.
fn skipped() -> bool {
    let tools = ["/usr/bin/containerd", "/usr/bin/ctr", "/usr/sbin/runc", image::BUSYBOX];
    missing(tools.map(Path::new)) || missing([dist::plugin(), dist::cli(), dist::agent()])
}

fn pods(node: &Node, runtime: &Runtime, mut client: Client) -> Result<()> {
    let before = Snapshot::take(node.dirs())?;
    let pods = runtime.block_on(start_all(&client))?;
    let [first, .., last] = pods.as_slice() else { bail!("{} pods are too few", pods.len()) };
    for pod in [first, last] {
        wait::until(LIMIT, "a pod's server answers itself", || {
            runtime.block_on(ask(&mut client, pod, pod, Ipv4Addr::LOCALHOST.into()))
        })?;
    }
    runtime.block_on(ask_everywhere(&mut client, first, last))?;
    runtime.block_on(ask_everywhere(&mut client, last, first))?;
    runtime.block_on(stop_all(&client, pods))?;
    before.wait_until_restored(node.dirs())
}

async fn ask_everywhere(client: &mut Client, from: &Pod, to: &Pod) -> Result<()> {
    ensure!(to.addresses.iter().any(IpAddr::is_ipv4), "{} has no IPv4 address", to.name);
    ensure!(to.addresses.iter().any(IpAddr::is_ipv6), "{} has no IPv6 address", to.name);
    for &address in &to.addresses {
        ask(client, from, to, address).await?;
    }
    Ok(())
}

/// A program in one pod asks the server in the other for its name.
async fn ask(client: &mut Client, from: &Pod, to: &Pod, address: IpAddr) -> Result<()> {
    let url = format!("http://{}/name", SocketAddr::new(address, 8080));
    let answer = client.exec(from, &[image::BUSYBOX, "wget", "-qO-", &url]).await?;
    println!("{} asks {url}: {answer:?}", from.name);
    ensure!(answer == to.name, "{answer:?} answers instead of {:?}", to.name);
    Ok(())
}

async fn start_all(client: &Client) -> Result<Vec<Pod>> {
    let begin = Instant::now();
    let mut starts = in_parallel(PARALLEL, (0..PODS).collect(), {
        let client = client.clone();
        move |number| start(client.clone(), format!("pod-{number}"))
    })
    .await?;
    report(
        "RunPodSandbox",
        PARALLEL,
        starts.iter().map(|(_, time)| *time).collect(),
        begin.elapsed(),
    );
    starts.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    Ok(starts.into_iter().map(|(pod, _)| pod).collect())
}

async fn start(mut client: Client, name: String) -> Result<(Pod, Duration)> {
    let begin = Instant::now();
    let sandbox = client.run_sandbox(&name).await?;
    let time = begin.elapsed();
    Ok((client.start_server(&name, sandbox).await?, time))
}

async fn stop_all(client: &Client, pods: Vec<Pod>) -> Result<()> {
    let begin = Instant::now();
    let client = client.clone();
    let times = in_parallel(PARALLEL, pods, move |pod| stop(client.clone(), pod)).await?;
    report("StopPodSandbox", PARALLEL, times, begin.elapsed());
    Ok(())
}

async fn stop(mut client: Client, pod: Pod) -> Result<Duration> {
    let begin = Instant::now();
    client.stop(&pod).await?;
    let time = begin.elapsed();
    client.remove(&pod).await?;
    Ok(time)
}

/// Does `work` for every item, `width` at a time; fails when all are done and one has failed.
async fn in_parallel<I, T, F>(width: usize, items: Vec<I>, work: impl Fn(I) -> F) -> Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(width));
    let mut tasks = JoinSet::new();
    for item in items {
        let (permits, work) = (Arc::clone(&permits), work(item));
        tasks.spawn(async move {
            let _permit = permits.acquire().await.context("a closed semaphore")?;
            work.await
        });
    }
    tasks.join_all().await.into_iter().collect()
}

fn report(what: &str, width: usize, mut times: Vec<Duration>, total: Duration) {
    times.sort();
    let of = |part: usize| times[(times.len() - 1) * part / 100];
    println!(
        "{what}: {} of them, {width} at a time, in {total:.2?}; each p50 {:.1?} p90 {:.1?} max {:.1?}",
        times.len(),
        of(50),
        of(90),
        of(100)
    );
}
