//! `docs/security-tests.md`: the table of attacks, which is checked here against the attacks.

use std::{env, fmt::Write as _, fs};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::dist;

use crate::{
    attack::{Attack, Reach},
    table::ALL,
};

/// Where the table begins and ends in the page.
const BEGIN: &str = "<!-- attacks: begin -->";
const END: &str = "<!-- attacks: end -->";
/// Set to have the page written.
const SAVE: &str = "REPOINT_HOSTILE_SAVE";

fn row(attack: &Attack) -> String {
    let accomplice = attack.accomplice.map_or_else(|| "–".to_owned(), |rights| rights.to_string());
    let after = if attack.occupies { "stays in use" } else { "ends" };
    let within = match (attack.reach, attack.occupies) {
        (Reach::Across, _) => "–",
        (Reach::Both, true) => "another namespace",
        (Reach::Both, false) => "repaired, or another namespace",
    };
    format!(
        "| `{}` | {} | {} | {accomplice} | {after} | another namespace | {within} |\n",
        attack.name, attack.what, attack.rights,
    )
}

fn table() -> String {
    let mut table = String::from(
        "| Test | The attacker | With | Its accomplice, with | The namespace, at DEL | \
         The next owner in another domain gets | The same function gets |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for attack in ALL {
        table.push_str(&row(attack));
    }
    let both = ALL.iter().filter(|attack| attack.reach == Reach::Both).count();
    let _ = write!(table, "\n{} attacks, {both} of them within a function as well.\n", ALL.len());
    table
}

#[test]
fn the_page_lists_every_attack() -> Result<()> {
    let path = dist::workspace().join("docs/security-tests.md");
    let page = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let (head, rest) = page.split_once(BEGIN).context("the table does not begin")?;
    let (_, tail) = rest.split_once(END).context("the table does not end")?;
    let expected = format!("{head}{BEGIN}\n{}{END}{tail}", table());
    if env::var_os(SAVE).is_some() {
        fs::write(&path, &expected).with_context(|| format!("write {}", path.display()))?;
        return Ok(());
    }
    ensure!(page == expected, "run this test with {SAVE}=1, and commit {}", path.display());
    Ok(())
}
