//! Scenarios of the sweep and of the agent: a node on which much is to be done.

use std::{fs, os::unix::net::UnixDatagram, time::UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use repoint::{
    datapath::Maps,
    model::{AttachmentId, Identity, SlotId},
    netns::{Netns, NetnsStore},
    slot::{Alias, GROUP, Owner, endpoint_of, interface_of},
    store::{Slot, SlotState, Store, StoreError, Write},
};
use repoint_common::LAYOUT_VERSION;
use repoint_tests::{command, netns::in_thread, plugin::Attachment};
use serde_json::{Value, json};

use crate::{
    fixture::{CONFIGURATION, Case, Fixture, NAME, Point, Verb, cli},
    pools::{as_configured, fill_and_attach, of_function, ready},
    scenario::{About, Scenario},
    state::slots,
};

/// A slot number of no database: their upper bits are drawn at random.
const NOBODY: SlotId = SlotId(0xdead_0000_beef);

/// Changes the database behind everybody's back.
fn with_records<T>(
    fixture: &Fixture<'_>,
    work: impl FnOnce(&mut Write<'_>) -> Result<T, StoreError>,
) -> Result<T> {
    let store = Store::open(&fixture.node.dirs().run.join("state"))?;
    Ok(store.write(work)?)
}

/// Kills an ADD of another container, in a network without a pool, at a point.
fn kill_add(fixture: &Fixture<'_>, point: &str) -> Result<()> {
    let network = fixture.network_with(|conf| {
        conf["name"] = json!("other");
        conf["ipam"]["ranges"] = json!([[{ "subnet": "10.219.8.0/24" }]]);
        conf.as_object_mut().map(|keys| keys.remove("pool"));
    });
    let lost = Case::new("lost")?;
    let add = Verb::cni(network, "ADD", lost.attachment.clone());
    add.run_until(fixture.node, &Point { name: point.to_owned(), number: 1 })?;
    Ok(())
}

/// What is nobody's: an interface, map entries, a namespace, records, pins and files.
fn litter(fixture: &Fixture<'_>) -> Result<()> {
    let dirs = fixture.node.dirs();
    let nobody = Slot::building(NOBODY, NAME.parse()?, "eth0".parse()?, 1);
    let (name, group) = (NOBODY.host_ifname(), GROUP.to_string());
    let alias = Alias::new(&nobody, Owner::of(&dirs.run)).to_string();
    // Some of it may be left by a sweep that was killed.
    if command::run("ip", ["link", "show", &name]).is_err() {
        command::run("ip", ["link", "add", &name, "group", &group, "type", "veth"])?;
    }
    command::run("ip", ["link", "set", &name, "group", &group, "alias", &alias])?;
    let maps = Maps::open_existing(&dirs.bpf)?.context("the data plane is not loaded")?;
    maps.insert_endpoint("10.219.7.250".parse()?, &endpoint_of(&nobody, 4711, Identity(7)))?;
    maps.insert_interface(4711, &interface_of(&nobody, Identity(7)))?;
    let (netns_store, netns) = (NetnsStore::open(&dirs.run)?, Netns::create()?);
    in_thread(|| Ok(netns_store.enter(|inside| inside.keep(NOBODY, &netns))??))?;
    let id = AttachmentId {
        network: NAME.parse()?,
        container: "gone".parse()?,
        ifname: "eth0".parse()?,
    };
    with_records(fixture, |transaction| {
        transaction.attach(&id, NOBODY)?;
        transaction.take_address(std::net::Ipv4Addr::new(10, 219, 7, 251).into(), NOBODY)
    })?;
    fs::create_dir_all(dirs.bpf.join(format!("v{LAYOUT_VERSION}-partial")))
        .context("create a folder of pins")?;
    drop(UnixDatagram::bind(dirs.run.join("agent.sock")).context("make a socket")?);
    let file = dirs.run.join("netns/gone");
    fs::create_dir_all(dirs.run.join("netns")).context("create a folder")?;
    fs::File::create(&file)?.set_modified(UNIX_EPOCH).context("make a file old")
}

/// Slots whose process was killed half-way, and a node on which something was removed.
fn damage(fixture: &Fixture<'_>, case: &Case) -> Result<()> {
    fill_and_attach(fixture, case)?;
    fixture.fill()?;
    litter(fixture)?;
    kill_add(fixture, "build:link")?;
    let warm = slots(fixture.node)?.into_iter().filter(|slot| slot.state() == SlotState::Warm);
    let warm: Vec<_> = warm.collect();
    ensure!(warm.len() == 2, "{warm:?}");
    let ifname = warm[0].id.host_ifname();
    command::run("tc", ["qdisc", "del", "dev", &ifname, "clsact"])?;
    command::run("ip", ["link", "set", &ifname, "mtu", "1300"])?;
    command::run("ip", ["link", "set", &ifname, "addrgenmode", "eui64"])?;
    let disable_ipv6 = format!("net.ipv6.conf.{ifname}.disable_ipv6=1");
    command::run("sysctl", ["-qw", &disable_ipv6])?;
    let maps = Maps::open_existing(&fixture.node.dirs().bpf)?.context("it is not loaded")?;
    maps.remove_interface(warm[0].require_built()?.host_ifindex.get())?;
    with_records(fixture, |transaction| {
        for state in [SlotState::Claimed, SlotState::Dirty, SlotState::Scrubbing] {
            transaction.advance(warm[1].id, state, 1, |_| ())?;
        }
        Ok(())
    })?;
    command::run("nft", ["delete", "table", "inet", "repoint"]).map(drop)
}

/// A pin is gone.
fn lose_pin(fixture: &Fixture<'_>, case: &Case) -> Result<()> {
    fill_and_attach(fixture, case)?;
    let pin = fixture.node.dirs().bpf.join(format!("v{LAYOUT_VERSION}/to_container"));
    fs::remove_file(&pin).with_context(|| format!("remove {}", pin.display()))
}

/// The database is of another boot.
fn boot(fixture: &Fixture<'_>, _: &Case) -> Result<()> {
    fixture.fill()?;
    with_records(fixture, |transaction| {
        transaction.put_boot("11111111-2222-3333-4444-555555555555")
    })
}

fn sweep(_: &Fixture<'_>, _: &Case) -> Verb {
    cli(&["sweep", "--grace", "0s"])
}

/// Slots came back, one that its function may have again and one that no container may have; and there
/// are more than there should be, of which one waits for its function.
fn neglect(fixture: &Fixture<'_>, case: &Case) -> Result<()> {
    fixture.configure()?;
    fixture.repoint(&["pool", "reset", NAME])?;
    let function = of_function(case, "resize");
    fixture.network.add(&function)?;
    fixture.network.del(&function, None)?;
    let other = of_function(case, "fetch");
    fixture.network.add(&other)?;
    kill_del(fixture, other)?;
    fill_and_attach(fixture, case)?;
    kill_del(fixture, case.attachment.clone())?;
    fixture.repoint(&["pool", "set", NAME, "--warm", "0", "--max", "1"]).map(drop)
}

/// Kills a DEL before its slot is scrubbed or deleted.
fn kill_del(fixture: &Fixture<'_>, attachment: Attachment) -> Result<()> {
    let del = Verb::cni(fixture.network.clone(), "DEL", attachment);
    let point = Point { name: "park:dirty".to_owned(), number: 1 };
    del.run_until(fixture.node, &point).map(drop)
}

/// Slots were made of what counts no more.
fn outdate(fixture: &Fixture<'_>, _: &Case) -> Result<()> {
    fixture.fill()?;
    let text = fs::read_to_string(CONFIGURATION).context("read the configuration")?;
    let mut other: Value = serde_json::from_str(&text)?;
    other["mtu"] = json!(1400);
    fs::write("/run/other-mtu.json", other.to_string()).context("write a configuration")?;
    fixture.repoint(&["pool", "set", NAME, "--config", "/run/other-mtu.json"]).map(drop)
}

const SWEEP: Scenario = Scenario {
    name: "sweep",
    network: ready,
    before: damage,
    verb: sweep,
    about: About::Node,
    after: as_configured,
    ..Scenario::ADD
};
const AGENT: Scenario = Scenario {
    name: "agent-fills",
    before: |fixture, _| fixture.configure(),
    verb: |_, _| Verb::Agent,
    ..SWEEP
};

pub const ALL: [Scenario; 6] = [
    SWEEP,
    Scenario { name: "sweep-reloads", before: lose_pin, ..SWEEP },
    Scenario { name: "sweep-boot", before: boot, ..SWEEP },
    AGENT,
    Scenario { name: "agent-drains", before: neglect, ..AGENT },
    Scenario { name: "agent-renews", before: outdate, ..AGENT },
];
