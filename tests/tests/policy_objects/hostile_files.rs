//! Files that are broken, or made to cost memory and time: an error with line and column, at a bounded cost.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{Node, command, dist, wait, web::BUSYBOX};

use super::FILE;

/// Most bytes of a file.
const MAX_TEXT: usize = 4 << 20;
/// Most memory that refusing a file takes, in MiB; 350 are the most that were measured.
const MOST_MEMORY: u64 = 400;
/// Longest time that it takes; 1 s is the longest that was measured.
const LIMIT: Duration = Duration::from_secs(10);
/// Longest message, in bytes.
const LONGEST: usize = 2000;
/// Where busybox writes what a command took.
const USAGE: &str = "/run/usage";

const TOO_LARGE: &str = ": 4194305 bytes are more than 4194304: split the file";
const ALIASES: &str = "the aliases (*name) stand for too much: write the values in their place";
const DEPTH: &str = "more than 32 levels of lists and mappings: no policy has so many";
const VALUES: &str = "more than 500000 values: split the file";
const OBJECTS: &str = "more than 10000 objects: split the file";

/// A file, and what its message begins with behind the file's name.
#[derive(Clone)]
struct Hostile {
    what: &'static str,
    text: Vec<u8>,
    wanted: String,
}

fn hostile(what: &'static str, text: impl Into<Vec<u8>>, wanted: impl Into<String>) -> Hostile {
    Hostile { what, text: text.into(), wanted: wanted.into() }
}

/// Texts of so many parts.
fn parts(count: usize, part: impl Fn(usize) -> String) -> String {
    (0..count).map(part).collect()
}

/// A policy with this `spec`, on line 4.
fn policy(spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: web, namespace: shop}}\n\
         spec: {spec}\n"
    )
}

fn broken() -> Vec<Hostile> {
    let yaml = "not valid YAML or JSON:";
    let good = policy("{podSelector: {}}");
    let invalid = [good.as_bytes(), b"# \xff\xfe\n"].concat();
    let port = |number: &str| policy(&format!("{{ingress: [{{ports: [{{port: {number}}}]}}]}}"));
    let key = format!("{{{}: 1}}", "k".repeat(1 << 20));
    let unclosed = "while parsing a flow mapping, did not find expected ',' or '}'";
    vec![
        hostile(
            "cut off, YAML",
            policy("{podSelector: {matchLabels: {app: \"we"),
            format!(":4:41: {yaml} unclosed quote"),
        ),
        hostile("cut off, JSON", r#"{"apiVersion": "v1", "items""#, format!(":1:1: {yaml}")),
        hostile(
            "a list for a mapping",
            policy("[1, 2]"),
            ":4:7: NetworkPolicy shop/web: spec: a list where a mapping is wanted",
        ),
        hostile("a NUL byte", good.replace("web", "w\0b"), format!(":3:19: {yaml} unexpected")),
        hostile("not UTF-8", invalid, ":5:3: not UTF-8: save the file as UTF-8"),
        hostile("a key twice", format!("{good}spec: {{}}\n"), ":5:1: field \"spec\" appears twice"),
        hostile("a long number", port(&"9".repeat(100_000)), format!(":4:34: {yaml} value")),
        hostile("a number beyond all", port("1e999999999"), format!(":4:34: {yaml} value")),
        hostile("a long key", policy(&key), format!(":4:1048584: {yaml} {unclosed}")),
        hostile(
            "a tag",
            policy("{podSelector: !!python/object/apply:os.system [reboot]}"),
            format!(":4:53: {yaml} unsupported tag"),
        ),
        hostile("a cycle", "a: &a [*a]\n", format!(":1:8: {yaml} the alias is inside")),
        hostile("no anchor", "a: *b\n", format!(":1:4: {yaml} reference to unknown value")),
    ]
}

fn multiplying() -> Vec<Hostile> {
    let laughs = parts(10, |level| match level {
        0 => format!("a0: &a0 [{}]\n", ["lol"; 9].join(", ")),
        _ => format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 9].join(", ")),
    });
    let merges = parts(20, |level| match level {
        0 => "a0: &a0 {x: y}\n".to_owned(),
        _ => format!("a{level}: &a{level} {{<<: [*a{0}, *a{0}], k{level}: v}}\n", level - 1),
    });
    vec![
        hostile("aliases of aliases", laughs, format!(":5:15: {ALIASES}")),
        hostile("merge keys of merge keys", merges, format!(":10:20: {ALIASES}")),
        hostile(
            "anchors",
            parts(300_000, |index| format!("- &a{index} x\n")),
            format!(":1001:10: {ALIASES}"),
        ),
    ]
}

fn deep() -> Vec<Hostile> {
    let levels = 100_000;
    let block = parts(2_890, |level| format!("{}a:\n", " ".repeat(level)));
    vec![
        hostile("deep lists, flow", "[".repeat(levels), format!(":1:65: {DEPTH}")),
        hostile("deep mappings, flow", "{a: ".repeat(levels), format!(":1:257: {DEPTH}")),
        hostile("deep lists, block", "- ".repeat(levels), format!(":1:65: {DEPTH}")),
        hostile("deep mappings, block", block, format!(":33:33: {DEPTH}")),
        hostile("deep keys", "? ".repeat(levels), format!(":1:65: {DEPTH}")),
        hostile("deep JSON", "{\"a\":".repeat(levels), format!(":1:321: {DEPTH}")),
        hostile(
            "deep JSON, whole",
            ["[".repeat(levels), "]".repeat(levels)].concat(),
            format!(":1:65: {DEPTH}"),
        ),
    ]
}

