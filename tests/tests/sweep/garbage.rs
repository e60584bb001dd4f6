//! What is nobody's: it is removed, and all else is as before.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use repoint::{
    model::{AttachmentId, FingerprintDigest, Identity, PoolKey, TemplateDigest},
    netns::{Netns, NetnsStore},
    slot::{Alias, GROUP, Owner, endpoint_of, interface_of},
    store::{Slot, SlotKind},
};
use repoint_common::LAYOUT_VERSION;
use repoint_tests::{Pooled, Snapshot, command, with_pool};
use serde_json::json;

use crate::{
    NOBODY, maps,
    report::{dry_run, sweep},
    with_records, write,
};

/// Makes a piece of garbage.
type Garbage = fn(&Pooled<'_>) -> Result<()>;

/// What there may be: the kind that it is found as, and how it comes about.
const GARBAGE: [(&str, &str, Garbage); 12] = [
    ("link", "an interface of no slot", stray_link),
    ("endpoint", "an IPv4 endpoint of no slot", |pooled| stray_endpoint(pooled, "10.217.9.250")),
    ("endpoint", "an IPv6 endpoint of no slot", |pooled| stray_endpoint(pooled, "fd00:217:9::fa")),
    ("interface", "an interface entry of no slot", stray_interface),
    ("namespace", "a namespace of no slot", stray_namespace),
    ("attachment", "an attachment of no slot", stray_attachment),
    ("address", "an address of no slot", stray_address),
    ("index", "an index entry of no slot", stray_index_entry),
    ("pin", "a folder of a loader that was killed", partial_pins),
    ("file", "a file that repoint activate made", old_file),
    ("file", "the socket of an agent that was killed", deaf_socket),
    ("stuck", "a slot that was never built", never_built),
];

#[test]
fn what_is_nobodys_is_found_reported_and_removed() -> Result<()> {
    with_pool(&json!({ "warm": 3, "maxSlots": 16 }), |pooled| {
        pooled.fill()?;
        let container = pooled.add()?;
        let dirs = pooled.node().dirs();
        for (kind, what, garbage) in GARBAGE {
            println!("{what}:");
            let before = Snapshot::take(dirs)?;
            garbage(pooled).with_context(|| what.to_owned())?;
            let littered = Snapshot::take(dirs)?;
            let reported = dry_run(pooled)?;
            reported.ensure(kind, "due")?;
            ensure!(reported.status == 2 && reported.findings.len() == 1, "{reported:#?}");
            let difference = littered.difference(&Snapshot::take(dirs)?);
            ensure!(difference.is_empty(), "a dry run changes something: {difference}");
            let swept = sweep(pooled, &[])?;
            swept.ensure(kind, "done")?;
            ensure!(swept.status == 0, "{swept:#?}");
            before.wait_until_restored(dirs)?;
            dry_run(pooled)?.ensure_empty()?;
            container.check()?;
        }
        container.remove()
    })
}

fn nobody(pooled: &Pooled<'_>) -> Result<Slot> {
    let network = pooled.network().name().parse()?;
    Ok(Slot::building(NOBODY, network, "eth0".parse()?, 1))
}

fn stray_link(pooled: &Pooled<'_>) -> Result<()> {
    let name = NOBODY.host_ifname();
    let group = GROUP.to_string();
    let add = ["link", "add", &name, "group", &group, "type", "veth", "peer", "name", "stray"];
    command::run("ip", add)?;
    let owner = Owner::of(&pooled.node().dirs().run);
    let alias = Alias::new(&nobody(pooled)?, owner).to_string();
    command::run("ip", ["link", "set", &name, "alias", &alias]).map(drop)
}

fn stray_endpoint(pooled: &Pooled<'_>, address: &str) -> Result<()> {
    let endpoint = endpoint_of(&nobody(pooled)?, 4711, Identity(7));
    Ok(maps(pooled)?.insert_endpoint(address.parse()?, &endpoint)?)
}

fn stray_interface(pooled: &Pooled<'_>) -> Result<()> {
    let entry = interface_of(&nobody(pooled)?, Identity(7));
    Ok(maps(pooled)?.insert_interface(4711, &entry)?)
}

fn stray_namespace(pooled: &Pooled<'_>) -> Result<()> {
    let netns_store = NetnsStore::open(&pooled.node().dirs().run)?;
    let netns = Netns::create()?;
    Ok(netns_store.enter(|inside| inside.keep(NOBODY, &netns))??)
}

fn stray_attachment(pooled: &Pooled<'_>) -> Result<()> {
    let id = AttachmentId {
        network: pooled.network().name().parse()?,
        container: "gone".parse()?,
        ifname: "eth0".parse()?,
    };
    with_records(pooled, |transaction| transaction.attach(&id, NOBODY))
}

fn stray_address(pooled: &Pooled<'_>) -> Result<()> {
    let address = "10.217.9.251".parse()?;
    with_records(pooled, |transaction| transaction.take_address(address, NOBODY))
}

fn stray_index_entry(pooled: &Pooled<'_>) -> Result<()> {
    use lmdb::{EnvironmentFlags, Transaction as _, WriteFlags};
    let environment = lmdb::Environment::new()
        .set_flags(EnvironmentFlags::NO_LOCK | EnvironmentFlags::NO_TLS)
        .set_map_size(256 << 20)
        .set_max_dbs(16)
        .open(&pooled.node().dirs().run.join("state"))?;
    let index = environment.open_db(Some("index"))?;
    let mut transaction = environment.begin_rw_txn()?;
    let mut key = [1; 49];
    key[41..].copy_from_slice(&NOBODY.0.to_be_bytes());
    transaction.put(index, &key, &[], WriteFlags::empty())?;
    Ok(transaction.commit()?)
}

fn partial_pins(pooled: &Pooled<'_>) -> Result<()> {
    let partial = pooled.node().dirs().bpf.join(format!("v{LAYOUT_VERSION}-partial"));
    fs::create_dir(&partial).with_context(|| format!("create {}", partial.display()))
}

/// Older than the time that it may take to mount on it.
fn old_file(pooled: &Pooled<'_>) -> Result<()> {
    let folder = pooled.node().dirs().run.join("netns");
    fs::create_dir_all(&folder)?;
    write(&folder.join("gone"), "")?;
    let file = fs::File::options().write(true).open(folder.join("gone"))?;
    Ok(file.set_modified(std::time::UNIX_EPOCH)?)
}

fn deaf_socket(pooled: &Pooled<'_>) -> Result<()> {
    let path = pooled.node().dirs().run.join("agent.sock");
    drop(std::os::unix::net::UnixDatagram::bind(path)?);
    Ok(())
}

fn never_built(pooled: &Pooled<'_>) -> Result<()> {
    let mut slot = nobody(pooled)?;
    slot.kind = SlotKind::Pooled { pool: PoolKey([1; 16]) };
    slot.addresses = vec!["10.217.9.252/24".parse()?];
    with_records(pooled, |transaction| {
        transaction.take_address(slot.addresses[0].addr(), slot.id)?;
        transaction.put_slot(&slot)
    })
}

/// An interface in our group, a filter of ours, files and pins that are not ours.
#[test]
fn what_is_not_repoints_is_reported_and_left() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 4 }), |pooled| {
        pooled.fill()?;
        let dirs = pooled.node().dirs();
        let pin = dirs.bpf.join(format!("v{LAYOUT_VERSION}/from_container"));
        let pin = pin.to_string_lossy().into_owned();
        let group = GROUP.to_string();
        for name in ["guest", "rp00000000000x", "other"] {
            command::run("ip", ["link", "add", name, "type", "veth"])?;
        }
        command::run("ip", ["link", "set", "guest", "group", &group])?;
        command::run("tc", ["qdisc", "add", "dev", "other", "clsact"])?;
        let filter = ["filter", "add", "dev", "other", "ingress", "pref", "29296", "handle", "0x1"];
        let program = ["bpf", "object-pinned", &pin, "direct-action"];
        command::run("tc", [&filter[..], &program].concat())?;
        fs::create_dir(dirs.bpf.join("v0"))?;
        write(&dirs.run.join("notes"), "mine")?;
        let before = Snapshot::take(dirs)?;
        for _ in 0..2 {
            let swept = sweep(pooled, &["--grace", "0s"])?;
            let left: Vec<_> = swept.findings.iter().map(|one| one.name.as_str()).collect();
            ensure!(left == ["v0", "guest", "other", "notes"], "{swept:#?}");
            ensure!(swept.findings.iter().all(|one| one.outcome == "left") && swept.status == 0);
        }
        let difference = before.difference(&Snapshot::take(dirs)?);
        ensure!(difference.is_empty(), "{difference}");
        ensure!(fs::read_to_string(dirs.run.join("notes"))? == "mine");
        for name in ["guest", "rp00000000000x", "other"] {
            command::run("ip", ["link", "del", name])?;
        }
        fs::remove_dir(dirs.bpf.join("v0"))?;
        Ok(fs::remove_file(dirs.run.join("notes"))?)
    })
}

