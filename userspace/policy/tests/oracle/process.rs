//! Runs `oracle.py`.

use std::{
    env,
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use serde::Deserialize;

/// A Python that has the packages of `tests/oracle/requirements.txt`.
const PYTHON: &str = "REPOINT_ORACLE_PYTHON";
/// From the crate's folder.
const ORACLE: &str = "../../tests/oracle/oracle.py";

/// The analyzer's answer for a set.
#[derive(Deserialize)]
pub struct Answer {
    id: u64,
    /// For each flow, whether it is allowed.
    pub allowed: Option<Vec<bool>>,
    /// Why there is no answer.
    pub error: Option<String>,
}

/// The Python to use; none, which is reported: none is set.
pub fn python() -> Option<String> {
    let python = env::var(PYTHON).ok();
    if python.is_none() {
        println!("skipped: {PYTHON} is not set: `cargo xtask test` sets it");
    }
    python
}

/// The answers for sets in the form of `oracle.py`, in their order.
pub fn run(python: &str, name: &str, options: &[&str], cases: &[String]) -> Vec<Answer> {
    let name = format!("oracle-{name}{}.jsonl", options.concat());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut file = BufWriter::new(File::create(&path).unwrap());
    for case in cases {
        writeln!(file, "{case}").unwrap();
    }
    file.flush().unwrap();
    let oracle = Path::new(env!("CARGO_MANIFEST_DIR")).join(ORACLE);
    let output = Command::new(python)
        .arg(oracle)
        .args(options)
        .stdin(File::open(path).unwrap())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{python}: {}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Answer> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!((0..).zip(&answers).all(|(place, answer)| answer.id == place), "order of answers");
    assert_eq!(answers.len(), cases.len(), "number of answers");
    answers
}
