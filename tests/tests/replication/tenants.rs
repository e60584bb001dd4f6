//! Whose namespace goes to whom, under pressure and against ill will: each is used by one trust domain
//! for as long as it is there, and a container never finds anything that another left in it.

use std::{
    panic,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use repoint_tests::{
    Agent, Container, Pooled,
    cli::Slot,
    plugin::{Attachment, Network},
    pooled::ANNOTATIONS,
    trust::{Domain, History, Scope},
    web::BUSYBOX,
    with_pool,
};
use serde_json::{Value, json};

use crate::{shell, talk};

/// Threads that start and stop containers.
const THREADS: usize = 4;
/// Containers in all, for each scope.
const ROUNDS: usize = 240;
/// How often the users change that are there.
const PHASES: usize = 10;

/// A container's user.
#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    tenant: Option<&'static str>,
    function: Option<&'static str>,
    /// The scope that counts for it.
    scope: Scope,
}

impl User {
    /// The domain of the `number`th container; `shares` is what key `pool.shareWithoutTenant` says.
    fn domain(&self, number: usize, shares: bool) -> Domain {
        Domain::of(self.scope, self.tenant, self.function, shares, number)
    }
}

/// How a tenant is named.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// By the pod's namespace.
    Namespace,
    /// By `CNI_ARGS`, against the pod's namespace.
    Args,
    /// By the pod's annotation, against its namespace, which this network allows.
    Annotation,
}

/// Tenants that are easily taken for each other: prefixes, another case, other spaces, names that
/// look like nothing, and none at all.
const TENANTS: [Option<&str>; 10] = [
    Some("a"),
    Some("ab"),
    Some("A"),
    Some("a/f"),
    Some("a f"),
    Some(" "),
    Some("\u{200b}"),
    Some("-"),
    Some("none"),
    None,
];
const FUNCTIONS: [Option<&str>; 4] = [Some("f"), Some("f/f"), Some("F"), None];
const WAYS: [Way; 3] = [Way::Namespace, Way::Args, Way::Annotation];

/// The `number`th user of a pool of this scope, and how it asks.
fn user(number: usize, pool: Scope) -> (User, Way) {
    // Numbers without common divisors: every combination comes sooner or later.
    let narrower = [None, None, None, Some(Scope::Tenant), None, Some(Scope::Function), None];
    let asked = narrower[number % 7].filter(|asked| *asked <= pool);
    // Few at a time, so that they meet.
    let phase = number / (ROUNDS / PHASES);
    let tenant = TENANTS[(phase + number % 3) % TENANTS.len()];
    let function = FUNCTIONS[(phase + number / 3 % 2) % FUNCTIONS.len()];
    let user = User { tenant, function, scope: asked.unwrap_or(pool) };
    (user, WAYS[number % 11 % 3])
}

fn ask(own: Attachment, user: &User, way: Way, pool: Scope) -> Attachment {
    let mut args = vec!["IgnoreUnknown=1".to_owned(), "K8S_POD_NAME=p".to_owned()];
    let mut annotations = json!({});
    if let Some(function) = user.function {
        annotations["repoint.dev/function"] = json!(function);
    }
    if user.scope != pool {
        annotations["repoint.dev/scope"] = json!(user.scope.name());
    }
    // Whose namespace it is where the tenant is named otherwise.
    let others = "K8S_POD_NAMESPACE=ab".to_owned();
    match (user.tenant, way) {
        (None, _) => {}
        (Some(tenant), Way::Namespace) => args.push(format!("K8S_POD_NAMESPACE={tenant}")),
        (Some(tenant), Way::Args) => args.extend([others, format!("repoint.dev/tenant={tenant}")]),
        (Some(tenant), Way::Annotation) => {
            args.push(others);
            annotations["repoint.dev/tenant"] = json!(tenant);
        }
    }
    own.args(&args.join(";")).capability(ANNOTATIONS, annotations)
}

/// What containers come and go in.
struct Churn<'a> {
    pooled: &'a Pooled<'a>,
    network: Network,
    /// Scope of the pool.
    scope: Scope,
    /// What key `pool.shareWithoutTenant` says.
    shares: bool,
    history: Mutex<History>,
}

