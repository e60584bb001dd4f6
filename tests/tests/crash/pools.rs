//! Scenarios of containers that are served from a pool, and of the pool itself.

use anyhow::{Context as _, Result, ensure};
use repoint::netns::NetnsStore;
use repoint_tests::{command, netns::in_thread, plugin::Attachment, pooled::user};
use serde_json::{Value, json};

use crate::{
    fixture::{CONFIGURATION, Case, Fixture, NAME, Point, Verb, cli},
    scenario::{About, Scenario, Start, attach, gc},
    state::slots,
};

/// A pool that keeps two slots ready.
pub fn ready(configuration: &mut Value) {
    configuration["pool"] = json!({ "warm": 2, "maxSlots": 4, "checkSysctls": true });
}

/// The same, of a network whose containers follow each other in a slot.
fn shared(configuration: &mut Value) {
    ready(configuration);
    configuration["pool"]["scope"] = json!("network");
}

/// One in which a tenant has one slot.
fn limited(configuration: &mut Value) {
    bare(configuration);
    configuration["pool"]["maxSlotsPerTenant"] = json!(1);
}

/// One that keeps one ready.
fn one_ready(configuration: &mut Value) {
    configuration["pool"] = json!({ "warm": 1, "maxSlots": 4 });
}

/// One that keeps none ready.
pub fn bare(configuration: &mut Value) {
    configuration["pool"] = json!({ "warm": 0, "maxSlots": 4 });
}

/// One with room for one slot, which only its function gets.
fn narrow(configuration: &mut Value) {
    configuration["pool"] = json!({ "warm": 0, "maxSlots": 1 });
}

fn fill(fixture: &Fixture<'_>, _: &Case) -> Result<()> {
    fixture.fill()
}

pub fn fill_and_attach(fixture: &Fixture<'_>, case: &Case) -> Result<()> {
    fixture.fill()?;
    attach(fixture, case)
}

/// The tenant of all functions.
pub const TENANT: &str = "acme";

/// A container of a function.
pub fn of_function(case: &Case, function: &str) -> Attachment {
    case.attachment.clone().args(&user(TENANT, function))
}

/// A slot of that function waits.
fn leave(fixture: &Fixture<'_>, case: &Case, function: &str) -> Result<()> {
    let left = of_function(case, function);
    fixture.network.add(&left)?;
    fixture.network.del(&left, None)
}

/// Another function's slot takes all the room there is, of the pool, or of the tenant.
fn take_room(fixture: &Fixture<'_>, case: &Case) -> Result<()> {
    leave(fixture, case, "other")
}

/// A slot waits for the function, and others are ready.
fn leave_own(fixture: &Fixture<'_>, case: &Case) -> Result<()> {
    fixture.fill()?;
    leave(fixture, case, "this")
}

fn add_this(fixture: &Fixture<'_>, case: &Case) -> Verb {
    Verb::cni(fixture.network.clone(), "ADD", of_function(case, "this"))
}

/// Of a tenant one container runs, and one slot waits.
fn attach_and_leave(fixture: &Fixture<'_>, case: &Case) -> Result<()> {
    leave_own(fixture, case)?;
    fixture.network.add(&of_function(case, "that")).map(drop)
}

/// The slots that are ready have lost their namespaces.
fn lose_namespaces(fixture: &Fixture<'_>, case: &Case) -> Result<()> {
    fill(fixture, case)?;
    let run = &fixture.node.dirs().run;
    let netns_store = NetnsStore::open_existing(run)?.context("nothing is kept")?;
    for slot in slots(fixture.node)? {
        in_thread(|| Ok(netns_store.enter(|inside| inside.release(slot.id))??))?;
    }
    Ok(())
}

/// Another program has removed the programs of the slots that are ready, and taken their interfaces down.
fn lose_programs(fixture: &Fixture<'_>, case: &Case) -> Result<()> {
    fill(fixture, case)?;
    for slot in slots(fixture.node)? {
        let ifname = slot.id.host_ifname();
        command::run("tc", ["qdisc", "del", "dev", &ifname, "clsact"])?;
        command::run("ip", ["link", "set", &ifname, "down"])?;
    }
    Ok(())
}

/// The runtime has set a sysctl in the container's namespace.
fn set_sysctl(fixture: &Fixture<'_>, case: &Case) -> Result<()> {
    fill(fixture, case)?;
    let set = ["-qw", "net.ipv4.ip_unprivileged_port_start=0"];
    case.netns.run(|| command::run("sysctl", set)).map(drop)
}

/// What a container leaves that takes both depths of repair.
const TRACES: &str = "\
    ip address flush dev lo
    ip link set lo down
    ip route add 192.0.2.0/24 via 169.254.1.1 dev eth0
    ip rule add priority 77 table 77
    nft add table inet leftover
    sysctl -qw net.ipv4.tcp_fin_timeout=11";

fn attach_and_change(fixture: &Fixture<'_>, case: &Case) -> Result<()> {
    fill_and_attach(fixture, case)?;
    case.netns.run(|| command::run("sh", ["-ec", TRACES])).map(drop)
}

/// An ADD was killed that had built a slot and mounted it.
fn build_half(fixture: &Fixture<'_>, case: &Case) -> Result<()> {
    let add = Verb::cni(fixture.network.clone(), "ADD", case.attachment.clone());
    let point = Point { name: "assign:bound".to_owned(), number: 1 };
    let ended = add.run_until(fixture.node, &point)?;
    ensure!(ended.was_killed(), "{}", ended.said());
    Ok(())
}

