//! A node with a pool, the parties of an attack on it, and what a container is like that is nobody's
//! victim.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt::Display,
    net::IpAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use repoint_tests::{
    Agent, Container, Pooled,
    cli::Slot,
    command,
    hostile::{Process, Reply, Rights, netns_cookie},
    node::Uplink,
    plugin::{Attachment, Network},
    pooled::SOON,
    traffic::Host,
    wait, with_network,
};
use serde_json::{Value, json};

use crate::attack::{Attack, Step, Who};

/// The executable that attacks.
pub(crate) const ATTACKER: &str = env!("CARGO_BIN_EXE_attacker");
/// How long an ADD or DEL may take at most, on a machine that is busy with other tests. A lock is
/// waited for ten times as long.
const CALL: Duration = Duration::from_secs(5);

/// Who a container is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) tenant: Option<&'static str>,
    pub(crate) function: Option<&'static str>,
}

impl User {
    pub(crate) const fn of(tenant: &'static str, function: &'static str) -> Self {
        Self { tenant: Some(tenant), function: Some(function) }
    }

    /// Nobody in particular.
    pub(crate) const ANYBODY: Self = Self { tenant: None, function: None };

    fn ask(self, own: Attachment) -> Attachment {
        let part = |name: &str, value: Option<&str>| {
            value.map(|value| format!("repoint.dev/{name}={value}"))
        };
        let parts = [part("tenant", self.tenant), part("function", self.function)];
        own.args(&parts.into_iter().flatten().collect::<Vec<_>>().join(";"))
    }
}

/// Users whose containers may follow each other in one namespace.
pub(crate) type Domain = String;

/// A running container, and the namespace that it is in.
pub(crate) struct Owner<'a> {
    pub(crate) container: Container<'a>,
    pub(crate) host: Host,
    pub(crate) slot: Slot,
    pub(crate) cookie: u64,
    pub(crate) addresses: Vec<IpAddr>,
}

impl<'a> Owner<'a> {
    fn of(pooled: &Pooled<'_>, container: Container<'a>) -> Result<Self> {
        let (host, slot) = (container.host()?, pooled.slot_of(&container)?);
        let (cookie, addresses) = (netns_cookie(&host)?, container.addresses()?);
        Ok(Self { container, host, slot, cookie, addresses })
    }

    /// DELs it, as quickly as on a node without attackers, and removes its namespace.
    pub(crate) fn remove(self) -> Result<()> {
        let time = self.container.delete()?;
        ensure!(time < CALL, "DEL took {time:?}");
        self.container.remove_netns()
    }
}

/// A node with a pool, an agent, and a container that nobody attacks.
pub(crate) struct World<'a> {
    pub(crate) pooled: &'a Pooled<'a>,
    pub(crate) bystander: Owner<'a>,
    outside: Process,
    scope: &'static str,
    /// The domain of each namespace's users, by the kernel's cookie.
    cookies: &'a RefCell<BTreeMap<u64, Domain>>,
}

/// How many addresses the network has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// As many as containers run at a time, so that the next owner gets the attacker's.
    Few(u8),
    /// More than are needed.
    Many,
}

fn configure(configuration: &mut Value, scope: &str, addresses: Addresses) {
    configuration["pool"] = json!({ "warm": 0, "maxSlots": 16, "scope": scope, "cooldown": "0s" });
    if let Addresses::Few(count) = addresses {
        let last = 9 + count;
        configuration["ipam"]["ranges"] = json!([
            [{ "subnet": "10.217.9.0/24", "rangeStart": "10.217.9.10",
               "rangeEnd": format!("10.217.9.{last}") }],
            [{ "subnet": "fd00:217:9::/64", "rangeStart": "fd00:217:9::a",
               "rangeEnd": format!("fd00:217:9::{last:x}") }],
        ]);
    }
}