impl Churn<'_> {
    /// Starts a container, notes which namespace it got, and stops it.
    fn round(&self, number: usize) -> Result<()> {
        let Self { pooled, network, scope, shares, history } = self;
        let (user, way) = user(number, *scope);
        let name = pooled.name();
        let container = Container::add_with(network, &name, |own| ask(own, &user, way, *scope))
            .with_context(|| format!("{user:?} by {way:?}"))?;
        let slot = pooled.slot_of(&container)?;
        let named = (slot.tenant.as_deref(), slot.function.as_deref());
        ensure!(named == (user.tenant, user.function), "{slot:?} is not for {user:?} by {way:?}");
        let domain = user.domain(number, *shares);
        if slot.served() != "none" {
            let at = container.netns().inode()?.1;
            ensure!(Some(at) == slot.netns_inode, "the container is not in {slot:?}");
            let shown = slot.domain.as_deref().context("it shows no domain")?;
            ensure!(shown == domain.to_string(), "{shown} is not the domain of {user:?}: {domain}");
        }
        let cookie = container.netns().cookie()?;
        let mut history = history.lock().map_err(|_| anyhow!("a poisoned lock"))?;
        history.note(cookie, domain);
        drop(history);
        container.remove()
    }

    /// Several threads start and stop containers of all users.
    fn play(self) -> Result<History> {
        let next = AtomicUsize::new(0);
        let work = || -> Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= ROUNDS {
                    return Ok(());
                }
                self.round(number)?;
            }
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
            })
        })?;
        self.history.into_inner().map_err(|_| anyhow!("a poisoned lock"))
    }
}

/// In a pool of few slots, so that every container wants what others left.
fn a_namespace_has_one_domain(scope: Scope, shares: bool) -> Result<()> {
    for (has_agent, warm) in [(true, 0), (true, 3), (false, 0)] {
        let pool = json!({
            "warm": warm, "maxSlots": 8, "scope": scope.name(), "shareWithoutTenant": shares,
            "annotations": ["repoint.dev/tenant", "repoint.dev/function", "repoint.dev/scope"],
        });
        with_pool(&pool, |pooled| {
            let agent = if has_agent { Some(pooled.agent()?) } else { None };
            let (network, history) = (pooled.network().clone(), Mutex::default());
            let history = Churn { pooled, network, scope, shares, history }.play()?;
            let again = history.ensure_one_domain_each()?;
            println!("scope {}: {} namespaces, used again {again:?}", scope.name(), history.len());
            println!("{:?}", pooled.pool()?.adds);
            // Otherwise nothing was seen.
            let furthest = again.get(scope.name()).copied().unwrap_or_default();
            ensure!(furthest > 0, "no namespace had a second user of its domain: {again:?}");
            agent.map_or(Ok(()), Agent::stop)
        })?;
    }
    Ok(())
}

#[test]
fn under_scope_function_a_namespace_stays_with_its_function() -> Result<()> {
    a_namespace_has_one_domain(Scope::Function, false)
}

#[test]
fn under_scope_tenant_a_namespace_stays_with_its_tenant() -> Result<()> {
    a_namespace_has_one_domain(Scope::Tenant, false)
}

/// Some of the users ask for a narrower scope.
#[test]
fn under_scope_network_a_namespace_goes_no_further_than_its_users_allow() -> Result<()> {
    a_namespace_has_one_domain(Scope::Network, false)
}

/// Containers without a tenant are of one domain where the network says so, and of no tenant's.
#[test]
fn containers_without_a_tenant_share_with_each_other_alone() -> Result<()> {
    a_namespace_has_one_domain(Scope::Function, true)?;
    a_namespace_has_one_domain(Scope::Tenant, true)
}

/// Every way in which one user could hand something to the next is in the churn.
#[test]
fn the_churn_holds_every_kind_of_user() {
    for scope in Scope::ALL {
        let users: Vec<_> = (0..ROUNDS).map(|number| user(number, scope)).collect();
        for tenant in TENANTS {
            assert!(users.iter().any(|(user, _)| user.tenant == tenant), "{tenant:?}");
        }
        for function in FUNCTIONS {
            assert!(users.iter().any(|(user, _)| user.function == function), "{function:?}");
        }
        for narrower in Scope::ALL.into_iter().filter(|narrower| *narrower <= scope) {
            assert!(users.iter().any(|(user, _)| user.scope == narrower), "{narrower:?}");
        }
    }
}

/// What a tenant leaves in a namespace, and what shows it.
const MARKS: [(&str, &str); 6] = [
    ("ip route add 192.0.2.64/26 via 169.254.1.1", "ip route"),
    ("echo 4242 > /proc/sys/net/ipv4/tcp_keepalive_time", "sysctl net.ipv4.tcp_keepalive_time"),
    ("nft add table inet secret", "nft list ruleset"),
    ("ip neigh add 192.0.2.99 lladdr 02:00:00:00:00:99 dev eth0 nud permanent", "ip neigh"),
    ("ip rule add from 192.0.2.77 table 77", "ip rule"),
    ("tc qdisc add dev lo root handle 77: pfifo", "tc qdisc show"),
];
/// What of it shows.
const SEEN: [&str; 6] = ["192.0.2.64", "4242", "secret", "192.0.2.99", "192.0.2.77", " 77:"];

fn found(container: &Container<'_>) -> Result<String> {
    MARKS.iter().map(|(_, show)| shell(container, show)).collect()
}

/// In a network whose containers trust each other the first tenant's only slot goes to the second,
/// which is to see nothing of the first's.
fn second_tenant<'a>(pooled: &'a Pooled<'_>, slot: &Slot) -> Result<Container<'a>> {
    let second = pooled.add_tenants("b", "spy")?;
    let found = pooled.slot_of(&second)?;
    ensure!(found.slot == slot.slot, "{found:?} is another slot than {slot:?}");
    ensure!(found.served() == "reused", "{found:?}");
    Ok(second)
}

