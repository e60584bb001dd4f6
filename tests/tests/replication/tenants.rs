//! Whose slot goes to whom, under pressure and against ill will: never further than both its users
//! and the network allow, and never with anything that a user left in it.

use std::{
    collections::BTreeMap,
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

/// How far a slot may go, from the narrowest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Function,
    Tenant,
    Network,
}

impl Scope {
    const ALL: [Self; 3] = [Self::Function, Self::Tenant, Self::Network];

    fn name(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Tenant => "tenant",
            Self::Network => "network",
        }
    }
}

/// Who had a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    tenant: Option<&'static str>,
    function: Option<&'static str>,
    /// How far it lets its slot go, and from how far it takes one.
    scope: Scope,
}

impl User {
    /// How far it is to another.
    fn distance(&self, other: &Self) -> Scope {
        if self.tenant != other.tenant {
            Scope::Network
        } else if self.function.is_some() && self.function == other.function {
            Scope::Function
        } else {
            Scope::Tenant
        }
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

/// Every user of every slot, in turn.
type History = Mutex<BTreeMap<String, Vec<User>>>;

/// Starts a container, notes whose slot it got, and stops it.
fn round(
    pooled: &Pooled<'_>,
    network: &Network,
    number: usize,
    pool: Scope,
    history: &History,
) -> Result<()> {
    let (user, way) = user(number, pool);
    let name = pooled.name();
    let container = Container::add_with(network, &name, |own| ask(own, &user, way, pool))
        .with_context(|| format!("{user:?} by {way:?}"))?;
    let slot = pooled.slot_of(&container)?;
    let named = (slot.tenant.as_deref(), slot.function.as_deref());
    ensure!(named == (user.tenant, user.function), "{slot:?} is not for {user:?} by {way:?}");
    if slot.served() != "none" {
        let at = container.netns().inode()?.1;
        ensure!(Some(at) == slot.netns_inode, "the container is not in {slot:?}");
        let mut history = history.lock().map_err(|_| anyhow!("a poisoned lock"))?;
        history.entry(slot.slot).or_default().push(user);
    }
    container.remove()
}

/// Several threads start and stop containers of all users.
fn churn(pooled: &Pooled<'_>, pool: Scope) -> Result<BTreeMap<String, Vec<User>>> {
    let network = pooled.network_with(|configuration| {
        configuration["pool"]["annotations"] =
            json!(["repoint.dev/tenant", "repoint.dev/function", "repoint.dev/scope"]);
    })?;
    let (history, next) = (History::default(), AtomicUsize::new(0));
    let work = || -> Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= ROUNDS {
                return Ok(());
            }
            round(pooled, &network, number, pool, &history)?;
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
        })
    })?;
    history.into_inner().map_err(|_| anyhow!("a poisoned lock"))
}

/// Fails if two users had one slot that were further from each other than either allows. Gives how
/// often a slot went how far.
fn judge(history: &BTreeMap<String, Vec<User>>) -> Result<BTreeMap<&'static str, usize>> {
    let mut passed = BTreeMap::new();
    for (slot, users) in history {
        for (number, later) in users.iter().enumerate() {
            for earlier in &users[..number] {
                let (distance, limit) = (earlier.distance(later), earlier.scope.min(later.scope));
                ensure!(distance <= limit, "slot {slot} went from {earlier:?} to {later:?}");
            }
            if let Some(last) = number.checked_sub(1) {
                *passed.entry(users[last].distance(later).name()).or_default() += 1;
            }
        }
    }
    Ok(passed)
}

/// In a pool of few slots, so that everybody wants what others left.
fn nobody_gets_what_is_not_for_him(scope: Scope) -> Result<()> {
    let pool = json!({ "warm": 0, "maxSlots": 8, "scope": scope.name() });
    for has_agent in [true, false] {
        with_pool(&pool, |pooled| {
            let agent = if has_agent { Some(pooled.agent()?) } else { None };
            let history = churn(pooled, scope)?;
            let passed = judge(&history)?;
            println!("scope {}: {} slots, passed on {passed:?}", scope.name(), history.len());
            println!("{:?}", pooled.pool()?.adds);
            // Otherwise nothing was seen.
            let furthest = passed.get(scope.name()).copied().unwrap_or_default();
            ensure!(furthest > 0, "no slot went as far as scope {}: {passed:?}", scope.name());
            agent.map_or(Ok(()), Agent::stop)
        })?;
    }
    Ok(())
}

#[test]
fn under_scope_function_a_slot_stays_with_its_function() -> Result<()> {
    nobody_gets_what_is_not_for_him(Scope::Function)
}

#[test]
fn under_scope_tenant_a_slot_stays_with_its_tenant() -> Result<()> {
    nobody_gets_what_is_not_for_him(Scope::Tenant)
}

#[test]
fn under_scope_network_a_slot_goes_no_further_than_its_users_allow() -> Result<()> {
    nobody_gets_what_is_not_for_him(Scope::Network)
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

/// The first tenant's only slot goes to the second, who is to see nothing of the first's.
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
