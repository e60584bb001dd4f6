//! Slots that are not what their record says: those that wait are repaired or deleted, those in use
//! are repaired.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use repoint::{
    model::{Identity, SlotId},
    netns::NetnsStore,
    slot::{endpoint_of, interface_of},
    store::{Slot, SlotState},
};
use repoint_common::LAYOUT_VERSION;
use repoint_tests::{
    Container, Pooled, cli, command, dist, missing,
    plugin::Attachment,
    traffic::{self, Host},
    with_pool,
};
use serde_json::{Value, json};

use crate::{
    maps, record,
    report::{dry_run, sweep},
    slot_in, with_records,
};

fn few() -> Value {
    json!({ "warm": 3, "maxSlots": 16 })
}

/// Index of the slot's interface on the node.
fn ifindex(slot: &Slot) -> Result<u32> {
    slot.host_ifindex().context("it is not built")
}

/// Breaks a slot that waits, or is in use.
type Break = fn(&Pooled<'_>, &cli::Slot) -> Result<()>;

/// Damage that is repaired, of slots that wait and of slots in use.
const REPAIRED: [(&str, &str, Break); 7] = [
    ("entries", "an address is not in the maps", |pooled, slot| {
        let address = record(pooled, slot)?.addresses[0].addr();
        Ok(maps(pooled)?.remove_endpoint(address)?)
    }),
    ("entries", "the interface is not in the maps", |pooled, slot| {
        Ok(maps(pooled)?.remove_interface(ifindex(&record(pooled, slot)?)?)?)
    }),
    ("entries", "an address leads to another interface", |pooled, slot| {
        let slot = record(pooled, slot)?;
        let wrong = endpoint_of(&slot, ifindex(&slot)? + 1, slot.identity);
        Ok(maps(pooled)?.insert_endpoint(slot.addresses[1].addr(), &wrong)?)
    }),
    ("entries", "the interface has another identity", |pooled, slot| {
        let slot = record(pooled, slot)?;
        let wrong = interface_of(&slot, Identity(99));
        Ok(maps(pooled)?.insert_interface(ifindex(&slot)?, &wrong)?)
    }),
    ("filter", "a program is not attached", |_, slot| {
        command::run("tc", ["filter", "del", "dev", &slot.host_ifname, "egress"]).map(drop)
    }),
    ("filter", "no program is attached", |_, slot| {
        command::run("tc", ["qdisc", "del", "dev", &slot.host_ifname, "clsact"]).map(drop)
    }),
    ("address", "an address is recorded to be free", |pooled, slot| {
        let whole = record(pooled, slot)?;
        let mut without = whole.clone();
        let lost = without.addresses.remove(0).addr();
        with_records(pooled, |transaction| {
            transaction.put_slot(&without)?;
            transaction.repair_address(lost, whole.id)?;
            transaction.put_slot(&whole)
        })
    }),
];

#[test]
fn slots_that_wait_and_slots_in_use_are_put_right() -> Result<()> {
    with_pool(&few(), |pooled| {
        pooled.fill()?;
        let (one, two) = (pooled.add()?, pooled.add_function("resize")?);
        let used = pooled.slot_of(&one)?;
        for (kind, what, damage) in REPAIRED {
            for slot in [slot_in(pooled, "warm")?, used.clone()] {
                println!("{what}, of a slot that is {}:", slot.state);
                damage(pooled, &slot)?;
                dry_run(pooled)?.ensure(kind, "due")?;
                let swept = sweep(pooled, &[])?;
                swept.ensure(kind, "done")?;
                ensure!(swept.status == 0, "{swept:#?}");
                dry_run(pooled)?.ensure_empty()?;
                ensure!(pooled.slot(&slot.slot)?.is_some_and(|now| now == slot), "{slot:?}");
            }
            for container in [&one, &two] {
                container.check()?;
            }
            traffic::all(&one.host()?, &two.host()?, &two.addresses()?)?;
            traffic::all(&Host::here("node")?, &one.host()?, &one.addresses()?)?;
        }
        one.remove()?;
        two.remove()
    })
}

/// A DEL was killed after it had stopped the traffic: the record has the last word.
#[test]
fn a_slot_in_use_that_seems_parked_has_traffic_again() -> Result<()> {
    with_pool(&few(), |pooled| {
        pooled.fill()?;
        let one = pooled.add()?;
        let slot = record(pooled, &pooled.slot_of(&one)?)?;
        repoint::slot::write_entries(&slot, ifindex(&slot)?, Identity::PARKED, &maps(pooled)?)?;
        sweep(pooled, &[])?.ensure("entries", "waits")?;
        sweep(pooled, &["--grace", "0s"])?.ensure("entries", "done")?;
        traffic::all(&Host::here("node")?, &one.host()?, &one.addresses()?)?;
        one.remove()
    })
}

/// Damage of slots that wait for which they are deleted.
const DELETED: [(&str, &str, Break); 3] = [
    ("slot-link", "its interface is gone", |_, slot| {
        command::run("ip", ["link", "del", &slot.host_ifname]).map(drop)
    }),
    ("slot-namespace", "its namespace is gone", |pooled, slot| {
        let netns_store = NetnsStore::open(&pooled.node().dirs().run)?;
        let id: SlotId = slot.slot.parse()?;
        Ok(netns_store.enter(|inside| inside.release(id))??)
    }),
    ("address", "another has its address", |pooled, slot| {
        let mut own = record(pooled, slot)?;
        let slots = pooled.slots()?;
        let other = slots.iter().find(|other| other.slot != slot.slot).context("it is alone")?;
        own.addresses.push(record(pooled, other)?.addresses[0]);
        with_records(pooled, |transaction| transaction.put_slot(&own))
    }),
];

#[test]
fn slots_that_wait_and_do_not_work_are_deleted() -> Result<()> {
    with_pool(&few(), |pooled| {
        pooled.fill()?;
        let one = pooled.add()?;
        for (kind, what, damage) in DELETED {
            println!("{what}:");
            let slot = slot_in(pooled, "warm")?;
            damage(pooled, &slot)?;
            dry_run(pooled)?.ensure(kind, "due")?;
            let swept = sweep(pooled, &[])?;
            // Its interface ends with its namespace, and either is a reason to delete it.
            let done = swept.count(kind, "done").max(swept.count("slot-link", "done"));
            ensure!(done == 1 && swept.status == 0, "{swept:#?}");
            ensure!(pooled.slot(&slot.slot)?.is_none(), "{slot:?} is there");
            dry_run(pooled)?.ensure_empty()?;
            pooled.fill()?;
        }
        one.check()?;
        one.remove()
    })
}

/// What of a slot in use cannot be repaired is reported, and DEL ends it.
#[test]
fn slots_in_use_that_do_not_work_wait_for_del() -> Result<()> {
    with_pool(&few(), |pooled| {
        pooled.fill()?;
        let one = pooled.add()?;
        let slot = pooled.slot_of(&one)?;
        command::run("ip", ["link", "del", &slot.host_ifname])?;
        let swept = sweep(pooled, &[])?;
        swept.ensure("slot-link", "waits")?;
        ensure!(pooled.slot(&slot.slot)?.is_some() && swept.status == 0);
        one.remove()?;
        sweep(pooled, &["--grace", "0s"])?;
        dry_run(pooled)?.ensure_empty()
    })
}

/// The runtime was killed: nobody is in the container's namespace, and DEL does not come.
#[test]
fn a_slot_whose_container_is_gone_is_deleted_when_its_time_has_come() -> Result<()> {
    with_pool(&few(), |pooled| {
        pooled.fill()?;
        let one = pooled.add()?;
        let slot = pooled.slot_of(&one)?;
        let addresses = slot.addresses.clone();
        drop(one);
        sweep(pooled, &[])?.ensure("abandoned", "waits")?;
        ensure!(pooled.slot(&slot.slot)?.is_some(), "it was deleted at once");
        sweep(pooled, &["--grace", "0s"])?.ensure("abandoned", "done")?;
        ensure!(pooled.slots()?.iter().all(|other| other.addresses != addresses));
        dry_run(pooled)?.ensure_empty()
    })
}

/// The same in a namespace of the runtime's: its end takes the interface along.
#[test]
fn a_cold_slot_whose_container_is_gone_is_deleted_when_its_time_has_come() -> Result<()> {
    with_pool(&few(), |pooled| {
        let network = pooled.network_with(|configuration| {
            configuration["name"] = json!("ordinary");
            configuration.as_object_mut().map(|keys| keys.remove("pool"));
            configuration["ipam"]["ranges"] = json!([[{ "subnet": "10.218.9.0/24" }]]);
        })?;
        drop(Container::add(&network, "lost")?);
        let gone = repoint_tests::wait::until(repoint_tests::pooled::SOON, "it is seen", || {
            let reported = sweep(pooled, &[])?;
            reported.ensure("slot-link", "waits")?;
            Ok(reported)
        })?;
        ensure!(gone.status == 0, "{gone:#?}");
        sweep(pooled, &["--grace", "0s"])?.ensure("slot-link", "done")?;
        ensure!(pooled.slots()?.is_empty(), "{:?}", pooled.slots()?);
        dry_run(pooled)?.ensure_empty()
    })
}

/// The process that worked on each was killed.
#[test]
fn slots_that_are_stuck_go_on() -> Result<()> {
    with_pool(&few(), |pooled| {
        pooled.fill()?;
        for states in [
            &[SlotState::Deleting][..],
            &[SlotState::Claimed, SlotState::Dirty],
            &[SlotState::Claimed, SlotState::Dirty, SlotState::Scrubbing],
        ] {
            let slot = slot_in(pooled, "warm")?;
            let id = slot.slot.parse()?;
            let last = states.last().context("no state")?;
            let put = |time| {
                with_records(pooled, |transaction| {
                    states.iter().try_for_each(|state| {
                        transaction.advance(id, *state, time, |_| ()).map(drop)
                    })
                })
            };
            put(repoint::node::now())?;
            dry_run(pooled)?.ensure_empty()?;
            let old = |slot: &mut Slot| slot.changed = 1;
            with_records(pooled, |transaction| {
                let mut found = transaction.slot(id)?;
                found.iter_mut().for_each(old);
                found.iter().try_for_each(|slot| transaction.put_slot(slot))
            })?;
            println!("{last}:");
            dry_run(pooled)?.ensure("stuck", "due")?;
            sweep(pooled, &[])?.ensure("stuck", "done")?;
            dry_run(pooled)?.ensure_empty()?;
            pooled.fill()?;
        }
        Ok(())
    })
}

/// A slot without its attachment could not be found by DEL.
#[test]
fn an_attachment_that_is_not_on_record_is_recorded() -> Result<()> {
    with_pool(&few(), |pooled| {
        pooled.fill()?;
        let one = pooled.add()?;
        let slot = record(pooled, &pooled.slot_of(&one)?)?;
        with_records(pooled, |transaction| transaction.detach(&mut slot.clone()))?;
        sweep(pooled, &[])?.ensure("attachment", "done")?;
        one.check()?;
        one.remove()?;
        ensure!(pooled.slots()?.iter().all(|slot| slot.container.is_none()));
        dry_run(pooled)?.ensure_empty()
    })
}

#[test]
fn the_masquerade_rule_is_there_if_a_slot_needs_it_and_only_then() -> Result<()> {
    let rule = || command::run("nft", ["list", "table", "inet", "repoint"]);
    with_pool(&few(), |pooled| {
        pooled.fill()?;
        command::run("nft", ["delete", "table", "inet", "repoint"])?;
        sweep(pooled, &[])?.ensure("masquerade", "done")?;
        rule()?;
        pooled.repoint(&["pool", "drain", repoint_tests::pooled::NAME])?;
        ensure!(rule().is_err(), "it is there without a slot");
        repoint::slot::require_masquerade(&pooled.node().dirs().run)?;
        sweep(pooled, &[])?.ensure("masquerade", "done")?;
        ensure!(rule().is_err(), "it is left");
        dry_run(pooled)?.ensure_empty()
    })
}

/// The GC verb cleans up behind what was killed, for its own network.
#[test]
fn gc_sweeps_its_own_network_if_it_is_given_a_list() -> Result<()> {
    with_pool(&few(), |pooled| {
        pooled.fill()?;
        let one = pooled.add()?;
        let broken = slot_in(pooled, "warm")?;
        command::run("ip", ["link", "del", &broken.host_ifname])?;
        let nobody = Attachment::new("", std::path::Path::new(""));
        pooled.network().call_single("GC", &nobody, None)?.success()?;
        ensure!(pooled.slot(&broken.slot)?.is_some(), "without a list");
        let kept = json!([{ "containerID": one.attachment().container_id, "ifname": "eth0" }]);
        let other = pooled.network_with(|configuration| {
            configuration["name"] = json!("other");
            configuration["cni.dev/attachments"] = kept.clone();
        })?;
        other.call_single("GC", &nobody, None)?.success()?;
        ensure!(pooled.slot(&broken.slot)?.is_some(), "of another network");
        let own =
            pooled.network_with(|configuration| configuration["cni.dev/attachments"] = kept)?;
        own.call_single("GC", &nobody, None)?.success()?;
        ensure!(pooled.slot(&broken.slot)?.is_none(), "it is there still");
        one.check()?;
        one.remove()
    })
}

/// A pin that an operator removed.
#[test]
fn a_missing_pin_has_the_data_plane_loaded_anew() -> Result<()> {
    with_pool(&few(), |pooled| {
        pooled.fill()?;
        let (one, two) = (pooled.add()?, pooled.add()?);
        for pin in ["endpoints_v4", "to_container"] {
            fs::remove_file(pooled.node().dirs().bpf.join(format!("v{LAYOUT_VERSION}")).join(pin))?;
            dry_run(pooled)?.ensure("pin", "due")?;
            let swept = sweep(pooled, &[])?;
            swept.ensure("pin", "done")?;
            swept.ensure("filter", "done")?;
            dry_run(pooled)?.ensure_empty()?;
            traffic::all(&one.host()?, &two.host()?, &two.addresses()?)?;
            one.check()?;
        }
        one.remove()?;
        two.remove()
    })
}

/// Whatever it is that came right while the sweep was on its way to it. It needs an executable with
/// failpoints.
#[test]
fn a_slot_that_has_come_right_meanwhile_is_not_deleted() -> Result<()> {
    let cli = dist::failpoints().join("repoint");
    if missing([&cli]) {
        return Ok(());
    }
    with_pool(&few(), |pooled| {
        pooled.fill()?;
        let slot = slot_in(pooled, "warm")?;
        // The name shows whose it is.
        let rename = |from: &str, to: &str| command::run("ip", ["link", "set", from, "name", to]);
        rename(&slot.host_ifname, "away")?;
        let mut command = Command::new(&cli);
        command.args(pooled.node().dirs().arguments()).arg("sweep");
        let mut child = command.env("REPOINT_FAILPOINT", "sweep:slots=stop").spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED))?;
        ensure!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
        rename("away", &slot.host_ifname)?;
        kill(pid, Signal::SIGCONT)?;
        ensure!(child.wait()?.success(), "the sweep failed");
        ensure!(slot_in(pooled, "warm").is_ok() && pooled.slot(&slot.slot)?.is_some(), "{slot:?}");
        dry_run(pooled)?.ensure_empty()
    })
}
