//! Every command of the CLI where it cannot do what it is asked for: without root, on folders that hold
//! nothing, with a name that does not exist, and without its main argument. Each says so, with a status
//! that a script can use (`docs/operations.md`).
#![cfg(test)]

use std::{
    collections::BTreeSet, fs, os::unix::process::CommandExt as _, path::Path, process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::{Gid, Uid, chown};
use repoint_tests::{Pooled, command, dist, dist::workspace, pooled::NAME, program, with_pool};
use serde_json::json;

/// Where an unprivileged user can execute the CLI.
const CLI: &str = "/run/repoint-cli";
/// A user without any privilege: `nobody`.
const NOBODY: u32 = 65534;

const DONE: i32 = 0;
const NOT_FOUND: i32 = 3;
const NO_NODE: i32 = 4;
const NOT_PERMITTED: i32 = 5;
const USAGE: i32 = 64;

/// An exit status and words that are printed.
type Answer = (i32, &'static str);

/// A command, and what it answers.
struct Row {
    /// With all that it needs.
    words: &'static [&'static str],
    /// On folders that do not exist.
    absent: Answer,
    /// The words with a name that does not exist, for a command that takes one.
    unknown: Option<(&'static [&'static str], Answer)>,
    /// The words without the main argument, for a command that has one.
    bare: Option<(&'static [&'static str], &'static str)>,
}

const NOTHING: Answer = (NO_NODE, "there is nothing of repoint in /run/absent");

/// A command without arguments, that needs a node.
const fn plain(words: &'static [&'static str]) -> Row {
    Row { words, absent: NOTHING, unknown: None, bare: None }
}

const NO_POOL: Answer = (NOT_FOUND, "there is no pool typo/eth0");
const NO_TEMPLATE: Answer = (NOT_FOUND, "there is no template typo");
const REQUIRED: &str = "required arguments were not provided";

const POLICY: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: own, namespace: acme}
spec: {podSelector: {}}
---
apiVersion: repoint.dev/v1
kind: PolicyTest
functions: [{name: acme/resize}]
cases: [{from: host, to: acme/resize, traffic: ICMP, allow: true}]
";
/// A file of policies.
const POLICIES: &str = "/run/policies.yaml";
const NO_POLICIES: Answer = (NO_NODE, "no policy was ever stored in /var/lib/absent");
const NO_POLICY: Answer = (NOT_FOUND, "there is no policy acme/typo");
/// It needs neither a node nor any rights.
const TEST: Row = Row {
    words: &["policy", "test", "-f", POLICIES],
    absent: (DONE, "1 of 1 cases are as wanted"),
    unknown: Some((&["policy", "test", "-f", "/run/typo"], (NOT_FOUND, "/run/typo: No such"))),
    bare: Some((&["policy", "test"], REQUIRED)),
};

