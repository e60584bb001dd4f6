//! Slots over time, as SVG.

use std::time::Duration;

use super::{
    Scenario,
    measure::{Measured, Point, share},
    trace::Trace,
};
use crate::bench::plot::svg::{Anchor, Svg};

const WIDTH: f64 = 820.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 34.0;
/// Above the first panel, and between two.
const TOP: f64 = 62.0;
const PANEL: f64 = 170.0;
const GAP: f64 = 52.0;
const GRID: &str = "#e4e4e4";
/// Colours that the colour-blind can distinguish (Okabe and Ito).
const HELD: &str = "#0072b2";
const READY: &str = "#d55e00";
/// How many parts an axis has, about.
const PARTS: u32 = 5;

/// Draws the runs of a trace below each other.
pub(super) fn draw<'a>(
    trace: &Trace,
    runs: impl Iterator<Item = &'a (Scenario, Measured)>,
) -> String {
    let runs: Vec<_> = runs.collect();
    let height = runs.iter().fold(TOP, |height, _| height + PANEL + GAP);
    let mut svg = Svg::new(WIDTH, height);
    svg.text((16.0, 26.0), Anchor::Start, "title", &format!("Slots over time: {}", trace.name));
    let legend = "blue: slots held, the most in each part of the time · orange: slots ready for \
                  anybody, the fewest";
    svg.text((16.0, 46.0), Anchor::Start, "note", legend);
    let mut top = TOP;
    for (scenario, measured) in runs {
        panel(&mut svg, top, scenario, measured);
        top += PANEL + GAP;
    }
    svg.finish()
}

fn panel(svg: &mut Svg, top: f64, scenario: &Scenario, measured: &Measured) {
    let title = format!("scope {}", scenario.policy.scope.name());
    svg.text((LEFT, top + 12.0), Anchor::Start, "panel", &title);
    let (top, bottom) = (top + 22.0, top + PANEL);
    let most = measured.curve.iter().map(|point| point.held).max().unwrap_or(0).max(1);
    let y = |slots: u32| bottom - f64::from(slots) / f64::from(most) * (bottom - top);
    for slots in ticks(most) {
        svg.line((LEFT, y(slots)), (WIDTH - RIGHT, y(slots)), 1.0, GRID);
        svg.text((LEFT - 8.0, y(slots) + 4.5), Anchor::End, "", &slots.to_string());
    }
    times(svg, bottom, scenario.trace.drawn);
    for (colour, of) in [(HELD, (|point| point.held) as fn(&Point) -> u32), (READY, |p| p.ready)] {
        let points = measured.curve.iter().enumerate();
        let last = measured.curve.len().saturating_sub(1);
        svg.polyline(points.map(|(part, point)| (x(share(part, last)), y(of(point)))), colour);
    }
}

/// Where a moment is, as a part of the time that is drawn.
fn x(part: f64) -> f64 {
    LEFT + part * (WIDTH - LEFT - RIGHT)
}

/// Labels the time below a panel: in minutes, or in seconds where it is short.
fn times(svg: &mut Svg, bottom: f64, (from, until): (Duration, Duration)) {
    let length = until.saturating_sub(from);
    let (unit, name) = if length > Duration::from_mins(2) { (60, "min") } else { (1, "s") };
    let whole = u32::try_from(length.as_secs() / unit).unwrap_or(u32::MAX);
    for at in ticks(whole) {
        let part = Duration::from_secs(u64::from(at) * unit).as_secs_f64() / length.as_secs_f64();
        svg.text((x(part), bottom + 18.0), Anchor::Middle, "", &format!("{at} {name}"));
    }
}

/// Numbers up to `most` to write at an axis: multiples of 1, 2 or 5 and a power of ten.
fn ticks(most: u32) -> impl Iterator<Item = u32> {
    let least = (most / PARTS).max(1);
    let power = 10_u32.pow(least.ilog10());
    let step = [1, 2, 5, 10].map(|digit| digit * power).into_iter().find(|step| *step >= least);
    (0..=most).step_by(step.unwrap_or(most) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_a_handful_of_round_numbers() {
        for (most, expected) in [
            (0, vec![0]),
            (7, vec![0, 1, 2, 3, 4, 5, 6, 7]),
            (60, vec![0, 20, 40, 60]),
            (512, vec![0, 200, 400]),
        ] {
            assert_eq!(ticks(most).collect::<Vec<_>>(), expected, "{most}");
        }
    }
}
