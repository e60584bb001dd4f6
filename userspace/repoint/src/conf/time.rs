//! How long something lasts, as people write it.

use std::{str::FromStr, time::Duration};

use crate::model::InvalidValue;

const RIGHT: &str = "must be a number and a unit, as in \"90s\", \"10m\" or \"1h30m\"";

/// A length of time: `90s`, `10m`, `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lasting(pub Duration);

impl FromStr for Lasting {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        // What records can hold: 2^64 nanoseconds.
        let fits = |time: &Duration| u64::try_from(time.as_nanos()).is_ok();
        let parsed = humantime::parse_duration(text).ok().filter(fits);
        parsed.map(Self).ok_or_else(|| InvalidValue::new("time", text, RIGHT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1h 30m", 5400)] {
            assert_eq!(text.parse(), Ok(Lasting(Duration::from_secs(seconds))), "{text}");
        }
        assert_eq!("0s".parse(), Ok(Lasting(Duration::ZERO)));
        for text in ["", "10", "-1s", "soon", "1000years"] {
            let error = text.parse::<Lasting>().unwrap_err().to_string();
            assert!(error.contains("10m"), "{error}");
        }
    }
}
