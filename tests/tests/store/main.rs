//! The database and other resources when something is wrong with them: processes killed in its midst,
//! no room, a damaged or a lost file, full maps. Each is reported clearly, nothing is lost or left, and
//! what can come right by itself does.
#![cfg(test)]

mod damaged;
mod full;
mod killed;
mod maps;
mod opening;
mod process;
mod replaced;
mod stopped;
mod upgraded;

use std::{fs, net::Ipv4Addr, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use ipnet::Ipv4Net;
use repoint::{
    model::{AttachmentId, SlotId},
    store::{Slot, Store, StoreError, Survey, Write},
};
use repoint_tests::{
    Container, Pooled, command, dist,
    pooled::NAME,
    traffic::{self, Host},
};

/// Folder of a node's database.
fn folder(pooled: &Pooled<'_>) -> PathBuf {
    pooled.node().dirs().run.join("state")
}

/// Its data file.
fn data_file(pooled: &Pooled<'_>) -> PathBuf {
    folder(pooled).join("data.mdb")
}

/// Runs the CLI, which may fail; its exit status, and what it says. A signal ends no command.
fn run_cli(pooled: &Pooled<'_>, arguments: &[&str]) -> Result<(i32, String)> {
    let mut command = Command::new(dist::cli());
    command.args(pooled.node().dirs().arguments()).args(arguments);
    let output = command::output_with_input(&mut command, &[])?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    let status = output.status.code();
    Ok((status.with_context(|| format!("{arguments:?}: {}: {said}", output.status))?, said))
}

/// Every verb and the commands that need the database fail, with these words.
fn everything_says(pooled: &Pooled<'_>, one: &Container<'_>, words: &[&str]) -> Result<()> {
    let mut said = Vec::new();
    for verb in ["ADD", "CHECK", "DEL", "GC", "STATUS", "PARK"] {
        let error =
            pooled.network().call_single(verb, one.attachment(), Some(one.result()))?.error()?;
        said.push((verb.to_owned(), format!("{} {}", error.msg, error.details)));
    }
    for arguments in [
        &["slots"][..],
        &["pool"],
        &["status"],
        &["sweep"],
        &["sweep", "--dry-run"],
        &["pool", "fill", NAME],
    ] {
        let (status, text) = run_cli(pooled, arguments)?;
        ensure!(status != 0, "{arguments:?} succeeded: {text}");
        said.push((arguments.join(" "), text));
    }
    for (who, text) in said {
        println!("{who}: {text}");
        for word in words {
            ensure!(text.contains(word), "{who} says nothing of {word:?}: {text}");
        }
    }
    Ok(())
}

/// Everything works: slots are built, and a container talks; and then nothing is stale.
fn everything_works(pooled: &Pooled<'_>) -> Result<()> {
    pooled.repoint(&["pool", "set", NAME, "--config", "/run/functions.json"])?;
    pooled.fill()?;
    let one = pooled.add()?;
    one.check()?;
    traffic::all(&Host::here("node")?, &one.host()?, &one.addresses()?)?;
    one.remove()?;
    // The socket of an agent that has ended.
    pooled.repoint(&["sweep"])?;
    let (status, said) = run_cli(pooled, &["sweep", "--dry-run"])?;
    ensure!(status == 0, "{said}");
    Ok(())
}

/// What the error advises an operator to do about a damaged database.
fn move_away(pooled: &Pooled<'_>) -> Result<()> {
    fs::rename(folder(pooled), "/run/damaged").context("move the folder away")?;
    let (status, said) = run_cli(pooled, &["sweep"])?;
    ensure!(status == 0, "{said}");
    println!("{said}");
    Ok(())
}

/// Adds a slot with an attachment and an address to a database.
fn add_slot(transaction: &mut Write<'_>, number: u32) -> Result<SlotId> {
    let id = transaction.next_slot_id()?;
    let mut slot = Slot::building(id, "net".parse()?, "eth0".parse()?, 1);
    slot.container = Some(format!("c{id}").parse()?);
    let address = Ipv4Addr::from(0x0a00_0000 + number);
    slot.addresses = vec![Ipv4Net::from(address).into()];
    let attachment = slot.attachment().context("it has a container")?;
    transaction.attach(&attachment, id)?;
    transaction.take_address(address.into(), id)?;
    transaction.put_slot(&slot)?;
    Ok(id)
}

/// What is on record, which must be whole: each slot has its attachment and its address, and none is
/// of no slot.
fn whole(store: &Store) -> Result<Survey> {
    let (before, raw) = store.read(|transaction| {
        Ok::<_, StoreError>((transaction.slot_images()?, transaction.survey()?))
    })?;
    let found = raw.read(&before);
    ensure!(found.unreadable.is_empty() && found.index_faults.is_empty(), "{found:#?}");
    let attachments: Vec<(AttachmentId, SlotId)> =
        found.slots.iter().filter_map(|slot| Some((slot.attachment()?, slot.id))).collect();
    for attachment in &attachments {
        ensure!(found.attachments.contains(attachment), "{attachment:?} is not on record");
    }
    let addresses = found.slots.iter().map(|slot| slot.addresses.len()).sum::<usize>();
    ensure!(attachments.len() == found.attachments.len(), "{found:#?}");
    ensure!(addresses == found.addresses.len(), "{found:#?}");
    Ok(found)
}
