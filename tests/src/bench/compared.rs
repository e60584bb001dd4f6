//! Two kinds of a measurement that take turns, and how they compare.

use anyhow::Result;
use serde::Serialize;

/// Pairs of measurements.
pub const PAIRS: usize = 20;
/// Which of the sorted ratios bound the median with a confidence of 95 % (binomial, 20 pairs: 95.9 %).
const BOUNDS: [usize; 2] = [5, 14];

/// Which of two kinds is measured, in a pair. How long a measurement takes depends on what was measured
/// before, by up to a fifth: both kinds come in each place, and each after both. Every second pair has the
/// kinds exchanged, because something else comes before a pair.
const ORDER: [bool; 8] = [true, false, false, true, false, true, true, false];
/// Measurements of each kind in it.
const TIMES: f64 = 4.0;

/// Means of both kinds in the pair of this number, the one that is compared last.
pub fn pair(number: usize, mut measure: impl FnMut(bool) -> Result<f64>) -> Result<[f64; 2]> {
    let mut taken = [0.0; 2];
    for is_other in ORDER {
        let is_other = is_other != (number % 2 == 1);
        taken[usize::from(is_other)] += measure(is_other)?;
    }
    Ok(taken.map(|sum| sum / TIMES))
}

/// How the second of two kinds compares with the first.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Compared {
    /// The median of the pairs' ratios.
    pub ratio: f64,
    /// Between these bounds the median is with a confidence of 95 %.
    pub interval: [f64; 2],
}

impl Compared {
    /// Of the ratios of [`PAIRS`] pairs.
    #[must_use]
    pub fn of(mut ratios: [f64; PAIRS]) -> Self {
        ratios.sort_unstable_by(f64::total_cmp);
        let ratio = f64::midpoint(ratios[PAIRS / 2 - 1], ratios[PAIRS / 2]);
        Self { ratio, interval: BOUNDS.map(|number| ratios[number]) }
    }
}

/// The median of figures; 0 of none.
#[must_use]
pub fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = figures.collect();
    all.sort_unstable_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_have_each_place() {
        let others = ORDER.iter().filter(|is_other| **is_other).count();
        assert_eq!(others * 2, ORDER.len());
        for (at, is_other) in ORDER.iter().enumerate() {
            // The second half has the other kind in each place.
            assert_ne!(*is_other, ORDER[(at + ORDER.len() / 2) % ORDER.len()]);
        }
    }

    #[test]
    fn the_median_and_its_bounds_are_of_sorted_ratios() {
        let numbers: Vec<u8> = (0..20).map(|number| (number * 7) % 20).collect();
        let ratios = std::array::from_fn(|at| f64::from(numbers[at]));
        let compared = Compared::of(ratios);
        let found = [compared.ratio, compared.interval[0], compared.interval[1]];
        assert_eq!(format!("{found:?}"), "[9.5, 5.0, 14.0]");
        assert_eq!(format!("{}", median([3.0, 1.0, 2.0].into_iter())), "2");
    }
}
