//! Durations in the order in which they were measured.

use std::time::Duration;

use super::{
    axis::Axis,
    svg::{Anchor, Svg},
};
use crate::bench::stats::running_median;

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 100.0;
const TOP: f64 = 62.0;
const BOTTOM: f64 = 52.0;
const GRID: &str = "#e4e4e4";
/// Width of the running median.
const WINDOW: usize = 50;

/// Draws each of the durations, by (name, colour, durations), and their running median.
pub fn draw(title: &str, curves: &[(&str, &str, &[Duration])]) -> String {
    let all = curves.iter().flat_map(|(_, _, durations)| durations.iter().copied());
    let axis = Axis::around(all, (HEIGHT - BOTTOM, TOP));
    let longest = curves.iter().map(|(_, _, durations)| durations.len()).max().unwrap_or(0);
    let mut svg = Svg::new(WIDTH, HEIGHT);
    svg.text((16.0, 26.0), Anchor::Start, "title", title);
    let legend =
        format!("milliseconds, logarithmic · dots: calls · line: running median of {WINDOW}");
    svg.text((16.0, 46.0), Anchor::Start, "note", &legend);
    grid(&mut svg, &axis, longest);
    for (_, colour, durations) in curves {
        let points = durations.iter().enumerate();
        svg.cloud(points.map(|(number, time)| (x(number, longest), axis.position(*time))), colour);
    }
    for (name, colour, durations) in curves {
        let medians = running_median(durations, WINDOW);
        let points = medians.iter().enumerate();
        svg.polyline(
            points.map(|(number, time)| (x(number + WINDOW / 2, longest), axis.position(*time))),
            colour,
        );
        if let Some(last) = medians.last() {
            let y = axis.position(*last) + 4.5;
            svg.text((WIDTH - RIGHT + 8.0, y), Anchor::Start, "", name);
        }
    }
    svg.finish()
}

#[expect(clippy::cast_precision_loss, reason = "thousands, not 2^52")]
fn x(number: usize, longest: usize) -> f64 {
    let part = number as f64 / longest.max(2).saturating_sub(1) as f64;
    LEFT + part * (WIDTH - LEFT - RIGHT)
}

fn grid(svg: &mut Svg, axis: &Axis, longest: usize) {
    for (y, label) in axis.ticks() {
        svg.line((LEFT, y), (WIDTH - RIGHT, y), 1.0, GRID);
        svg.text((LEFT - 8.0, y + 4.5), Anchor::End, "", &label);
    }
    let step = (longest / 5).max(1);
    for number in (step..=longest).step_by(step) {
        let position = (x(number - 1, longest), HEIGHT - BOTTOM + 18.0);
        svg.text(position, Anchor::Middle, "", &number.to_string());
    }
    let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
    let label = "attachments on the node";
    svg.text((middle, HEIGHT - 14.0), Anchor::Middle, "note", label);
}
