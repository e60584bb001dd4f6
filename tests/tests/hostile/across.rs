//! The next owner is of another domain: it gets another namespace, without exception, and nothing of
//! the former owner's reaches it.

use anyhow::{Context as _, Result};

use crate::{
    attack::Attack,
    dump::dump,
    safe::{Expected, is_safe, others_come_and_go, shown_key},
    world::{Addresses, Gang, Prepared, User, World, with_agent_or_not},
};

/// Who is attacked from.
const FORMER: User = User::of("mallory", "f");
/// Another tenant's function of the same name.
const NEXT: User = User::of("victor", "f");
/// Another function of the same tenant.
const SAME_TENANT: User = User::of("mallory", "g");

/// Plays an attack under a scope.
pub(crate) fn play(attack: &'static Attack, scope: &'static str) -> Result<()> {
    play_with(true, attack, scope)
}

fn play_with(has_agent: bool, attack: &'static Attack, scope: &'static str) -> Result<()> {
    // The bystander, the attacker, and its accomplice; the next owner gets the attacker's address,
    // unless its namespace is in use still.
    let count = 2 + u8::from(attack.accomplice.is_some()) + u8::from(attack.occupies);
    with_agent_or_not(has_agent, scope, Addresses::Few(count), |world| {
        scenario(world, attack, scope)
    })
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
    let others =
        if scope == "function" { &[SAME_TENANT, User::ANYBODY][..] } else { &[User::ANYBODY] };
    for other in others {
        world.start(*other).with_context(|| format!("{other:?}"))?.remove()?;
    }
    gang.end()
}

/// What an ADD takes over by itself, where there is no agent to prepare it.
mod without_an_agent {
    use super::{Result, play_with};
    use crate::table::find;

    #[test]
    fn udp_mapping_kept_alive_by_a_peer() -> Result<()> {
        play_with(false, find("udp_mapping_kept_alive_by_a_peer")?, "function")
    }

    #[test]
    fn udp_mapping_of_ipv6_kept_alive_by_a_peer() -> Result<()> {
        play_with(false, find("udp_mapping_of_ipv6_kept_alive_by_a_peer")?, "function")
    }

    #[test]
    fn kept_namespace_descriptor() -> Result<()> {
        play_with(false, find("kept_namespace_descriptor")?, "function")
    }

    #[test]
    fn macvlan_moved_away_while_down() -> Result<()> {
        play_with(false, find("macvlan_moved_away_while_down")?, "function")
    }

    #[test]
    fn state_testing() -> Result<()> {
        play_with(false, find("state_testing")?, "function")
    }

    #[test]
    fn process_that_stays() -> Result<()> {
        play_with(false, find("process_that_stays")?, "function")
    }
}
