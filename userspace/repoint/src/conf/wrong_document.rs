//! Describes documents that are not a plugin's configuration.

use serde_json::{Map, Value};

/// Longest text that an error repeats, in characters.
const LONGEST_SHOWN: usize = 40;

/// Describes a text that is not JSON.
pub(super) fn of_text(text: &[u8]) -> String {
    if text.starts_with(b"\xef\xbb\xbf") {
        return "begins with a byte order mark, which JSON has none of: save it without".to_owned();
    }
    if text.contains(&0) {
        return "is binary, or a text of UTF-16: it must be UTF-8".to_owned();
    }
    let Ok(text) = std::str::from_utf8(text).map(str::trim) else {
        return "is no UTF-8".to_owned();
    };
    if text.starts_with('/') && !text.contains(['\n', '{']) {
        return format!("is the path {}: give the content of the file", shown(text));
    }
    if is_yaml(text) {
        return "looks like YAML: write it as JSON".to_owned();
    }
    format!("is not JSON, it begins with {}", shown(text))
}

/// Whether the first line that says something is a key of YAML's, an item, or its `---`.
fn is_yaml(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim_start);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    let is_word = |key: &str| key.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    first.starts_with("---")
        || first.starts_with("- ")
        || first.split_once(':').is_some_and(|(key, _)| !key.is_empty() && is_word(key))
}

fn shown(text: &str) -> String {
    let begin: String = text.chars().take(LONGEST_SHOWN).collect();
    format!("{begin:?}")
}

/// Describes a JSON document that cannot be a plugin's configuration.
///
/// None where it may be one.
pub(super) fn of_value(value: &Value) -> Option<String> {
    match value {
        Value::Object(map) => of_object(map),
        Value::String(text) => {
            let inner: Value = serde_json::from_str(text).ok()?;
            let twice = "is JSON within a JSON string: it was encoded twice";
            inner.is_object().then(|| twice.to_owned())
        }
        _ => None,
    }
}

/// Describes an object that has no key `type`, by its other keys.
fn of_object(map: &Map<String, Value>) -> Option<String> {
    let has = |key| map.get(key).is_some_and(|value| !value.is_null());
    if has("type") {
        return None;
    }
    if map.get("plugins").is_some_and(Value::is_array) {
        let why = "is a network configuration list (key plugins): a plugin takes one element of it, \
                   with the list's name and cniVersion, as runtimes pass it";
        return Some(why.to_owned());
    }
    if has("apiVersion") && has("kind") {
        let kind = map["kind"].as_str().unwrap_or_default();
        return Some(format!("is a Kubernetes object of kind {}", shown(kind)));
    }
    if let Some(key) = ["interfaces", "ips", "ip4", "ip6"].into_iter().find(|key| has(key)) {
        return Some(format!("is a CNI result (key {key}), as ADD prints it"));
    }
    if has("code") && has("msg") {
        return Some("is a CNI error (keys code and msg), as plugins print it".to_owned());
    }
    has("supportedVersions").then(|| "is an answer to VERSION (key supportedVersions)".to_owned())
}
