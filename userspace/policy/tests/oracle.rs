//! `NetworkPolicy` objects against network-config-analyzer, an implementation that is not of this project.
//!
//! `tests/oracle/oracle.py` runs it, by the Python of `REPOINT_ORACLE_PYTHON`, which has the packages of
//! `tests/oracle/requirements.txt`. Both it and the reader get the objects as the same JSON.
//! `REPOINT_POLICY_SEED` repeats a seed, and `REPOINT_POLICY_CASES` sets the number of flows.
#![cfg(test)]

#[path = "oracle/cases.rs"]
mod cases;
#[path = "naive/draw.rs"]
mod draw;
#[path = "oracle/explained.rs"]
mod explained;
#[path = "naive/objects.rs"]
mod objects;
#[path = "oracle/process.rs"]
mod process;
#[path = "oracle/recipes.rs"]
mod recipes;
#[path = "naive/settings.rs"]
mod settings;
#[path = "naive/world.rs"]
#[expect(dead_code, reason = "the test draws functions in its own way")]
mod world;

use std::collections::BTreeMap;

use cases::{Case, QUERIES};
use draw::Draw;
use process::Answer;

/// Sets of objects without `REPOINT_POLICY_CASES`: a part, and all under `--whole`.
const SETS: [u64; 2] = [400, 2_000];

/// What a comparison found.
#[derive(Default)]
struct Found {
    alike: u64,
    allowed: u64,
    too_many_rules: u64,
    explained: BTreeMap<&'static str, u64>,
    differences: Vec<String>,
}

#[test]
fn rules_judge_as_the_analyzer_with_its_selectors_repaired() {
    compare(&["--fix-selectors"], |_| None);
}

#[test]
fn rules_judge_as_the_analyzer_where_its_selectors_are_right() {
    compare(&[], explained::fault_of_selectors);
}

/// The cases of the recipes are what the analyzer says of the recipes' objects.
#[test]
fn recipes_say_what_the_analyzer_says() {
    let Some(python) = process::python() else { return };
    let recipes = recipes::all();
    let texts: Vec<_> = recipes.iter().enumerate().map(|(id, recipe)| recipe.text(id)).collect();
    let answers = process::run(&python, "recipes", &[], &texts);
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for (recipe, answer) in recipes.iter().zip(&answers) {
        let allowed = answer.allowed.as_ref();
        let allowed = allowed.unwrap_or_else(|| panic!("{:?}", answer.error));
        let (differences, cases) = recipe.differences(allowed);
        wrong.extend(differences);
        asked += cases;
    }
    println!("{} recipes, {asked} cases", recipes.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(recipes.len() >= 14 && asked >= 100, "{} recipes, {asked} cases", recipes.len());
}

/// Compares all sets. A set for which `explain` names a fault of the analyzer may differ.
fn compare(options: &[&str], explain: fn(&Case) -> Option<&'static str>) {
    let Some(python) = process::python() else { return };
    let seed = settings::seed();
    let sets = SETS[usize::from(std::env::var_os("REPOINT_WHOLE").is_some())];
    let sets = settings::cases(sets * QUERIES).div_ceil(QUERIES);
    let cases: Vec<_> = (0..sets).map(|id| Case::draw(&mut Draw::new(seed, id), id)).collect();
    let texts: Vec<_> = cases.iter().map(Case::text).collect();
    let answers = process::run(&python, "sets", options, &texts);
    let mut found = Found::default();
    for (case, answer) in cases.iter().zip(&answers) {
        found.add(case, answer, explain);
    }
    found.check(sets, options);
}

impl Found {
    fn add(&mut self, case: &Case, answer: &Answer, explain: fn(&Case) -> Option<&'static str>) {
        let allowed = match answer {
            Answer { allowed: Some(allowed), .. } => allowed,
            Answer { error, .. } => {
                self.differences.push(format!("{error:?}\n{}", case.text()));
                return;
            }
        };
        let Ok(own) = case.judge() else {
            self.too_many_rules += 1;
            return;
        };
        assert_eq!(own.len(), allowed.len(), "answers");
        for (place, (own, other)) in own.iter().zip(allowed).enumerate() {
            match explain(case) {
                _ if own == other => self.alike += 1,
                Some(fault) => *self.explained.entry(fault).or_default() += 1,
                None => {
                    let query = case.query(place);
                    let text = format!("{query}: {own}, by the analyzer {other}\n{}", case.text());
                    self.differences.push(text);
                }
            }
            self.allowed += u64::from(*own);
        }
    }

    fn check(&self, sets: u64, options: &[&str]) {
        let Self { alike, allowed, too_many_rules, explained, differences } = self;
        println!("options {options:?}: {sets} sets, {too_many_rules} with too many rules");
        println!("{alike} flows judged alike, of all judged {allowed} are allowed");
        for (fault, count) in explained {
            println!("{count} differences: {fault}");
        }
        for difference in differences.iter().take(3) {
            println!("{difference}");
        }
        assert!(differences.is_empty(), "{} differences without explanation", differences.len());
        assert!(too_many_rules * 20 <= sets, "most sets must compile");
        assert!((alike / 5..alike - alike / 5).contains(allowed), "one answer is too frequent");
    }
}