/// Runs a scenario on a node with an agent and a pool of this scope, in which nothing is built ahead:
/// a container gets what others left wherever the product lets it.
pub(crate) fn with_world(
    scope: &'static str,
    addresses: Addresses,
    scenario: impl FnOnce(&World<'_>) -> Result<()> + Send,
) -> Result<()> {
    with_agent_or_not(true, scope, addresses, scenario)
}

/// The same, with or without an agent.
pub(crate) fn with_agent_or_not(
    has_agent: bool,
    scope: &'static str,
    addresses: Addresses,
    scenario: impl FnOnce(&World<'_>) -> Result<()> + Send,
) -> Result<()> {
    let begin = Instant::now();
    let change = |configuration: &mut Value| configure(configuration, scope, addresses);
    with_network(Uplink::FIRST, change, |pooled| {
        let agent = if has_agent { Some(pooled.agent()?) } else { None };
        let cookies = RefCell::default();
        let world = World::new(pooled, scope, &cookies)?;
        scenario(&world)?;
        world.outside.kill()?;
        world.bystander.remove()?;
        println!("took {:?}", begin.elapsed());
        agent.map_or(Ok(()), Agent::stop)
    })
}

impl<'a> World<'a> {
    fn new(
        pooled: &'a Pooled<'a>,
        scope: &'static str,
        cookies: &'a RefCell<BTreeMap<u64, Domain>>,
    ) -> Result<Self> {
        let outside_host = pooled.node().outside_host()?;
        let outside = Process::start(Path::new(ATTACKER), &outside_host, &Rights::NONE)?;
        let bystander = add(pooled, User::of("carol", "bystander"))?;
        let world = Self { pooled, bystander, outside, scope, cookies };
        world.claim(&world.bystander, User::of("carol", "bystander"))?;
        Ok(world)
    }

    /// The outside host.
    pub(crate) fn outside_host(&self) -> Result<Host> {
        self.pooled.node().outside_host()
    }

    /// Starts a container, and fails if its namespace has been another domain's.
    pub(crate) fn start(&self, user: User) -> Result<Owner<'a>> {
        let owner = add(self.pooled, user)?;
        let time = owner.container.added_in();
        ensure!(time < CALL, "ADD took {time:?}");
        self.claim(&owner, user)?;
        Ok(owner)
    }

    /// Starts a container, whatever namespace it gets.
    pub(crate) fn add(&self, user: User) -> Result<Owner<'a>> {
        add(self.pooled, user)
    }

    /// The same by another configuration of the network.
    pub(crate) fn add_to<'n>(&self, network: &'n Network, user: User) -> Result<Owner<'n>> {
        let name = self.pooled.name();
        let container = Container::add_with(network, &name, |own| user.ask(own))?;
        Owner::of(self.pooled, container)
    }

    fn claim(&self, owner: &Owner<'_>, user: User) -> Result<()> {
        let own = self.domain(user, owner);
        let mut cookies = self.cookies.borrow_mut();
        let former = cookies.entry(owner.cookie).or_insert_with(|| own.clone());
        ensure!(
            *former == own,
            "namespace {:x} of {own} was {former}'s: slot {} ({:?})",
            owner.cookie,
            owner.slot.slot,
            owner.slot.decision,
        );
        Ok(())
    }

    /// A container without tenant, or without a function where that is asked for, has a domain of its
    /// own.
    fn domain(&self, user: User, owner: &Owner<'_>) -> Domain {
        let alone = || format!("container {}", owner.container.attachment().container_id);
        match (self.scope, user.tenant, user.function) {
            ("tenant", Some(tenant), _) => format!("tenant {tenant}"),
            ("function", Some(tenant), Some(function)) => {
                format!("function {function} of {tenant}")
            }
            _ => alone(),
        }
    }

    /// Waits until a slot's former user is off it.
    pub(crate) fn settled(&self, slot: &Slot, occupied: bool) -> Result<String> {
        let states: &[&str] =
            if occupied { &["dirty", "scrubbing", "parked", "gone"] } else { &["parked", "gone"] };
        let what = format!("slot {} is {states:?}", slot.slot);
        wait::until(SOON, &what, || {
            let found = self.pooled.slot(&slot.slot)?;
            let state = found.map_or_else(|| "gone".to_owned(), |slot| slot.state);
            ensure!(states.contains(&state.as_str()), "it is {state}");
            Ok(state)
        })
    }

    /// The orders' words: addresses and names of all parties.
    pub(crate) fn words(&self, attacker: &Owner<'_>) -> Result<Words> {
        let mut words = Words::default();
        words.party("own", attacker)?;
        words.party("peer", &self.bystander)?;
        let uplink = self.pooled.node().uplink();
        words.set("outside4", &uplink.outside_v4);
        words.set("outside6", &uplink.outside_v6);
        words.set("run", &self.pooled.node().dirs().run.display());
        words.set("nexthost", &next_name(&attacker.slot.host_ifname)?);
        words.set("gateway", &gateway(&attacker.host)?);
        words.lies("ownlies", "own");
        Ok(words)
    }
}

fn add<'a>(pooled: &'a Pooled<'_>, user: User) -> Result<Owner<'a>> {
    Owner::of(pooled, pooled.add_with(|own| user.ask(own))?)
}

/// The name of the interface on the node that the slot made next will have.
fn next_name(name: &str) -> Result<String> {
    let number = name.strip_prefix("rp").context("another prefix")?;
    let number = u64::from_str_radix(number, 16).context("a slot's number")?;
    Ok(format!("rp{:012x}", number + 1))
}

