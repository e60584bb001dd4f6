//! Pods that come and go without end, in a network with a pool.

use std::{
    ffi::OsString,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use repoint_tests::{
    Agent, Node, Snapshot, cli, command, dist, example, netns,
    pooled::{ANNOTATIONS, SOON},
    trust::{Domain, History},
    wait,
    web::BUSYBOX,
};
use serde_json::json;
use tokio::{runtime::Runtime, task::spawn_blocking};

use crate::{client::Client, in_parallel, on_containerd, report, skipped};

/// Pods in all.
const PODS: usize = 300;
/// Pods that are there at a time.
const WIDTH: usize = 20;
/// Slots that are kept ready.
const WARM: u32 = 24;
/// Tenants, which are the namespaces of the pods, and functions of each.
const TENANTS: usize = 20;
const FUNCTIONS: usize = 2;
const NETWORK: &str = "functions";

/// A pod without containers of its own.
#[derive(Debug)]
struct Sandbox {
    id: String,
    addresses: Vec<IpAddr>,
    started_in: Duration,
}

/// What all pods have in common.
#[derive(Clone)]
struct Churn {
    client: Client,
    node: Arc<Paths>,
    /// Runs until it is killed.
    agent: Arc<Mutex<Option<Agent>>>,
    /// After how many pods it is killed; if at all.
    killed_after: Option<usize>,
    started: Arc<AtomicUsize>,
    /// Trust domains of the pods that each network namespace had; none where pods have no functions.
    history: Option<Arc<Mutex<History>>>,
    /// Pods whose address had another pod before it could be seen to be silent.
    taken: Arc<AtomicUsize>,
}

/// The CLI's arguments that name the node's folders, for threads that outlive a borrow.
struct Paths(Vec<OsString>);

/// Nothing of a pod is used again, since no pod has a function.
#[test]
fn three_hundred_pods_in_churn_are_served_from_the_pool() -> Result<()> {
    churn(false, None, are_hits)
}

/// By the kernel's cookies: a namespace has pods of one function of one tenant.
#[test]
fn three_hundred_pods_of_twenty_tenants_share_no_namespace_and_are_served_from_the_pool()
-> Result<()> {
    churn(true, None, are_hits)
}

#[test]
fn three_hundred_pods_in_churn_start_though_the_agent_is_killed() -> Result<()> {
    churn(true, Some(PODS / 2), |later| {
        ensure!(later.all() >= u64::try_from(PODS - WIDTH)?, "{later:?}");
        Ok(())
    })
}

fn are_hits(later: Adds) -> Result<()> {
    let share = later.hits * 100 / later.all().max(1);
    println!("{share} % of ADDs after the first {WIDTH} were hits: {later:?}");
    ensure!(share >= 95, "{share} % of ADDs after the first {WIDTH} were hits: {later:?}");
    Ok(())
}

/// ADDs by how they were served.
#[derive(Debug, Clone, Copy, Default)]
struct Adds {
    hits: u64,
    built: u64,
    declined: u64,
}

impl Adds {
    fn now(node: &Node) -> Result<Self> {
        let pool = cli::pool(node, NETWORK)?;
        println!("{pool:?}");
        Ok(Self { hits: pool.hits, built: pool.built, declined: pool.declined })
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            hits: self.hits - earlier.hits,
            built: self.built - earlier.built,
            declined: self.declined - earlier.declined,
        }
    }

    fn all(self) -> u64 {
        self.hits + self.built + self.declined
    }
}

/// Has pods come and go, which are functions of tenants or not, and judges by the ADDs after the first.
fn churn(
    of_tenants: bool,
    killed_after: Option<usize>,
    judge: fn(Adds) -> Result<()>,
) -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let mut network = example("functions.conflist")?;
    network["plugins"][0]["pool"] = json!({ "warm": WARM, "maxSlots": 128 });
    network["plugins"][0]["capabilities"][ANNOTATIONS] = json!(true);
    on_containerd(network, |node, runtime, client| {
        let before = Snapshot::take(node.dirs())?;
        let agent = Arc::new(Mutex::new(Some(Agent::start_as_a_unit(node)?)));
        let churn = Churn {
            client,
            node: Arc::new(Paths(node.dirs().arguments().into())),
            agent: Arc::clone(&agent),
            killed_after,
            started: Arc::default(),
            history: of_tenants.then(Arc::default),
            taken: Arc::default(),
        };
        let later = come_and_go(node, runtime, &churn)?;
        if let Some(history) = &churn.history {
            let history = history.lock().map_err(|_| anyhow!("a poisoned lock"))?;
            let again = history.ensure_one_domain_each()?;
            println!("{PODS} pods had {} namespaces, used again {again:?}", history.len());
            ensure!(again.values().sum::<usize>() > 0, "no namespace had a second pod");
        }
        judge(later)?;
        let taken = churn.taken.load(Ordering::Relaxed);
        println!("{taken} addresses had another pod at once");
        ensure!(taken < PODS / 2, "too many addresses to have seen silence");
        drop(churn);
        let agent = agent.lock().map_err(|_| anyhow!("a poisoned lock"))?.take();
        let agent = agent.map_or_else(|| Agent::start_as_a_unit(node), Ok)?;
        only_the_pool_is_left(node)?;
        agent.stop()?;
        cli::repoint(node, &["unload"])?;
        before.wait_until_restored(node.dirs())
    })
}