const ROWS: [Row; 38] = [
    plain(&["status"]),
    plain(&["slots"]),
    plain(&["pool"]),
    Row {
        words: &["pool", "set", NAME, "--warm", "2"],
        absent: NOTHING,
        unknown: Some((&["pool", "set", "typo", "--warm", "2"], NO_POOL)),
        // The name alone changes nothing.
        bare: Some((&["pool", "set", NAME], "--warm <SLOTS>|--max <SLOTS>|--config <FILE>")),
    },
    Row {
        words: &["pool", "reset", NAME],
        absent: NOTHING,
        unknown: Some((&["pool", "reset", "typo"], NO_POOL)),
        bare: Some((&["pool", "reset"], REQUIRED)),
    },
    Row {
        words: &["pool", "fill", NAME],
        absent: NOTHING,
        unknown: Some((&["pool", "fill", "typo"], NO_POOL)),
        bare: Some((&["pool", "fill"], REQUIRED)),
    },
    Row {
        words: &["pool", "drain", NAME],
        absent: NOTHING,
        unknown: Some((&["pool", "drain", NAME, "--template", "typo"], (NOT_FOUND, "typo"))),
        bare: Some((&["pool", "drain"], REQUIRED)),
    },
    Row {
        words: &["pool", "remove", NAME],
        absent: NOTHING,
        unknown: Some((&["pool", "remove", "typo"], NO_POOL)),
        bare: Some((&["pool", "remove"], REQUIRED)),
    },
    Row {
        words: &["prepare"],
        absent: NOTHING,
        unknown: Some((&["prepare", "--network", "typo"], NO_POOL)),
        bare: Some((&["prepare", "--count", "0"], "0 is not in 1..")),
    },
    Row {
        words: &["replicate", "made"],
        absent: NOTHING,
        unknown: Some((
            &["replicate", "made", "--container", "typo"],
            (NOT_FOUND, "there is no slot of typo"),
        )),
        bare: Some((&["replicate"], REQUIRED)),
    },
    Row {
        words: &["activate", "--function", "resize"],
        absent: NOTHING,
        unknown: Some((&["activate", "--function", "resize", "--network", "typo"], NO_POOL)),
        bare: Some((&["activate"], REQUIRED)),
    },
    Row {
        words: &["park", "resize"],
        absent: NOTHING,
        unknown: Some((&["park", "typo"], (NOT_FOUND, "functions/typo/eth0 has no slot"))),
        bare: Some((&["park"], REQUIRED)),
    },
    plain(&["tenants"]),
    plain(&["identities"]),
    Row {
        words: &["evict", "--tenant", "acme"],
        absent: NOTHING,
        unknown: Some((&["evict", "--tenant", "typo"], (NOT_FOUND, "no slot is of tenant typo"))),
        bare: Some((&["evict"], REQUIRED)),
    },
    Row {
        words: &["isolate", NAME, "tenant"],
        absent: NOTHING,
        unknown: Some((&["isolate", "typo", "tenant"], (NOT_FOUND, "network typo has no slot"))),
        bare: Some((&["isolate", NAME], REQUIRED)),
    },
    // Policies are there before the first container is.
    Row {
        words: &["policy", "apply", "-f", POLICIES],
        absent: (DONE, "NetworkPolicy acme/own new"),
        unknown: Some((&["policy", "apply", "-f", "/run/typo"], (NOT_FOUND, "/run/typo: No such"))),
        bare: Some((&["policy", "apply"], REQUIRED)),
    },
    plain(&["policy", "drops"]),
    Row { words: &["policy", "list"], absent: NO_POLICIES, unknown: None, bare: None },
    Row {
        words: &["policy", "show", "acme/own"],
        absent: NO_POLICIES,
        unknown: Some((&["policy", "show", "acme/typo"], NO_POLICY)),
        bare: Some((&["policy", "show"], "name a policy, or --all")),
    },
    Row {
        words: &["policy", "explain", "--from", "host", "--to", "192.0.2.1:80/TCP"],
        absent: NOTHING,
        unknown: Some((
            &["policy", "explain", "--from", "host", "--to", "acme/typo"],
            (USAGE, "which network is function acme/typo of? it does not run"),
        )),
        bare: Some((&["policy", "explain"], REQUIRED)),
    },
    TEST,
    Row {
        words: &["policy", "delete", "acme/own"],
        absent: NO_POLICIES,
        unknown: Some((&["policy", "delete", "typo"], (NOT_FOUND, "there is no policy typo"))),
        bare: Some((&["policy", "delete"], "name a policy, or a file")),
    },
    Row {
        words: &["label", "--function", "resize", "app=web"],
        absent: (DONE, "function resize changed"),
        unknown: Some((&["label", "--function", "resize", "typo"], (USAGE, "write KEY=VALUE"))),
        bare: Some((&["label"], REQUIRED)),
    },
    plain(&["sweep"]),
    plain(&["sweep", "--dry-run"]),
    plain(&["endpoints"]),
    plain(&["counters"]),
    plain(&["counters", "--slots"]),
    Row {
        words: &["events"],
        absent: NOTHING,
        // What was dropped long ago may have been of a function that is on record no more.
        unknown: Some((&["events", "--reason", "typo"], (USAGE, "possible values"))),
        bare: None,
    },
    Row {
        words: &["template", "list"],
        absent: (NO_NODE, "no template was ever stored in /var/lib/absent"),
        unknown: None,
        bare: None,
    },
    Row {
        words: &["template", "show", "made"],
        absent: (NOT_FOUND, "there is no template made"),
        unknown: Some((&["template", "show", "typo"], NO_TEMPLATE)),
        bare: Some((&["template", "show"], REQUIRED)),
    },
    Row {
        words: &["template", "diff", "made", "made"],
        absent: (NOT_FOUND, "neither the name of a stored template nor a file"),
        unknown: Some((
            &["template", "diff", "made", "typo"],
            (NOT_FOUND, "neither the name of a stored template nor a file"),
        )),
        bare: Some((&["template", "diff", "made"], REQUIRED)),
    },
    Row {
        words: &["template", "export", "made"],
        absent: (NOT_FOUND, "there is no template made"),
        unknown: Some((&["template", "export", "typo"], NO_TEMPLATE)),
        bare: Some((&["template", "export"], REQUIRED)),
    },
    Row {
        words: &["template", "confirm", "made", "--yes"],
        absent: (NOT_FOUND, "there is no template made"),
        unknown: Some((&["template", "confirm", "typo", "--yes"], NO_TEMPLATE)),
        bare: Some((&["template", "confirm"], REQUIRED)),
    },
    Row {
        words: &["template", "delete", "made"],
        absent: (NOT_FOUND, "there is no template made"),
        unknown: Some((&["template", "delete", "typo"], NO_TEMPLATE)),
        bare: Some((&["template", "delete"], REQUIRED)),
    },
    Row {
        words: &["template", "import", "/run/made.json"],
        // Templates are there before the first container is.
        absent: (DONE, "stored template made"),
        unknown: Some((&["template", "import", "/run/typo"], (NOT_FOUND, "cannot read /run/typo"))),
        bare: Some((&["template", "import"], REQUIRED)),
    },
    // It makes a node.
    Row {
        words: &["load"],
        absent: (DONE, "programs and maps are pinned below /sys/fs/bpf/absent"),
        unknown: None,
        bare: None,
    },
];

