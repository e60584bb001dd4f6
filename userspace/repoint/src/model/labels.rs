//! Labels that the start of a container gives to its function.

use std::str::FromStr;

use repoint_policy::{
    Labels,
    party::{FUNCTION, NAMESPACE, NETWORK},
    read::check_label,
};

use super::InvalidValue;

/// Most labels that one start gives.
const MOST: usize = 64;
/// No labels.
const NONE: &str = "none";

/// Labels that the start of a container gives to its function: `app=web,tier=front`, or `none`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GivenLabels(pub Labels);

impl FromStr for GivenLabels {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let wrong = |why: String| InvalidValue::new("labels", text, why);
        let mut labels = Labels::new();
        if text == NONE {
            return Ok(Self(labels));
        }
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                wrong(format!("\"{pair}\" must be KEY=VALUE, as in app=web,tier=front"))
            })?;
            check_label(key, value).map_err(wrong)?;
            if [FUNCTION, NETWORK, NAMESPACE].contains(&key) {
                return Err(wrong(format!("repoint gives label {key}: leave it out")));
            }
            if labels.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(wrong(format!("label {key} must be there once")));
            }
        }
        if labels.len() > MOST {
            return Err(wrong(format!("must be at most {MOST} labels")));
        }
        Ok(Self(labels))
    }
}

impl std::fmt::Display for GivenLabels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str(NONE);
        }
        let mut separator = "";
        for (key, value) in &self.0 {
            write!(f, "{separator}{key}={value}")?;
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_and_written_alike() {
        for text in [NONE, "app=web", "app=web,empty=,example.com/tier=front"] {
            let labels: GivenLabels = text.parse().unwrap();
            assert_eq!(labels.to_string(), text);
        }
        let spaced: GivenLabels = " b=2 , a=1 ,".parse().unwrap();
        assert_eq!(spaced.to_string(), "a=1,b=2");
    }

    #[test]
    fn what_is_no_label_is_named() {
        for (text, wanted) in [
            ("web", "must be KEY=VALUE"),
            ("-a=b", "\"-a\" is not"),
            ("a=-b", "\"-b\" is not"),
            ("a=1,a=2", "label a must be there once"),
            ("repoint.dev/function=f", "repoint gives label repoint.dev/function"),
            ("kubernetes.io/metadata.name=t", "repoint gives label kubernetes.io/metadata.name"),
        ] {
            let error = text.parse::<GivenLabels>().unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
        let many: Vec<_> = (0..=MOST).map(|number| format!("l{number}=x")).collect();
        let error = many.join(",").parse::<GivenLabels>().unwrap_err().to_string();
        assert!(error.contains("at most 64 labels"), "{error}");
    }
}
