//! Tasks and mounts that keep a namespace in use.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    path::Path,
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use repoint::slot::{User, users};
use repoint_tests::{missing, program, wait};

use super::fixture::{Built, with_slot, with_slots};

fn user(slot: &Built, keeping_place: Option<u64>) -> Result<Option<User>> {
    let namespace = slot.netns.inode();
    Ok(users(&[namespace], keeping_place)?.remove(&namespace))
}

#[test]
fn a_descriptor_of_ours_is_no_user_and_a_process_is() -> Result<()> {
    with_slots(&[5, 6], |slots| {
        let [used, unused] = slots else { unreachable!("two were asked for") };
        ensure!(user(used, None)?.is_none());
        let mut child = used.netns.run(|| Command::new("sleep").arg("60").spawn())??;
        let both = users(&[used.netns.inode(), unused.netns.inode()], None)?;
        child.kill()?;
        child.wait()?;
        let expected = child.id();
        println!("{}", both[&used.netns.inode()]);
        let found = &both[&used.netns.inode()];
        ensure!(
            matches!(found, User::Task { process, .. } if process.unsigned_abs() == expected),
            "{found:?}"
        );
        ensure!(!both.contains_key(&unused.netns.inode()));
        ensure!(user(used, None)?.is_none(), "the process has ended");
        Ok(())
    })
}

/// The name of a process is bytes.
#[test]
fn a_process_of_any_name_is_found_and_others_are_not_in_use() -> Result<()> {
    with_slots(&[5, 6], |slots| {
        let [used, unused] = slots else { unreachable!("two were asked for") };
        let folder = Path::new("/run/named");
        fs::create_dir_all(folder)?;
        let program = folder.join(OsStr::from_bytes(b"\xff\n{x"));
        program::copy(Path::new("/bin/sleep"), &program)?;
        let mut child = used.netns.run(|| Command::new(&program).arg("60").spawn())??;
        let both = users(&[used.netns.inode(), unused.netns.inode()], None);
        child.kill()?;
        child.wait()?;
        fs::remove_dir_all(folder)?;
        let both = both?;
        let found = both[&used.netns.inode()].to_string();
        println!("{found}");
        ensure!(found.contains("(\\xff\\x0a\\x7bx, thread"), "{found}");
        ensure!(!both.contains_key(&unused.netns.inode()), "{both:?}");
        Ok(())
    })
}

/// Processes that begin without end.
#[test]
fn a_fork_bomb_in_one_namespace_costs_no_other() -> Result<()> {
    if missing(["/usr/bin/perl"]) {
        return Ok(());
    }
    with_slots(&[5, 6], |slots| {
        let [bombed, unused] = slots else { unreachable!("two were asked for") };
        // Some thousand at a time, each for a second.
        let script = "$SIG{CHLD} = 'IGNORE';
            while (1) {
                select undef, undef, undef, 0.0003;
                defined(my $pid = fork) or next;
                if (!$pid) { select undef, undef, undef, 1; exit }
            }";
        let mut child = bombed
            .netns
            .run(|| Command::new("perl").args(["-e", script]).process_group(0).spawn())??;
        wait::until(Duration::from_secs(5), "it forks", || {
            let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id()))?;
            ensure!(children.split_whitespace().count() > 20, "{children}");
            Ok(())
        })?;
        let found: Result<Vec<_>, _> =
            (0..5).map(|_| users(&[bombed.netns.inode(), unused.netns.inode()], None)).collect();
        nix::sys::signal::killpg(
            nix::unistd::Pid::from_raw(child.id().cast_signed()),
            nix::sys::signal::Signal::SIGKILL,
        )?;
        child.wait()?;
        for users in found? {
            let bomb = users.get(&bombed.netns.inode());
            ensure!(matches!(bomb, Some(User::Task { .. })), "{bomb:?}");
            let other = users.get(&unused.netns.inode());
            ensure!(other.is_none(), "{other:?}");
        }
        Ok(())
    })
}

#[test]
fn a_thread_that_is_not_its_processs_first_is_a_user() -> Result<()> {
    with_slot(|slot| {
        let (ready, is_ready) = mpsc::channel();
        let (end, is_end) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                slot.netns.run(|| {
                    ready.send(()).unwrap();
                    // An error is the end, too.
                    is_end.recv().ok();
                })
            });
            is_ready.recv()?;
            let found = user(slot, None)?.context("nobody was found")?;
            drop(end);
            println!("{found}");
            ensure!(matches!(found, User::Task { process, thread, .. } if process != thread));
            Ok(())
        })
    })
}

/// Mounted in a mount namespace that only one thread is in, with no descriptor of it anywhere but
/// ours.
#[test]
fn a_mount_in_another_mount_namespace_is_a_user() -> Result<()> {
    with_slot(|slot| {
        let (ready, is_ready) = mpsc::channel();
        let (end, is_end) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let elsewhere = scope.spawn(move || {
                unshare(CloneFlags::CLONE_NEWNS)?;
                mount(
                    None::<&str>,
                    "/",
                    None::<&str>,
                    MsFlags::MS_REC | MsFlags::MS_PRIVATE,
                    None::<&str>,
                )?;
                File::create("/run/kept")?;
                let inside = Path::new("/proc/thread-self/ns/net");
                slot.netns.run(|| {
                    mount(Some(inside), "/run/kept", None::<&str>, MsFlags::MS_BIND, None::<&str>)
                })??;
                let own = fs::read_link("/proc/thread-self/ns/mnt")?;
                ready.send(own)?;
                is_end.recv().ok();
                umount2("/run/kept", MntFlags::MNT_DETACH)?;
                anyhow::Ok(())
            });
            let namespace = is_ready.recv()?;
            let found = user(slot, None)?;
            let number =
                namespace.to_string_lossy().trim_matches(|c: char| !c.is_numeric()).parse()?;
            let kept = user(slot, Some(number))?;
            drop(end);
            elsewhere.join().unwrap()?;
            println!("{found:?}");
            ensure!(matches!(found, Some(User::Mount { .. })), "{found:?}");
            ensure!(kept.is_none(), "the keeping place does not count: {kept:?}");
            ensure!(user(slot, None)?.is_none(), "it is unmounted");
            Ok(())
        })
    })
}