/// `unload` comes last.
const UNLOAD: Row = Row {
    words: &["unload"],
    absent: (NO_NODE, "there is nothing of repoint in /run/absent or /sys/fs/bpf/absent"),
    unknown: None,
    bare: None,
};

fn rows() -> impl Iterator<Item = &'static Row> {
    static LAST: Row = UNLOAD;
    static ALL: [Row; 38] = ROWS;
    ALL.iter().chain([&LAST])
}

/// The CLI, with folders that do not exist unless `pooled` has some.
fn cli(pooled: Option<&Pooled<'_>>, words: &[&str]) -> Command {
    let mut command = Command::new(CLI);
    match pooled {
        Some(pooled) => command.args(pooled.node().dirs().arguments()),
        None => command.args([
            "--run-dir",
            "/run/absent",
            "--state-dir",
            "/var/lib/absent",
            "--bpf-dir",
            "/sys/fs/bpf/absent",
        ]),
    };
    command.args(words);
    command
}

/// Runs a command, which must answer so: all that it prints must be in one of its outputs.
fn ensure_answers(command: &mut Command, (expected, words): Answer) -> Result<()> {
    let shown = format!("{:?}", command.get_args().skip(6).collect::<Vec<_>>());
    let output = command::output_with_input(command, &[])?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let status = output.status.code().with_context(|| format!("{shown}: {}", output.status))?;
    println!("{shown}: {status}: {}", said.lines().next().unwrap_or_default());
    ensure!(status == expected, "{shown}: status {status}, not {expected}: {said}");
    ensure!(said.contains(words), "{shown}: {words:?} is not said: {said}");
    Ok(())
}

/// The commands and their subcommands, as `--help` lists them.
fn listed(words: &[&str]) -> Result<Vec<String>> {
    let help = command::run(CLI, words.iter().chain(&["--help"]))?;
    let (_, list) = help.split_once("Commands:\n").unwrap_or_default();
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    Ok(names.filter(|name| *name != "help").map(str::to_owned).collect())
}

/// Every command by its words.
fn every_command() -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for name in listed(&[])? {
        let below = listed(&[&name])?;
        all.extend(below.iter().map(|action| format!("{name} {action}")));
        if below.is_empty() || name == "pool" {
            all.insert(name);
        }
    }
    Ok(all)
}

fn install() -> Result<()> {
    program::copy(&dist::cli(), Path::new(CLI))
}