/// The first pods, and then all others while these and those end.
fn come_and_go(node: &Node, runtime: &Runtime, churn: &Churn) -> Result<Adds> {
    let begin = Instant::now();
    let starter = churn.clone();
    let start = move |number| starter.clone().start(number);
    let first = runtime.block_on(in_parallel(WIDTH, (0..WIDTH).collect(), start))?;
    let earlier = Adds::now(node)?;
    let first = first.into_iter().map(Some);
    let items: Vec<(usize, Option<Sandbox>)> =
        (0..).zip(first.chain((WIDTH..PODS).map(|_| None))).collect();
    let others = churn.clone();
    let whole = move |(number, sandbox)| others.clone().live(number, sandbox);
    let lives = runtime.block_on(in_parallel(WIDTH, items, whole))?;
    let (starts, stops): (Vec<_>, Vec<_>) = lives.into_iter().unzip();
    report("RunPodSandbox", WIDTH, starts, begin.elapsed());
    report("StopPodSandbox", WIDTH, stops, begin.elapsed());
    Ok(Adds::now(node)?.since(earlier))
}

impl Churn {
    async fn start(mut self, number: usize) -> Result<Sandbox> {
        let begin = Instant::now();
        let name = format!("pod-{number}");
        let (tenant, function) =
            (format!("team-{}", number % TENANTS), format!("f{}", number / TENANTS % FUNCTIONS));
        let id = if self.history.is_some() {
            let annotations = [("repoint.dev/function", function.as_str())];
            self.client.run_annotated(&name, &tenant, &annotations).await?
        } else {
            self.client.run_sandbox(&name).await?
        };
        let started_in = begin.elapsed();
        let addresses = self.client.addresses(&id).await?;
        ensure!(addresses.len() == 2, "{name} has {addresses:?}");
        if let Some(history) = self.history.clone() {
            let (node, pod) = (Arc::clone(&self.node), id.clone());
            let domain = Domain::Function(Some(tenant), function);
            blocking(move || {
                let cookie = node.cookie(&pod)?;
                let mut history = history.lock().map_err(|_| anyhow!("a poisoned lock"))?;
                history.note(cookie, domain);
                Ok(())
            })
            .await?;
        }
        if Some(self.started.fetch_add(1, Ordering::Relaxed) + 1) == self.killed_after {
            let agent = self.agent.lock().map_err(|_| anyhow!("a poisoned lock"))?.take();
            agent.context("no agent")?.kill()?;
            println!("the agent is killed after {number} pods");
        }
        Ok(Sandbox { id, addresses, started_in })
    }

    /// A pod from its start, or from its being started, to its end. Gives the time that start and
    /// stop took.
    async fn live(
        mut self,
        number: usize,
        sandbox: Option<Sandbox>,
    ) -> Result<(Duration, Duration)> {
        let sandbox = match sandbox {
            Some(sandbox) => sandbox,
            None => self.clone().start(number).await?,
        };
        let addresses = sandbox.addresses.clone();
        blocking(move || addresses.into_iter().try_for_each(answers)).await?;
        let begin = Instant::now();
        self.client.stop_sandbox(&sandbox.id).await?;
        let stopped_in = begin.elapsed();
        for address in sandbox.addresses {
            let node = Arc::clone(&self.node);
            if blocking(move || is_silent(&node, address)).await? {
                continue;
            }
            self.taken.fetch_add(1, Ordering::Relaxed);
        }
        self.client.remove_sandbox(&sandbox.id).await?;
        Ok((sandbox.started_in, stopped_in))
    }
}

/// Runs what blocks in a thread of the runtime, which is in the node's namespaces as this one is.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    spawn_blocking(work).await.context("a thread that panicked")?
}

fn answers(address: IpAddr) -> Result<()> {
    let address = address.to_string();
    command::run(BUSYBOX, ["ping", "-c", "1", "-W", "5", &address]).map(drop)
}

/// Whether a stopped pod's address is silent; false: another pod has it.
fn is_silent(node: &Paths, address: IpAddr) -> Result<bool> {
    let text = address.to_string();
    let owned = format!("{text}/");
    // The other pod may end between answering and being looked for.
    wait::until(SOON, "an address is silent, or a pod's", || {
        if command::run(BUSYBOX, ["ping", "-c", "1", "-W", "1", &text]).is_err() {
            return Ok(true);
        }
        let mut slots = node.slots()?.into_iter();
        let slot = slots.find(|slot| slot.addresses.iter().any(|own| own.starts_with(&owned)));
        let slot = slot.with_context(|| format!("{text} answers, and is nobody's"))?;
        ensure!(slot.container.is_some(), "{text} answers, of a slot that is {}", slot.state);
        Ok(false)
    })
}

impl Paths {
    fn slots(&self) -> Result<Vec<cli::Slot>> {
        let arguments = self.0.iter().cloned().chain(["slots".into(), "--json".into()]);
        let text = command::run(&dist::cli().to_string_lossy(), arguments)?;
        serde_json::from_str(&text).context("output of `repoint slots`")
    }

    /// The kernel's number of the network namespace that a pod has.
    fn cookie(&self, pod: &str) -> Result<u64> {
        let mut slots = self.slots()?.into_iter();
        let slot = slots.find(|slot| slot.container.as_deref() == Some(pod));
        let path =
            slot.and_then(|slot| slot.netns).with_context(|| format!("{pod} has no slot"))?;
        netns::enter(&path, netns::cookie)
    }
}

/// Every slot is back, but for those that a killed agent was building: those are deleted when they
/// are a minute old.
fn only_the_pool_is_left(node: &Node) -> Result<()> {
    wait::until(SOON, "only the pool is left", || {
        let slots = cli::slots(node)?;
        let waits = |slot: &cli::Slot| ["warm", "parked", "building"].contains(&&*slot.state);
        let left: Vec<_> = slots.iter().filter(|slot| !waits(slot)).collect();
        ensure!(left.is_empty(), "{left:?}");
        println!("{} slots are left", slots.len());
        Ok(())
    })
}