/// The gateway's hardware address, as a container has it.
fn gateway(host: &Host) -> Result<String> {
    let shown = host.run(|| command::run("ip", ["neighbour", "show", "169.254.1.1"]))?;
    let mut words = shown.split_whitespace().skip_while(|word| *word != "lladdr").skip(1);
    words.next().map(str::to_owned).with_context(|| format!("no gateway in {shown:?}"))
}

/// What stands in orders for `{name}`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Words(BTreeMap<String, String>);

impl Words {
    fn set(&mut self, name: &str, value: &dyn Display) {
        self.0.insert(format!("{{{name}}}"), value.to_string());
    }

    /// Its addresses and its MAC address.
    pub(crate) fn party(&mut self, name: &str, owner: &Owner<'_>) -> Result<()> {
        let [v4, v6] = owner.addresses.as_slice() else {
            bail!("{name} has not two addresses: {:?}", owner.addresses);
        };
        self.set(&format!("{name}4"), v4);
        self.set(&format!("{name}6"), v6);
        self.set(&format!("{name}mac"), &owner.slot.mac);
        Ok(())
    }

    /// The arguments of `spoof` and `flood` about a party.
    pub(crate) fn lies(&mut self, name: &str, about: &str) {
        let order =
            format!("{{{about}4}} {{{about}6}} {{{about}mac}} {{peer4}} {{gateway}} {{ownmac}}");
        let order = self.fill(&order);
        self.set(name, &order);
    }

    fn fill(&self, order: &str) -> String {
        self.0.iter().fold(order.to_owned(), |order, (name, value)| order.replace(name, value))
    }
}

/// The processes of an attack.
pub(crate) struct Gang<'a> {
    attacker: Option<Process>,
    accomplice: Option<(Process, Owner<'a>)>,
}

/// How the preparations of an attack went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Prepared {
    Ready,
    /// The kernel lacks what it takes.
    Unsupported(String),
}

impl<'a> Gang<'a> {
    pub(crate) fn new(world: &World<'a>, attack: &Attack, owner: &Owner<'_>) -> Result<Self> {
        let executable = Path::new(ATTACKER);
        let attacker = Process::start(executable, &owner.host, &attack.rights)?;
        let accomplice = match attack.accomplice {
            None => None,
            Some(rights) => {
                let other = world.start(User::of("mallory", "accomplice"))?;
                let process = Process::start(executable, &other.host, &rights)?;
                attacker.introduce(&process)?;
                Some((process, other))
            }
        };
        Ok(Self { attacker: Some(attacker), accomplice })
    }

    fn order(&self, world: &World<'_>, step: Step, words: &Words) -> Result<Reply> {
        let Step(who, order) = step;
        let order = words.fill(order);
        let process = match who {
            Who::Outside => Some(&world.outside),
            Who::Attacker => self.attacker.as_ref(),
            Who::Accomplice => self.accomplice.as_ref().map(|(process, _)| process),
        };
        let reply = process.with_context(|| format!("{who:?} is not there"))?.order(&order)?;
        println!("{who:?}: {order}: {reply:?}");
        Ok(reply)
    }

    pub(crate) fn prepare(
        &self,
        world: &World<'_>,
        attack: &Attack,
        words: &Words,
    ) -> Result<Prepared> {
        for step in attack.prepare {
            match self.order(world, *step, words)? {
                Reply::Done(_) => {}
                Reply::Unsupported(what) => return Ok(Prepared::Unsupported(what)),
                Reply::Failed(why) => bail!("{step:?}: {why}"),
            }
        }
        Ok(Prepared::Ready)
    }

    /// Does all that can be done, once the next owner is there.
    pub(crate) fn strike(&self, world: &World<'_>, attack: &Attack, words: &Words) -> Result<()> {
        attack.strike.iter().try_for_each(|step| self.order(world, *step, words).map(drop))
    }

    /// How often the next owner's secret reached any of them.
    pub(crate) fn secrets(&self) -> Result<usize> {
        let processes = self.attacker.iter().chain(self.accomplice.iter().map(|(one, _)| one));
        let mut found = 0;
        for process in processes {
            found += process.must("secrets")?.parse::<usize>()?;
        }
        Ok(found)
    }

    /// Ends the attacker's container, processes first unless one stays.
    pub(crate) fn leave(&mut self, attack: &Attack, owner: Owner<'_>) -> Result<()> {
        if !attack.stays
            && let Some(attacker) = self.attacker.take()
        {
            attacker.kill()?;
        }
        owner.remove()
    }

    pub(crate) fn end(self) -> Result<()> {
        self.attacker.map_or(Ok(()), Process::kill)?;
        let Some((process, owner)) = self.accomplice else {
            return Ok(());
        };
        process.kill()?;
        owner.remove()
    }
}
