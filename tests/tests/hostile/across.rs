//! The next owner is of another domain: it gets another namespace, without exception, and nothing of
//! the former owner's reaches it.

use anyhow::{Context as _, Result};

use crate::{
    attack::Attack,
    dump::dump,
    safe::{Expected, is_safe, others_come_and_go, shown_key},
    world::{Addresses, Gang, Prepared, User, World, with_world},
};

/// Who is attacked from.
const FORMER: User = User::of("mallory", "f");
/// Another tenant's function of the same name.
const NEXT: User = User::of("victor", "f");
/// Another function of the same tenant.
const SAME_TENANT: User = User::of("mallory", "g");

/// Plays an attack under a scope.
pub(crate) fn play(attack: &'static Attack, scope: &'static str) -> Result<()> {
    // The bystander, the attacker, and its accomplice; the next owner gets the attacker's address,
    // unless its namespace is in use still.
    let count = 2 + u8::from(attack.accomplice.is_some()) + u8::from(attack.occupies);
    with_world(scope, Addresses::Few(count), |world| scenario(world, attack, scope))
}

fn scenario(world: &World<'_>, attack: &'static Attack, scope: &str) -> Result<()> {
    let former = world.start(FORMER)?;
    let (slot, words) = (former.slot.clone(), world.words(&former)?);
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
    println!("slot {} is {state}", slot.slot);
    let next = world.start(NEXT).context("the same function of another tenant")?;
    println!("{FORMER:?} had slot {}, {NEXT:?} has {}", slot.slot, next.slot.slot);
    is_safe(world, &next, &expected, attack, &gang, &words)?;
    others_come_and_go(world, next)?;
    // Whom else the namespace must not go to.
    let others = if scope == "function" { &[SAME_TENANT, User::ANYBODY][..] } else { &[User::ANYBODY] };
    for other in others {
        world.start(*other).with_context(|| format!("{other:?}"))?.remove()?;
    }
    gang.end()
}