fn large() -> Vec<Hostile> {
    let long = "a long string where a mapping is wanted";
    let mappings = parts(210_000, |index| format!("k{index}: {{a: b}}, "));
    let documents = parts(10_001, |index| {
        policy("{podSelector: {}}").replace("web", &format!("a{index}")) + "---\n"
    });
    vec![
        hostile("one string", "x".repeat(MAX_TEXT), format!(":1:1: {long}")),
        hostile(
            "one string of escapes",
            format!("\"{}\"", "\\x41".repeat(MAX_TEXT / 4 - 1)),
            format!(":1:1: {long}"),
        ),
        hostile(
            "strings",
            format!("[{}]", "x,".repeat(MAX_TEXT / 2 - 1)),
            format!(":1:1000000: {VALUES}"),
        ),
        hostile("strings, block", "- x\n".repeat(MAX_TEXT / 4), format!(":500000:3: {VALUES}")),
        hostile("mappings", format!("{{{mappings}}}"), format!(":1:2013888: {VALUES}")),
        hostile("empty documents", "---\n".repeat(10_001), format!(":10001:1: {OBJECTS}")),
        hostile("documents", documents, format!(":50000:1: {OBJECTS}")),
        hostile("5 MiB", "#".repeat(5 << 20), TOO_LARGE),
    ]
}

/// What a command took: memory in MiB, and time.
struct Cost {
    memory: u64,
    time: Duration,
}

/// Runs a command of the CLI with `input`, which must refuse file `file`; gives its message.
fn refusal(
    node: &Node,
    (arguments, file): (&[&str], &str),
    input: &[u8],
) -> Result<(String, Cost)> {
    let mut timed = Command::new(BUSYBOX);
    timed.args(["time", "-v", "-o", USAGE]).arg(dist::cli()).args(node.dirs().arguments());
    timed.args(arguments).args(["-f", file]);
    let begun = Instant::now();
    let output = command::output_with_input(&mut timed, input)?;
    let time = begun.elapsed();
    let message = String::from_utf8(output.stderr).context("the message")?;
    ensure!(output.status.code() == Some(1), "{}: {message:.300}", output.status);
    let usage = fs::read_to_string(USAGE).with_context(|| format!("read {USAGE}"))?;
    let memory = usage
        .lines()
        .find_map(|line| line.trim().strip_prefix("Maximum resident set size (kbytes): "));
    let memory = memory.context("no memory")?.parse::<u64>()? / 1024;
    Ok((message, Cost { memory, time }))
}

/// Refuses a file by both commands that read files without a change; gives the higher cost.
fn ensure_refused(node: &Node, file: &str, input: &[u8], wanted: &str) -> Result<Cost> {
    let mut most = Cost { memory: 0, time: Duration::ZERO };
    for arguments in [&["policy", "test"][..], &["policy", "apply", "--dry-run"]] {
        let (message, Cost { memory, time }) = refusal(node, (arguments, file), input)?;
        let begin = format!("repoint: {file}{wanted}");
        ensure!(message.starts_with(&begin), "{arguments:?}: {message:.300}\nwanted {begin}");
        let is_line = message.trim_end().lines().count() == 1 && message.len() <= LONGEST;
        ensure!(is_line, "{arguments:?}: {} bytes of message", message.len());
        ensure!(memory <= MOST_MEMORY, "{arguments:?} took {memory} MiB");
        ensure!(time <= wait::patient(LIMIT), "{arguments:?} took {time:?}");
        most = Cost { memory: most.memory.max(memory), time: most.time.max(time) };
    }
    Ok(most)
}

#[test]
fn hostile_files_are_refused_by_place_at_a_bounded_cost() -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let (mut costs, mut wrong) = (Vec::new(), Vec::new());
        for Hostile { what, text, wanted } in [broken(), multiplying(), deep(), large()].concat() {
            fs::write(FILE, &text).with_context(|| format!("write {FILE}"))?;
            match ensure_refused(&node, FILE, &[], &wanted) {
                Ok(cost) => {
                    println!(
                        "{what}, {} bytes: {} MiB, {:.2?}",
                        text.len(),
                        cost.memory,
                        cost.time
                    );
                    costs.push(cost);
                }
                Err(error) => wrong.push(format!("{what}: {error:#}")),
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        let memory = costs.iter().map(|cost| cost.memory).max().context("no file")?;
        let time = costs.iter().map(|cost| cost.time).max().context("no file")?;
        println!("{} files: {memory} MiB and {time:.2?} at most", costs.len());
        ensure_no_node(&node)
    })
}

/// A device and a pipe never end, as far as the reader knows.
#[test]
fn files_without_an_end_are_read_up_to_the_limit() -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let endless = vec![b'#'; 3 * MAX_TEXT];
        for (file, input) in [("/dev/zero", &[][..]), ("/dev/stdin", &endless), ("-", &endless)] {
            let cost = ensure_refused(&node, file, input, TOO_LARGE).context(file)?;
            println!("{file}: {} MiB, {:.2?}", cost.memory, cost.time);
        }
        ensure_no_node(&node)
    })
}

fn ensure_no_node(node: &Node) -> Result<()> {
    ensure!(!node.dirs().run.exists() && !node.dirs().state.exists(), "a node was made");
    Ok(())
}
