//! Order statistics of durations.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// Percentiles of durations; in JSON whole microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// How many durations.
    pub count: usize,
    /// The shortest.
    #[serde(rename = "min_us", serialize_with = "microseconds")]
    pub min: Duration,
    /// The median.
    #[serde(rename = "p50_us", serialize_with = "microseconds")]
    pub p50: Duration,
    /// Nine of ten are not longer.
    #[serde(rename = "p90_us", serialize_with = "microseconds")]
    pub p90: Duration,
    /// 99 of a hundred are not longer.
    #[serde(rename = "p99_us", serialize_with = "microseconds")]
    pub p99: Duration,
}

impl Summary {
    /// None of no durations.
    #[must_use]
    pub fn of(durations: &[Duration]) -> Option<Self> {
        let mut sorted = durations.to_vec();
        sorted.sort_unstable();
        Some(Self {
            count: sorted.len(),
            min: *sorted.first()?,
            p50: percentile(&sorted, 50)?,
            p90: percentile(&sorted, 90)?,
            p99: percentile(&sorted, 99)?,
        })
    }
}

/// The nearest-rank percentile: the smallest of the durations that at least `percent` of a hundred
/// are not longer than. No value is made up between two that were measured.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// How many times as long as another one.
#[must_use]
pub fn ratio(duration: Duration, other: Duration) -> f64 {
    duration.as_secs_f64() / other.as_secs_f64()
}

/// In milliseconds.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// In milliseconds with about three digits, for a person.
#[must_use]
pub fn three_digits(duration: Duration) -> String {
    let time = milliseconds(duration);
    let decimals = match time {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{time:.decimals$} ms")
}

/// Medians of every `width` neighbours.
#[must_use]
pub fn running_median(durations: &[Duration], width: usize) -> Vec<Duration> {
    durations.windows(width).filter_map(|window| Some(Summary::of(window)?.p50)).collect()
}

/// A duration in whole microseconds.
pub fn microseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u128(duration.as_micros())
}

/// Durations as an array of whole microseconds.
pub fn all_microseconds<S: Serializer>(
    durations: &[Duration],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(durations.iter().map(Duration::as_micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(values: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        values.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn percentiles_are_measured_values_of_nearest_rank() {
        let summary = Summary::of(&milliseconds((1..=200).rev())).unwrap();
        let expected = [1, 100, 180, 198].map(Duration::from_millis);
        assert_eq!([summary.min, summary.p50, summary.p90, summary.p99], expected);
        assert_eq!(summary.count, 200);
    }

    #[test]
    fn one_duration_is_every_percentile() {
        let summary = Summary::of(&milliseconds([7])).unwrap();
        assert_eq!([summary.min, summary.p50, summary.p99], [Duration::from_millis(7); 3]);
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn running_median_ignores_outliers() {
        let medians = running_median(&milliseconds([1, 1, 100, 1, 2, 2]), 3);
        assert_eq!(medians, milliseconds([1, 1, 2, 2]));
    }
}
