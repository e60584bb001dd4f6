//! Counting what libtest prints.

use std::{collections::VecDeque, fmt};

/// Lines of a failed test's output that are repeated at the end, the last ones.
const REPEATED: usize = 40;
/// Characters of a line that are repeated.
const LONGEST: usize = 400;

/// A test that failed, and the end of its output.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// The test's name, with its module.
    pub name: String,
    /// The last [`REPEATED`] lines that it printed.
    pub output: VecDeque<String>,
    /// Whether a backtrace has begun, which ends the output.
    has_backtrace: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "failed: {}", self.name)?;
        self.output.iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

/// How many tests passed, failed and were skipped.
///
/// A test counts as skipped if libtest ignores it, or if it passes and has printed `skipped: <reason>`:
/// libtest has no word for a test that finds out at run time that it cannot run here.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that ran and passed.
    pub passed: u64,
    /// Tests that ran and failed.
    pub failed: u64,
    /// Tests that did not run.
    pub skipped: u64,
    /// Names of the tests that did not run.
    pub skips: Vec<String>,
    /// The tests that failed, in the order of the report.
    pub failures: Vec<Failure>,
    /// Where in libtest's report the next line is.
    section: Section,
    /// The test whose output the next line belongs to.
    current: String,
    /// Tests of this report that printed that they were skipped; libtest counts them as passed.
    skipped_themselves: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Section {
    /// Where the output of no test is printed.
    #[default]
    Other,
    /// Output of tests that failed.
    Failures,
    /// The list of tests that failed, which follows their output.
    FailedNames,
    /// Output of a test that passed.
    Success,
    /// The rest of the output of a test that passed and said that it was skipped.
    Skipped,
}

impl Tally {
    /// Takes the next line of what `cargo test -- --show-output` prints.
    pub fn read(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.add(counts);
        } else if line == "failures:" {
            self.section = match self.section {
                Section::Failures => Section::FailedNames,
                _ => Section::Failures,
            };
        } else if self.section == Section::Failures {
            self.read_failure(line);
        } else if line == "successes:" {
            self.section = Section::Success;
        } else if matches!(self.section, Section::Success | Section::Skipped) {
            self.read_success(line);
        } else if let Some((name, _)) = ignored(line) {
            self.skips.push(name.to_owned());
        }
    }

    /// Takes a line of the output of tests that passed.
    fn read_success(&mut self, line: &str) {
        if let Some(name) = heading(line) {
            name.clone_into(&mut self.current);
            self.section = Section::Success;
        } else if line.starts_with("skipped: ") && self.section == Section::Success {
            self.section = Section::Skipped;
            self.skipped_themselves += 1;
            self.skips.push(self.current.clone());
        }
    }

    /// Takes a line of the output of failed tests: the heading of one, or what it printed.
    fn read_failure(&mut self, line: &str) {
        if let Some(name) = heading(line) {
            self.failures.push(Failure { name: name.to_owned(), ..Failure::default() });
        } else if let Some(failure) = self.failures.last_mut() {
            // It would push out what the test printed.
            failure.has_backtrace |= line.to_lowercase().starts_with("stack backtrace:");
            if failure.has_backtrace {
                return;
            }
            if failure.output.len() == REPEATED {
                failure.output.pop_front();
            }
            failure.output.push_back(line.chars().take(LONGEST).collect());
        }
    }

    /// Adds the end of a report: `ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`.
    fn add(&mut self, counts: &str) {
        self.section = Section::Other;
        let skipped = std::mem::take(&mut self.skipped_themselves);
        self.passed += number_of("passed", counts).saturating_sub(skipped);
        self.failed += number_of("failed", counts);
        self.skipped += number_of("ignored", counts) + skipped;
    }
}

/// The test whose output begins with this line: `---- NAME stdout ----`.
fn heading(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

/// The name and the reason of a test that libtest ignores: `test NAME ... ignored, REASON`.
fn ignored(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("test ")?.split_once(" ... ignored")
}

/// The number before a word: 3 for `passed` in `ok. 3 passed; 0 failed`.
fn number_of(what: &str, counts: &str) -> u64 {
    let words: Vec<&str> = counts.split([' ', ';']).collect();
    words
        .windows(2)
        .find(|pair| pair[1] == what)
        .and_then(|pair| pair[0].parse().ok())
        .unwrap_or_default()
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped, .. } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(report: &str) -> Tally {
        let mut tally = Tally::default();
        report.lines().for_each(|line| tally.read(line));
        tally
    }

    #[test]
    fn reports_are_summed() {
        let sum = tally(
            "running 4 tests\n\
             test cost::all ... ignored, a measurement\n\
             test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.00s\n\
             running 2 tests\n\
             test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
        );
        assert_eq!(sum.to_string(), "4 passed, 1 failed, 1 skipped");
        assert_eq!(sum.skips, ["cost::all"]);
    }

    #[test]
    fn test_that_says_it_was_skipped_is_not_passed() {
        let sum = tally(
            "successes:\n\
             ---- cri stdout ----\nskipped: no containerd\nskipped: nor runc\n\
             ---- chain stdout ----\nall well\n\
             ---- gc stdout ----\nskipped: no list\n\
             successes:\n    cri\n    chain\n    gc\n\
             test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n",
        );
        assert_eq!(sum.to_string(), "1 passed, 0 failed, 2 skipped");
        assert_eq!(sum.skips, ["cri", "gc"]);
    }

    #[test]
    fn test_that_fails_is_failed_whatever_it_says() {
        let sum = tally(
            "successes:\n    quiet\nfailures:\n---- loud stdout ----\nskipped: a part\n\
             failures:\n    loud\n\
             test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n",
        );
        assert_eq!(sum.to_string(), "1 passed, 1 failed, 0 skipped");
    }

    #[test]
    fn failed_tests_are_named_with_the_end_of_their_output() {
        let noise = "many\n".repeat(REPEATED);
        let sum = tally(&format!(
            "successes:\n    quiet\nfailures:\n\
             ---- matrix stdout ----\n{noise}leak\n\
             ---- other stdout ----\nError: none\n\nStack backtrace:\n   0: std\n\
             failures:\n    matrix\n    other\n\
             test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n",
        ));
        let seen: Vec<_> = sum.failures.iter().map(|one| (&*one.name, one.output.len())).collect();
        assert_eq!(seen, [("matrix", REPEATED), ("other", 2)]);
        assert_eq!(sum.failures[0].output.back().map(String::as_str), Some("leak"));
        assert_eq!(sum.to_string(), "1 passed, 2 failed, 0 skipped");
    }
}
