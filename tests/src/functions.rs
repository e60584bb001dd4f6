//! The functions of an executable, and the linker script that puts some of them next to each other.
//!
//! The kernel maps 16 pages of an executable's code at the first use of one. An ADD runs a tenth of the
//! plugin's code. Spread over the executable, this tenth took 44 page faults, each of 3 µs in a virtual
//! machine.

use std::{fmt::Write as _, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

/// How the name of a function that the compiler mangled begins (RFC 2603).
const MANGLED: &str = "_R";
/// What begins the name of a function's section, and that of one which is seldom called.
const SECTION: &str = ".text.";
const SELDOM: &str = ".text.unlikely.";

/// A function of an executable.
#[derive(Debug)]
pub struct Function {
    /// Address of its first instruction.
    pub start: u64,
    /// Length, in bytes.
    pub size: u64,
    /// Its name in the symbol table.
    pub name: String,
}

/// Functions of an executable, by their addresses.
#[derive(Debug)]
pub struct Functions(Vec<Function>);

impl Functions {
    /// Reads the symbol table by `nm`.
    pub fn of(executable: &Path) -> Result<Self> {
        let mut nm = Command::new("nm");
        let output = nm.args(["--numeric-sort", "--print-size"]).arg(executable).output()?;
        ensure!(output.status.success(), "nm {}: {}", executable.display(), output.status);
        let text = String::from_utf8(output.stdout).context("names of functions")?;
        Ok(Self(text.lines().filter_map(function).collect()))
    }

    /// The function that an instruction is of.
    #[must_use]
    pub fn at(&self, address: u64) -> Option<&Function> {
        let next = self.0.partition_point(|function| function.start <= address);
        let found = self.0.get(next.checked_sub(1)?)?;
        (address < found.start + found.size).then_some(found)
    }

    /// The functions that a script's pattern selects.
    pub fn selected(&self, pattern: &str) -> impl Iterator<Item = &Function> {
        self.0.iter().filter(move |function| matches(pattern, &function.name))
    }
}

/// A line of `nm`, if it is of a function: address, size, kind and name.
fn function(line: &str) -> Option<Function> {
    let mut fields = line.split(' ');
    let (start, size) = (fields.next()?, fields.next()?);
    let (kind, name) = (fields.next()?, fields.next()?);
    let number = |text| u64::from_str_radix(text, 16).ok();
    matches!(kind, "t" | "T" | "w" | "W").then_some(())?;
    Some(Function { start: number(start)?, size: number(size)?, name: name.to_owned() })
}

/// A pattern for a function's name that holds in other builds. Crate disambiguators (`Cs…_`), and the
/// positions in back references (`B…_`), differ from build to build. So does the suffix that the compiler
/// gives to one of several functions of one name. What looks alike inside an identifier becomes `*` as well,
/// and the pattern selects more.
#[must_use]
pub fn pattern(name: &str) -> String {
    let own = name.split('.').next().unwrap_or(name);
    if !own.starts_with(MANGLED) {
        return format!("{own}*");
    }
    let mut pattern = String::new();
    let mut rest = own;
    while let Some(letter) = rest.chars().next() {
        let number = ["Cs", "B"].iter().find_map(|begin| base_62(rest.strip_prefix(begin)?));
        if let Some(behind) = number {
            pattern.push('*');
            rest = behind;
        } else {
            pattern.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    if !pattern.ends_with('*') {
        pattern.push('*');
    }
    pattern
}

/// What follows a number of RFC 2603, which ends with an underscore.
fn base_62(text: &str) -> Option<&str> {
    let (number, behind) = text.split_once('_')?;
    number.chars().all(|letter| letter.is_ascii_alphanumeric()).then_some(behind)
}

/// Whether a name matches a pattern, in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|begin| name.strip_prefix(begin)) else {
        return false;
    };
    let Some(end) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        // The leftmost place leaves most for what follows.
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(end)
}

/// The linker script for these patterns.
#[must_use]
pub fn script(patterns: &[String]) -> String {
    let mut script = String::from(
        "/* Functions that an ADD and a DEL run: `cargo xtask functions` writes this file, and\n   \
         docs/development.md says when. */\nSECTIONS\n{\n  .text.start :\n  {\n",
    );
    for pattern in patterns {
        // Writing to a `String` cannot fail.
        let _ = writeln!(script, "    *({SECTION}{pattern} {SELDOM}{pattern})");
    }
    script.push_str("    *libc.a:*(.text .text.*)\n  }\n}\nINSERT BEFORE .text;\n");
    script
}

/// The patterns of a linker script.
pub fn patterns(script: &str) -> impl Iterator<Item = &str> {
    script.lines().filter_map(|line| {
        let sections = line.trim().strip_prefix("*(")?.strip_prefix(SECTION)?;
        Some(sections.split_once(' ')?.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_crates_are_left_out_of_patterns() {
        let name = "_RNvMs_NtCs4K0sh7o7ds_7repoint4confNtB4_7NetConf9read_keys";
        let other = "_RNvMs_NtCsaaaaaaaaaaaa_7repoint4confNtBa_7NetConf9read_keys";
        assert_eq!(pattern(name), "_RNvMs_Nt*7repoint4confNt*7NetConf9read_keys*");
        assert_eq!(pattern(&format!("{name}.580")), pattern(name));
        assert!(matches(&pattern(name), other));
        assert!(!matches(&pattern(name), "_RNvMs_NtCsa_7repoint4confNtB4_7NetConf9read_key"));
        for (pattern, name, expected) in [
            ("a*b*c", "a_b_b_c", true),
            ("a*b*c", "a_c", false),
            ("a", "ab", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        assert_eq!(pattern("mdb_cursor_put.localalias"), "mdb_cursor_put*");
    }

    #[test]
    fn a_script_names_what_it_was_made_of() {
        let made = ["main*".to_owned(), "_RNv*3add".to_owned()];
        assert_eq!(patterns(&script(&made)).collect::<Vec<_>>(), ["main*", "_RNv*3add"]);
    }

    #[test]
    fn a_line_of_a_function_is_read() {
        let found = function("0000000000401000 0000000000000010 T main").unwrap();
        assert_eq!((found.start, found.size, &*found.name), (0x40_1000, 16, "main"));
        assert!(function("0000000000a43008 0000000000000048 d ARENA").is_none());
        assert!(function("                 U other").is_none());
    }
}
