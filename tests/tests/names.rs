//! Who is named where something is lacking, held or repaired, and what the agent makes of signals.
#![cfg(test)]

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use repoint_tests::{
    Agent, Netns, Pooled, cli, command,
    node::Uplink,
    plugin::Attachment,
    pooled::{NAME, SOON},
    wait,
    web::BUSYBOX,
    with_network, with_pool,
};
use serde_json::{Value, json};

/// Five addresses, and a pool that keeps none.
fn small(configuration: &mut Value) {
    configuration["ipam"]["ranges"] = json!([[{ "subnet": "10.217.9.0/29" }]]);
    configuration["ipam"]["routes"] = json!([{ "dst": "0.0.0.0/0" }]);
    configuration["pool"] = json!({ "warm": 0, "maxSlots": 16, "cooldown": "0s" });
}

/// Waits until the agent's log has a line with all of these words.
fn logged(agent: &Agent, words: &[&str]) -> Result<String> {
    wait::until(SOON, &format!("the log has {words:?}"), || {
        let log = agent.log()?;
        let found = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
        Ok(found.with_context(|| format!("it is not in:\n{log}"))?.to_owned())
    })
}

/// Addresses that another network's slots have, which wait in its pool.
#[test]
fn an_error_names_the_pool_whose_slots_have_the_addresses() -> Result<()> {
    with_network(Uplink::FIRST, small, |pooled| {
        let (file, _) = pooled.reconfigured(|configuration| {
            configuration["name"] = json!("other");
            configuration["pool"]["warm"] = json!(5);
        })?;
        pooled.repoint(&["pool", "set", "other", "--config", &file])?;
        pooled.repoint(&["pool", "fill", "other"])?;
        let error = pooled.refused("ADD", |own| own)?;
        ensure!(error.code == 102, "{error:?}");
        let pool = "5 slots of pool other/eth0 that are warm";
        ensure!(error.msg.contains(pool), "{}", error.msg);
        // STATUS says the same.
        let nobody = Attachment::new("", Path::new(""));
        let error = pooled.network().call_single("STATUS", &nobody, None)?.error()?;
        ensure!(error.code == 50 && error.msg.contains(pool), "{error:?}");
        // So does the CLI.
        let refusal = pooled.repoint(&["prepare", "--network", NAME]).err().context("prepared")?;
        ensure!(format!("{refusal:#}").contains(pool), "{refusal:#}");
        pooled.repoint(&["pool", "remove", "other"]).map(drop)
    })
}

#[test]
fn an_error_names_the_containers_that_have_the_addresses() -> Result<()> {
    with_network(Uplink::FIRST, small, |pooled| {
        let containers = (0..5).map(|_| pooled.add()).collect::<Result<Vec<_>>>()?;
        let error = pooled.refused("ADD", |own| own)?;
        let first = &containers[0].attachment().container_id;
        ensure!(error.code == 102, "{error:?}");
        ensure!(
            error.msg.contains(&format!("5 containers of network {NAME} ({first}, ")),
            "{error:?}"
        );
        containers.into_iter().try_for_each(repoint_tests::Container::remove)
    })
}

#[test]
fn an_error_names_the_container_that_has_the_requested_address() -> Result<()> {
    with_pool(&json!({ "warm": 0, "maxSlots": 8 }), |pooled| {
        let holder = pooled.add_function("resize")?;
        let address = holder.addresses()?[0].to_string();
        let error =
            pooled.refused("ADD", |own| own.capability("ips", json!([format!("{address}/24")])))?;
        let id = &holder.attachment().container_id;
        ensure!(error.code == 102, "{error:?}");
        for word in [NAME, &format!("container {id}"), "function resize", "tenant acme", "active"] {
            ensure!(error.msg.contains(word), "{word} is not named: {}", error.msg);
        }
        holder.remove()
    })
}

/// A process that stays in a network namespace.
fn sleeper(netns: &Netns) -> Result<Child> {
    netns.run(|| {
        let mut sleep = Command::new("sleep");
        sleep.arg("600").stdin(Stdio::null()).spawn().context("start a process")
    })
}

#[test]
fn slots_names_the_process_that_holds_a_slot_that_came_back() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 8 }), |pooled| {
        pooled.fill()?;
        let container = pooled.add_function("resize")?;
        let number = pooled.slot_of(&container)?.slot;
        let mut process = sleeper(container.netns())?;
        container.delete()?;
        let slots: Vec<Value> = cli::query(pooled.node(), &["slots"])?;
        let slot = slots.iter().find(|slot| slot["slot"] == json!(number)).context("it is gone")?;
        println!("{slot}");
        let expected = format!("process {} (sleep", process.id());
        ensure!(slot["state"] == "dirty", "{slot}");
        ensure!(slot["heldBy"].as_str().is_some_and(|held| held.contains(&expected)), "{slot}");
        ensure!(pooled.repoint(&["slots"])?.contains(&expected), "the table does not name it");
        process.kill().context("end the process")?;
        process.wait().context("wait for the process")?;
        pooled.repoint(&["sweep", "--grace", "0s"])?;
        container.remove()
    })
}

