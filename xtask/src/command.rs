//! Running other programs: each is printed as a shell would take it, and an error names the
//! command, what became of it, and what to do.

use std::{
    borrow::Cow,
    env,
    ffi::OsStr,
    io,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Error, Result, bail};

/// Prints a command and runs it to its end, with all its output on standard error and nothing on its
/// standard input. Standard output is for what a caller of `cargo xtask` reads.
///
/// `remedy` is what the reader of an error can do about it.
pub fn run(command: &mut Command, remedy: &str) -> Result<()> {
    let line = shell_line(command);
    eprintln!("+ {line}");
    let status = command
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .status()
        .with_context(|| format!("`{line}` does not start; {remedy}"))?;
    if !status.success() {
        bail!("`{line}` failed ({status}); {remedy}");
    }
    Ok(())
}

/// Runs a command to its end without printing it; returns its standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let line = shell_line(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("`{line}` does not start"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` failed ({}): {}", output.status, said.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("output of `{line}`"))
}

/// Prints a command and becomes it, so that signals and the exit status are its own.
///
/// Returns only when it cannot be started.
pub fn exec(command: &mut Command) -> Error {
    let line = shell_line(command);
    eprintln!("+ {line}");
    Error::new(command.exec()).context(format!("`{line}` does not start"))
}

/// A command with its environment, as it can be pasted into a shell.
pub fn shell_line(command: &Command) -> String {
    let (set, unset): (Vec<_>, Vec<_>) = command.get_envs().partition(|(_, value)| value.is_some());
    let unset = unset.iter().filter(|(name, _)| env::var_os(name).is_some());
    let mut words: Vec<String> =
        unset.flat_map(|(name, _)| ["-u".to_owned(), quote(name).into_owned()]).collect();
    let assign = |(name, value): &(&OsStr, Option<&OsStr>)| {
        format!("{}={}", name.display(), quote(value.unwrap_or_default()))
    };
    words.extend(set.iter().map(assign));
    if !words.is_empty() {
        words.insert(0, "env".to_owned());
    }
    words.push(quote(command.get_program()).into_owned());
    words.extend(command.get_args().map(|arg| quote(arg).into_owned()));
    words.join(" ")
}

fn quote(word: &OsStr) -> Cow<'_, str> {
    let text = word.to_string_lossy();
    let quoted = shlex::try_quote(&text).map(Cow::into_owned);
    quoted.map_or(text, Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_command_is_what_a_shell_takes() {
        let mut command = Command::new("cargo");
        command.args(["build", "two words"]).env("FLAGS", "-C a -C b");
        assert_eq!(shell_line(&command), "env FLAGS='-C a -C b' cargo build 'two words'");
    }

    #[test]
    fn only_variables_that_are_set_are_printed_as_removed() {
        let mut command = Command::new("cargo");
        command.env_remove("PATH").env_remove("NOT_SET_ANYWHERE");
        assert_eq!(shell_line(&command), "env -u PATH cargo");
    }

    #[test]
    fn failure_names_command_status_and_remedy() {
        let error = run(Command::new("sh").args(["-c", "exit 3"]), "look closer").unwrap_err();
        assert_eq!(error.to_string(), "`sh -c 'exit 3'` failed (exit status: 3); look closer");
    }

    #[test]
    fn absent_program_is_named() {
        let error = run(&mut Command::new("/absent/program"), "install it").unwrap_err();
        assert_eq!(error.to_string(), "`/absent/program` does not start; install it");
    }
}
