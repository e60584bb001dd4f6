//! The next owner is the same function: it gets its namespace back as it was at first, or another one.

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{dist, missing};

use crate::{
    attack::Attack,
    dump::dump,
    safe::{Expected, is_safe, shown_key},
    table::find,
    world::{Addresses, Gang, Prepared, User, World, with_world},
};

const FUNCTION: User = User::of("mallory", "f");

/// Plays an attack of a function on its own next instance.
pub(crate) fn play(attack: &'static Attack) -> Result<()> {
    with_world("function", Addresses::Many, |world| scenario(world, attack))
}

fn scenario(world: &World<'_>, attack: &'static Attack) -> Result<()> {
    let former = world.start(FUNCTION)?;
    let (slot, words, cookie) = (former.slot.clone(), world.words(&former)?, former.cookie);
    let mut expected = Expected { fresh: dump(&former.host, &slot)?, key: String::new() };
    let mut gang = Gang::new(world, attack, &former)?;
    let prepared = gang.prepare(world, attack, &words)?;
    expected.key = shown_key(&former.host)?;
    gang.leave(attack, former)?;
    if let Prepared::Unsupported(what) = prepared {
        println!("skipped: the kernel lacks it: {what}");
        return gang.end();
    }
    let state = world.settled(&slot, attack.occupies)?;
    let next = world.start(FUNCTION)?;
    let renewed = next.cookie != cookie;
    println!("slot {} is {state}; {}", slot.slot, if renewed { "renewed" } else { "repaired" });
    ensure!(renewed || !attack.occupies, "two instances are in one namespace");
    is_safe(world, &next, &expected, attack, &gang, &words)?;
    next.remove()?;
    gang.end()
}

/// Within a domain a namespace is given again while its descriptor is kept, which harms nobody else:
/// so what the suite looks for is seen where it happens.
#[test]
fn the_judgement_sees_what_a_kept_descriptor_does() -> Result<()> {
    if missing([dist::plugin(), dist::cli(), dist::agent()]) {
        return Ok(());
    }
    let seen = play(find("kept_namespace_descriptor")?).err().context("nothing was seen")?;
    println!("{seen:#}");
    ensure!(format!("{seen:#}").contains("of the former owner's reached"), "{seen:#}");
    Ok(())
}