#[test]
fn the_log_names_the_container_that_forges_packets() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 8 }), |pooled| {
        let agent = pooled.agent()?;
        let container = pooled.add_function("resize")?;
        let (slot, id) = (pooled.slot_of(&container)?, &container.attachment().container_id);
        container.netns().run(|| {
            command::run("ip", ["addr", "add", "10.99.0.1/32", "dev", "eth0"])?;
            // Nobody answers.
            let ping = ["ping", "-c", "1", "-W", "1", "-I", "10.99.0.1", "198.51.100.1"];
            command::run(BUSYBOX, ping).ok();
            Ok(())
        })?;
        let line = logged(&agent, &["foreign source 10.99.0.1"])?;
        println!("{line}");
        for word in [&slot.slot, NAME, id.as_str(), "function resize", "tenant acme"] {
            ensure!(line.contains(word), "{word} is not named: {line}");
        }
        container.remove()?;
        agent.stop()
    })
}

/// What containerd's loopback plugin does at every stop.
#[test]
fn what_happens_at_every_stop_is_no_news() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 8 }), |pooled| {
        let agent = Agent::start_logging(pooled.node(), "debug")?;
        pooled.wait_until("the pool is full", |pool| pool.warm >= pool.target)?;
        let container = pooled.add_function("resize")?;
        let number = pooled.slot_of(&container)?.slot;
        container.netns().run(|| command::run("ip", ["link", "set", "lo", "down"]).map(drop))?;
        container.remove()?;
        pooled.wait_for_slot(&number, &["parked"])?;
        let line = logged(&agent, &["is parked", "repaired"])?;
        println!("{line}");
        ensure!(line.contains("DEBUG"), "it is news: {line}");
        for word in [NAME, "function resize", "tenant acme"] {
            ensure!(line.contains(word), "{word} is not named: {line}");
        }
        agent.stop()
    })
}

#[test]
fn repairs_of_a_broken_node_are_warnings() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 8 }), |pooled| {
        let agent = pooled.agent_sweeping(std::time::Duration::from_millis(200))?;
        let container = pooled.add_function("resize")?;
        let slot = pooled.slot_of(&container)?;
        let device = slot.host_ifname.as_str();
        command::run("tc", ["filter", "del", "dev", device, "ingress"])?;
        let line = logged(&agent, &[device, "lacks a program", "repaired it"])?;
        ensure!(line.contains("WARN"), "{line}");
        command::run("nft", ["flush", "ruleset"])?;
        let line = logged(&agent, &["masquerade", "restored it"])?;
        ensure!(line.contains("WARN"), "{line}");
        container.check()?;
        container.remove()?;
        agent.stop()
    })
}

/// A slot that is deleted: which, of which network and function, and what held it.
#[test]
fn the_log_says_why_a_slot_is_deleted() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 8 }), |pooled| {
        let agent = pooled.agent()?;
        let container = pooled.add_function("resize")?;
        let number = pooled.slot_of(&container)?.slot;
        // What a scrub does not repair.
        container.netns().run(|| {
            command::run("ip", ["link", "set", "eth0", "name", "other"]).or_else(|_| {
                command::run("ip", ["link", "set", "eth0", "down"])?;
                command::run("ip", ["link", "set", "eth0", "name", "other"])
            })
        })?;
        container.remove()?;
        pooled.wait_for_slot(&number, &["gone", "parked"])?;
        if pooled.slot(&number)?.is_none() {
            let line = logged(&agent, &["is deleted", &number])?;
            for word in [NAME, "function resize", "tenant acme"] {
                ensure!(line.contains(word), "{word} is not named: {line}");
            }
        }
        agent.stop()
    })
}

#[test]
fn the_agent_goes_on_after_signals_that_mean_nothing_to_it() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 8 }), |pooled| {
        let agent = pooled.agent()?;
        let pid = Pid::from_raw(agent.pid().try_into()?);
        for (signal, said) in [
            (Signal::SIGHUP, "going on after SIGHUP"),
            (Signal::SIGUSR1, "SIGUSR1 means nothing here"),
            (Signal::SIGUSR2, "SIGUSR2 means nothing here"),
            (Signal::SIGALRM, "SIGALRM means nothing here"),
            (Signal::SIGXFSZ, "RLIMIT_FSIZE"),
        ] {
            kill(pid, signal).with_context(|| format!("send {signal}"))?;
            println!("{}", logged(&agent, &[said])?);
        }
        // It goes on: pools are read again, and filled.
        pooled.repoint(&["pool", "set", NAME, "--warm", "3"])?;
        pooled.wait_until("the pool has grown", |pool| pool.warm == 3)?;
        agent.stop()
    })
}

/// SIGQUIT ends it as SIGTERM does, and it says so.
#[test]
fn the_agent_says_that_it_was_asked_to_quit() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 8 }), |pooled: &Pooled<'_>| {
        let agent = pooled.agent()?;
        let pid = Pid::from_raw(agent.pid().try_into()?);
        kill(pid, Signal::SIGQUIT).context("send SIGQUIT")?;
        logged(&agent, &["ending: asked to quit"])?;
        agent.stop()
    })
}
