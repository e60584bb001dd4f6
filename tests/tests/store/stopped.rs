//! A process that is stopped while it holds a lock: others do not wait for ever, and say who it is.

use std::thread;

use anyhow::{Result, anyhow, ensure};
use repoint::lock::{LOCK_TIMEOUT, Lock};
use repoint_tests::with_pool;
use serde_json::json;

use crate::{
    everything_works, folder,
    process::{Process, Role},
    run_cli,
};

#[test]
fn what_waits_for_a_stopped_process_ends_and_names_it() -> Result<()> {
    with_pool(&json!({ "warm": 2, "maxSlots": 8 }), |pooled| {
        pooled.fill()?;
        let one = pooled.add()?;
        let mut holder = Process::start(&folder(pooled), Role::Write, 1)?;
        holder.wait_until_there()?;
        holder.stop()?;
        let call = |verb| {
            let error = pooled.network().call_single(verb, one.attachment(), None)?.error()?;
            Ok(format!("{verb}: {} {}", error.msg, error.details))
        };
        let slots = || {
            let (status, said) = run_cli(pooled, &["slots"])?;
            ensure!(status != 0, "{said}");
            Ok(said)
        };
        // All of them at once: each waits for as long as is allowed.
        let said: Result<Vec<String>> = thread::scope(|scope| {
            let calls = ["ADD", "STATUS", "DEL"].map(|verb| scope.spawn(move || call(verb)));
            let all: Vec<_> = calls.into_iter().chain([scope.spawn(slots)]).collect();
            let ended = all.into_iter().map(|thread| thread.join());
            ended.map(|said| said.map_err(|_| anyhow!("a thread panicked"))?).collect()
        });
        let named = format!("process {} (", holder.pid());
        for text in said? {
            println!("{text}");
            for words in ["data.mdb: it was not free for 30 s", "which is stopped", &named] {
                ensure!(text.contains(words), "it says nothing of {words:?}: {text}");
            }
        }
        holder.kill()?;
        one.check()?;
        one.remove()?;
        everything_works(pooled)
    })
}

/// GC does not wait for another sweep; a sweep that was asked for does, and says for whom in the end.
#[test]
fn a_sweep_that_is_held_up_keeps_no_gc_from_its_work() -> Result<()> {
    with_pool(&json!({ "warm": 2, "maxSlots": 8 }), |pooled| {
        pooled.fill()?;
        let one = pooled.add()?;
        let lock = Lock::exclusive(&pooled.node().dirs().run.join("sweep.lock"), LOCK_TIMEOUT)?;
        let network = pooled.network_with(|configuration| {
            configuration["cni.dev/valid-attachments"] = json!([]);
        })?;
        network.call_single("GC", one.attachment(), None)?.success()?;
        ensure!(pooled.slots()?.iter().all(|slot| slot.container.is_none()), "it is attached");
        let (status, said) = run_cli(pooled, &["sweep"])?;
        println!("{said}");
        let named = format!("process {} (", std::process::id());
        ensure!(status == 1 && said.contains("another sweep is at work"), "{status}: {said}");
        ensure!(said.contains(&named), "{said}");
        drop(lock);
        everything_works(pooled)?;
        one.remove()
    })
}
