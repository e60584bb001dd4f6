//! A process that works with a database until it is killed: this test's executable, executed again.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _, stdout},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::{
        prctl::set_pdeathsig,
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, pause},
};
use repoint::store::{Store, StoreError};

use crate::add_slot;

const FOLDER: &str = "STORE_TEST_FOLDER";
const ROLE: &str = "STORE_TEST_ROLE";
const NUMBER: &str = "STORE_TEST_NUMBER";
/// What it says when it is where it is to be.
const THERE: &str = "there:";

/// What a process does.
#[derive(Debug, Clone, Copy)]
pub enum Role {
    /// Opens the database, takes a slot number and says which.
    Number,
    /// Stays in a transaction that reads.
    Read,
    /// Stays in a transaction that has written.
    Write,
    /// Adds and forgets slots, again and again.
    Churn,
}

/// A process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Process {
    /// Starts one; `number` distinguishes its addresses from others'.
    pub fn start(folder: &Path, role: Role, number: u32) -> Result<Self> {
        let mut child = Command::new(env::current_exe().context("which executable is this")?)
            .args(["--exact", "process::a_process_of_these_tests", "--nocapture"])
            .env(FOLDER, folder)
            .env(ROLE, format!("{role:?}"))
            .env(NUMBER, number.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .context("execute this test again")?;
        let said = BufReader::new(child.stdout.take().context("its output")?);
        Ok(Self { child, said })
    }

    /// Waits until it is where it is to be; gives what it says.
    pub fn wait_until_there(&mut self) -> Result<String> {
        let mut line = String::new();
        loop {
            line.clear();
            ensure!(self.said.read_line(&mut line)? > 0, "it ended");
            if let Some((_, said)) = line.split_once(THERE) {
                return Ok(said.trim().to_owned());
            }
        }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it, until it is killed.
    pub fn stop(&self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, Signal::SIGSTOP)?;
        let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED))?;
        ensure!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
        Ok(())
    }

    /// Kills it as it stands.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("kill a process")?;
        self.child.wait().context("wait for a process").map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where it is dead and buried.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The other side of [`Process`]; without it, it does nothing.
#[test]
fn a_process_of_these_tests() -> Result<()> {
    let Some(folder) = env::var_os(FOLDER) else { return Ok(()) };
    set_pdeathsig(Signal::SIGKILL)?;
    let store = Store::open(Path::new(&folder))?;
    let number: u32 = env::var(NUMBER)?.parse()?;
    match env::var(ROLE)?.as_str() {
        "Number" => {
            let id = store.grow(|transaction| add_slot(transaction, number))?;
            say(&id.to_string());
        }
        "Read" => store.read(|transaction| {
            transaction.slots()?;
            stay();
            Ok::<_, StoreError>(())
        })?,
        "Write" => store.write(|transaction| {
            add_slot(transaction, number)?;
            stay();
            Ok::<_, anyhow::Error>(())
        })?,
        "Churn" => churn(&store, number)?,
        other => bail!("no role {other}"),
    }
    Ok(())
}

fn say(what: &str) {
    println!("\n{THERE}{what}");
    stdout().flush().ok();
}

fn stay() {
    say("");
    loop {
        pause();
    }
}

/// Adds and forgets slots until it is killed.
fn churn(store: &Store, number: u32) -> Result<()> {
    let mut own = Vec::new();
    say("");
    for round in 0.. {
        let address = (number << 12) + round % 4096;
        // One that was killed before had addresses of its own.
        match store.grow(|transaction| add_slot(transaction, address)) {
            Ok(id) => own.push(id),
            Err(error) if is_taken(&error) => continue,
            Err(other) => return Err(other),
        }
        if own.len() > 20 {
            let id = own.remove(0);
            store.write(|transaction| match transaction.slot(id)? {
                Some(slot) => transaction.forget(&slot, 0),
                None => Err(StoreError::SlotGone { slot: id }),
            })?;
        }
    }
    Ok(())
}

fn is_taken(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(StoreError::AddressTaken { .. }))
}