/// Where there is no node, a dry run makes none.
#[test]
fn a_dry_run_makes_nothing() -> Result<()> {
    if repoint_tests::missing([repoint_tests::dist::cli()]) {
        return Ok(());
    }
    let node = repoint_tests::Node::new()?;
    node.run(|| {
        let refusal = repoint_tests::cli::repoint(&node, &["sweep", "--dry-run"]);
        let reported = format!("{:#}", refusal.err().context("it swept what is not there")?);
        ensure!(reported.contains("there is nothing of repoint in"), "{reported}");
        ensure!(!node.dirs().run.exists(), "it made {}", node.dirs().run.display());
        Ok(())
    })
}

/// They are no garbage that is reported: replacing a template leaves the text of the old one.
#[test]
fn templates_and_fingerprints_that_nobody_names_are_forgotten() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 4 }), |pooled| {
        pooled.fill()?;
        let (template, fingerprint) = (TemplateDigest([7; 32]), FingerprintDigest([7; 32]));
        let slot = crate::record(pooled, &crate::slot_in(pooled, "warm")?)?;
        with_records(pooled, |transaction| {
            transaction.put_template(&template, "{}")?;
            transaction.put_fingerprint(&fingerprint, b"-")
        })?;
        let known = |template, fingerprint| {
            with_records(pooled, |transaction| {
                Ok((
                    transaction.template(&template)?.is_some(),
                    transaction.fingerprint(&fingerprint)?.is_some(),
                ))
            })
        };
        dry_run(pooled)?.ensure_empty()?;
        ensure!(known(template, fingerprint)? == (true, true), "a dry run forgets them");
        sweep(pooled, &[])?.ensure_empty()?;
        ensure!(known(template, fingerprint)? == (false, false), "they are there");
        let own = slot
            .template
            .zip(slot.built.and_then(|built| built.fingerprint))
            .context("the slot names none")?;
        ensure!(known(own.0, own.1)? == (true, true), "the slot's are gone");
        pooled.add()?.remove()
    })
}
