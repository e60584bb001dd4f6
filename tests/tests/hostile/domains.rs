//! Who is of one domain, without any attack: what a namespace may go to, by the kernel's cookies.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Result, ensure};
use repoint_tests::{
    hostile::{Process, Rights},
    traffic::Host,
};

use crate::{
    attack::{ADMIN_RAW, SYS},
    world::{ATTACKER, Addresses, User, with_world},
};

/// Starts two containers, one after the other; whether the second has the first's namespace.
fn share(scope: &'static str, first: User, second: User) -> Result<bool> {
    let mut same = None;
    with_world(scope, Addresses::Few(2), |world| {
        let one = world.add(first)?;
        let (slot, cookie) = (one.slot.clone(), one.cookie);
        one.remove()?;
        world.settled(&slot, false)?;
        let two = world.add(second)?;
        same = Some(two.cookie == cookie);
        two.remove()
    })?;
    // A machine without the executables has said so.
    Ok(same.unwrap_or_default())
}

fn never(scope: &'static str, first: User, second: User) -> Result<()> {
    let same = share(scope, first, second)?;
    ensure!(!same, "scope {scope}: {second:?} has the namespace of {first:?}");
    Ok(())
}

/// Otherwise the tests below would show nothing.
#[test]
fn a_function_gets_its_own_namespace_again() -> Result<()> {
    let same = share("function", User::of("mallory", "f"), User::of("mallory", "f"))?;
    ensure!(same || ready(), "a function does not get its own namespace");
    Ok(())
}

/// Likewise.
#[test]
fn a_tenant_gets_its_own_namespace_again_under_scope_tenant() -> Result<()> {
    let same = share("tenant", User::of("mallory", "f"), User::of("mallory", "g"))?;
    ensure!(same || ready(), "a tenant does not get its own namespace");
    Ok(())
}

/// Whether nothing could be shared because nothing was run.
fn ready() -> bool {
    repoint_tests::missing([
        repoint_tests::dist::plugin(),
        repoint_tests::dist::cli(),
        repoint_tests::dist::agent(),
    ])
}

#[test]
fn a_tenants_function_shares_with_no_other_tenants_of_that_name() -> Result<()> {
    never("function", User::of("mallory", "f"), User::of("victor", "f"))?;
    never("tenant", User::of("mallory", "f"), User::of("victor", "f"))
}

#[test]
fn functions_of_a_tenant_share_nothing_under_scope_function() -> Result<()> {
    never("function", User::of("mallory", "f"), User::of("mallory", "g"))
}

#[test]
fn anonymous_containers_share_nothing_under_scope_function() -> Result<()> {
    never("function", User::ANYBODY, User::ANYBODY)
}

#[test]
fn anonymous_containers_share_nothing_under_scope_tenant() -> Result<()> {
    never("tenant", User::ANYBODY, User::ANYBODY)
}

/// Two programs that are called the same need not be one, where nobody says whose they are.
#[test]
fn a_function_without_a_tenant_shares_nothing_unless_the_network_says_so() -> Result<()> {
    let function = User { tenant: None, function: Some("f") };
    never("function", function, function)
}

#[test]
fn containers_of_a_tenant_without_a_function_share_nothing_under_scope_function() -> Result<()> {
    let tenant = User { tenant: Some("mallory"), function: None };
    never("function", tenant, tenant)
}

#[test]
fn anonymous_containers_and_a_tenants_share_nothing_in_either_order() -> Result<()> {
    never("tenant", User::ANYBODY, User::of("victor", "f"))?;
    never("tenant", User::of("mallory", "f"), User::ANYBODY)
}

/// The domain is what it was at the first use, whatever scope is configured later.
#[test]
fn a_wider_scope_widens_no_namespace_that_was_used() -> Result<()> {
    with_world("function", Addresses::Few(2), |world| {
        let one = world.add(User::of("mallory", "f"))?;
        let (slot, cookie) = (one.slot.clone(), one.cookie);
        one.remove()?;
        world.settled(&slot, false)?;
        let (file, network) = world.pooled.reconfigured(|configuration| {
            configuration["pool"]["scope"] = "tenant".into();
        })?;
        world.pooled.repoint(&["pool", "set", "functions", "--config", &file])?;
        let two = world.add_to(&network, User::of("mallory", "g"))?;
        ensure!(two.cookie != cookie, "function g has the namespace that function f had");
        two.remove()
    })
}

/// An operator's tool may have made the folder, with any mode: the files in it are the node's own
/// all the same.
#[test]
fn an_unprivileged_user_locks_nothing_in_a_run_folder_that_is_open_to_all() -> Result<()> {
    with_world("function", Addresses::Many, |world| {
        let run = &world.pooled.node().dirs().run;
        fs::set_permissions(run, fs::Permissions::from_mode(0o755))?;
        let here = Host::here("node")?;
        let user = Process::start(Path::new(ATTACKER), &here, &Rights::NONE)?;
        let locked = user.must(&format!("lock-tree {}", run.display()))?;
        ensure!(locked.starts_with("locked [],"), "{locked}");
        world.start(User::of("victor", "f"))?.remove()?;
        user.kill()
    })
}

/// What a process may do is what the table says: neither it nor what it executes has more.
#[test]
fn attackers_have_exactly_the_rights_that_are_named() -> Result<()> {
    with_world("function", Addresses::Many, |world| {
        for rights in [Rights::NONE, ADMIN_RAW, SYS] {
            let process = Process::start(Path::new(ATTACKER), &world.bystander.host, &rights)?;
            let mask = rights.mask();
            let own = fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
            let executed = process.must("shell cat /proc/self/status")?;
            process.kill()?;
            for status in [own, executed] {
                for set in ["CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                    let line = format!("{set}:\t{mask:016x}\n");
                    ensure!(status.contains(&line), "not {line:?} for {rights}:\n{status}");
                }
                let uid = rights.uid;
                let user = format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n");
                ensure!(status.contains(&user), "not {user:?}:\n{status}");
                ensure!(status.contains("NoNewPrivs:\t1\n"), "it can get more rights:\n{status}");
            }
        }
        Ok(())
    })
}

/// The table plays the scenes, and each name is there once.
#[test]
fn there_are_at_least_forty_attacks() {
    let mut names: Vec<&str> = crate::table::ALL.iter().map(|attack| attack.name).collect();
    assert!(names.len() >= 40, "{}", names.len());
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), crate::table::ALL.len());
}
