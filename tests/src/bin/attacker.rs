//! A hostile process: reduces itself to the rights of its argument, and carries out the orders that
//! come over its standard input, a socket that keeps messages apart. It ends with the test that
//! started it.

use std::{
    env,
    os::fd::{AsFd as _, OwnedFd},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use repoint_tests::hostile::{Channel, acts::Attacker};
use rustix::event::{PollFd, PollFlags, poll};

/// A test waits for conditions for much less than this.
const LIMIT: Duration = Duration::from_mins(10);

fn main() -> ExitCode {
    let control = std::io::stdin().as_fd().try_clone_to_owned();
    let ended = control.context("duplicate standard input").and_then(run);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("attacker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(control: OwnedFd) -> Result<()> {
    let leash = control.try_clone().context("duplicate a descriptor")?;
    let control = Channel::of(control);
    let rights = env::args().nth(1).context("no rights")?;
    rights.parse::<repoint_tests::hostile::Dropped>()?.take_effect()?;
    thread::spawn(move || end_with_the_test(&leash));
    control.send("done ready", &[])?;
    let mut attacker = Attacker::default();
    while let Some(order) = control.receive(LIMIT)? {
        control.send(&attacker.obey(order).line(), &[])?;
    }
    Ok(())
}

/// Waits until the test's end of the socket is closed, also while an order is carried out.
///
/// A parent's death signal would come when the thread ends that started the process.
#[expect(clippy::disallowed_methods, reason = "it ends whatever the other threads do")]
fn end_with_the_test(leash: &OwnedFd) {
    let mut closed = [PollFd::new(leash, PollFlags::empty())];
    // Hanging up is reported without being asked for.
    poll(&mut closed, None).ok();
    std::process::exit(1);
}
