//! Texts that would cost much memory or time.

use std::fmt::Write as _;

use super::{super::MAX_TEXT, objects, refusal};

const ALIASES: &str = "the aliases (*name) stand for too much: write the values in their place";
const DEPTH: &str = "more than 32 levels of lists and mappings: no policy has so many";

/// Texts of so many parts.
fn parts(count: usize, part: impl Fn(usize) -> String) -> String {
    (0..count).map(part).collect()
}

fn policies(count: usize) -> String {
    parts(count, |index| {
        let mut text = String::from("---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n");
        writeln!(text, "metadata: {{name: a{index}}}\nspec: {{podSelector: {{}}}}").unwrap();
        text
    })
}

#[test]
fn a_text_has_4_mib_at_most() {
    let comment = format!("#{}\n", "x".repeat(MAX_TEXT - 2));
    assert!(objects(&comment).unwrap().is_empty());
    assert_eq!(
        refusal(&format!("{comment}\n")),
        "a.yaml: 4194305 bytes are more than 4194304: split the file"
    );
}

#[test]
fn a_text_has_10000_objects_at_most() {
    let text = policies(10_000);
    assert_eq!(objects(&text).unwrap().len(), 10_000);
    let error = refusal(&format!("{text}---\n{{}}\n"));
    assert_eq!(error, "a.yaml:50001:1: more than 10000 objects: split the file");
    let empty = refusal(&"---\n".repeat(1_000_000));
    assert!(empty.ends_with("more than 10000 objects: split the file"), "{empty}");
}

#[test]
fn a_list_has_10000_objects_at_most() {
    let list = |count| {
        let items =
            parts(count, |index| format!("- {{metadata: {{name: a{index}}}, spec: {{}}}}\n"));
        format!("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicyList\nitems:\n{items}")
    };
    assert_eq!(objects(&list(10_000)).unwrap().len(), 10_000);
    assert_eq!(
        refusal(&list(10_001)),
        "a.yaml:10004:3: NetworkPolicy default/a10000: more than 10000 objects: split the file"
    );
}

#[test]
fn aliases_of_aliases_do_not_multiply() {
    let laughs = parts(9, |level| match level {
        0 => "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned(),
        _ => format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 9].join(", ")),
    });
    let merges = parts(20, |level| match level {
        0 => "a0: &a0 {x: y}\n".to_owned(),
        _ => format!("a{level}: &a{level} {{<<: [*a{0}, *a{0}], k{level}: v}}\n", level - 1),
    });
    let long_string =
        format!("a: &a \"x\\n{}\"\nb: [{}]\n", "y".repeat(100_000), "*a, ".repeat(900));
    let one_anchor = format!("a: &a [x]\nb: [{}]\n", "*a, ".repeat(2000));
    let many_anchors = parts(2000, |index| format!("- &a{index} x\n"));
    let nested_anchors = format!(
        "{}{}{}",
        parts(30, |index| format!("&a{index} [")),
        "x, ".repeat(20_000),
        "]".repeat(30)
    );
    for text in [laughs, merges, long_string, one_anchor, many_anchors, nested_anchors] {
        let error = refusal(&text);
        assert!(error.ends_with(ALIASES), "{text:.60}: {error}");
    }
}

#[test]
fn nesting_is_bounded_in_each_style() {
    let block = parts(2000, |level| format!("{}a:\n", " ".repeat(level)));
    let texts = [
        "[".repeat(1_000_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        "? ".repeat(100_000),
        block,
    ];
    for text in texts {
        let error = refusal(&text);
        assert!(error.ends_with(DEPTH), "{text:.20}: {error}");
    }
    let deepest = format!("{}{}", "[".repeat(32), "]".repeat(32));
    assert_eq!(refusal(&deepest), "a.yaml:1:1: a list where a mapping is wanted");
    assert!(refusal(&format!("[{deepest}]")).ends_with(DEPTH));
}

#[test]
fn values_are_bounded() {
    let error = refusal(&format!("[{}]", "x,".repeat(MAX_TEXT / 2 - 1)));
    assert!(error.ends_with("more than 500000 values: split the file"), "{error}");
}

#[test]
fn a_long_string_is_not_kept() {
    let long = "x".repeat(MAX_TEXT / 2);
    let text = super::network_text("{}")
        .replace("namespace:", &format!("annotations: {{a: {long}}}, namespace:"));
    assert_eq!(objects(&text).unwrap().len(), 1);
    let name = format!("name: {}", "x".repeat(513));
    let error = refusal(&text.replace("name: web", &name));
    assert!(error.ends_with("metadata.name: a string of more than 512 bytes: write a shorter one"));
}
