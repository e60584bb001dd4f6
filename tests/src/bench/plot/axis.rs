//! A logarithmic axis of time.

use std::time::Duration;

use crate::bench::stats::milliseconds;

/// A part of the axis and where it is drawn.
pub struct Axis {
    /// Shortest and longest time, milliseconds.
    range: (f64, f64),
    /// Where these two are, pixels.
    pixels: (f64, f64),
}

impl Axis {
    /// An axis that holds all of the times, with a little room at both ends.
    pub fn around(times: impl IntoIterator<Item = Duration>, pixels: (f64, f64)) -> Self {
        let (shortest, longest) = times
            .into_iter()
            .map(milliseconds)
            .fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), time| {
                (low.min(time), high.max(time))
            });
        let shortest = shortest.min(longest);
        Self { range: (shortest / 1.25, longest * 1.25), pixels }
    }

    /// Where a time is, pixels.
    pub fn position(&self, time: Duration) -> f64 {
        self.position_of(milliseconds(time))
    }

    fn position_of(&self, time: f64) -> f64 {
        let (low, high) = (self.range.0.ln(), self.range.1.ln());
        let (start, end) = self.pixels;
        start + (time.ln() - low) / (high - low) * (end - start)
    }

    /// Where to write which time: 1, 2 and 5 of each power of ten.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        (-3..5)
            .flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)))
            .filter(|time| (self.range.0..=self.range.1).contains(time))
            .map(|time| (self.position_of(time), format!("{time}")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ratios_are_equal_distances() {
        let times = [1, 100].map(Duration::from_millis);
        let axis = Axis::around(times, (100.0, 500.0));
        let [one, ten, hundred] = [1, 10, 100].map(|ms| axis.position(Duration::from_millis(ms)));
        assert!((ten - one - (hundred - ten)).abs() < 1e-9, "{one} {ten} {hundred}");
        assert!(100.0 < one && hundred < 500.0, "{one} {hundred}");
        let labels: Vec<String> = axis.ticks().into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["1", "2", "5", "10", "20", "50", "100"]);
    }
}