/// A node with a slot that the function `resize` of the tenant `acme` has, and the template `made`.
fn with_node(test: impl FnOnce(&Pooled<'_>) -> Result<()> + Send) -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 8 }), |pooled| {
        install()?;
        pooled.fill()?;
        pooled.repoint(&["replicate", "made"])?;
        let exported = pooled.repoint(&["template", "export", "made"])?;
        fs::write("/run/made.json", exported).context("write /run/made.json")?;
        fs::write(POLICIES, POLICY).with_context(|| format!("write {POLICIES}"))?;
        pooled.repoint(&["policy", "apply", "-f", POLICIES])?;
        pooled.repoint(&["activate", "--function", "resize", "--tenant", "acme"])?;
        test(pooled)?;
        if pooled.slots()?.iter().any(|slot| slot.container.is_some()) {
            pooled.repoint(&["park", "resize"])?;
        }
        Ok(())
    })
}

#[test]
fn the_table_has_every_command() -> Result<()> {
    with_node(|_| {
        let every = every_command()?;
        let of = |row: &Row| {
            let words: Vec<_> =
                row.words.iter().take_while(|word| !word.starts_with("--")).copied().collect();
            let (pair, first) = (words.get(..2).map(|pair| pair.join(" ")), words[0].to_owned());
            pair.filter(|pair| every.contains(pair)).unwrap_or(first)
        };
        let shown: BTreeSet<String> = rows().map(of).collect();
        ensure!(shown == every, "the table has {shown:?}, and there are {every:?}");
        Ok(())
    })
}

#[test]
fn without_root_each_command_says_so() -> Result<()> {
    with_node(|pooled| {
        let before = format!("{:?}", pooled.slots()?);
        for row in rows() {
            let answer = if row.words == TEST.words {
                TEST.absent
            } else {
                (NOT_PERMITTED, "run it as root")
            };
            for mut command in [cli(Some(pooled), row.words), cli(None, row.words)] {
                command.uid(NOBODY).gid(NOBODY);
                ensure_answers(&mut command, answer)?;
            }
        }
        ensure!(!Path::new("/run/absent").exists(), "the command made /run/absent");
        ensure!(format!("{:?}", pooled.slots()?) == before, "slots have changed");
        // Help needs no rights.
        let mut command = cli(None, &["--help"]);
        ensure_answers(command.uid(NOBODY).gid(NOBODY), (DONE, "Exit status:"))
    })
}

#[test]
fn on_absent_folders_each_command_says_so() -> Result<()> {
    with_node(|_| {
        for row in rows() {
            ensure_answers(&mut cli(None, row.words), row.absent)?;
            if row.absent.0 != DONE || row.words == TEST.words {
                for folder in ["/run/absent", "/var/lib/absent", "/sys/fs/bpf/absent"] {
                    ensure!(!Path::new(folder).exists(), "{:?} made {folder}", row.words);
                }
                continue;
            }
            ensure_answers(&mut cli(None, &["slots"]), (DONE, "SLOT"))?;
            ensure_answers(&mut cli(None, &["unload"]), (DONE, "removed"))?;
            fs::remove_dir_all("/var/lib/absent").ok();
        }
        Ok(())
    })
}

#[test]
fn a_name_that_does_not_exist_is_an_error() -> Result<()> {
    with_node(|pooled| {
        let before = format!("{:?}", pooled.slots()?);
        for (words, answer) in rows().filter_map(|row| row.unknown) {
            ensure_answers(&mut cli(Some(pooled), words), answer)?;
        }
        ensure!(format!("{:?}", pooled.slots()?) == before, "slots have changed");
        Ok(())
    })
}

#[test]
fn a_missing_argument_is_an_error() -> Result<()> {
    with_node(|pooled| {
        for (words, said) in rows().filter_map(|row| row.bare) {
            ensure_answers(&mut cli(Some(pooled), words), (USAGE, said))?;
        }
        ensure_answers(&mut cli(Some(pooled), &[]), (USAGE, "Usage:"))?;
        ensure_answers(&mut cli(Some(pooled), &["slot"]), (USAGE, "unrecognized subcommand"))?;
        ensure_answers(&mut cli(Some(pooled), &["slots", "--jsn"]), (USAGE, "unexpected argument"))
    })
}