fn only_one() -> Value {
    json!({ "warm": 0, "maxSlots": 1, "scope": "network" })
}

fn marks_are_not_seen(has_agent: bool) -> Result<()> {
    with_pool(&only_one(), |pooled| {
        let agent = if has_agent { Some(pooled.agent()?) } else { None };
        let first = pooled.add_tenants("a", "resize")?;
        let slot = pooled.slot_of(&first)?;
        for (leave, _) in MARKS {
            shell(&first, leave)?;
        }
        let left = found(&first)?;
        for mark in SEEN {
            ensure!(left.contains(mark), "{mark} was not left in:\n{left}");
        }
        first.remove()?;
        pooled.wait_for_slot(&slot.slot, &["parked"])?;
        let second = second_tenant(pooled, &slot)?;
        let seen = found(&second)?;
        for mark in SEEN {
            ensure!(!seen.contains(mark), "{mark} of the first tenant is in:\n{seen}");
        }
        let neighbour = pooled.add_with(|own| own.args("repoint.dev/mode=none"))?;
        talk(pooled, &second, &neighbour)?;
        second.check()?;
        neighbour.remove()?;
        second.remove()?;
        agent.map_or(Ok(()), Agent::stop)
    })
}

#[test]
fn what_a_tenant_left_is_not_seen_by_the_next() -> Result<()> {
    marks_are_not_seen(true)?;
    marks_are_not_seen(false)
}

/// The same where they do not trust each other: what the second gets is another namespace.
#[test]
fn what_a_tenant_left_is_not_in_the_next_ones_namespace() -> Result<()> {
    for has_agent in [true, false] {
        with_pool(&json!({ "warm": 0, "maxSlots": 1 }), |pooled| {
            let agent = if has_agent { Some(pooled.agent()?) } else { None };
            let first = pooled.add_tenants("a", "resize")?;
            let (slot, cookie) = (pooled.slot_of(&first)?, first.netns().cookie()?);
            for (leave, _) in MARKS {
                shell(&first, leave)?;
            }
            first.remove()?;
            pooled.wait_for_slot(&slot.slot, &["parked"])?;
            let second = pooled.add_tenants("b", "resize")?;
            let given = pooled.slot_of(&second)?;
            ensure!(given.slot != slot.slot && given.served() == "replicated", "{given:?}");
            ensure!(given.mac != slot.mac && given.host_ifname != slot.host_ifname, "{given:?}");
            ensure!(second.netns().cookie()? != cookie, "it is the first tenant's namespace");
            let seen = found(&second)?;
            for mark in SEEN {
                ensure!(!seen.contains(mark), "{mark} of the first tenant is in:\n{seen}");
            }
            second.check()?;
            second.remove()?;
            agent.map_or(Ok(()), Agent::stop)
        })?;
    }
    Ok(())
}

/// A process of a container, which listens. Dropping it kills it.
struct Listener(Child);

impl Listener {
    fn start(container: &Container<'_>, port: u16) -> Result<Self> {
        let port = port.to_string();
        let child = container.netns().run(|| {
            let mut listen = Command::new(BUSYBOX);
            listen.args(["nc", "-l", "-p", &port]).stdin(Stdio::null()).stdout(Stdio::null());
            listen.spawn().context("start busybox nc")
        });
        Ok(Self(child?))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("a listener is left: {error}");
        }
    }
}

/// As long as a process of the first tenant is in it, nobody gets the slot.
#[test]
fn a_slot_that_a_tenants_process_is_in_goes_to_nobody() -> Result<()> {
    with_pool(&only_one(), |pooled| {
        let agent = pooled.agent()?;
        let first = pooled.add_tenants("a", "resize")?;
        let slot = pooled.slot_of(&first)?;
        let listener = Listener::start(&first, 4242)?;
        first.remove()?;
        pooled.wait_for_slot(&slot.slot, &["dirty"])?;
        for (tenant, function) in [("b", "spy"), ("a", "resize")] {
            let other = pooled.add_tenants(tenant, function)?;
            let found = pooled.slot_of(&other)?;
            ensure!(found.slot != slot.slot && found.served() == "none", "{found:?}");
            let sockets = shell(&other, "ss -Hltn")?;
            ensure!(!sockets.contains(":4242 "), "the first's listener: {sockets}");
            other.remove()?;
            pooled.wait_for_slot(&slot.slot, &["dirty"])?;
        }
        drop(listener);
        pooled.wait_for_slot(&slot.slot, &["parked"])?;
        let second = second_tenant(pooled, &slot)?;
        let sockets = shell(&second, "ss -Hltn")?;
        ensure!(sockets.is_empty(), "sockets are left: {sockets}");
        second.remove()?;
        agent.stop()
    })
}
