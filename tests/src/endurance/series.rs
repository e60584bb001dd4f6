//! Readings of the same thing over the run, and whether they stay flat.

use serde::Serialize;

use super::{
    reading::{Bound, Group, float},
    sample::Sample,
};

/// One thing over the run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    /// What it is of.
    pub name: String,
    /// What is drawn together.
    pub group: Group,
    /// In what.
    pub unit: &'static str,
    /// How flat it has to stay.
    pub bound: Bound,
    /// Pairs before each reading, and the reading.
    pub points: Vec<(usize, f64)>,
    /// How fast it rises over the second half: the median of the slopes between any two readings
    /// (Theil and Sen), which a few outliers do not move; in its unit, for a thousand pairs.
    pub slope: f64,
    /// Rise of the line through the second half, in percent of the median.
    pub drift: f64,
    /// Whether it is flat.
    pub flat: bool,
}

impl Series {
    fn new(name: String, group: Group, unit: &'static str, bound: Bound) -> Self {
        let points = Vec::new();
        Self { name, group, unit, bound, points, slope: 0.0, drift: 0.0, flat: true }
    }

    fn judge(&mut self) {
        let half = &self.points[self.points.len() / 2..];
        let Some((&(from, _), &(until, _))) = half.first().zip(half.last()) else { return };
        let slope = slope(half);
        let level = median(half.iter().map(|(_, value)| *value).collect());
        let rise = slope * float(until - from);
        self.slope = slope * 1000.0;
        self.drift = if level == 0.0 { 0.0 } else { rise / level * 100.0 };
        self.flat = match self.bound {
            Bound::Exact => self.points.windows(2).all(|pair| same(pair[0].1, pair[1].1)),
            Bound::Percent(most) => self.drift <= most && (level > 0.0 || slope <= 0.0),
            Bound::Reported => true,
        };
    }

    /// Its first reading.
    #[must_use]
    pub fn start(&self) -> f64 {
        self.points.first().map_or(0.0, |(_, value)| *value)
    }

    /// Its last reading.
    #[must_use]
    pub fn end(&self) -> f64 {
        self.points.last().map_or(0.0, |(_, value)| *value)
    }
}

/// All series of the samples, in the order of their first readings.
pub(super) fn series(samples: &[Sample]) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for sample in samples {
        for reading in &sample.readings {
            let point = (sample.pairs, reading.value);
            if let Some(known) = all.iter_mut().find(|series| series.name == reading.name) {
                known.points.push(point);
            } else {
                let (group, unit, bound) = (reading.group, reading.unit, reading.bound);
                let mut new = Series::new(reading.name.clone(), group, unit, bound);
                new.points.push(point);
                all.push(new);
            }
        }
    }
    all.iter_mut().for_each(Series::judge);
    all
}

/// A slab cache that grew.
#[derive(Debug, Clone, Serialize)]
pub struct Cache {
    /// Its name.
    pub name: String,
    /// KiB of its objects in use at the start, in the middle and at the end.
    pub kibibytes: [f64; 3],
}

impl Cache {
    /// By how much it grew in the second half.
    #[must_use]
    pub fn growth(&self) -> f64 {
        self.kibibytes[2] - self.kibibytes[1]
    }
}

/// The caches that grew most in the second half.
pub(super) fn grown(samples: &[Sample], most: usize) -> Vec<Cache> {
    let Some((first, last)) = samples.first().zip(samples.last()) else { return Vec::new() };
    let middle = &samples[samples.len() / 2];
    let size = |sample: &Sample, name: &str| sample.caches.get(name).copied().unwrap_or(0.0);
    let names = last.caches.keys();
    let mut caches: Vec<Cache> = names
        .map(|name| Cache {
            name: name.clone(),
            kibibytes: [first, middle, last].map(|sample| size(sample, name)),
        })
        .collect();
    caches.sort_by(|one, other| other.growth().total_cmp(&one.growth()));
    caches.truncate(most);
    caches
}

/// The median of the slopes between any two points.
fn slope(points: &[(usize, f64)]) -> f64 {
    let mut slopes = Vec::new();
    for (number, &(from, low)) in points.iter().enumerate() {
        let later = points[number + 1..].iter().filter(|(until, _)| *until > from);
        slopes.extend(later.map(|&(until, high)| (high - low) / float(until - from)));
    }
    median(slopes)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    match (values.get(low), values.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => 0.0,
    }
}

fn same(one: f64, other: f64) -> bool {
    one.total_cmp(&other).is_eq()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(bound: Bound, values: impl IntoIterator<Item = f64>) -> Series {
        let mut series = Series::new("it".to_owned(), Group::Agent, "KiB", bound);
        series.points = values.into_iter().enumerate().map(|(at, v)| (at * 500, v)).collect();
        series.judge();
        series
    }

    #[test]
    fn what_rises_all_the_time_is_not_flat() {
        let leak = (0..40).map(|at| 1000.0 + f64::from(at) * 5.0);
        let series = judged(Bound::Percent(2.0), leak);
        assert!(!series.flat, "{series:?}");
        assert!((series.slope - 10.0).abs() < 1e-9, "{series:?}");
    }

    #[test]
    fn what_rises_at_first_and_has_outliers_is_flat() {
        let settled =
            (0..40).map(|at| if at % 7 == 6 { 1500.0 } else { f64::from(at.min(15)) + 985.0 });
        let series = judged(Bound::Percent(2.0), settled);
        assert!(series.flat, "{series:?}");
        assert!(series.drift.abs() < 0.1, "{series:?}");
    }

    #[test]
    fn an_exact_number_that_differs_once_is_not_flat() {
        let once = (0..40).map(|at| if at == 3 { 8.0 } else { 7.0 });
        assert!(!judged(Bound::Exact, once).flat);
        assert!(judged(Bound::Exact, [7.0; 40]).flat);
    }
}