/// What each command does where nothing is in its way.
#[test]
fn each_command_succeeds_in_its_place() -> Result<()> {
    with_node(|pooled| {
        for row in rows().filter(|row| row.words != ["unload"]) {
            let words: &[&str] = match row.words {
                ["park", ..] => &["park", "resize"],
                ["activate", ..] => &["activate", "--function", "resize", "--id", "second"],
                words => words,
            };
            ensure_answers(&mut cli(Some(pooled), words), (DONE, ""))?;
            if words[0] == "park" {
                let again = (NOT_FOUND, "functions/resize/eth0 has no slot");
                ensure_answers(&mut cli(Some(pooled), words), again)?;
            }
            match words {
                ["pool", "remove", ..] => {
                    let set = ["pool", "set", NAME, "--config", "/run/functions.json"];
                    ensure_answers(&mut cli(Some(pooled), &set), (DONE, "keeps 1 slots ready"))?;
                }
                ["template", "delete", ..] => {
                    pooled.repoint(&["template", "import", "/run/made.json"])?;
                }
                _ => {}
            }
        }
        pooled.repoint(&["park", "second"])?;
        Ok(())
    })
}

/// A data plane that containers use is not removed because `--run-dir` is misspelt.
#[test]
fn unload_does_not_take_a_misspelt_folder_for_an_empty_node() -> Result<()> {
    with_node(|pooled| {
        let bpf = pooled.node().dirs().bpf.to_string_lossy().into_owned();
        let mut command = Command::new(CLI);
        command.args(["--run-dir", "/run/absent", "--state-dir", "/var/lib/absent"]);
        command.args(["--bpf-dir", &bpf, "unload"]);
        ensure_answers(&mut command, (1, "/run/absent has no database that names its containers"))?;
        pooled.repoint(&["endpoints"]).map(drop)
    })
}

/// A folder of another user's is named, with what to do.
#[test]
fn a_folder_of_another_user_is_not_permitted() -> Result<()> {
    with_node(|_| {
        fs::create_dir("/run/absent").context("make a folder")?;
        chown("/run/absent", Some(Uid::from_raw(NOBODY)), Some(Gid::from_raw(NOBODY)))?;
        ensure_answers(&mut cli(None, &["slots"]), (NOT_PERMITTED, "belongs to user 65534"))
    })
}

/// Messages name commands that exist.
#[test]
fn messages_speak_of_commands_that_there_are() -> Result<()> {
    with_node(|_| {
        let every = every_command()?;
        let mut sources = Vec::new();
        for folder in ["userspace", "cni-plugin/src", "ebpf/src", "docs", "README.md"] {
            collect(&workspace().join(folder), &mut sources)?;
        }
        let mut found = 0;
        for (path, text) in sources {
            // Texts in sources are continued on the next line.
            let text = text.replace("\\\n", " ");
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            for quoted in text.split("`repoint ").skip(1) {
                let quoted = quoted.split('`').next().unwrap_or_default();
                let words: Vec<_> =
                    quoted.split(' ').skip_while(|word| word.starts_with('-')).collect();
                let Some(first) = words.first().filter(|word| is_command(word)) else { continue };
                let pair = words.get(1).map(|second| format!("{first} {second}"));
                let has_actions = every.iter().any(|name| name.starts_with(&format!("{first} ")));
                let is_action =
                    pair.as_ref().filter(|_| words.get(1).is_some_and(|word| is_command(word)));
                let is_there = match is_action {
                    Some(pair) if has_actions => every.contains(pair),
                    _ => every.contains(*first) || has_actions,
                };
                ensure!(is_there, "{}: `repoint {quoted}` is no command", path.display());
                found += 1;
            }
        }
        println!("{found} commands are named");
        ensure!(found > 50, "only {found} commands are named");
        Ok(())
    })
}

/// Whether a word can be a command, rather than a placeholder or an option.
fn is_command(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|letter| letter.is_ascii_lowercase())
}

fn collect(path: &Path, into: &mut Vec<(std::path::PathBuf, String)>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("list {}", path.display()))? {
            collect(&entry?.path(), into)?;
        }
        return Ok(());
    }
    let extension = path.extension().unwrap_or_default();
    if extension == "rs" || extension == "md" {
        match fs::read_to_string(path) {
            Ok(text) => into.push((path.to_owned(), text)),
            Err(error) => bail!("read {}: {error}", path.display()),
        }
    }
    Ok(())
}