/// PREPARE of two slots.
fn prepare(fixture: &Fixture<'_>, _: &Case) -> Verb {
    let nobody = Attachment::new("", "".as_ref()).args("repoint.dev/count=2");
    Verb::cni(fixture.network.clone(), "PREPARE", nobody)
}

/// A program's way: the namespace is mounted in `runDir`.
fn activate(_: &Fixture<'_>, case: &Case) -> Verb {
    let id = &case.attachment.container_id;
    let user = ["--function", "resize", "--tenant", TENANT];
    cli(&[&["activate", "--network", NAME, "--id", id], &user[..]].concat())
}

fn park(_: &Fixture<'_>, case: &Case) -> Verb {
    cli(&["park", "--network", NAME, &case.attachment.container_id])
}

fn activated(fixture: &Fixture<'_>, case: &Case) -> Result<()> {
    fixture.fill()?;
    activate(fixture, case).run(fixture.node, None)?.success().map(drop)
}

/// ADD by a configuration that has no pool any more.
fn add_without_pool(fixture: &Fixture<'_>, case: &Case) -> Verb {
    let network = fixture.network_with(|conf| {
        conf.as_object_mut().map(|keys| keys.remove("pool"));
    });
    Verb::cni(network, "ADD", case.attachment.clone())
}

pub fn as_configured(fixture: &Fixture<'_>) -> Result<()> {
    fixture.configure()?;
    fixture.repoint(&["pool", "reset", NAME]).map(drop)
}

const HIT: Scenario = Scenario { name: "hit", network: ready, before: fill, ..Scenario::ADD };
const PARK: Scenario =
    Scenario { name: "parks", network: shared, before: fill_and_attach, ..Scenario::DEL };
const POOL: Scenario = Scenario { about: About::Node, after: as_configured, ..HIT };

/// The database was removed under a container that runs.
fn lose_database(fixture: &Fixture<'_>, case: &Case) -> Result<()> {
    attach(fixture, case)?;
    Ok(std::fs::remove_dir_all(fixture.node.dirs().run.join("state"))?)
}

pub const ALL: [Scenario; 27] = [
    HIT,
    Scenario {
        name: "del-lost",
        network: bare,
        before: lose_database,
        damage: &["link", "namespace", "endpoint", "interface", "masquerade"],
        ..Scenario::DEL
    },
    Scenario { name: "reuses", before: leave_own, verb: add_this, ..HIT },
    Scenario {
        name: "hit-broken",
        network: one_ready,
        before: lose_namespaces,
        damage: &["slot-namespace", "slot-link"],
        ..HIT
    },
    Scenario {
        name: "hit-damaged",
        before: lose_programs,
        damage: &["filter", "host-half"],
        ..HIT
    },
    Scenario { name: "hit-sysctls", before: set_sysctl, ..HIT },
    Scenario { name: "builds", network: bare, ..Scenario::ADD },
    Scenario { name: "builds-first", network: bare, start: Start::Fresh, ..Scenario::ADD },
    Scenario {
        name: "makes-room",
        network: narrow,
        before: take_room,
        verb: add_this,
        ..Scenario::ADD
    },
    Scenario {
        name: "makes-tenants-room",
        network: limited,
        before: take_room,
        verb: add_this,
        ..Scenario::ADD
    },
    PARK,
    Scenario { name: "parks-for-nobody", network: ready, ..PARK },
    Scenario { name: "parks-changed", before: attach_and_change, ..PARK },
    Scenario { name: "del-half-built", network: bare, before: build_half, ..Scenario::DEL },
    Scenario { name: "gc-parks", verb: gc, ..PARK },
    Scenario { name: "prepare", network: bare, before: |_, _| Ok(()), verb: prepare, ..POOL },
    Scenario { name: "activate", verb: activate, detach: park, ..HIT },
    Scenario {
        name: "park",
        before: activated,
        verb: park,
        detach: park,
        refusals: &["has no slot"],
        ..PARK
    },
    Scenario {
        name: "evict",
        before: attach_and_leave,
        verb: |_, _| cli(&["evict", "--tenant", TENANT]),
        refusals: &["no slot is of tenant"],
        ..POOL
    },
    Scenario {
        name: "isolate",
        before: attach_and_leave,
        verb: |_, _| cli(&["isolate", NAME, "function"]),
        ..POOL
    },
    Scenario {
        name: "pool-set",
        before: |_, _| Ok(()),
        verb: |_, _| cli(&["pool", "set", NAME, "--config", CONFIGURATION, "--warm", "1"]),
        ..POOL
    },
    Scenario {
        name: "pool-fill",
        before: |fixture, _| fixture.configure(),
        verb: |_, _| cli(&["pool", "fill", NAME]),
        ..POOL
    },
    Scenario { name: "pool-drain", verb: |_, _| cli(&["pool", "drain", NAME]), ..POOL },
    Scenario {
        name: "pool-remove",
        verb: |_, _| cli(&["pool", "remove", NAME]),
        refusals: &["there is no pool"],
        ..POOL
    },
    Scenario { name: "pool-gone", verb: add_without_pool, after: as_configured, ..HIT },
    Scenario {
        name: "prepare-first",
        network: bare,
        start: Start::Fresh,
        before: |_, _| Ok(()),
        verb: prepare,
        ..POOL
    },
    Scenario {
        name: "unload-pool",
        start: Start::Fresh,
        before: fill_and_attach,
        verb: |_, _| cli(&["unload", "--force"]),
        refusals: &["there is nothing of repoint"],
        ..POOL
    },
];
